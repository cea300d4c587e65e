"""service.web.body_pace: a dripping body is told from one read slowly."""

from service.web.body_pace import WINDOW_S, BodyPace


def judged(bytes_per_s: int, seconds: int, paused: range = range(0)) -> list[bool]:
    """A body of at least 500 bytes/s, judged every 10 s."""
    pace, found = BodyPace(500, 0), []
    for now in range(1, seconds + 1):
        if now in paused:
            pace.pause()
        else:
            pace.receive(bytes_per_s, now)
        if now % 10 == 0:
            found.append(pace.is_slow(now))
    return found


def test_a_window_is_judged_by_its_average() -> None:
    assert WINDOW_S == 60
    assert judged(500, 240) == [False] * 24
    assert judged(499, 50) == [False] * 5
    assert judged(499, 60)[-1]


def test_a_burst_excuses_its_own_window_alone() -> None:
    pace = BodyPace(500, 0)
    pace.receive(10**9, 1)
    assert [pace.is_slow(now) for now in (60, 119, 120)] == [False, False, True]


def test_time_in_which_nobody_reads_is_not_the_senders() -> None:
    """Time in which nobody reads does not count.

    A minute of it begins with the bytes that come after the pause.
    """
    assert judged(0, 200, paused=range(1, 190)) == [False] * 20
    assert judged(500, 300, paused=range(20, 100)) == [False] * 30
    slow = judged(400, 300, paused=range(20, 100))
    assert slow.index(True) == 15  # 160 s
