"""Still scenes: a panorama, or a point cloud with photos, as a scene whose frames are the views references come from.

    scene = panorama_scene(image, distance, (512, 512))
    scene = point_cloud_scene(Path("scan"), (512, 512))          pointcloud.ply and transforms_condition.json

The scene's world is the first view's camera: for a panorama the one that looks at its middle (the input photo). What
comes in the world of the files (a published camera path) goes through :attr:`StillScene.to_scene`. Points are bounded
and even (``render/disc_cloud.py``); views are cut from the panorama when they are read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.poses import centred_intrinsics, invert
from inspatio.cameras.timeline import Timeline
from inspatio.errors import ClipError
from inspatio.geometry import panorama, point_cloud
from inspatio.geometry.formats.ply import read_ply
from inspatio.geometry.formats.worldfm import read_conditions
from inspatio.geometry.point_cloud import fitted_cameras, read_photo
from inspatio.media.fit import Fit
from inspatio.media.listing import CLOUD_FILE, CONDITIONS_FILE
from inspatio.render.disc_cloud import MOST_POINTS, DiscCloud, neighbour_radii, thinned
from inspatio.scene import Scene
from inspatio.types import DepthMaps, Frames, Image

FRAME_RATE = Fraction(30)


@dataclass(frozen=True)
class StillScene:
    """A scene, and how to get from the world of its files to the scene's."""

    scene: Scene
    world_to_first: NDArray[np.float64]
    """``4 4``: from the files' world to the first view's camera."""
    unit: str
    """What a length of 1 is."""

    def to_scene(self, camera_to_world: NDArray[np.float64]) -> NDArray[np.float64]:
        """``world_to_camera`` ``n 4 4`` in the scene's world, of poses ``n 4 4`` in that of the files."""
        return invert(camera_to_world) @ invert(self.world_to_first)


@dataclass(frozen=True)
class Photo:
    """The picture that a panorama was made from: taken at its centre, towards its middle.

    ``image`` is ``h w 3`` uint8; ``field_of_view`` is along its longer side, in degrees.
    """

    image: Image
    field_of_view: float

    def fitted(self, size: tuple[int, int]) -> tuple[Image, NDArray[np.float64]]:
        """The picture cut to ``size`` (height, width), and its intrinsics ``3 3``."""
        own = (self.image.shape[0], self.image.shape[1])
        focal = max(own) / 2 / math.tan(math.radians(self.field_of_view) / 2)
        fit = Fit.make(own, size)
        return fit.image(self.image), fit.intrinsics(centred_intrinsics(np.diag([focal, focal, 1.0]), own))


class _PanoramaFrames:
    """Views of a panorama, cut when they are read; the first may be a picture of its own."""

    def __init__(self, image: Image, cameras: Cameras, size: tuple[int, int], first: Image | None) -> None:
        self._image, self._cameras, self._size, self._first = image, cameras, size, first

    def __len__(self) -> int:
        return len(self._cameras)

    def read(self, indices: Sequence[int]) -> Frames:
        return np.stack([self._view(i) for i in indices])

    def _view(self, index: int) -> Image:
        if index == 0 and self._first is not None:
            return self._first
        lens, pose = self._cameras.intrinsics[index], self._cameras.world_to_camera[index]
        return panorama.view_image(self._image, pose, lens, self._size)


class _PanoramaDepth:
    def __init__(self, distance: NDArray[np.float32], cameras: Cameras, size: tuple[int, int]) -> None:
        self._distance, self._cameras, self._size = distance, cameras, size

    def __len__(self) -> int:
        return len(self._cameras)

    def read(self, indices: Sequence[int]) -> DepthMaps:
        cameras = self._cameras
        return np.stack(
            [
                panorama.view_depth(self._distance, cameras.intrinsics[i], cameras.world_to_camera[i], self._size)
                for i in indices
            ]
        )


def panorama_scene(
    image: Image,
    distance: NDArray[np.float32],
    size: tuple[int, int],
    *,
    clip_id: str = "panorama",
    most_points: int = panorama.MOST_POINTS,
    photo: Photo | None = None,
) -> StillScene:
    """A panorama ``h w 3`` with the distance of every pixel (``h w``, any unit), seen in pictures of ``size``.

    Its references are 42 views of it, after the ``photo`` that it was made from, which was not resampled and wins ties.

    Raises:
        ClipError: no point is left.
    """
    distance = panorama.unit_distance(distance)
    points, colours, radii = panorama.even_points(image, distance, most_points)
    cameras = panorama.views(size)
    first = cameras.world_to_camera[0]
    picture = None
    if photo is not None:
        picture, lens = photo.fitted(size)
        cameras = Cameras(
            np.concatenate((lens[None], cameras.intrinsics)), np.concatenate((first[None], cameras.world_to_camera))
        )
    scene = Scene(
        clip_id=clip_id,
        frames=_PanoramaFrames(image, cameras, size, picture),
        depth=_PanoramaDepth(distance, cameras, size),
        intrinsics=np.array(cameras.intrinsics),
        world_to_camera=_relative(cameras.world_to_camera, first),
        size=size,
        frame_rate=FRAME_RATE,
        scale="relative",
        still=True,
        timeline=Timeline([0], "hold"),
        points=_cloud(_moved(points, first), colours, radii, clip_id),
    )
    return StillScene(scene, first, panorama.UNIT)


class _Photos:
    """Reference pictures in files, fitted to the scene's size."""

    def __init__(self, paths: Sequence[Path], fits: Sequence[Fit]) -> None:
        self._paths, self._fits = paths, fits

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, indices: Sequence[int]) -> Frames:
        return np.stack([self._fits[i].image(read_photo(self._paths[i])) for i in indices])


class _CloudDepth:
    """Depth of the reference pictures: what their cameras see of the points."""

    def __init__(self, cloud: DiscCloud, cameras: Cameras, size: tuple[int, int]) -> None:
        self._cloud, self._cameras, self._size = cloud, cameras, size

    def __len__(self) -> int:
        return len(self._cameras)

    def read(self, indices: Sequence[int]) -> DepthMaps:
        depth = self._cloud.render(self._cameras[list(indices)], self._size).depth
        assert depth is not None, "a cloud's render has depth"
        return depth


def point_cloud_scene(
    folder: Path, size: tuple[int, int], *, clip_id: str | None = None, most_points: int = MOST_POINTS
) -> StillScene:
    """A folder with ``pointcloud.ply``, and ``transforms_condition.json`` with its reference pictures and cameras.

    Raises:
        ClipError: a file is missing or damaged, or a camera is not rigid.
    """
    name = clip_id or folder.name
    points, colours = read_ply(folder / CLOUD_FILE)
    kept = thinned(points, most_points)
    points, colours = points[kept], colours[kept]
    radii = neighbour_radii(points)
    photos = read_conditions(folder / CONDITIONS_FILE)
    fits, cameras = fitted_cameras(photos, size)
    first = cameras.world_to_camera[0]
    cloud = _cloud(_moved(points, first), colours, radii, name)
    views = Cameras(cameras.intrinsics, _relative(cameras.world_to_camera, first))
    scene = Scene(
        clip_id=name,
        frames=_Photos([photo.path for photo in photos], fits),
        depth=_CloudDepth(cloud, views, size),
        intrinsics=np.array(views.intrinsics),
        world_to_camera=views.world_to_camera,
        size=size,
        frame_rate=FRAME_RATE,
        scale="relative",
        still=True,
        timeline=Timeline([0], "hold"),
        points=cloud,
    )
    return StillScene(scene, first, point_cloud.UNIT)


def _cloud(points: NDArray[np.float32], colours: NDArray[np.uint8], radii: NDArray[np.float32], name: str) -> DiscCloud:
    try:
        return DiscCloud.of(points, colours, radii)
    except ValueError as error:
        raise ClipError(f"{name}: {error}") from error


def _moved(points: NDArray[np.float32], transform: np.ndarray) -> NDArray[np.float32]:
    return (points @ transform[:3, :3].T + transform[:3, 3]).astype(np.float32)


def _relative(world_to_camera: np.ndarray, first: np.ndarray) -> np.ndarray:
    relative = world_to_camera @ invert(first)
    relative[0] = np.eye(4)
    return relative
