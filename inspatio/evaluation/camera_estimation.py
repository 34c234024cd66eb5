"""Estimate the cameras of a result: by points of known depth, or by structure from motion as a second opinion.

``known_depth_pose`` matches a frame with the source frame of the same moment (SIFT), lifts the source's pixels by their
known depth and solves the pose from those points (PnP with RANSAC, OpenCV). The pose is metric, no scale is fitted, and
each frame is on its own. What moves drops out as an outlier.

``structure_from_motion`` runs COLMAP (``pycolmap``: SIFT, sequential matching, the global mapper) over the frames with
known intrinsics, in a process of its own because its libraries bring threads and crashes of their own. Its scale is
free. Paths of a few degrees have a small baseline: expect it to fail, or to bend the path, on some.

Estimators have errors of their own: their errors on true videos are the floor below which figures say nothing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.poses import compose, unproject
from inspatio.types import Frames, Image, Intrinsics, WorldToCamera

FEATURES = 1500
RATIO = 0.8
"""A match counts where the second best is that much worse (Lowe 2004)."""
REPROJECTION_PX = 2.0
LEAST_INLIERS = 15
"""Fewer points than this that agree on a pose are chance."""
LEAST_REGISTERED = 0.8
"""Share of the frames that structure from motion must place."""
COLMAP_SECONDS = 600


@dataclass(frozen=True, eq=False)
class EstimatedPath:
    """The poses that could be estimated: ``world_to_camera`` (``m 4 4``) of the frames at ``places``, of ``tried``."""

    world_to_camera: WorldToCamera
    places: tuple[int, ...]
    tried: int

    @property
    def failures(self) -> float:
        """Share of the frames that have no pose."""
        return 1 - len(self.places) / self.tried


class Features:
    """SIFT key points of pictures and their matches (Lowe 2004)."""

    def __init__(self) -> None:
        self._detector = cv2.SIFT.create(nfeatures=FEATURES)
        self._matcher = cv2.BFMatcher(cv2.NORM_L2)

    def find(self, image: Image) -> tuple[np.ndarray, np.ndarray | None]:
        """Places (``v 2``, columns and rows) and descriptors (``v 128``; None without any) of an ``h w 3`` picture."""
        points, descriptors = self._detector.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
        return np.array([point.pt for point in points], np.float64).reshape(-1, 2), descriptors

    def match(self, first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray:
        """``v 2``: indices of descriptors that match one another clearly."""
        if first is None or second is None or len(second) < 2:
            return np.empty((0, 2), int)
        pairs = self._matcher.knnMatch(first, second, k=2)
        kept = [
            (a.queryIdx, a.trainIdx)
            for a, b in (pair for pair in pairs if len(pair) == 2)
            if a.distance < RATIO * b.distance
        ]
        return np.array(kept, int).reshape(-1, 2)


def known_depth_pose(
    features: Features, image: Image, intrinsics: Intrinsics, source: Image, depth: np.ndarray, camera: Cameras
) -> WorldToCamera | None:
    """The pose ``4 4`` of a frame, from a source frame with known depth and camera; None where it cannot be told.

    Args:
        features: finds and matches key points.
        image: the frame, ``h w 3``.
        intrinsics: the frame's, ``3 3``.
        source: the source frame, ``h w 3``.
        depth: its ``h w`` z-depth, 0 unknown.
        camera: its camera (one).
    """
    points, descriptors = features.find(image)
    source_points, source_descriptors = features.find(source)
    matches = features.match(descriptors, source_descriptors)
    if len(matches) < LEAST_INLIERS:
        return None
    pixels, at = points[matches[:, 0]], source_points[matches[:, 1]]
    columns, rows = np.rint(at).astype(int).T
    inside = (columns >= 0) & (rows >= 0) & (columns < depth.shape[1]) & (rows < depth.shape[0])
    values = np.where(inside, depth[rows.clip(0, depth.shape[0] - 1), columns.clip(0, depth.shape[1] - 1)], 0)
    known = np.isfinite(values) & (values > 0)
    if known.sum() < LEAST_INLIERS:
        return None
    world = unproject(
        at[known, 0], at[known, 1], values[known].astype(np.float64), camera.intrinsics[0], camera.world_to_camera[0]
    )
    cv2.setRNGSeed(0)  # RANSAC draws: the same frames give the same pose
    found, rotation, translation, inliers = cv2.solvePnPRansac(
        world,
        pixels[known],
        intrinsics,
        None,
        iterationsCount=300,
        reprojectionError=REPROJECTION_PX,
        confidence=0.999,
        flags=cv2.SOLVEPNP_SQPNP,
    )
    if not found or inliers is None or len(inliers) < LEAST_INLIERS:
        return None
    agreeing = np.asarray(inliers, np.intp).ravel()
    rotation, translation = cv2.solvePnPRefineLM(
        world[agreeing], pixels[known][agreeing], intrinsics, None, rotation, translation
    )
    turn, shift = np.asarray(cv2.Rodrigues(rotation)[0], np.float64), np.asarray(translation, np.float64).ravel()
    pose = compose(turn, shift)
    return pose if np.isfinite(pose).all() else None


def structure_from_motion(frames: Frames, intrinsics: Intrinsics) -> EstimatedPath:
    """The poses of frames (``t h w 3``) of one camera (``3 3``) by COLMAP, in a world and scale of its own."""
    with tempfile.TemporaryDirectory(prefix="inspatio-colmap-") as name:
        folder = Path(name)
        (folder / "images").mkdir()
        for index, frame in enumerate(frames):
            cv2.imwrite(str(folder / "images" / f"{index:05d}.png"), frame[..., ::-1])
        np.save(folder / "intrinsics.npy", intrinsics)
        command = [sys.executable, "-m", "inspatio.evaluation.colmap_process", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=COLMAP_SECONDS)
            found = np.load(folder / "poses.npz", allow_pickle=False)
            poses, places = found["world_to_camera"], tuple(int(place) for place in found["places"])
        except (subprocess.SubprocessError, OSError):
            # A crash of the other program is a failure of the estimator like any other, and is counted as one.
            poses, places = np.empty((0, 4, 4)), ()
    if len(places) < LEAST_REGISTERED * len(frames):
        poses, places = np.empty((0, 4, 4)), ()
    return EstimatedPath(poses, places, len(frames))
