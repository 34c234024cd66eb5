"""Camera geometry: the one place that says what a pose is.

Conventions, for the whole package:

- Camera axes are OpenCV's: x to the right, y down, z forward (into the scene).
- A pose is a rigid 4x4 matrix and its name says its direction: ``world_to_camera @ world_point`` is a camera point,
  ``camera_to_world @ camera_point`` a world point. The columns of a ``camera_to_world`` are the camera's axes and its
  centre, seen from the world.
- The world is the first source camera, so that camera's pose is the identity.
- Intrinsics are in pixels, and pixel centres are at integer coordinates: the centre of an axis of ``w`` pixels is at
  ``(w - 1) / 2``. Formats that put it at ``w / 2`` are shifted where they are read.

Everything is float64 numpy: poses are few, and renders of far points need the digits. The orbit is the one of the
InSpatio-World trajectory format (arXiv 2604.07209).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inspatio.types import CameraToWorld, Intrinsics, WorldToCamera

RIGID_TOLERANCE = 1e-3
"""How far a matrix read from text may be from rigid: four printed decimals are enough, a scaled rotation is not."""


def invert(rigid: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of rigid transforms, ``... 4 4``: ``camera_to_world`` from ``world_to_camera`` and back."""
    rotation = np.swapaxes(rigid[..., :3, :3], -1, -2)
    return _compose(rotation, -(rotation @ rigid[..., :3, 3:])[..., 0])


def relative_to_first(world_to_camera: WorldToCamera) -> WorldToCamera:
    """The same cameras (``n 4 4``) in the world of the first one, whose pose becomes the identity."""
    moved = world_to_camera @ invert(world_to_camera[0])
    moved[0] = np.eye(4)
    return moved


def orbit(pitch_deg: ArrayLike, yaw_deg: ArrayLike, radius: ArrayLike) -> CameraToWorld:
    """Cameras on a sphere of ``radius`` around the point (0, 0, radius), looking at it.

    Angles in degrees, any broadcastable shapes ``n``; positive pitch moves the camera up, positive yaw moves it to
    the left. Zero angles are the identity whatever the radius; a radius of zero turns the camera where it stands.

    Returns:
        ``camera_to_world``, ``n 4 4``.
    """
    pitch, yaw, radius = np.broadcast_arrays(
        np.deg2rad(np.asarray(pitch_deg, np.float64)),
        np.deg2rad(np.asarray(yaw_deg, np.float64)),
        np.asarray(radius, np.float64),
    )
    sin_a, cos_a, sin_b, cos_b = np.sin(pitch), np.cos(pitch), np.sin(yaw), np.cos(yaw)
    zero, one = np.zeros_like(pitch), np.ones_like(pitch)
    about_y = _matrix([[cos_b, zero, sin_b], [zero, one, zero], [-sin_b, zero, cos_b]])
    about_x = _matrix([[one, zero, zero], [zero, cos_a, sin_a], [zero, -sin_a, cos_a]])
    centre = np.stack([-radius * cos_a * sin_b, -radius * sin_a, radius - radius * cos_a * cos_b], axis=-1)
    return _compose(about_y @ about_x, centre)


def dolly(distance: ArrayLike) -> CameraToWorld:
    """Cameras moved forward by ``distance`` (``n``, scene units): ``camera_to_world``, ``n 4 4``."""
    distance = np.asarray(distance, np.float64)
    zero = np.zeros_like(distance)
    return _compose(np.eye(3), np.stack([zero, zero, distance], axis=-1))


def rotation_only(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same poses (``... 4 4``) with the camera left where the world's origin is."""
    return _compose(poses[..., :3, :3], np.zeros((*poses.shape[:-2], 3)))


def check_rigid(transforms: NDArray[np.float64], what: str, tolerance: float = RIGID_TOLERANCE) -> None:
    """Refuse ``... 4 4`` matrices that are not a rotation and a translation; ``what`` names them in the message.

    Raises:
        ValueError: the first of them that is not finite, scales, shears, mirrors, or has another last row than 0 0 0 1.
    """
    for index, transform in enumerate(transforms.reshape(-1, 4, 4)):
        fault = _rigid_fault(transform, tolerance)
        if fault:
            place = f" {index}" if transforms.ndim > 2 else ""
            raise ValueError(f"{what}{place} is not a rigid transform: {fault}")


def orthonormalised(transforms: NDArray[np.float64]) -> NDArray[np.float64]:
    """``... 4 4`` transforms with each rotation replaced by the nearest exact one (text files round them)."""
    u, _, vt = np.linalg.svd(transforms[..., :3, :3])
    return _compose(u @ vt, transforms[..., :3, 3])


def centred_intrinsics(intrinsics: Intrinsics, size: tuple[int, int]) -> Intrinsics:
    """``... 3 3`` intrinsics with the principal point at the centre of an image of ``size`` (height, width)."""
    height, width = size
    centred = np.array(intrinsics, np.float64)
    centred[..., 0, 2] = (width - 1) / 2
    centred[..., 1, 2] = (height - 1) / 2
    return centred


def _rigid_fault(transform: NDArray[np.float64], tolerance: float) -> str | None:
    rotation = transform[:3, :3]
    if not np.isfinite(transform).all():
        return "it has values that are not finite"
    if np.abs(transform[3] - [0, 0, 0, 1]).max() > tolerance:
        return f"its last row is {' '.join(f'{value:g}' for value in transform[3])}, expected 0 0 0 1"
    error = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if error > tolerance:
        return f"R R^T is off the identity by {error:.3g}, expected a rotation (at most {tolerance:g})"
    if np.linalg.det(rotation) < 0:
        return "its determinant is -1 (a mirror image), expected a rotation"
    return None


def _compose(rotation: NDArray[np.float64], translation: NDArray[np.float64]) -> NDArray[np.float64]:
    """``... 4 4`` from ``... 3 3`` and ``... 3``."""
    transform = np.zeros((*translation.shape[:-1], 4, 4))
    transform[..., :3, :3] = rotation
    transform[..., :3, 3] = translation
    transform[..., 3, 3] = 1.0
    return transform


def _matrix(rows: list[list[NDArray[np.float64]]]) -> NDArray[np.float64]:
    """``... 3 3`` from nine arrays of one shape."""
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
