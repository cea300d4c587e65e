"""A large data set on its way while the service is killed."""

from pathlib import Path

from tests.integration.conftest import Programs, kill
from tests.support.datafiles import zipped
from tests.support.setfiles import pets
from tuneserve.client import Client


def test_a_killed_service_goes_on_where_it_was(programs: Programs, tmp_path: Path) -> None:
    service = programs.start("service")
    file = tmp_path / "pets.zip"
    file.write_bytes(zipped(pets("cat", "dog")))
    steps: list[int] = []

    def told(come: int, _all: int) -> None:
        steps.append(come)
        if len(steps) == 2:
            kill(service.pid)
            service.wait()
        elif len(steps) == 3:  # it was not reached
            programs.start("service")

    with Client(programs.url) as client:
        upload_id = client.send_file(file, told, piece_bytes=1000, pause=lambda _: None)
        assert client.add_dataset("pets", upload_id)["images"] == 6
    assert steps[:4] == [0, 1000, 1000, 2000]
    assert steps[-1] == file.stat().st_size
