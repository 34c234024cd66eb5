"""Random rooms: the suite shares no texture and no seed with training, and its clips are what their seeds say."""

from __future__ import annotations

import numpy as np
import pytest

from inspatio.evaluation.suite import FRAME_COUNT, PATHS, SUITES, probe_views
from inspatio.evaluation.synthetic_room import raycast, textures
from inspatio.evaluation.synthetic_room.random_room import SUITE_SEEDS, TRAINING_SEEDS, make_room

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


def test_the_suite_has_six_kinds_of_path_at_two_sizes():
    sizes = [clip.size for clip in CLIPS]
    assert (sizes.count((240, 416)), sizes.count((480, 832))) == (24, 4)
    assert len({clip.seed for clip in CLIPS}) == len({clip.name for clip in CLIPS}) == 28
    assert {clip.path for clip in CLIPS} == set(PATHS)


@pytest.mark.parametrize("clip", CLIPS[::5], ids=lambda clip: clip.name)
def test_the_source_camera_starts_at_the_origin_and_moves_like_a_camera(clip):
    poses = clip.source_world_to_camera
    assert np.allclose(poses[0], np.eye(4), atol=1e-9)
    centres = np.linalg.inv(poses)[:, :3, 3]
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    assert 0.03 < np.linalg.norm(centres, axis=1).max() < 0.8
    assert steps.max() < 0.05
    assert len(poses) == FRAME_COUNT


def test_rooms_are_pure_functions_of_their_seeds():
    first, again, other = (probe_views(clip) for clip in (CLIPS[0], CLIPS[0], CLIPS[1]))
    assert np.array_equal(first, again)
    assert np.abs(first - other).mean() > 10
    training = make_room(3, textures.TRAINING)
    assert int(training.sides[4]) in textures.TRAINING.floors
