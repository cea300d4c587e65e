"""The short storm.

The long one: ``python -m tests.chaos --blows 100 --seed 1``.
"""

import pytest

from tests.chaos.books import balance
from tests.chaos.storm import Storm
from tests.integration.conftest import Programs, programs

__all__ = ["programs"]
BLOWS = 5


@pytest.mark.timeout(600)
def test_no_job_is_lost_stuck_or_doubled_whatever_is_killed(programs: Programs) -> None:
    storm = Storm(programs, seed=7, waiting=2)
    storm.blow(BLOWS)
    assert balance(storm).wrong() == {}
    assert storm.clients.answers
