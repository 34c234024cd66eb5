"""Small clips of the synthetic room by cameras that move, turn, stand still or cut, and their true cameras."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation
from support.clips import encode

from inspatio.cameras.poses import compose
from inspatio.evaluation.synthetic_room import scene as room
from inspatio.media import VideoInfo, probe
from inspatio.media.fit import Fit

SIZE = (180, 312)
INTRINSICS = Fit.make(room.SIZE, SIZE, "stretch").intrinsics(room.intrinsics())
SOURCE_STEP = 4
"""Every fourth of the example's cameras: 25 frames whose motion a small picture still shows."""


def moving() -> np.ndarray:
    """``n 4 4`` world_to_camera: the example's truck to the left."""
    return room.source_world_to_camera()[::SOURCE_STEP]


def turning(count: int) -> np.ndarray:
    """A camera that turns by ten degrees and stays in its place."""
    angles = np.linspace(0, 10, count)[:, None] * [[0.2, 1, 0]]
    return compose(Rotation.from_euler("xyz", angles, degrees=True).as_matrix(), np.zeros((count, 3)))


def film(path: Path, cameras: Sequence[np.ndarray], moments: Sequence[int]) -> VideoInfo:
    """The room at these frames of the example, seen by these cameras."""

    def picture(index: int, size: tuple[int, int]) -> np.ndarray:
        return room.true_view(moments[index], cameras[index], INTRINSICS, size)

    return probe(encode(path, len(cameras), SIZE, options={"crf": "10"}, picture=picture))
