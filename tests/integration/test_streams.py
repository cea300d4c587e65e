"""The event stream of a running job, with many dropped connections."""

import httpx
import pytest

from tests.integration.conftest import Programs
from tests.support.listener import Listener

DROPS = 20


def test_twenty_dropped_connections_lose_and_double_nothing(programs: Programs) -> None:
    programs.start("service")
    programs.start("worker")
    job_id = programs.train(network="squeezenet1_1", train_samples=64, epochs=15)
    listener = Listener(programs.url, job_id)
    for drop in range(1, DROPS + 1):
        listener.listen(at_most=1)
        assert len(listener.seen) == drop
        assert not listener.done
    listener.listen()
    assert listener.done
    assert listener.seen == [event["id"] for event in programs.events(job_id)]
    assert listener.seen == list(range(1, len(listener.seen) + 1))


@pytest.mark.parametrize("processes", [1, 2])
def test_a_service_that_is_told_to_stop_ends_its_streams_cleanly(programs: Programs, processes: int) -> None:
    service = programs.start("service", TUNESERVE_PROCESSES=str(processes))
    url = f"{programs.url}/jobs/{programs.train()}/events"
    with httpx.stream("GET", url, headers={"Accept": "text/event-stream"}, timeout=30) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "event: status"
        service.terminate()
        rest = list(lines)  # a connection that is cut raises
    assert "event: done" not in rest
    service.wait(60)
    assert "graceful shutdown exceeded" not in (programs.data_dir / "service.log").read_text()
