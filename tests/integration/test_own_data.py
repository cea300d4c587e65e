"""Own photos: uploaded, trained on, their class names in the answers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.conftest import DIGIT_FILES
from tests.integration.conftest import Programs, wait_for
from tests.support.datafiles import zipped
from tests.support.setfiles import idx_files, pets
from tuneserve.client import Client

ZIPPED = {"Content-Type": "application/zip"}
FEW = 17  # images: the one data set that is checked


@pytest.fixture(scope="module", autouse=True)
def _check_few(shared_programs: Programs) -> None:
    shared_programs.environment["TUNESERVE_MAX_CHECKUP_IMAGES"] = str(FEW)


def test_a_model_of_ones_own_photos_answers_with_their_class_names(running: Programs) -> None:
    files = pets("кошка", "dog", each=20, above="photos/") | {"photos/dog/notes.txt": b"woof"}
    sent = running.http.post(
        "/datasets",
        params={"name": "pets"},
        content=zipped(files),
        headers=ZIPPED,
    )
    assert (sent.status_code, sent.json()["problem_count"]) == (201, 1), sent.text

    job = running.ended(running.train(dataset="pets", epochs=1, train_samples=None, image_size=64))
    assert job["status"] == "succeeded", job["error"]
    running.served(job["model_id"])
    image = files["photos/dog/1.png"]
    answer = running.http.post("/predict", files={"file": image}).json()["predictions"][0]
    assert {guess["label"] for guess in answer["top_k"]} == {"кошка", "dog"}


def test_mnists_four_files_under_a_name_of_ones_own_are_trained_on(running: Programs) -> None:
    sent = running.http.post(
        "/datasets",
        params={"name": "mine"},
        files=[("file", (name, data)) for name, data in idx_files(each=20).items()],
    )
    assert sent.status_code == 201, sent.text
    job = running.ended(running.train(dataset="mine", epochs=1, train_samples=None))
    assert job["status"] == "succeeded", job["error"]
    assert running.http.get(f"/models/{job['model_id']}").json()["classes"] == ["0", "1", "2"]


def test_a_quick_model_of_real_photos_tells_ants_from_bees(running: Programs, shared: Path) -> None:
    folder = shared / "data" / "ants_bees"
    photos = {
        str(path.relative_to(folder)): path.read_bytes()
        for part in sorted(folder.glob("*/*"))
        for path in sorted(part.glob("*.jpg"))[:20]
    }
    sent = running.http.post("/datasets", params={"name": "insects"}, content=zipped(photos), headers=ZIPPED)
    assert sent.json()["classes"] == {"ants": {"train": 20, "test": 20}, "bees": {"train": 20, "test": 20}}

    answer = running.http.post("/jobs", json={"dataset": "insects", "preset": "quick"})
    assert (answer.status_code, answer.json()["warnings"]) == (202, [])
    job = running.ended(answer.json()["id"])
    assert job["resolved_recipe"]["weight_decay"] > 0
    assert job["status"] == "succeeded", job["error"]
    running.served(job["model_id"])
    unseen = [(name.split("/")[1], data) for name, data in photos.items() if name.startswith("val/")]
    answers = running.http.post("/predict", files=[("file", data) for _, data in unseen], timeout=60).json()
    given = [answer["label"] for answer in answers["predictions"]]
    assert set(given) == {"ants", "bees"}
    right = [label == answer for (label, _), answer in zip(unseen, given, strict=True)]
    assert np.mean(right) > 0.85
    assert np.mean([answer["abstained"] for answer in answers["predictions"]]) <= 0.2  # 36 photos are few

    others = [*DIGIT_FILES, shared / "data" / "not_an_ant.gif"]
    files = [("file", path.read_bytes()) for path in others]
    doubted = running.http.post("/predict", files=files, timeout=60).json()["predictions"]
    assert sum(answer["abstained"] for answer in doubted) >= 10, doubted


def test_an_idle_worker_checks_what_was_uploaded(running: Programs) -> None:
    files = pets("cat", "dog", each=8)
    sent = zipped(files | {"dog/again.png": files["cat/1.png"] + b"\0"})
    running.http.post("/datasets", params={"name": "few"}, content=sent, headers=ZIPPED).raise_for_status()
    state = ("done", "failed")
    checkup = wait_for(
        lambda: found if (found := running.http.get("/datasets/few/checkup").json())["state"] in state else None,
        "the check-up to end",
    )
    assert (checkup["state"], checkup["images"]) == ("done", FEW), checkup["error"]
    (pair,) = checkup["findings"]["near_duplicates"]
    assert {pair["image"]["file"], pair["like"]["file"]} == {"again.png", "1.png"}


def test_a_service_killed_while_it_takes_a_data_set_in_leaves_no_half_one(unattended: Programs) -> None:
    sent = zipped(pets("cat", "dog", each=20))
    folder = unattended.data_dir / "dataset_files"

    def trickle() -> Iterator[bytes]:
        yield sent[:-100]
        wait_for(lambda: list(folder.glob(".aside-*/body")), "the body to arrive")
        unattended.kill("service")
        yield sent[-100:]

    options: dict[str, Any] = {"params": {"name": "half"}, "headers": ZIPPED}
    with pytest.raises(httpx.TransportError):
        unattended.http.post("/datasets", content=trickle(), **options)
    unattended.start("service")
    assert unattended.http.get("/datasets/half").status_code == 404
    assert unattended.http.post("/datasets", content=sent, **options).status_code == 201


def test_an_upload_goes_on_where_it_was_when_the_service_was_killed(unattended: Programs, tmp_path: Path) -> None:
    file = tmp_path / "pets.zip"
    file.write_bytes(zipped(pets("cat", "dog")))
    steps: list[int] = []

    def told(come: int, _all: int) -> None:
        steps.append(come)
        if len(steps) == 2:
            unattended.kill("service")
        elif len(steps) == 3:  # it was not reached
            unattended.start("service")

    with Client(unattended.url) as client:
        upload_id = client.send_file(file, told, piece_bytes=1000, pause=lambda _: None)
        assert client.add_dataset("resumed", upload_id)["images"] == 6
    assert steps[:4] == [0, 1000, 1000, 2000]
    assert steps[-1] == file.stat().st_size
