"""Source time under a person's hands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from inspatio.live.clock import MAX_RATE, Run, SourceClock

FPS = 24.0


def test_time_runs_as_filmed_stands_and_goes_back():
    clock = SourceClock(100, FPS)
    assert clock.frame(5.0) == 0
    clock.set_rate(5.0, 1.0)
    assert [clock.frame(5.0 + i / FPS) for i in range(5)] == [0, 1, 2, 3, 4]
    clock.set_rate(5.0 + 10 / FPS, 0.0)
    assert clock.frame(60.0) == 10
    clock.set_rate(60.0, -2.0)
    assert [clock.frame(60.0 + i / FPS) for i in range(4)] == [10, 8, 6, 4]


def test_both_ends_bounce():
    clock = SourceClock(4, FPS, rate=1.0)
    assert [clock.frame(i / FPS) for i in range(9)] == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    clock.set_rate(0.0, -1.0)
    assert [clock.frame(i / FPS) for i in range(5)] == [0, 1, 2, 3, 2]


def test_a_step_stands_still():
    clock = SourceClock(10, FPS, rate=1.0)
    clock.step(3.4 / FPS, 1)
    assert clock.frame(100.0) == 4
    clock.step(100.0, -2)
    assert clock.frame(200.0) == 2


def test_when_time_ran_as_filmed():
    """At rate 1 and on the clip's way forward, between the moments that are asked for."""
    clock = SourceClock(49, FPS)
    clock.set_rate(1.0, 1.0)
    clock.set_rate(2.0, 0.5)
    clock.seek(3.0, 36)
    clock.set_rate(3.0, 1.0)
    assert clock.runs(0.0, 2.5) == [Run(1.0, 1.0, 0.0)]
    assert clock.runs(1.5, 1.75) == [Run(1.5, 0.25, 12.0)]
    first, second = clock.runs(2.5, 7.0)
    assert (first.start, first.seconds, first.frame) == pytest.approx((3.0, 0.5, 36))
    assert (second.start, second.seconds, second.frame) == pytest.approx((5.5, 1.5, 0)), "back at the beginning"
    clock.set_rate(7.0, -1.0)
    assert clock.runs(7.0, 8.0) == []


@given(
    some.integers(1, 500),
    some.lists(
        some.tuples(some.sampled_from(["rate", "seek", "step"]), some.floats(-1e4, 1e4), some.floats(0, 100)),
        max_size=20,
    ),
)
def test_a_frame_of_the_clip_whatever_is_done(count: int, changes: list[tuple[str, float, float]]):
    clock, now = SourceClock(count, FPS), 0.0
    for kind, value, wait in changes:
        match kind:
            case "rate":
                clock.set_rate(now, value)
            case "seek":
                clock.seek(now, value)
            case _:
                clock.step(now, int(value))
        assert abs(clock.rate) <= MAX_RATE
        before = clock.frame(now)
        assert 0 <= before < count
        now += wait
        assert 0 <= clock.frame(now) < count
        if clock.rate == 0:
            assert clock.frame(now) == before
