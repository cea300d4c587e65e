"""service.security.rate_limit: a token bucket for each caller.

Time is moved, not waited for.
"""

import pytest

from core.errors import RateLimited
from core.settings import Settings
from service.security.rate_limit import RateLimit
from tests.conftest import running


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def taken(limit: RateLimit, caller: str = "a", at_most: int = 1000) -> int:
    """Count the requests that pass until one is refused."""
    for count in range(at_most):
        try:
            limit.take(caller)
        except RateLimited:
            return count
    return at_most


def test_two_seconds_worth_may_come_at_once(clock: Clock) -> None:
    assert taken(RateLimit(5, clock)) == 10


def test_after_that_as_many_pass_as_the_rate_says(clock: Clock) -> None:
    limit = RateLimit(5, clock)
    taken(limit)
    passed = 0
    for _ in range(100):
        clock.now += 0.1
        passed += taken(limit)
    assert passed == pytest.approx(50, abs=1)


def test_a_bucket_does_not_grow_beyond_its_burst(clock: Clock) -> None:
    limit = RateLimit(5, clock)
    taken(limit)
    clock.now += 3600
    assert taken(limit) == 10


def test_a_rate_below_one_still_lets_one_pass(clock: Clock) -> None:
    limit = RateLimit(0.1, clock)
    assert taken(limit) == 1
    clock.now += 10.01
    assert taken(limit) == 1


@pytest.mark.parametrize(("per_s", "wait_s"), [(10, 1), (0.1, 10), (0.5, 2)])
def test_the_refusal_says_when_there_will_be_room(clock: Clock, per_s: float, wait_s: int) -> None:
    limit = RateLimit(per_s, clock)
    taken(limit)
    with pytest.raises(RateLimited, match=f"More than {per_s:g} requests a second") as refused:
        limit.take("a")
    assert refused.value.retry_after_s == wait_s
    clock.now += wait_s + 0.01
    limit.take("a")


def test_one_caller_does_not_use_up_another_ones(clock: Clock) -> None:
    limit = RateLimit(5, clock)
    assert taken(limit, "a") == taken(limit, "b") == 10


def test_the_number_of_buckets_is_bounded_and_the_busy_ones_stay(clock: Clock) -> None:
    limit = RateLimit(5, clock, most=100)
    taken(limit, "busy")
    for number in range(1000):
        limit.take(f"visitor {number}")
        assert taken(limit, "busy") == 0
    assert len(limit._buckets) == 100


# -- over HTTP


async def test_who_asks_too_often_is_told_to_come_again(settings: Settings) -> None:
    async with running(settings.model_copy(update={"rate_limit_per_s": 0.01})) as http:
        first, second = await http.get("/networks"), await http.get("/networks")
    assert (first.status_code, second.status_code) == (200, 429)
    assert second.json()["code"] == "rate_limited"
    assert 90 <= int(second.headers["retry-after"]) <= 100


async def test_probes_and_the_page_are_not_counted(settings: Settings) -> None:
    async with running(settings.model_copy(update={"rate_limit_per_s": 0.01})) as http:
        for _ in range(5):
            assert (await http.get("/livez")).status_code == 200
            assert (await http.get("/docs")).status_code == 200
        assert (await http.get("/networks")).status_code == 200


async def test_each_key_has_its_own_bucket_and_guesses_count_by_address(settings: Settings) -> None:
    given = "a:train:aaaaaaaaaaaaaaaa,b:train:bbbbbbbbbbbbbbbb"
    limited = Settings.model_validate(settings.model_dump() | {"api_keys": given, "rate_limit_per_s": 0.01})
    statuses = []
    async with running(limited) as http:
        for key in ("a" * 16, "b" * 16, "c" * 16, "d" * 16, "a" * 16):
            answer = await http.get("/networks", headers={"Authorization": f"Bearer {key}"})
            statuses.append(answer.status_code)
    assert statuses == [200, 200, 401, 429, 429]


async def test_without_a_setting_nobody_is_refused(settings: Settings) -> None:
    async with running(settings) as http:
        assert {(await http.get("/networks/resnet18")).status_code for _ in range(50)} == {200}
