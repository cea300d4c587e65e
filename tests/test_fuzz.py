"""Malformed images, bodies, archives and headers are refused without a failure.

``python -m tests.fuzz`` sends more.
"""

from random import Random

from core.settings import Settings
from tests.fuzz import MAX_GROWTH_MB, fuzz, fuzz_headers
from tests.support.fuzzing.mutations import KINDS, ROUND, spoilt

ROUNDS = 10 * len(ROUND)


async def test_whatever_is_sent_the_service_does_not_fail(settings: Settings) -> None:
    figures = await fuzz(settings, seed=1, rounds=ROUNDS)
    assert figures.failures == []
    assert figures.peak_growth_mb < MAX_GROWTH_MB
    assert figures.answers.total() > 0.9 * ROUNDS
    assert figures.livez_s  # whose times the long one bounds: a test does not judge the clock
    assert {200, 202, 404, 415, 422} <= set(figures.answers)  # neither all is refused nor nothing


async def test_floods_of_headers_are_refused_and_the_service_lives_on(settings: Settings) -> None:
    figures = await fuzz_headers(settings, seed=1, rounds=300)
    assert figures.failures == []
    assert figures.peak_growth_mb < MAX_GROWTH_MB
    assert figures.livez_s
    assert {200, 400, 408, 431} <= set(figures.answers)
    assert figures.answers[431] > 60  # about two in five are too long


def test_the_same_seed_spoils_in_the_same_way() -> None:
    first, second = ([kind(Random(5)) for kind in KINDS] for _ in range(2))
    assert first == second
    assert sum(spoilt(Random(seed), b"x" * 100) != b"x" * 100 for seed in range(20)) > 15
