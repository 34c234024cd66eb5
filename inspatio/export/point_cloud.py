"""Geometry for other programs: a point cloud (PLY, glTF) or a COLMAP text model.

    ply      binary points with colours                         MeshLab, CloudCompare, Blender, Open3D
    glb      the same points and the camera path, y up          viewers in the browser, Blender
    colmap   cameras.txt, images.txt, points3D.txt, images/     COLMAP and everything that trains on its models

All three formats are simple enough to be written here. Axes are OpenCV's (x right, y down, z forward) but in glTF,
which wants y up and z towards the viewer; COLMAP puts the first pixel's centre at 0.5, this package at 0.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from inspatio.cameras.poses import invert
from inspatio.errors import UsageError
from inspatio.export.points import PointCloud, evenly_spaced, point_cloud
from inspatio.geometry.store import Geometry
from inspatio.scene import FrameSource
from inspatio.storage import atomic_file, atomic_folder

ExportFormat: TypeAlias = Literal["ply", "glb", "colmap"]
FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)

POINT_FRAMES = 8
"""How many frames the points are taken from, evenly spaced, unless they are named."""
MOST_POINTS = 1_000_000
_IMAGE_NAME = "{:06d}.jpg"
_JPEG_QUALITY = 95
_FLOAT, _BYTE = 5126, 5121
_POINTS, _LINES = 0, 1
"""glTF's numbers for types of values and of primitives."""
_TO_GLTF = np.array([1.0, -1.0, -1.0])


def export(
    geometry: Geometry,
    frames: FrameSource,
    target: Path,
    form: ExportFormat,
    *,
    indices: Sequence[int] | None = None,
    most_points: int = MOST_POINTS,
) -> None:
    """Write a file (ply, glb) or a folder (colmap) at ``target``.

    ``frames`` are the source frames at the geometry's ``image_size``; ``indices`` are those that points are taken from.

    Raises:
        UsageError: no such format, or no such frame.
    """
    if form not in FORMATS:
        raise UsageError(f"export format {form!r}: expected one of {', '.join(FORMATS)}")
    count = geometry.frame_count
    if indices is None:
        indices = evenly_spaced(count, POINT_FRAMES)
    outside = [index for index in indices if not 0 <= index < count]
    if outside or not indices:
        raise UsageError(f"export of frames {list(indices)}: expected frames of this clip, 0 to {count - 1}")
    cloud = point_cloud(geometry, frames, indices, most_points)
    if form == "colmap":
        with atomic_folder(target) as folder:
            write_colmap(geometry, frames, cloud, folder)
        return
    centres = invert(geometry.world_to_camera)[:, :3, 3]
    with atomic_file(target) as path:
        path.write_bytes(ply_bytes(cloud) if form == "ply" else glb_bytes(cloud, centres))


def ply_bytes(cloud: PointCloud) -> bytes:
    """A binary little-endian PLY file."""
    names = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
    records = np.empty(len(cloud.points), names)
    for axis, name in enumerate("xyz"):
        records[name] = cloud.points[:, axis]
    for channel, name in enumerate(("red", "green", "blue")):
        records[name] = cloud.colours[:, channel]
    properties = [f"property {'float' if kind == '<f4' else 'uchar'} {name}" for name, kind in names]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(records)}", *properties, "end_header", ""]
    return "\n".join(header).encode() + records.tobytes()


def glb_bytes(cloud: PointCloud, path: NDArray[np.float64]) -> bytes:
    """A binary glTF 2.0 file with the points and the camera path (``n 3``) as a line."""
    positions = (cloud.points * _TO_GLTF).astype("<f4")
    # Colours of three bytes would break the four-byte alignment that glTF asks for.
    colours = np.concatenate([cloud.colours, np.full((len(positions), 1), 255, np.uint8)], axis=-1)
    line = (path * _TO_GLTF).astype("<f4")
    if len(line) > 1:
        # Each step by its two ends: not every reader knows connected lines.
        line = np.stack([line[:-1], line[1:]], axis=1).reshape(-1, 3)
    parts, views, accessors, primitives = [], [], [], []
    offset = 0

    def store(array: NDArray, kind: str, component: int, **more: object) -> int:
        """Append an array to the buffer; returns its accessor's number."""
        nonlocal offset
        data = array.tobytes()
        views.append({"buffer": 0, "byteOffset": offset, "byteLength": len(data), "target": 34962})
        accessors.append(
            {"bufferView": len(views) - 1, "componentType": component, "count": len(array), "type": kind, **more}
        )
        parts.append(data)
        offset += len(data)
        return len(accessors) - 1

    def store_positions(array: NDArray) -> int:
        return store(array, "VEC3", _FLOAT, min=array.min(axis=0).tolist(), max=array.max(axis=0).tolist())

    if len(positions):
        attributes = {"POSITION": store_positions(positions), "COLOR_0": store(colours, "VEC4", _BYTE, normalized=True)}
        primitives.append({"attributes": attributes, "mode": _POINTS})
    primitives.append({"attributes": {"POSITION": store_positions(line)}, "mode": _LINES if len(line) > 1 else _POINTS})
    document = {
        "asset": {"version": "2.0", "generator": "inspatio"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": primitives}],
        "buffers": [{"byteLength": offset}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    chunks += struct.pack("<I4s", offset, b"BIN\0") + b"".join(parts)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def write_colmap(geometry: Geometry, frames: FrameSource, cloud: PointCloud, folder: Path) -> None:
    """A COLMAP text model and its images into an empty folder: every frame an image with a camera of its own."""
    height, width = geometry.image_size
    rotations = Rotation.from_matrix(geometry.world_to_camera[:, :3, :3]).as_quat(scalar_first=True)
    cameras, images = [], []
    for index, (matrix, pose) in enumerate(zip(geometry.intrinsics, geometry.world_to_camera, strict=True)):
        number = index + 1
        centre = f"{matrix[0, 2] + 0.5:.9g} {matrix[1, 2] + 0.5:.9g}"
        cameras.append(f"{number} PINHOLE {width} {height} {matrix[0, 0]:.9g} {matrix[1, 1]:.9g} {centre}\n")
        rigid = " ".join(f"{value:.12g}" for value in (*rotations[index], *pose[:3, 3]))
        # The second line lists key points; there are none.
        images.append(f"{number} {rigid} {number} {_IMAGE_NAME.format(index)}\n\n")
    (folder / "cameras.txt").write_text("# CAMERA_ID MODEL WIDTH HEIGHT FX FY CX CY\n" + "".join(cameras))
    (folder / "images.txt").write_text(
        "# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then key points\n" + "".join(images)
    )
    with (folder / "points3D.txt").open("w") as file:
        file.write("# POINT3D_ID X Y Z R G B ERROR TRACK[]\n")
        for number, (point, colour) in enumerate(zip(cloud.points.tolist(), cloud.colours.tolist(), strict=True), 1):
            x, y, z = point
            file.write(f"{number} {x:.7g} {y:.7g} {z:.7g} {colour[0]} {colour[1]} {colour[2]} 0\n")
    (folder / "images").mkdir()
    for index in range(geometry.frame_count):
        image = cv2.cvtColor(frames.read([index])[0], cv2.COLOR_RGB2BGR)
        done = cv2.imwrite(
            str(folder / "images" / _IMAGE_NAME.format(index)), image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        )
        if not done:
            raise OSError(f"{folder / 'images'}: frame {index} could not be written")
