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
