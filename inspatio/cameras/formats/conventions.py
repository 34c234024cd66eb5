"""What the poses of every camera path format mean: the one table of directions, axes, quaternions and units.

Camera axes are x right, y down, z forward (``opencv``), x right, y up, looking along -z (``opengl``), or x forward,
y right, z up (``unreal``, left-handed). World axes have the same names; in a ``z_up`` world z points up and y away from
the viewer. :func:`to_camera_to_world` and :func:`from_camera_to_world` are the only places that convert.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.poses import invert
from inspatio.types import CameraToWorld, Direction, PathFormat

Axes: TypeAlias = Literal["opencv", "opengl", "unreal", "z_up"]

_AXES: dict[Axes, NDArray[np.float64]] = {
    "opencv": np.eye(3),
    "opengl": np.diag([1.0, -1.0, -1.0]),
    "unreal": np.array([[0.0, 1, 0], [0, 0, -1], [1, 0, 0]]),
    "z_up": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
}
"""``3 3``, from coordinates in these axes to coordinates in OpenCV's."""


@dataclass(frozen=True)
class Convention:
    """How a format spells a pose."""

    direction: Direction
    camera: Axes = "opencv"
    world: Axes = "opencv"
    unit: float = 1.0
    """A length of 1 in the file, in the unit of the path."""
    rotation: str = "matrix"
    intrinsics: str = "none"
    times: str = "none"
    about: str = ""


CONVENTIONS: dict[PathFormat, Convention] = {
    "inspatio": Convention(
        "world_to_camera",
        intrinsics="pixels, centres at integers",
        times="source frames",
        about="`cameras.json` of this project",
    ),
    "matrices": Convention(
        "camera_to_world", times="source frames, in a recorded flight", about="matrix lines of this project"
    ),
    "tcw": Convention("world_to_camera", about="`target_tcw.txt` of InSpatio-World 1.5: 16 numbers a line, no header"),
    "re10k": Convention(
        "world_to_camera",
        intrinsics="divided by width and height, corner origin",
        times="microseconds",
        about="RealEstate10K: an address, then time, fx fy cx cy, 0 0, 3x4",
    ),
    "tum": Convention(
        "camera_to_world",
        rotation="quaternion, scalar last",
        times="seconds",
        about="TUM RGB-D: `time tx ty tz qx qy qz qw`",
    ),
    "kitti": Convention("camera_to_world", about="KITTI odometry: 12 numbers a line"),
    "colmap": Convention(
        "world_to_camera",
        rotation="quaternion, scalar first",
        intrinsics="pixels, corner origin",
        about="a folder with `cameras` and `images`, text or binary",
    ),
    "nerfstudio": Convention(
        "camera_to_world",
        camera="opengl",
        world="z_up",
        intrinsics="vertical field of view, degrees",
        times="`render_time`, 0 to 1",
        about="nerfstudio `camera_path.json`",
    ),
    "transforms": Convention(
        "camera_to_world",
        camera="opengl",
        world="z_up",
        intrinsics="pixels, corner origin, or field of view",
        about="nerfstudio, Instant NGP and Blender `transforms.json`",
    ),
    "recammaster": Convention(
        "camera_to_world",
        camera="unreal",
        world="unreal",
        unit=0.01,
        rotation="matrix, transposed",
        about="ReCamMaster `camera_extrinsics.json`, centimetres",
    ),
    "lingbot": Convention(
        "camera_to_world",
        intrinsics="fx fy cx cy in pixels of 832x480, corner origin",
        about="LingBot-World: a folder with `poses.npy` and `intrinsics.npy`",
    ),
    "lyra": Convention(
        "world_to_camera",
        intrinsics="pixels, corner origin",
        about="Lyra 2: npz with `w2c`, `intrinsics`, `image_height`, `image_width`",
    ),
    "gltf": Convention(
        "camera_to_world",
        camera="opengl",
        world="opengl",
        rotation="quaternion, scalar last",
        intrinsics="vertical field of view, radians",
        times="seconds",
        about="glTF 2.0 camera animation (.gltf, .glb)",
    ),
    "chan": Convention(
        "camera_to_world",
        camera="opengl",
        world="opengl",
        rotation="Euler degrees, order not stored",
        intrinsics="vertical field of view, degrees",
        times="frame numbers",
        about="`.chan` of Nuke, Houdini, Blender: `frame tx ty tz rx ry rz [fov]`",
    ),
}


def to_camera_to_world(kind: PathFormat, poses: NDArray[np.float64]) -> CameraToWorld:
    """``n 4 4`` poses as a format spells them, in this package's axes."""
    convention = CONVENTIONS[kind]
    camera_to_world = invert(poses) if convention.direction == "world_to_camera" else poses.copy()
    world, camera = _AXES[convention.world], _AXES[convention.camera]
    camera_to_world[:, :3, :3] = world @ camera_to_world[:, :3, :3] @ camera.T
    camera_to_world[:, :3, 3] = camera_to_world[:, :3, 3] @ world.T * convention.unit
    return camera_to_world


def from_camera_to_world(kind: PathFormat, camera_to_world: CameraToWorld) -> NDArray[np.float64]:
    """``n 4 4`` poses of this package as a format spells them; the inverse of :func:`to_camera_to_world`."""
    convention = CONVENTIONS[kind]
    world, camera = _AXES[convention.world], _AXES[convention.camera]
    poses = camera_to_world.copy()
    poses[:, :3, :3] = world.T @ poses[:, :3, :3] @ camera
    poses[:, :3, 3] = poses[:, :3, 3] @ world / convention.unit
    return invert(poses) if convention.direction == "world_to_camera" else poses


def conventions_markdown() -> str:
    """The table of formats in docs/formats.md."""
    lines = [
        "| format | file | poses | camera axes | world axes | rotation | intrinsics | times |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for kind, each in CONVENTIONS.items():
        cells = [f"`{kind}`", each.about, each.direction.replace("_", " "), each.camera, each.world.replace("_", " ")]
        lines.append(f"| {' | '.join([*cells, each.rotation, each.intrinsics, each.times])} |")
    return "\n".join(lines)
