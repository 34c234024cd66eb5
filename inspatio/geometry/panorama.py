"""Panoramas: equirectangular pictures with a distance for every pixel, as points and as perspective views.

Conventions of the public WorldFM code: the world's origin is the panorama's centre of projection, y points down, the
middle of the picture (the input photo's axis, where it was made from one) looks at world **+X**, and what is to its
right lies towards -Z. Distances are along the ray. The published code takes integer pixel coordinates as a pixel's
left and upper edge; that half pixel (0.09 degrees in a picture 2048 wide) is kept only where ``published`` asks for it.

Unit: a panorama's depth estimated by merging views has no scale of its own (only its relative changes are estimated),
and published camera paths count in its geometric mean distance; :func:`unit_distance` makes that 1.
"""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.poses import centred_intrinsics, invert
from inspatio.errors import ClipError
from inspatio.geometry.formats.exr import read_exr
from inspatio.storage import DAMAGED_ARRAYS
from inspatio.types import Image, Intrinsics

UNIT = "geometric mean distance of the panorama"
"""What a length of 1 is."""
VIEW_PITCHES = (0.0, 45.0, -45.0, 30.0, -30.0)
VIEW_YAWS = (0.0, 45.0, 90.0, 135.0, 180.0, -135.0, -90.0, -45.0)
VIEW_COUNT = len(VIEW_PITCHES) * len(VIEW_YAWS) + 2
"""The published reference views: eight around at five heights, one up, one down."""
VIEW_FOCAL = 320.0 / 504.0
"""Their focal length in units of their side: 76.4 degrees."""
MOST_POINTS = 6_000_000
"""Points that a panorama's scene keeps: 114 MB, one for every direction that a picture of 4096x2048 pixels has. A
quarter of them, one to a pixel of a 512x512 view, cost 3 to 4 dB."""
MASKS = {"depth.exr": "mask.png", "moge_depth_raw.npy": "moge_mask.png"}
"""The files of MoGe's own program and of the public WorldFM's cache, with the masks of what is valid in them."""
EXR_CHANNEL = "Y"
"""What OpenCV calls the one channel of an OpenEXR image."""
EDGE_JUMP = 0.05
"""A change of inverse depth between neighbours, relative, from which a pixel between two surfaces is told."""
DISC_SPACING = 1.0
"""Radius of a point's disc in units of the distance to its neighbours: discs overlap, and the nearest middle shows."""


def load_panorama(path: Path) -> Image:
    """Read a panorama's ``h w 3`` uint8 RGB.

    Raises:
        ClipError: it cannot be read, or is not twice as wide as high.
    """
    encoded = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
    if encoded is None:
        raise ClipError(f"{path}: no panorama: got no readable picture, expected a PNG or JPEG twice as wide as high")
    check_panorama_shape(path, (encoded.shape[0], encoded.shape[1]))
    return np.ascontiguousarray(encoded[..., ::-1], np.uint8)


def check_panorama_shape(path: Path, size: tuple[int, int]) -> None:
    """Check that a picture of ``size`` (height, width) can be a panorama.

    Raises:
        ClipError: it is not twice as wide as high.
    """
    height, width = size
    if width != 2 * height:
        raise ClipError(
            f"{path}: not a panorama: got {width}x{height}, expected a picture twice as wide as high "
            "(equirectangular, all around). Crop or pad it to that shape"
        )


def load_distance(path: Path, size: tuple[int, int]) -> NDArray[np.float32]:
    """Read the distance of every pixel and bring it to ``size`` (height, width); holes are filled.

    ``.npy`` (one array), ``.npz`` (its array ``depth`` or ``distance``; also the published cache of MoGe's result),
    ``.exr`` as MoGe writes it, or a 16-bit picture. 0, negative, NaN and infinite values are holes, and so is what the
    mask that MoGe writes beside it (:data:`MASKS`) leaves out.

    Raises:
        ClipError: it cannot be read, has another shape than 2:1, or no valid value.
    """
    try:
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                name = next((each for each in ("depth", "distance") if each in arrays), None)
                if name is None:
                    raise ClipError(f"{path}: got arrays {', '.join(arrays.files)}, expected one called depth")
                values = arrays[name]
        elif path.suffix == ".exr":
            values = read_exr(path.read_bytes(), EXR_CHANNEL)
        else:
            values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
    except (*DAMAGED_ARRAYS, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ClipError(
            f"{path}: cannot be read as depth ({reason}). Expected .npy, .npz, .exr or a 16-bit PNG"
        ) from error
    if (
        values is None
        or not isinstance(values, np.ndarray)
        or values.dtype == np.uint8
        or values.dtype.kind not in "fui"
    ):
        got = "nothing readable" if not isinstance(values, np.ndarray) else f"an array of {values.dtype}"
        raise ClipError(f"{path}: got {got}, expected distances as .npy, .npz, .exr or a 16-bit PNG")
    if values.ndim != 2 or values.shape[1] != 2 * values.shape[0]:
        raise ClipError(
            f"{path}: got an array of {'x'.join(map(str, values.shape))}, expected one value for each pixel of the "
            f"panorama ({size[1]}x{size[0]}, or another picture twice as wide as high)"
        )
    return fill_holes(np.where(_mask_beside(path, values.shape), values, 0).astype(np.float32), size, str(path))


def _mask_beside(path: Path, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which values count by the mask beside a file of MoGe's; all of them where there is none."""
    name = MASKS.get(path.name)
    file = path.with_name(name) if name else None
    if file is None or not file.is_file():
        return np.ones(shape, bool)
    mask = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
    if mask is None or mask.shape != shape:
        got = "nothing readable" if mask is None else f"{mask.shape[1]}x{mask.shape[0]} pixels"
        raise ClipError(f"{file}: got {got}, expected the mask of {path.name} ({shape[1]}x{shape[0]})")
    return np.asarray(mask) > 127


def fill_holes(distance: NDArray[np.float32], size: tuple[int, int], what: str) -> NDArray[np.float32]:
    """Scale distances to ``size`` without mixing in holes, and put what remains unknown as far as the farthest.

    Raises:
        ClipError: nothing is valid; ``what`` names it.
    """
    valid = (np.isfinite(distance) & (distance > 0)).astype(np.float32)
    if not valid.any():
        raise ClipError(f"{what}: got no valid distance at all, expected positive numbers. Check the depth file")
    known = np.where(valid > 0, distance, 0).astype(np.float32)
    if distance.shape != size:
        weight = _resized(valid, size)
        known = np.where(weight > 1e-6, _resized(known * valid, size) / np.maximum(weight, 1e-6), 0)
    return np.where(known > 0, known, known.max()).astype(np.float32)


def unit_distance(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    """The distances in units of their geometric mean over the panorama's pixels, as published camera paths count."""
    return (distance / np.exp(np.log(distance).mean(dtype=np.float64))).astype(np.float32)


def directions(rows: NDArray, columns: NDArray, size: tuple[int, int]) -> NDArray[np.float64]:
    """Unit rays ``... 3`` in world axes through places of a panorama of ``size``, measured from its corner."""
    height, width = size
    azimuth, polar = 2 * np.pi * columns / width - np.pi, np.pi * rows / height
    return np.stack([np.sin(polar) * np.cos(azimuth), -np.cos(polar), -np.sin(polar) * np.sin(azimuth)], axis=-1)


def published_points(image: Image, distance: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Every pixel as a point (``v 3``) with its colour (``v 3``), as the public code has them."""
    rows, columns = np.mgrid[: distance.shape[0], : distance.shape[1]]
    points = directions(rows, columns, distance.shape) * distance[..., None]
    return points.reshape(-1, 3).astype(np.float32), image.reshape(-1, 3)


def even_points(
    image: Image, distance: NDArray[np.float32], most: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.float32]]:
    """At most about ``most`` points (``v 3``) of even density over the sphere, with colours and radii (``v``).

    A panorama's rows near the poles hold the same directions many times over; each row gives as many points as its
    circle is long. Pixels between two surfaces (:func:`between_surfaces`) give none.
    """
    height, width = distance.shape
    # Whole pixels, because points are those of pixels: a fraction would leave uneven gaps.
    step = max(1, math.ceil(math.sqrt(4 / math.pi * height * height / most)))
    drop = between_surfaces(distance)
    row_of, column_of = [], []
    for row in np.arange(step / 2, height, step):
        count = max(1, round(width / step * math.sin(math.pi * row / height)))
        column_of.append((np.arange(count) + 0.5) * width / count)
        row_of.append(np.full(count, row))
    rows, columns = np.concatenate(row_of), np.concatenate(column_of)
    y, x = rows.astype(np.int64), columns.astype(np.int64)
    kept = ~drop[y, x]
    y, x = y[kept], x[kept]
    ranges = distance[y, x]
    # Through the pixel's middle, whose distance and colour these are.
    points = (directions(y + 0.5, x + 0.5, distance.shape) * ranges[:, None]).astype(np.float32)
    radii = (ranges * (DISC_SPACING * step * math.pi / height)).astype(np.float32)
    return points, image[y, x], radii


def between_surfaces(distance: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Pixels whose distance was interpolated across a depth edge: they would hang in the air between two surfaces.

    Along a row or a column the inverse depth rises to the pixel and goes on rising beyond it, by more than
    ``EDGE_JUMP`` each, while before and after that the slope is much smaller. A slanted plane has one slope.
    """
    inverse = (1 / distance).astype(np.float32)
    found = np.zeros(distance.shape, bool)
    for axis in (0, 1):
        before, after = np.roll(inverse, 1, axis), np.roll(inverse, -1, axis)
        rise, further = inverse - before, after - inverse
        outer = np.abs(before - np.roll(inverse, 2, axis)), np.abs(np.roll(inverse, -2, axis) - after)
        jump = EDGE_JUMP * inverse
        edge = (rise * further > 0) & (np.abs(rise) > jump) & (np.abs(further) > jump)
        edge &= np.maximum(*outer) < 0.25 * np.abs(rise + further)
        if axis == 0:
            edge[:2] = edge[-2:] = False  # rows do not go on beyond the poles
        found |= edge
    return found


def view_poses() -> NDArray[np.float64]:
    """``camera_to_world`` ``42 4 4`` of the published reference views, all at the origin."""
    angles = [(pitch, yaw) for pitch in VIEW_PITCHES for yaw in VIEW_YAWS] + [(90.0, 0.0), (-90.0, 0.0)]
    flip = np.diag([1.0, -1.0, -1.0])
    poses = np.tile(np.eye(4), (len(angles), 1, 1))
    for pose, (pitch_deg, yaw_deg) in zip(poses, angles, strict=True):
        pitch, yaw = math.radians(pitch_deg), math.radians(yaw_deg)
        forward = np.array([math.cos(yaw) * math.cos(pitch), math.sin(pitch), math.sin(yaw) * math.cos(pitch)])
        right = np.cross(forward, [0.0, 1.0, 0.0])
        length = np.linalg.norm(right)
        right = right / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])
        upward = np.cross(right, forward)
        pose[:3, :3] = flip @ np.stack([right, upward, -forward], axis=-1) @ flip
    return poses


def views(size: tuple[int, int]) -> Cameras:
    """The reference views as cameras of pictures of ``size`` (height, width), as wide as published along the shorter
    side, in the panorama's world."""
    focal = VIEW_FOCAL * min(size)
    lens = centred_intrinsics(np.diag([focal, focal, 1.0]), size)
    return Cameras.from_poses(invert(view_poses()), lens)


def sample_view(
    panorama: np.ndarray, world_to_camera: np.ndarray, intrinsics: Intrinsics, size: tuple[int, int], *, published: bool
) -> np.ndarray:
    """What a camera at the panorama's centre sees: ``h w ...`` float64, bilinear, around the seam."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float64)
    rays = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ np.linalg.inv(intrinsics).T
    x, y, z = np.moveaxis(rays @ world_to_camera[:3, :3], -1, 0)
    height, width = panorama.shape[:2]
    column = np.mod((np.arctan2(-z, x) + np.pi) / (2 * np.pi) * width, width)
    row = np.arccos(np.clip(-y / np.sqrt(x * x + y * y + z * z), -1, 1)) / np.pi * height
    if not published:
        column, row = np.mod(column - 0.5, width), row - 0.5
    row = np.clip(row, 0, height - (1e-6 if published else 1))
    left, top = np.floor(column).astype(np.int64), np.floor(row).astype(np.int64)
    across, down = column - left, row - top
    if panorama.ndim == 3:
        across, down = across[..., None], down[..., None]
    right, below = (left + 1) % width, np.minimum(top + 1, height - 1)
    left %= width
    upper = panorama[top, left] * (1 - across) + panorama[top, right] * across
    lower = panorama[below, left] * (1 - across) + panorama[below, right] * across
    return upper * (1 - down) + lower * down


def view_image(panorama: Image, world_to_camera: np.ndarray, intrinsics: Intrinsics, size: tuple[int, int]) -> Image:
    """The picture ``h w 3`` that a camera at the panorama's centre sees."""
    seen = sample_view(panorama, world_to_camera, intrinsics, size, published=False)
    return np.clip(seen + 0.5, 0, 255).astype(np.uint8)


def view_depth(
    distance: NDArray[np.float32], intrinsics: Intrinsics, world_to_camera: np.ndarray, size: tuple[int, int]
) -> NDArray[np.float32]:
    """The z-depth ``h w`` that a camera at the panorama's centre sees, by the nearest pixel."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float64)
    rays = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ np.linalg.inv(intrinsics).T
    along = np.linalg.norm(rays, axis=-1)
    x, y, z = np.moveaxis(rays @ world_to_camera[:3, :3], -1, 0)
    height, width = distance.shape
    column = ((np.arctan2(-z, x) + np.pi) / (2 * np.pi) * width).astype(np.int64) % width
    row = np.minimum((np.arccos(np.clip(-y / along, -1, 1)) / np.pi * height).astype(np.int64), height - 1)
    return (distance[row, column] / along).astype(np.float32)


def _resized(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(values, size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
