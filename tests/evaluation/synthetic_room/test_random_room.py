"""Random rooms: the suite shares no texture and no seed with training, and its clips are what their seeds say."""

from __future__ import annotations

import numpy as np

from inspatio.evaluation.suite import SUITES
from inspatio.evaluation.synthetic_room import raycast, textures
from inspatio.evaluation.synthetic_room.random_room import SUITE_SEEDS, TRAINING_SEEDS, make_room
from inspatio.evaluation.truth import probe_views

CLIPS = SUITES["synthetic"].clips


def test_training_never_sees_the_suite():
    assert not textures.TRAINING.materials & textures.SUITE.materials
    assert not set(TRAINING_SEEDS) & set(SUITE_SEEDS)
    assert all(clip.seed in SUITE_SEEDS for clip in CLIPS)
    rooms = [clip.room for clip in CLIPS]
    used = {int(row[raycast.MATERIAL]) for room in rooms for group in room.still for row in group}
    used |= {int(side) for room in rooms for side in room.sides}
    # The lamp's cord and bulb are plain light grey and light itself: no texture.
    assert not (used - {textures.PLAIN, textures.GLOW}) & textures.TRAINING.materials


def test_rooms_are_pure_functions_of_their_seeds():
    first, again, other = (probe_views(clip) for clip in (CLIPS[0], CLIPS[0], CLIPS[1]))
    assert np.array_equal(first, again)
    assert np.abs(first.astype(float) - other).mean() > 10
    training = make_room(3, textures.TRAINING)
    assert int(training.sides[4]) in textures.TRAINING.floors
