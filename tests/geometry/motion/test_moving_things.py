"""Depth of what moves by itself: a thing that was seen at rest keeps its depth when it starts to move."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from inspatio.cameras.poses import unproject
from inspatio.evaluation.synthetic_room import textures
from inspatio.evaluation.synthetic_room.held_out import MOSAIC
from inspatio.evaluation.synthetic_room.random_room import Mover, make_room
from inspatio.evaluation.synthetic_room.raycast import BOX
from inspatio.evaluation.synthetic_room.things import thing
from inspatio.geometry.motion.depth import Stretch, depth_maps
from inspatio.geometry.motion.poses import Lens

SIZE, FOCAL, FRAMES = (120, 208), 180.0, 25
INTRINSICS = np.array([[FOCAL, 0, (SIZE[1] - 1) / 2], [0, FOCAL, (SIZE[0] - 1) / 2], [0, 0, 1]])


def rising_box(time: float) -> list[np.ndarray]:
    """A box that stands on the floor for a while, then flies up and to the side: nothing below it tells its depth."""
    way = max(time - 0.45, 0.0)
    return [thing(BOX, (-0.2 + 0.5 * way, 2.0, 0.75 + 0.7 * way), (0.22, 0.22, 0.25), MOSAIC, 0.3)]


def box_beside_the_camera(time: float) -> list[np.ndarray]:
    """A box on the floor that goes the camera's way at nearly its speed: its flow is that of something far away."""
    return [thing(BOX, (-0.3 + 0.38 * time, 2.0, 0.4), (0.22, 0.22, 0.4), MOSAIC, 0.3)]


def errors_of_the_box(mover: Mover) -> np.ndarray:
    """``n``: the median relative error of the depth of what moves, in a room that a camera trucks through."""
    room = replace(make_room(900_003, textures.SUITE), mover=mover)
    poses = np.tile(np.eye(4), (FRAMES, 1, 1))
    poses[:, 0, 3] = -np.linspace(0, 0.4, FRAMES)
    times = np.linspace(0, 1, FRAMES)
    views = [room.view(time, pose, INTRINSICS, SIZE) for time, pose in zip(times, poses, strict=True)]
    depths = [room.depth(time, pose, INTRINSICS, SIZE) for time, pose in zip(times, poses, strict=True)]
    still = replace(room, mover=None)
    rows, columns = np.mgrid[4 : SIZE[0] : 9, 4 : SIZE[1] : 9].reshape(2, -1)
    points = []
    for pose in poses:
        background = still.depth(0, pose, INTRINSICS, SIZE)[rows, columns].astype(np.float64)
        points.append(unproject(columns, rows, background, INTRINSICS, pose))
    stretch = Stretch(
        [np.asarray(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), np.uint8) for view in views],
        Lens(SIZE, FOCAL, 0.0),
        poses,
        points,
        list(range(0, FRAMES, 4)),
    )
    errors = []
    for frame, inverse in enumerate(depth_maps(stretch, range(FRAMES))):
        true, behind = depths[frame], still.depth(0, poses[frame], INTRINSICS, SIZE)
        box = cv2.erode((true < 0.95 * behind).astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
        errors.append(float(np.median(np.abs(1 / inverse[box] - true[box]) / true[box])))
    return np.array(errors)


def test_a_thing_that_was_at_rest_keeps_its_depth_when_it_moves():
    errors = errors_of_the_box(rising_box)
    assert np.median(errors[:9]) < 0.05, "it is triangulated while it stands"
    assert np.median(errors[16:]) < 0.10, f"it moves: {np.round(errors, 2)}"


def test_what_goes_along_with_the_camera_is_not_far_away():
    errors = errors_of_the_box(box_beside_the_camera)
    assert errors.max() < 1, f"by its flow alone it is several times too far: {np.round(errors, 2)}"
