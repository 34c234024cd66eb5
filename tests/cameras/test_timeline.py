"""Source time: which source frame is shown at each place, and beyond the clip's end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspatio.cameras.timeline import EndRule, Timeline

orders = st.lists(st.integers(0, 50), min_size=1, max_size=12)
ends = st.sampled_from(["bounce", "hold", "loop"])


@given(orders, ends)
def test_committed_places_are_shown_as_committed(order: list[int], end: EndRule) -> None:
    timeline = Timeline(order, end)
    assert [timeline[place] for place in range(len(timeline))] == order


@given(orders, st.integers(0, 100))
def test_beyond_the_end(order: list[int], more: int) -> None:
    n, place = len(order), len(order) + more
    assert Timeline(order, "hold")[place] == order[-1]
    assert Timeline(order, "loop")[place] == order[place % n]
    bounce = Timeline(order, "bounce")
    period = max(2 * (n - 1), 1)
    assert bounce[place] == bounce[place % period]
    assert bounce[place] == bounce[-place % period], "the way back shows what the way there showed"


@given(orders, orders, ends)
def test_what_is_appended_changes_nothing_before_it(order: list[int], more: list[int], end: EndRule) -> None:
    timeline = Timeline(order, end)
    timeline.append(more)
    assert [timeline[place] for place in range(len(order) + len(more))] == order + more


def test_no_place_and_no_frame_is_negative() -> None:
    with pytest.raises(ValueError, match="expected"):
        Timeline([])
    with pytest.raises(ValueError, match="expected"):
        Timeline([0, -1])
    with pytest.raises(IndexError):
        Timeline([0])[-1]


def test_a_live_timeline_begins_empty_and_knows_what_may_come() -> None:
    timeline = Timeline((), later=range(5))
    assert timeline.sources() == [0, 1, 2, 3, 4]
    with pytest.raises(IndexError, match="committed"):
        timeline[0]
    timeline.append([3, 3, 2])
    assert [timeline[place] for place in range(3)] == [3, 3, 2]
    assert Timeline([4, 1, 4]).sources() == [1, 4]
