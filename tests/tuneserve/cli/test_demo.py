"""tuneserve.cli.demo: the port it takes. The demo itself runs in tests/integration."""

import socket

import pytest

from tuneserve.cli.demo import _free_port


def test_a_free_port_is_taken_as_asked_for() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert _free_port("127.0.0.1", port) == port


def test_where_something_listens_another_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        found = _free_port("127.0.0.1", taken)
    assert found not in (0, taken)


def test_an_address_that_is_not_ours_has_no_port() -> None:
    with pytest.raises(OSError, match=r"192\.0\.2\.1"):
        _free_port("192.0.2.1", 8000)
