"""tuneserve.client: the client against the real service on a socket."""

import contextlib
import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from core.artifacts.model_files import TRAINING_IMAGES
from core.db.database import Database
from core.db.tables import Job, Model
from core.errors import Killed
from core.inference import training_images
from core.repositories import job_control, jobs
from core.repositories.jobs import Claim
from core.settings import Settings
from service.datasets.builder import Builder
from tests.conftest import DIGIT_FILES, NOW
from tests.support.builds import build_here
from tests.support.setfiles import pets
from tuneserve import types
from tuneserve.client import Client, JobFailed, ServiceError, ServiceUnreachable, connection
from tuneserve.client import images as image_inputs
from tuneserve.client import jobs as client_jobs

Enqueue = Callable[..., Job]
Claimed = Callable[..., Claim]
Published = Callable[..., Model]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"heartbeat_interval_s": 3600.0})


@pytest.fixture
def client(live: str) -> Iterator[Client]:
    with Client(live) as connected:
        yield connected


@contextlib.contextmanager
def broken_server(status: int, body: bytes) -> Iterator[str]:
    """Something that answers, and is not our service."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def nobody() -> Iterator[str]:
    """A port at which nothing listens, and nothing else will."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def test_a_job_is_posted_listed_shown_and_cancelled(client: Client) -> None:
    job = client.train({"dataset": "digits"})
    assert {**client.job(job.id), "warnings": []} == job
    assert [one.id for one in client.jobs()] == [job.id]
    assert (job.cancel().status, job.status) == ("cancelled", "cancelled")
    assert client.jobs(status="queued") == []


def test_models_are_listed_and_found(client: Client, published: Published) -> None:
    older, newer = published(), published()
    assert [model.id for model in client.models()] == [newer.id, older.id]
    assert [model.id for model in client.models(limit=1)] == [newer.id]
    assert client.model("digits@latest").id == newer.id
    assert client.model(older.id).version == client.model("digits/1").version == 1
    assert client.models(name="cats") == []


def test_an_alias_and_the_default_name_are_moved(client: Client, published: Published) -> None:
    published(), published(), published(name="pets")
    assert client.set_alias("digits", "serving", 1)["version"] == 1
    assert client.model("digits")["version"] == 1
    assert client.pin_default("pets") == client.default_name() == {"name": "pets", "pinned": True}
    client.unpin_default()
    assert not client.default_name()["pinned"]


def test_files_are_sent_and_answered_in_their_order(
    settings: Settings, published: Published, request: pytest.FixtureRequest
) -> None:
    published()
    with Client(request.getfixturevalue("live")) as client:
        answer = client.predict(DIGIT_FILES[7], DIGIT_FILES[2], top_k=2)
    assert [prediction.label for prediction in answer] == ["7", "2"]
    assert [len(prediction.top_k or []) for prediction in answer] == [2, 2]


def test_readiness_is_told_even_when_it_fails(client: Client) -> None:
    assert client.ready()["status"] == "not ready"


def test_a_refusal_is_told_in_the_services_own_words(client: Client) -> None:
    with pytest.raises(ServiceError, match="/epochs: must be 1 to 10000"):
        client.train({"epochs": 0})
    with pytest.raises(ServiceError, match="There is no job job_none"):
        client.job("job_none")


def test_following_shows_every_state_until_the_end(
    client: Client, enqueue: Enqueue, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "POLL_S", 0.0)
    job = enqueue()
    seen = []
    for state in client.job(job.id).follow():
        seen.append(state["status"])
        if len(seen) == 3:
            with db.write() as session:
                job_control.cancel(session, job.id, NOW)
    assert seen == ["queued", "queued", "queued", "cancelled"]


def test_a_service_that_restarts_meanwhile_is_waited_for(
    client: Client, enqueue: Enqueue, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "POLL_S", 0.001)
    job = enqueue()
    with db.write() as session:
        job_control.cancel(session, job.id, NOW)
    seen = client.job(job.id)
    real, down = client.fetch_job, [True] * 5

    def sometimes(job_id: str, wait_s: float = 0) -> types.Job:
        if down:
            down.pop()
            raise ServiceUnreachable("restarting")
        return real(job_id, wait_s)

    monkeypatch.setattr(client, "fetch_job", sometimes)
    assert [state.status for state in seen.follow()] == ["cancelled"]
    assert down == []


def test_a_service_that_does_not_come_back_is_given_up(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("tuneserve.client.connection.time.sleep", waited.append)
    with Client(nobody) as client, pytest.raises(ServiceUnreachable):
        list(client_jobs.Job(types.Job(id="job_1"), client).follow())
    assert sum(waited) == pytest.approx(60)


def test_nothing_at_the_url_is_told_with_what_to_do(nobody: str) -> None:
    with Client(nobody) as client, pytest.raises(ServiceUnreachable, match="tuneserve up") as error:
        client.jobs()
    assert nobody in str(error.value)


@pytest.mark.parametrize("body", [b"<h1>Bad Gateway</h1>", b"[]", b'{"message": "x"}', b'"text"'])
def test_an_error_of_something_else_is_shown_as_it_is(body: bytes) -> None:
    with broken_server(502, body) as url, Client(url) as client, pytest.raises(ServiceError, match="HTTP 502") as error:
        client.jobs()
    assert body.decode() in str(error.value)


def test_the_url_comes_from_the_call_then_the_environment_then_the_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    with Client() as client:
        assert client.url == "http://127.0.0.1:8000"
    monkeypatch.setenv("TUNESERVE_URL", "http://there:1/")
    with Client() as client:
        assert client.url == "http://there:1"
    with Client("http://here:2") as client:
        assert client.url == "http://here:2"


def test_a_file_that_is_not_there_is_an_error_of_the_file(tmp_path: Path, nobody: str) -> None:
    with Client(nobody) as client, pytest.raises(FileNotFoundError):
        client.predict(tmp_path / "seven.png")


def test_a_job_is_waited_for_until_it_has_ended(client: Client, enqueue: Enqueue, db: Database) -> None:
    job_id = enqueue().id

    def cancel() -> None:
        with db.write() as session:
            job_control.cancel(session, job_id, NOW)

    later = threading.Thread(target=cancel)
    later.start()
    with pytest.raises(JobFailed, match=f"{job_id} was cancelled") as failure:
        client.job(job_id).wait()
    assert failure.value.job.status == "cancelled"
    later.join()


def test_a_job_that_fails_raises_its_message_and_its_hint(client: Client, claimed: Claimed, db: Database) -> None:
    claim = claimed()
    with db.write() as session:
        jobs.fail(session, claim, jobs.describe(Killed("By SIGKILL.")), NOW)
    for progress in (False, True):
        with pytest.raises(JobFailed, match=r"failed: By SIGKILL\. .*memory") as failure:
            client.job(claim.job_id).wait(progress=progress)
    assert "killed" in failure.value.job._repr_html_()


def test_a_job_that_takes_longer_than_it_is_waited_for_is_told(client: Client, enqueue: Enqueue) -> None:
    job_id = enqueue().id
    for progress in (False, True):
        with pytest.raises(TimeoutError, match="is queued after 0 s"):
            client.job(job_id).wait(timeout_s=0, progress=progress)
    with pytest.raises(ServiceError, match="is queued and has no model"):
        _ = client.job(job_id).model
    assert [event.event for event in client.job(job_id).events()] == ["status"]


def test_a_folder_is_trained_on_as_the_next_version_of_its_name(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Builder, "build", build_here)
    for name, data in pets("cat", "dog").items():
        (tmp_path / "My Pets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "My Pets" / name).write_bytes(data)
    first = client.train(tmp_path / "My Pets", preset="quick", model="pets", seed=3, time_limit_s=None)
    recipe = client.job(first.id).recipe
    assert [recipe[field] for field in ("dataset", "preset", "model", "seed")] == ["my-pets/1", "quick", "pets", 3]
    monkeypatch.chdir(tmp_path)
    assert client.train("My Pets").recipe["dataset"] == "my-pets/2"
    assert client.train("My Pets/", dataset="others").recipe["dataset"] == "others/1"
    assert client.train("my-pets").recipe["dataset"] == "my-pets/2"
    (tmp_path / "digits").mkdir()  # by chance here, as where the session of the command line is
    assert client.train("digits").recipe["dataset"] == "digits"
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        client.train("My Pets/fox")


def test_names_of_data_sets_are_made_of_names_of_folders() -> None:
    names = {"Käfer 2024": "k-fer-2024", "猫": "photos", "_x_": "x", "a" * 70: "a" * 64}
    assert {name: client_jobs.dataset_name(Path("/none") / name) for name in names} == names


def test_an_image_is_a_name_or_what_is_in_the_file(request: pytest.FixtureRequest, published: Published) -> None:
    published()
    seven = DIGIT_FILES[7]
    with Client(request.getfixturevalue("live")) as client:
        answer = client.predict(seven, str(seven), seven.read_bytes(), top_k=1)
    assert [one.label for one in answer] == ["7", "7", "7"]


def test_lists_go_on_after_a_page(client: Client, enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_PAGE", 2)
    wanted = [enqueue(at=NOW + number).id for number in range(5)][::-1]
    assert [job["id"] for job in client.jobs(limit=4)] == wanted[:4]
    assert [job["id"] for job in client.jobs(limit=9)] == wanted


def test_more_images_than_a_request_takes_go_in_several(
    published: Published, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    published()
    (tmp_path / "none.png").write_bytes(b"none")
    monkeypatch.setattr(image_inputs, "MAX_IMAGES", 3)
    with Client(request.getfixturevalue("live")) as client:
        images = [DIGIT_FILES[number % 10] for number in range(9)]
        answer = client.predict(*images, tmp_path / "none.png", top_k=1)
        assert [one.label for one in answer] == [*map(str, range(9)), None]
        assert answer[9].error
        monkeypatch.setattr(image_inputs, "MAX_IMAGES_BYTES", 1)
        assert [one.label for one in client.predict(*images[:2], top_k=1)] == ["0", "1"]
        with pytest.raises(ServiceError):
            client.predict(tmp_path / "none.png")


def test_three_hundred_images_are_answered(published: Published, request: pytest.FixtureRequest) -> None:
    published()
    with Client(request.getfixturevalue("live")) as client:
        answer = client.predict(*[DIGIT_FILES[1]] * 300, top_k=1)
    assert {one.label for one in answer} == {"1"}
    assert len(answer) == 300


def test_features_come_in_the_order_of_the_images(
    published: Published, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    published()
    monkeypatch.setattr(image_inputs, "MAX_IMAGES", 2)
    (tmp_path / "none.png").write_bytes(b"no image")
    with Client(request.getfixturevalue("live")) as client:
        found = client.embed(DIGIT_FILES[7], DIGIT_FILES[2], tmp_path / "none.png", DIGIT_FILES[7])
        with pytest.raises(ServiceError, match="No model serves under the name nobody"):
            client.embed(DIGIT_FILES[7], model="nobody")
    first, second, bad, again = found.embeddings
    assert (len(first.features or []), found.dimension) == (784, 784)
    assert first.features == again.features != second.features
    assert bad.error


def test_neighbours_are_asked_for_in_every_request(
    published: Published, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (3, 784)).astype(np.float32)
    file = training_images.pack(np.arange(3), None, pixels)
    published(more={TRAINING_IMAGES: file}, neighbours={"images": 3, "of": 3})
    monkeypatch.setattr(image_inputs, "MAX_IMAGES", 1)
    with Client(request.getfixturevalue("live")) as client:
        answer = client.predict(DIGIT_FILES[7], DIGIT_FILES[2], neighbours=2)
    assert [len(one.neighbours or []) for one in answer] == [2, 2]
    assert answer.as_json()["neighbours_among"] == {"dataset": "digits", "images": 3, "of": 3}
