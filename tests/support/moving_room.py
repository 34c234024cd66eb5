"""Small clips of the synthetic room by cameras that move, turn, stand still or cut, and their true cameras."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation
from support.clips import encode

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


def pictures() -> list[np.ndarray]:
    """``h w 3`` uint8: what the moving camera films."""
    moments = range(0, room.FRAME_COUNT, SOURCE_STEP)
    return [room.true_view(moment, pose, INTRINSICS, SIZE) for moment, pose in zip(moments, moving(), strict=True)]


def turning(picture: np.ndarray, count: int) -> list[np.ndarray]:
    """What a camera films that turns by five degrees in its place, mirrored, so that nothing of before is found."""
    turned = []
    for angle in np.linspace(0, 5, count):
        rotation = Rotation.from_euler("xyz", [0.2 * angle, angle, 0], degrees=True).as_matrix()
        homography = INTRINSICS @ rotation @ np.linalg.inv(INTRINSICS)
        size = SIZE[::-1]
        turned.append(cv2.warpPerspective(picture[:, ::-1], homography, size, borderMode=cv2.BORDER_REFLECT))
    return turned


def film(path: Path, frames: Sequence[np.ndarray]) -> VideoInfo:
    """A clip of these pictures."""
    return probe(encode(path, len(frames), SIZE, options={"crf": "10"}, picture=lambda index, _size: frames[index]))
