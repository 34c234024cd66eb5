"""Image files and folders of views for tests, encoded on the spot."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from inspatio.evaluation.synthetic_room import scene as truth
from inspatio.geometry.store import GeometryWriter

VIEW_SIZE = (60, 104)
"""(height, width) of :func:`write_views`' pictures."""


def gradient(height: int = 48, width: int = 80) -> np.ndarray:
    """``h w 3`` uint8: red grows to the right, green down; every corner has a colour of its own."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns * 255 // (width - 1), rows * 255 // (height - 1), np.full_like(rows, 90)], -1).astype(
        np.uint8
    )


def write_picture(path: Path, image: np.ndarray | None = None, **options: Any) -> Path:
    """A picture in the format that the name asks for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(gradient() if image is None else image).save(path, **options)
    return path


def sideways_phone(path: Path) -> Path:
    """The gradient as a phone stores it when held upright: turned by 90 degrees, with the tag that turns it back."""
    exif = Image.Exif()
    exif[0x0112] = 6  # shown upright by turning it clockwise
    Image.fromarray(np.rot90(gradient()).copy()).save(path, exif=exif, quality=95)
    return path


def wide_gamut_profile() -> bytes:
    """A profile whose primaries are not sRGB's: Lab stands in for a camera's own space."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def display_p3() -> bytes:
    """The profile of a phone's photos, built from its definition: primaries brought to D50, and sRGB's curve."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    curve = b"para" + struct.pack(">IHH", 0, 3, 0) + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    text = b"mluc" + struct.pack(">IIIHHII", 0, 1, 12, 0x656E, 0x5553, 4, 28) + "P3".encode("utf-16-be")
    colours = {
        b"wtpt": (0.96420, 1.0, 0.82491),
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }
    tags = {name: b"XYZ " + bytes(4) + fixed(*values) for name, values in colours.items()}
    tags |= {b"desc": text, b"cprt": text, b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    at, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(">I4xI4s4s4s12x4s", at + len(body), 0x04000000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    header += bytes(68 - len(header)) + fixed(0.96420, 1.0, 0.82491)
    return header + bytes(128 - len(header)) + table + body


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def view_poses() -> np.ndarray:
    """``n 4 4`` world_to_camera of :func:`write_views`' pictures: the first at the origin."""
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[1, 0, 3], poses[2, 0, 3] = -0.35, 0.35
    return poses


def view_intrinsics() -> np.ndarray:
    scale = VIEW_SIZE[0] / truth.SIZE[0]
    lens = np.diag([scale, scale, 1.0]) @ truth.intrinsics()
    lens[:2, 2] = (VIEW_SIZE[1] - 1) / 2, (VIEW_SIZE[0] - 1) / 2
    return lens


def write_views(folder: Path, *, geometry: bool = True) -> Path:
    """Three views of the synthetic room at one moment, with true geometry beside them (``<folder>.geometry``)."""
    poses, lens = view_poses(), view_intrinsics()
    for index, pose in enumerate(poses):
        write_picture(folder / f"view_{index}.png", truth.true_view(0, pose, lens, VIEW_SIZE))
    if geometry:
        store = folder.with_name(f"{folder.name}.geometry")
        store.mkdir()
        writer = GeometryWriter(store, VIEW_SIZE, VIEW_SIZE, len(poses))
        for pose in poses:
            writer.write(truth.true_depth(0, pose, lens, VIEW_SIZE)[None])
        writer.finish(lens, poses, "metres", "truth", {})
    return folder
