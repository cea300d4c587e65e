"""core.settings: read from the environment, frozen, and passed to child processes."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from core.settings import Settings, WrongSettings, read, read_or_exit

KEY = "opensesame0123456789"


def test_without_an_environment_the_defaults_hold() -> None:
    settings = Settings()
    assert settings.data_dir == Path("tuneserve-data")
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)


def test_a_variable_sets_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESERVE_PREDICT_BATCH", "7")
    monkeypatch.setenv("TUNESERVE_TRAIN_THREADS", "2")
    assert Settings().predict_batch == 7
    assert Settings().train_threads == 2


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESERVE_PORT", "")
    monkeypatch.setenv("TUNESERVE_DATABASE_URL", "")
    assert Settings().port == 8000
    assert Settings().database_url is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "65536"),
        ("PORT", "http"),
        ("MAX_BODY_BYTES", "0"),
        ("PREDICT_DEVICE", "tpu"),
        ("PREDICT_THREADS", "0"),
        ("LEASE_S", "-1"),
        ("CANCEL_GRACE_S", "-0.1"),
        ("KEEP_CHECKPOINTS", "0"),
        ("TRAIN_NICENESS", "20"),
    ],
)
def test_a_value_that_means_nothing_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"TUNESERVE_{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()


def test_settings_cannot_be_changed_later(settings: Settings) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings, "port", 1)  # noqa: B010 - spelled so, since mypy refuses it too


def test_everything_lies_under_the_data_directory_unless_said_otherwise(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert settings.resolved_database_url == f"sqlite:///{tmp_path.resolve()}/tuneserve.db"
    assert settings.resolved_datasets_dir == tmp_path / "datasets"
    assert settings.resolved_weights_dir == tmp_path / "weights"
    assert settings.log_path("job_1", 2) == tmp_path / "jobs" / "job_1" / "logs" / "attempt-002.log"


def test_what_is_named_is_taken(tmp_path: Path) -> None:
    settings = Settings(database_url="postgresql://db/x", datasets_dir=tmp_path / "sets", weights_dir=tmp_path / "w")
    assert settings.resolved_database_url == "postgresql://db/x"
    assert settings.resolved_datasets_dir == tmp_path / "sets"
    assert settings.resolved_weights_dir == tmp_path / "w"


def test_no_secret_is_shown() -> None:
    settings = Settings(database_url="postgresql+psycopg://me:word@db/x", api_keys="me:admin:opensesame0123456789")
    assert "word" not in repr(settings) + str(settings)
    assert "opensesame" not in repr(settings) + str(settings)


def test_a_secret_comes_from_the_file_that_its_variable_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A secret is read from the file that its variable names.

    The newline at its end is dropped. A child process reads the file anew, and gets no API keys at all.
    """
    secrets = {"API_KEYS": f"me:admin:{KEY}", "DATABASE_URL": "postgresql+psycopg://me:word@db/x"}
    for name, secret in secrets.items():
        (tmp_path / name).write_text(f"{secret}\r\n")
        monkeypatch.setenv(f"TUNESERVE_{name}", "")  # docker-compose.yml sets it so
        monkeypatch.setenv(f"TUNESERVE_{name}_FILE", str(tmp_path / name))
    ours = read()
    assert ours.api_keys.get_secret_value() == secrets["API_KEYS"]
    assert ours.resolved_database_url == secrets["DATABASE_URL"]
    assert not [secret for secret in (KEY, "word") if secret in f"{ours}{ours!r}{ours.environment()}{caplog.text}"]
    for name, value in ours.environment().items():
        monkeypatch.setenv(name, value)
    assert (Settings().given_keys, Settings().database_url) == ((), secrets["DATABASE_URL"])


def test_a_secret_given_twice_is_refused_by_both_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "url").write_text("sqlite:///other.db")
    monkeypatch.setenv("TUNESERVE_DATABASE_URL", "sqlite:///one.db")
    monkeypatch.setenv("TUNESERVE_DATABASE_URL_FILE", str(tmp_path / "url"))
    with pytest.raises(WrongSettings) as refused:
        read()
    (reason,) = refused.value.reasons
    names = "TUNESERVE_DATABASE_URL and TUNESERVE_DATABASE_URL_FILE"
    assert reason == f"{names} exclude each other. Correct one of them, or unset it."


def test_a_secrets_file_without_a_secret_is_told_by_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret's file without a secret is an error.

    An empty one too: it would open the service to everybody.
    """
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "binary").write_bytes(b"s3cret\xff")
    (tmp_path / "short").write_text("me:admin:s3cret")
    for name, why in {
        "gone": "which cannot be read: No such file or directory",
        ".": "which cannot be read: Is a directory",
        "empty": "which is empty",
        "binary": "which is no text in UTF-8",
        "short": "TUNESERVE_API_KEYS is wrong: entry 1 needs a key",
    }.items():
        monkeypatch.setenv("TUNESERVE_API_KEYS_FILE", str(tmp_path / name))
        with pytest.raises(SystemExit) as refused:
            read_or_exit()
        (reason,) = str(refused.value).splitlines()
        assert why in reason
        assert "s3cret" not in reason
        assert ("TUNESERVE_API_KEYS_FILE names" in reason) == (name != "short")


def test_the_database_is_the_same_one_from_any_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings().resolved_database_url == f"sqlite:///{tmp_path.resolve()}/tuneserve-data/tuneserve.db"


def test_a_child_process_sees_exactly_these_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = Settings(
        data_dir=tmp_path, predict_threads=3, heartbeat_interval_s=0.25, train_threads=5, weights_mirror="http://m/w"
    )
    for name, value in ours.environment().items():
        monkeypatch.setenv(name, value)
    assert Settings() == ours


def test_several_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.settings.cpus", lambda: 8)
    assert [Settings(processes=count).resolved_predict_threads for count in (1, 3, 16)] == [8, 2, 1]
    assert Settings(processes=4, predict_threads=6).resolved_predict_threads == 6
    assert Settings().decode_processes == 7


def test_a_quick_network_works_on_a_batch_more_than_it_has_cores_unless_it_has_only_one() -> None:
    assert [Settings(predict_threads=cores).resolved_concurrent_batches for cores in (1, 2, 6)] == [1, 3, 7]


def test_what_is_wrong_is_told_by_the_names_of_variables_and_without_their_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TUNESERVE_LEASE_S", "s3cret")
    monkeypatch.setenv("TUNESERVE_CORS_ORIGINS", "here")
    with pytest.raises(WrongSettings) as refused:
        read()
    origins, lease = refused.value.reasons
    assert origins.startswith("TUNESERVE_CORS_ORIGINS is wrong: 'here' is no origin")
    assert origins.endswith("Correct it, or unset it.")
    assert lease.startswith("TUNESERVE_LEASE_S is wrong: it should be a valid number")
    assert lease.endswith("Correct it, or unset it, which means 10.0.")
    assert "s3cret" not in str(refused.value)


def test_two_that_do_not_fit_each_other_are_named_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESERVE_PREDICT_QUEUE", "1")
    with pytest.raises(WrongSettings, match=r"TUNESERVE_PREDICT_QUEUE .* TUNESERVE_MAX_IMAGES_PER_REQUEST"):
        read()


def test_a_program_ends_with_the_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESERVE_PORT", "abc")
    with pytest.raises(SystemExit, match="TUNESERVE_PORT is wrong"):
        read_or_exit()


@pytest.mark.parametrize(("heartbeat_interval_s", "lease_s"), [(2.0, 5.9), (4.0, 11.0), (1.0, 14.0), (3600.0, 10.0)])
def test_a_lease_that_makes_the_living_lost_or_the_dead_alive_is_refused(
    heartbeat_interval_s: float, lease_s: float
) -> None:
    with pytest.raises(ValidationError, match="TUNESERVE_LEASE_S"):
        Settings(heartbeat_interval_s=heartbeat_interval_s, lease_s=lease_s)


def test_a_lease_of_three_heartbeats_is_enough() -> None:
    assert Settings(heartbeat_interval_s=1.0, lease_s=3.0).lease_s == 3.0
