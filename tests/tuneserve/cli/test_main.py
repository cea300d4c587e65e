"""tuneserve.cli.main: what a person types and reads."""

import csv
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from sqlalchemy.orm import Session
from typer.testing import CliRunner, Result

from core.artifacts.model_files import TRAINING_IMAGES
from core.db.database import Database
from core.db.tables import Job, Model, Worker
from core.errors import Killed, WeightsUnavailable
from core.inference import training_images
from core.repositories import job_control, jobs, workers
from core.repositories.jobs import Claim
from core.settings import Settings
from service.datasets.builder import Builder
from tests.conftest import DIGIT_FILES, NOW
from tests.support.builds import build_here
from tests.support.fakes import result_of
from tests.support.setfiles import pets
from tests.support.terminal import at_terminal, piped, refused
from tuneserve.cli import main
from tuneserve.client import Client
from tuneserve.client import Job as ClientJob

Enqueue = Callable[..., Job]
Claimed = Callable[..., Claim]
Published = Callable[..., Model]
Serve = Callable[[], str]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"heartbeat_interval_s": 3600.0})


@pytest.fixture
def serve(request: pytest.FixtureRequest) -> Serve:
    """Starts the service when the test has made its rows; its URL."""
    return lambda: str(request.getfixturevalue("live"))


def typed(*words: object) -> Result:
    return CliRunner().invoke(main.app, [str(word) for word in words])


def run_main(monkeypatch: pytest.MonkeyPatch, *words: str) -> int | str | None:
    """Run the program as people start it; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["tuneserve", *words])
    with pytest.raises(SystemExit) as leaving:
        main.main()
    return leaving.value.code


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from leaves(inner, (*path, name))
    if not hasattr(command, "commands"):
        yield path


def test_every_help_has_an_example() -> None:
    commands = list(leaves(typer.main.get_command(main.app)))
    assert ("datasets", "add") in commands
    assert [words for words in commands if "Example: tuneserve" not in typed(*words, "--help").output] == []


def test_every_command_has_a_help() -> None:
    listed = typed("--help").output
    for command in [
        "demo",
        "up",
        "serve",
        "worker",
        "train",
        "jobs",
        "job",
        "cancel",
        "pause",
        "resume",
        "retry",
        "logs",
        "promote",
        "models",
        "predict",
        "doctor",
    ]:
        assert command in listed
        assert typed(command, "--help").exit_code == 0


def test_a_service_that_is_not_there_is_one_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, "jobs", "--url", "http://127.0.0.1:1") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "No service answers at http://127.0.0.1:1" in err
    assert "tuneserve up" in err


def test_a_refusal_is_one_line_and_exit_code_1(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, "train", "--network", "resnet5O", "--url", serve()) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "did you mean resnet50" in err


def test_words_in_brackets_in_an_error_are_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise OSError("[Errno 28] No space left: '/data/[red]'")

    monkeypatch.setattr(main, "app", fails)
    with pytest.raises(SystemExit):
        main.main()
    assert "[Errno 28] No space left: '/data/[red]'" in capsys.readouterr().err


def test_a_job_that_will_probably_fail_comes_with_a_warning_beside_its_id(
    serve: Serve, db: Database, claimed: Callable[..., Claim]
) -> None:
    claim = claimed(at=time.time())
    with db.write() as session:
        jobs.fail(session, claim, jobs.describe(WeightsUnavailable("no way there"), ""), time.time())
    result = typed("train", "--dataset", "digits", "--detach", "--url", serve())
    assert result.stderr.startswith("Warning: The pre-trained weights of resnet50 are not here")
    assert result.stdout.startswith("job_")


def test_a_detached_job_prints_its_id_and_has_the_recipe(serve: Serve) -> None:
    url = serve()
    more = json.dumps({"seed": 5, "dataset": "mnist"})
    result = typed(
        "train",
        "--dataset",
        "digits",
        "--set",
        "epochs=2",
        "--set",
        "optimizer=adam",
        "--recipe",
        more,
        "--detach",
        "--url",
        url,
    )
    assert result.exit_code == 0
    (job,) = json.loads(typed("jobs", "--json", "--url", url).output)
    assert result.output.strip() == job["id"]
    recipe = job["recipe"]
    assert (recipe["dataset"], recipe["epochs"], recipe["seed"], recipe["network"]) == ("digits", 2, 5, "resnet50")
    assert recipe["optimizer"] == "adam"


@pytest.mark.parametrize("recipe", ["{", "[]", "7"])
def test_a_recipe_that_is_no_object_is_refused_before_anything_is_sent(recipe: str) -> None:
    result = typed("train", "--recipe", recipe, "--url", "http://127.0.0.1:1")
    assert result.exit_code == 2
    assert "--recipe" in result.output


@pytest.mark.parametrize("words", [["--set", "epochs"], ["--set", "=3"], ["--nothing"]])
def test_options_that_mean_nothing_are_refused(words: list[str]) -> None:
    assert typed("train", *words, "--url", "http://127.0.0.1:1").exit_code == 2


def test_a_misspelt_field_is_told_with_the_one_that_is_meant(serve: Serve) -> None:
    answer = typed("train", "digits", "--set", "epoch=3", "--url", serve())
    assert "Did you mean epochs?" in str(answer.exception)


def test_a_folder_a_preset_and_names_are_a_recipe(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Builder, "build", build_here)
    for name, data in pets("cat", "dog").items():
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / name).write_bytes(data)
    url = serve()
    words = (
        "--preset",
        "accurate",
        "--set",
        "early_stopping=null",
        "--model",
        "mine",
        "--name",
        "first",
        "--set",
        "seed=4",
        "--detach",
        "--url",
        url,
    )
    answer = typed("train", tmp_path / "pets", *words)
    assert answer.exit_code == 0, answer.exception
    (job,) = json.loads(typed("jobs", "--json", "--url", url).stdout)
    assert answer.stdout == f"{job['id']}\n"
    recipe = {field: job["recipe"][field] for field in ("dataset", "preset", "model", "name", "seed", "early_stopping")}
    assert recipe == {
        "dataset": "pets/1",
        "preset": "accurate",
        "model": "mine",
        "name": "first",
        "seed": 4,
        "early_stopping": None,
    }
    assert typed("follow", job["id"], "--url", "http://127.0.0.1:1").exit_code == 1


@pytest.fixture
def train(serve: Serve, db: Database, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `tuneserve train` beside a worker that ends its job so.

    The worker takes the job once it is posted.
    """

    def run(end: Callable[[Session, Claim], None], *words: str) -> Result:
        def work() -> None:
            with db.write() as session:
                workers.register(session, Worker(id="worker_a", host="here", pid=1, started_at=NOW, heartbeat_at=NOW))
            with db.write() as session:
                claim = jobs.claim(session, "worker_a", NOW)
                assert claim is not None
            with db.write() as session:
                end(session, claim)

        def post(client: Client, data: str | None, **recipe: Any) -> ClientJob:
            job = posts(client, data, **recipe)
            worker.start()
            return job

        posts, worker = Client.train, threading.Thread(target=work)
        monkeypatch.setattr(Client, "train", post)
        result = typed("train", "--dataset", "digits", *words, "--url", serve())
        worker.join()
        return result

    return run


def fail(session: Session, claim: Claim) -> None:
    jobs.fail(session, claim, jobs.describe(Killed("By SIGKILL.")), NOW)


def be_cancelled(session: Session, claim: Claim) -> None:
    job_control.cancel(session, claim.job_id, NOW)
    jobs.cancelled(session, claim, NOW)


@pytest.mark.parametrize("how", ["--follow", "--wait"])
def test_a_job_that_succeeds_ends_with_exit_code_0(
    train: Callable[..., Result], published: Published, how: str
) -> None:
    model, figures = published(), {"metrics": {"test": result_of(0.98)}, "timing": {"train_s": 5.0, "total_s": 7.0}}
    result = train(lambda session, claim: jobs.succeed(session, claim, model.id, NOW, **figures), how)
    assert (result.exit_code, result.exception) == (0, None)
    assert "test accuracy 98.00% (9800 of 10000; 97.0-99.0%), trained in 5.0 s (7.0 s in all)" in result.output


@pytest.mark.parametrize("how", ["--follow", "--wait"])
@pytest.mark.parametrize(("end", "told"), [(fail, "failed: killed: By SIGKILL."), (be_cancelled, "cancelled")])
def test_a_job_that_makes_no_model_ends_with_exit_code_1(
    train: Callable[..., Result], end: Callable[[Session, Claim], None], told: str, how: str
) -> None:
    result = train(end, how)
    assert result.exit_code == 1
    assert told in result.output


def test_waiting_shows_the_result_alone(train: Callable[..., Result], serve: Serve) -> None:
    result = train(be_cancelled, "--wait")
    (job,) = json.loads(typed("jobs", "--json", "--url", serve()).output)
    assert result.output == f"{job['id']}  cancelled\n"


def test_waiting_and_not_waiting_at_once_is_refused() -> None:
    assert typed("train", "--wait", "--detach", "--url", "http://127.0.0.1:1").exit_code == 2


def test_jobs_are_listed_for_people(
    serve: Serve, db: Database, claimed: Claimed, enqueue: Enqueue, published: Published
) -> None:
    claim, waiting = claimed(dataset="digits"), enqueue(at=NOW + 1)
    with db.write() as session:
        jobs.succeed(session, claim, published().id, NOW, metrics={"test": result_of(0.9876)})
    url = serve()
    rows = typed("jobs", "--url", url).output.splitlines()
    (done,) = (row for row in rows if claim.job_id in row)
    assert all(word in done for word in ("succeeded", "digits", "resnet50", "98.76% (9876 of 10000; 97.8-99.8%)"))
    assert any(waiting.id in row and "queued" in row and "%" not in row for row in rows)


def test_one_job_is_shown_and_cancelled(serve: Serve, enqueue: Enqueue) -> None:
    job, url = enqueue(), serve()
    assert typed("job", job.id, "--url", url).output.strip() == f"{job.id}  queued"
    assert typed("cancel", job.id, "--url", url).output.strip() == "cancelled"
    assert json.loads(typed("job", job.id, "--json", "--url", url).output)["status"] == "cancelled"


def test_a_failure_is_shown_with_all_its_brackets(serve: Serve, db: Database, claimed: Claimed) -> None:
    claim = claimed()
    error = {"code": "disk_full", "message": "[Errno 28] in [/red]", "hint": "[x]", "traceback_tail": ""}
    with db.write() as session:
        jobs.fail(session, claim, error, NOW)
    shown = typed("job", claim.job_id, "--url", serve()).output
    assert "disk_full: [Errno 28] in [/red]\n[x]" in shown


def test_a_job_is_named_by_the_start_of_its_id_or_as_the_last(serve: Serve, enqueue: Enqueue) -> None:
    first, last = enqueue(at=NOW), enqueue(at=NOW + 1)
    url = serve()
    assert typed("job", "@last", "--url", url).output.startswith(last.id)
    start = "job_"
    shown = typed("job", first.id.removeprefix("job_")[:-1], "--url", url)
    assert shown.output.startswith(first.id), shown.exception
    assert "may be any of 2 jobs" in str(typed("cancel", start, "--url", url).exception)
    assert "There is no job" in str(typed("cancel", "job_none", "--url", url).exception)
    assert typed("jobs", "--status", "failed", "--url", url).stdout.count("\n") == 1


def test_the_version_and_the_groups_are_shown() -> None:
    assert typed("--version").stdout.startswith("tuneserve ")
    shown = typed("--help").output
    assert shown.startswith("tuneserve trains image classifiers on your photos and serves them over HTTP.\n")
    assert typed().output.startswith("tuneserve trains")  # as without a command
    assert shown.index("─ Train ─") < shown.index("Models and predictions") < shown.index("Run the service")


def test_a_model_is_shown_saved_and_used(serve: Serve, published: Published, tmp_path: Path) -> None:
    model, url = published(), serve()
    shown = typed("models", "show", "digits", "--url", url).output
    assert f"page: {url}/#/models/{model.id}" in shown
    assert "classes: 0, 1, 2" in shown
    saved = typed("models", "download", "digits@best", tmp_path / "d.onnx", "--url", url)
    assert f"{(tmp_path / 'd.onnx').stat().st_size} bytes" in saved.output
    assert typed("models", "download", "digits", tmp_path / "d.bin", "--url", url).exit_code == 2
    used = typed("models", "use", "digits/1", "--url", url).output
    assert f"curl -F file=@photo.jpg {url}/predict/digits\n" in used
    assert typed("models", "--name", "cats", "--json", "--url", url).output == "[]\n"


def test_networks_are_listed_and_searched(serve: Serve) -> None:
    rows = typed("networks", "squeezenet", "--url", serve()).stdout.splitlines()
    assert [row.split("\t")[0] for row in rows][:2] == ["network", "squeezenet1_0"]


def test_models_are_listed_for_people(serve: Serve, published: Published) -> None:
    model, url = published(accuracy=0.5), serve()
    rows = typed("models", "--url", url).output
    assert all(word in rows for word in ("digits/1", "digits", "50.00%", "best, latest, serving"))
    assert [one["id"] for one in json.loads(typed("models", "--json", "--url", url).output)] == [model.id]


def test_images_are_answered_line_by_line(serve: Serve, published: Published) -> None:
    published()
    result = typed("predict", DIGIT_FILES[7], DIGIT_FILES[2], "--top-k", 2, "--url", serve())
    assert result.exit_code == 0
    seven, two = result.output.splitlines()
    assert seven.startswith(f"{DIGIT_FILES[7]}: 7 0.")
    assert two.startswith(f"{DIGIT_FILES[2]}: 2 0.")
    assert seven.count("(") == 1


def test_folders_and_patterns_are_answered_as_csv(serve: Serve, published: Published, tmp_path: Path) -> None:
    published()
    folder = tmp_path / "new, 1"
    folder.mkdir()
    for digit in (7, 2):
        (folder / f"{digit}.png").write_bytes(DIGIT_FILES[digit].read_bytes())
    (folder / "none.jpg").write_bytes(b"none")
    url = serve()
    answer = typed("predict", folder, f"{folder}/[7]*.png", "--csv", "--url", url)
    assert answer.exit_code == 1
    rows = list(csv.DictReader(answer.stdout.splitlines()))
    assert [(Path(row["file"]).name, row["label"]) for row in rows] == [
        ("2.png", "2"),
        ("7.png", "7"),
        ("none.jpg", ""),
        ("7.png", "7"),
    ]
    assert [bool(row["error"]) for row in rows] == [False, False, True, False]
    assert typed("predict", folder, "--url", url).stdout.splitlines()[0].startswith(f"{folder}/2.png: 2 0.")


def test_the_nearest_training_images_stand_below_an_answer(serve: Serve, published: Published) -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 784)).astype(np.float32)
    file = training_images.pack(np.arange(3), None, pixels)
    published(more={TRAINING_IMAGES: file}, neighbours={"images": 3, "of": 3})
    result = typed("predict", DIGIT_FILES[7], "--neighbours", 2, "--url", serve())
    seven, *near = result.output.splitlines()
    assert seven.startswith(f"{DIGIT_FILES[7]}: 7 0.")
    assert [line.strip().split()[1] for line in near] == ["distance", "distance"]
    assert "goes with image files" in at_terminal("predict", "--bulk", DIGIT_FILES[7], "--neighbours", "1", exit_code=2)


def test_an_image_that_cannot_be_read_is_told_and_the_others_answered(
    serve: Serve, published: Published, tmp_path: Path
) -> None:
    published()
    bad = tmp_path / "[b]ad.png"
    bad.write_bytes(b"no image")
    result = typed("predict", bad, DIGIT_FILES[7], "--url", serve())
    assert result.exit_code == 1
    told, seven = result.output.splitlines()
    assert told.startswith(f"{bad}: error: This is not an image")
    assert ": 7 0." in seven


def test_a_single_image_that_cannot_be_read_is_named_too(
    serve: Serve,
    published: Published,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    published()
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    assert run_main(monkeypatch, "predict", str(bad), "--url", serve()) == 1
    assert f"{bad}: This is not an image" in capsys.readouterr().err.replace("\n", "")


def test_a_file_that_is_not_there_is_refused_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, "predict", "nothing.png", "--url", "http://127.0.0.1:1") == 1
    assert capsys.readouterr().err == "error: nothing.png: No such file or directory\n"


@pytest.mark.parametrize(("command", "module"), [("serve", "service"), ("worker", "worker")])
def test_a_single_program_takes_the_place_of_the_command(
    command: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda _, words, environment: called.append((words, environment)))
    typed(command, "--data-dir", tmp_path)
    ((words, environment),) = called
    assert words == [sys.executable, "-m", module]
    assert environment["TUNESERVE_DATA_DIR"] == str(tmp_path)
    assert environment["PATH"] == os.environ["PATH"]


def test_a_worker_for_a_batch_scheduler_gets_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[dict[str, str]] = []
    monkeypatch.setattr(os, "execve", lambda _, __, environment: called.append(environment))
    typed("worker", "--exit-when-idle", 60, "--max-seconds", 3500)
    assert (called[0]["TUNESERVE_WORKER_IDLE_S"], called[0]["TUNESERVE_WORKER_MAX_S"]) == ("60.0", "3500.0")


def test_a_job_is_paused_resumed_cancelled_and_tried_again(serve: Serve, enqueue: Enqueue) -> None:
    job, url = enqueue(), serve()
    said = [typed(verb, job.id, "--url", url).output.strip() for verb in ("pause", "resume", "cancel")]
    assert said == ["paused", "queued", "cancelled"]
    again = typed("retry", job.id, "--url", url).output.strip()
    assert again.startswith("job_")
    assert again != job.id


def test_a_running_job_is_told_to_be_pausing_until_it_rests(serve: Serve, claimed: Claimed) -> None:
    job_id = claimed().job_id
    assert typed("pause", job_id, "--url", serve()).output.strip() == "pausing"


def test_a_model_is_promoted_and_rolled_back(serve: Serve, published: Published) -> None:
    first, second, url = published(), published(), serve()
    assert typed("promote", first.id, "--url", url).output.strip() == f"digits@serving is digits/1, {first.id}"
    assert typed("promote", "digits@latest", "--url", url).output.strip() == f"digits@serving is digits/2, {second.id}"
    assert typed("promote", "digits@latest", "--alias", "mine", "--url", url).exit_code == 0


def test_logs_are_followed_to_the_end_of_the_job(
    serve: Serve, claimed: Claimed, settings: Settings, db: Database
) -> None:
    claim = claimed()
    path = settings.log_path(claim.job_id, claim.attempt)
    path.parent.mkdir(parents=True)
    path.write_text("epoch 1\n")
    url = serve()
    assert typed("logs", claim.job_id, "--url", url).output == "epoch 1\n"

    def go_on() -> None:
        path.write_text("epoch 1\nepoch 2\n")
        with db.write() as session:
            jobs.fail(session, claim, jobs.describe(Killed("test")), NOW)

    later = threading.Timer(1, go_on)
    later.start()
    assert typed("logs", "-f", claim.job_id, "--url", url).output == "epoch 1\nepoch 2\n"
    later.join()


@pytest.mark.parametrize("named", [["-"], []])
def test_an_image_comes_from_stdin(serve: Serve, published: Published, named: list[str]) -> None:
    published()
    words = ["predict", *named, "--url", serve()]
    answer = CliRunner().invoke(main.app, words, input=DIGIT_FILES[7].read_bytes())
    assert answer.output.startswith("-: 7 ")


def test_nothing_on_stdin_is_told(serve: Serve) -> None:
    answer = typed("predict", "--url", serve())
    assert answer.exit_code == 2
    assert "stdin is empty" in answer.output


def test_at_a_terminal_nobody_is_left_waiting_for_an_image() -> None:
    assert "give image files" in at_terminal("predict", "--url", "http://127.0.0.1:1", exit_code=2)


def test_the_services_own_answer_is_printed_as_json(serve: Serve, published: Published, tmp_path: Path) -> None:
    model, bad = published(), tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    answer = typed("predict", DIGIT_FILES[7], bad, "--top-k", 2, "--json", "--url", serve())
    assert answer.exit_code == 1
    told = json.loads(answer.output)
    assert told["model"]["id"] == model.id
    seven, error = told["predictions"]
    assert (seven["label"], len(seven["top_k"])) == ("7", 2)
    assert error["error"]["code"] == "not_an_image"


@pytest.mark.parametrize("words", [("up",), ("serve",), ("worker",), ("demo", "--stop")])
def test_a_wrong_setting_is_one_line_that_names_it(words: tuple[str, ...], tmp_path: Path) -> None:
    told = refused(*words, TUNESERVE_PREDICT_BATCH="abc", TUNESERVE_DATA_DIR=str(tmp_path), folder=tmp_path)
    assert told.removeprefix("error: ") == (
        "TUNESERVE_PREDICT_BATCH is wrong: it should be a valid integer, unable to parse string as an integer. "
        "Correct it, or unset it, which means 32.\n"
    )


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("TUNESERVE_URL", "http://here:abc", "give TUNESERVE_URL or --url as http://HOST:PORT"),
        ("TUNESERVE_URL", "here:8000", "give TUNESERVE_URL or --url as http://HOST:PORT"),
        ("TUNESERVE_API_KEY", "kéy", "TUNESERVE_API_KEY holds invalid characters"),
    ],
)
def test_where_to_ask_and_with_what_is_told_too_when_it_is_wrong(
    name: str, value: str, told: str, tmp_path: Path
) -> None:
    line = refused("jobs", folder=tmp_path, **{name: value})
    assert told in line
    assert line.count("\n") == 1


@pytest.mark.parametrize("what", ["jobs", "models"])
def test_a_list_says_that_there_is_more_and_takes_a_limit(
    serve: Serve, enqueue: Enqueue, published: Published, what: str
) -> None:
    for number in range(21):
        enqueue(at=NOW + number) if what == "jobs" else published(at=NOW + number)
    url = serve()
    listed = typed(what, "--url", url)
    assert listed.stdout.count("\n") == 1 + 20
    assert "more than 20: --limit 200" in listed.stderr
    whole = typed(what, "--limit", 21, "--json", "--url", url)
    assert (len(json.loads(whole.stdout)), whole.stderr) == (21, "")


@pytest.mark.parametrize("how", ["--follow", "--wait"])
def test_ctrl_c_while_it_trains_says_what_goes_on(serve: Serve, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "_follow", interrupted)
    url = serve()
    answer = typed("train", "--dataset", "digits", how, "--url", url)
    job_id = json.loads(typed("jobs", "--json", "--url", url).stdout)[0]["id"]
    assert answer.exit_code == 130
    assert f"Follow: tuneserve follow {job_id} --url {url}" in answer.stderr
    assert f"stop: tuneserve cancel {job_id} --url {url}" in answer.stderr
    assert typed("job", job_id, "--url", url).stdout.split()[1] == "queued"


def test_names_that_are_not_utf_8_or_that_the_terminal_cannot_show_end_in_no_traceback(
    serve: Serve, published: Published, tmp_path: Path
) -> None:
    published()
    images = [Path(os.fsdecode(bytes(tmp_path) + name)) for name in (b"/caf\xe9.png", "/7 猫.png".encode())]
    for image in images:
        image.write_bytes(DIGIT_FILES[7].read_bytes())
    latin = {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    for environment in ({}, latin):
        shown = piped("predict", *images, "--url", serve(), **environment)
        assert [line.rpartition(": ")[2].split()[0] for line in shown.splitlines()] == ["7", "7"]
    said = refused("predict", Path(os.fsdecode(b"/none/\xe9")), "--url", serve(), folder=tmp_path)
    assert "Traceback" not in said


@pytest.mark.parametrize("option", ["", "--bulk"])
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path, option: str) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    answer = typed("predict", *filter(None, [option]), tmp_path / "pipe.png", "--url", "http://127.0.0.1:1")
    assert (answer.exit_code, "is a pipe" in answer.stderr) == (2, True)
