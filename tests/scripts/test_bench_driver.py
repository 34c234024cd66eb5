"""What the driver writes for a clip does not depend on how many clips there are."""

from __future__ import annotations

from argparse import Namespace

import pytest
from benches import driver


@pytest.mark.slow
def test_what_is_written_for_a_clip_does_not_grow_with_the_number_of_clips() -> None:
    few, many = driver.run(Namespace(clips=[50, 200], folder=None)).values()
    for name in ("run_bytes_written_per_clip", "resume_bytes_written_per_clip"):
        assert many[name] < 1.1 * few[name]
