"""Several processes answer on one port, and one that dies is replaced."""

import os
import signal
from pathlib import Path

from tests.integration.conftest import Programs, wait_for


def children_of(pid: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def servers_of(programs: Programs) -> set[int]:
    """List the living processes that answer, as the log names them."""
    lines = (programs.data_dir / "service.log").read_text().splitlines()
    started = {int(line.split()[3]) for line in lines if "Application startup complete" in line}
    return started & children_of(programs.children[0].pid)


def test_a_process_that_dies_is_replaced_while_the_others_answer(programs: Programs) -> None:
    programs.start("service", TUNESERVE_PROCESSES="2")
    wait_for(lambda: len(servers_of(programs)) == 2, "two processes")
    victim = min(servers_of(programs))
    os.kill(victim, signal.SIGKILL)
    replaced = wait_for(lambda: len(servers_of(programs) - {victim}) == 2, "another in its place")
    assert replaced
    answers = {programs.http.get("/livez").status_code for _ in range(20)}
    assert answers == {200}
