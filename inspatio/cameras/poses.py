"""Camera poses and intrinsics: the conventions of the whole package, and the functions on rigid transforms.

Conventions:

- Camera axes are OpenCV's: x to the right, y down, z forward (into the scene).
- A pose is a rigid 4x4 matrix and its name says its direction: ``world_to_camera @ world_point`` is a camera point,
  ``camera_to_world @ camera_point`` a world point. The columns of a ``camera_to_world`` are the camera's axes and its
  centre in world coordinates.
- The world is the first source camera, so that camera's pose is the identity.
- Intrinsics are in pixels, and pixel centres are at integer coordinates: the centre of an axis of ``w`` pixels is at
  ``(w - 1) / 2``. Formats that put it at ``w / 2`` are shifted where they are read.

Everything is float64 numpy: poses are few, and renders of far points need the precision. The orbit is the one of the
InSpatio-World trajectory format (arXiv 2604.07209).

Rotations are averaged and interpolated as rotations and camera centres as points: treating quaternion components, or
the translation of ``world_to_camera``, one number at a time would bend the path of a camera that turns while it moves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from inspatio.types import CameraToWorld, Intrinsics, WorldToCamera

RIGID_TOLERANCE = 1e-3
"""How far a matrix read from text may be from rigid: four printed decimals are enough, a scaled rotation is not."""
_SMOOTHING_REACH = 4.0
"""The Gaussian of :func:`smooth` is cut off at this many sigmas."""


def compose(rotation: NDArray[np.float64], translation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rigid transforms ``... 4 4`` from rotations ``... 3 3`` (or one for all) and translations ``... 3``."""
    transform = np.zeros((*translation.shape[:-1], 4, 4))
    transform[..., :3, :3] = rotation
    transform[..., :3, 3] = translation
    transform[..., 3, 3] = 1.0
    return transform


def invert(rigid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Invert rigid transforms, ``... 4 4``: ``camera_to_world`` from ``world_to_camera`` and back."""
    rotation = np.swapaxes(rigid[..., :3, :3], -1, -2)
    return compose(rotation, -(rotation @ rigid[..., :3, 3:])[..., 0])


def relative_to_first(world_to_camera: WorldToCamera) -> WorldToCamera:
    """The same cameras (``n 4 4``) in the world of the first one, whose pose becomes the identity."""
    moved = world_to_camera @ invert(world_to_camera[0])
    moved[0] = np.eye(4)
    return moved


def orbit(pitch_deg: ArrayLike, yaw_deg: ArrayLike, radius: ArrayLike) -> CameraToWorld:
    """Cameras on a sphere of ``radius`` around the point (0, 0, radius), looking at it.

    Angles in degrees, any broadcastable shapes ``n``; positive pitch moves the camera up, positive yaw moves it to
    the left. Zero angles are the identity whatever the radius; with radius zero the camera turns in place.

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
    return compose(about_y @ about_x, centre)


def dolly(distance: ArrayLike) -> CameraToWorld:
    """Cameras moved forward by ``distance`` (``n``, scene units): ``camera_to_world``, ``n 4 4``."""
    distance = np.asarray(distance, np.float64)
    zero = np.zeros_like(distance)
    return compose(np.eye(3), np.stack([zero, zero, distance], axis=-1))


def rotation_only(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same poses (``camera_to_world``, ``... 4 4``) with every camera centre at the world's origin."""
    return compose(poses[..., :3, :3], np.zeros((*poses.shape[:-2], 3)))


def check_rigid(transforms: NDArray[np.float64], what: str, tolerance: float = RIGID_TOLERANCE) -> None:
    """Raise unless ``... 4 4`` matrices are a rotation and a translation; ``what`` names them in the message.

    Raises:
        ValueError: the first of them that is not finite, scales, shears, mirrors, or has another last row than 0 0 0 1.
    """
    matrices = transforms.reshape(-1, 4, 4)
    rotations = matrices[:, :3, :3]
    is_rigid = np.isfinite(matrices).all((1, 2)) & (np.abs(matrices[:, 3] - [0, 0, 0, 1]).max(1) <= tolerance)
    with np.errstate(all="ignore"):  # of those that are not finite
        is_rigid &= np.abs(rotations @ np.swapaxes(rotations, 1, 2) - np.eye(3)).max((1, 2)) <= tolerance
        is_rigid &= np.linalg.det(rotations) > 0
    if not is_rigid.all():
        index = int(np.argmin(is_rigid))
        place = f" {index}" if transforms.ndim > 2 else ""
        raise ValueError(f"{what}{place} is not a rigid transform: {_rigid_fault(matrices[index], tolerance)}")


def nearest_rotation(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotations nearest to ``... 3 3`` matrices in the Frobenius norm, never reflections (Kabsch 1976)."""
    u, _, vt = np.linalg.svd(matrix)
    u[..., 2] *= np.sign(np.linalg.det(u @ vt))[..., None]
    return u @ vt


def orthonormalised(transforms: NDArray[np.float64]) -> NDArray[np.float64]:
    """``... 4 4`` transforms with each rotation replaced by the nearest exact one (text files round them)."""
    return compose(nearest_rotation(transforms[..., :3, :3]), transforms[..., :3, 3])


def interpolate(first: WorldToCamera, second: WorldToCamera, weight: NDArray[np.float64]) -> WorldToCamera:
    """Interpolate between two camera paths frame by frame.

    Args:
        first: poses, ``t 4 4``.
        second: poses, ``t 4 4``.
        weight: ``t``, 0 gives ``first`` and 1 ``second``; rotations follow great arcs, centres straight lines.
    """
    ours, theirs = invert(first), invert(second)
    rotation = Rotation.from_matrix(ours[:, :3, :3])
    difference = rotation.inv() * Rotation.from_matrix(theirs[:, :3, :3])
    centre = ours[:, :3, 3] + weight[:, None] * (theirs[:, :3, 3] - ours[:, :3, 3])
    between = rotation * Rotation.from_rotvec(weight[:, None] * difference.as_rotvec())
    return invert(compose(between.as_matrix(), centre))


def smooth(world_to_camera: WorldToCamera, sigma: float) -> WorldToCamera:
    """Smooth a camera path (``n 4 4``) with a Gaussian of ``sigma`` frames over rotations and camera centres.

    Beyond its ends the path is continued as its mirror image through the end pose, so that a steady motion, and the
    first and the last pose, do not change. Sigma 0 changes nothing.
    """
    count = len(world_to_camera)
    reach = min(int(np.ceil(_SMOOTHING_REACH * sigma)), count - 1)
    if sigma == 0 or reach < 1:
        return world_to_camera.copy()
    camera_to_world = invert(world_to_camera)
    rotation = _continued_rotation(Rotation.from_matrix(camera_to_world[:, :3, :3]), reach)
    centre = _continued_centre(camera_to_world[:, :3, 3], reach)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    weights /= weights.sum()

    mean = rotation[reach : reach + count]
    for _ in range(4):  # the mean of rotations near each other; converges quadratically
        tangent = np.zeros((count, 3))
        for shift, weight in enumerate(weights):
            tangent += weight * (mean.inv() * rotation[shift : shift + count]).as_rotvec()
        mean = mean * Rotation.from_rotvec(tangent)
    smoothed = np.zeros((count, 3))
    for shift, weight in enumerate(weights):
        smoothed += weight * centre[shift : shift + count]
    return invert(compose(mean.as_matrix(), smoothed))


def unproject(
    columns: NDArray, rows: NDArray, depth: NDArray[np.floating], intrinsics: Intrinsics, world_to_camera: WorldToCamera
) -> NDArray[np.float64]:
    """World points ``v 3`` of pixels with known depth, seen by one camera.

    Args:
        columns: horizontal pixel coordinates, ``v``.
        rows: vertical pixel coordinates, ``v``.
        depth: z-depth, ``v``, in the world's unit.
        intrinsics: ``3 3`` in the same pixels.
        world_to_camera: ``4 4``.
    """
    in_camera = np.linalg.inv(intrinsics) @ np.stack([columns * depth, rows * depth, depth])
    return (world_to_camera[:3, :3].T @ (in_camera - world_to_camera[:3, 3:])).T


def centred_intrinsics(intrinsics: Intrinsics, size: tuple[int, int]) -> Intrinsics:
    """``... 3 3`` intrinsics with the principal point at the centre of an image of ``size`` (height, width)."""
    height, width = size
    centred = np.array(intrinsics, np.float64)
    centred[..., 0, 2] = (width - 1) / 2
    centred[..., 1, 2] = (height - 1) / 2
    return centred


def _rigid_fault(transform: NDArray[np.float64], tolerance: float) -> str:
    """What is wrong with a matrix that is not rigid."""
    rotation = transform[:3, :3]
    if not np.isfinite(transform).all():
        return "it has values that are not finite"
    if np.abs(transform[3] - [0, 0, 0, 1]).max() > tolerance:
        return f"its last row is {' '.join(f'{value:g}' for value in transform[3])}, expected 0 0 0 1"
    error = np.abs(rotation @ rotation.T - np.eye(3)).max()
    if error > tolerance:
        return f"R R^T is off the identity by {error:.3g}, expected a rotation (at most {tolerance:g})"
    return "its determinant is -1 (a mirror image), expected a rotation"


def _continued_rotation(path: Rotation, reach: int) -> Rotation:
    """The path with ``reach`` more rotations at either end: inner ones, mirrored in the one at the end."""
    before = path[0] * path[reach:0:-1].inv() * path[0]
    after = path[-1] * path[-2 : -2 - reach : -1].inv() * path[-1]
    return Rotation.concatenate([before, path, after])


def _continued_centre(path: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """The same for points."""
    return np.concatenate([2 * path[0] - path[reach:0:-1], path, 2 * path[-1] - path[-2 : -2 - reach : -1]])


def _matrix(rows: list[list[NDArray[np.float64]]]) -> NDArray[np.float64]:
    """``... 3 3`` from nine arrays of one shape."""
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
