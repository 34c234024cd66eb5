"""Geometry folders of every format that is read, written byte by byte from the formats' descriptions."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from inspatio.cameras.camera_file import CameraFile
from inspatio.cameras.poses import relative_to_first
from inspatio.geometry.depth_video import depth_video_scale, write_depth_video
from inspatio.geometry.store import GeometryWriter

FRAMES = 5
HEIGHT, WIDTH = SIZE = (24, 32)
FX, FY, CX, CY = 30.0, 31.0, 15.25, 11.75
"""In coordinates whose origin is the first pixel's centre."""


def poses(count: int = FRAMES) -> NDArray[np.float64]:
    rng = np.random.default_rng(1)
    world_to_camera = np.tile(np.eye(4), (count, 1, 1))
    world_to_camera[:, :3, :3] = Rotation.from_rotvec(0.2 * rng.normal(size=(count, 3))).as_matrix()
    world_to_camera[:, :3, 3] = rng.normal(size=(count, 3))
    return world_to_camera


def depths(count: int = FRAMES) -> NDArray[np.float32]:
    depth = np.random.default_rng(2).uniform(0.5, 9, (count, HEIGHT, WIDTH)).astype(np.float32)
    depth[:, 3, 4] = 0
    return depth


def matrix(shift: float) -> NDArray[np.float64]:
    return np.array([[FX, 0, CX + shift], [0, FY, CY + shift], [0, 0, 1]])


def write_png(path: Path, image: NDArray) -> None:
    """8-bit RGBA or 16-bit grey PNG."""
    colour_type, bits = {(3, 1): (6, 8), (2, 2): (0, 16)}[(image.ndim, image.itemsize)]
    rows = image.astype(image.dtype.newbyteorder(">")).reshape(len(image), -1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", image.shape[1], image.shape[0], bits, colour_type, 0, 0, 0)
    chunks = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))


def rows_of(matrices: NDArray) -> str:
    return "".join(
        " ".join(f"{value:.18e}" for value in row) + "\n" for row in matrices.reshape(-1, matrices.shape[-1])
    )


# Writers, one for each format; each takes the folder to fill


def write_native(folder: Path) -> None:
    folder.mkdir()
    writer = GeometryWriter(folder, SIZE, SIZE, FRAMES)
    writer.write(depths(), confidence=depths() + 1, sky=depths() > 8)
    writer.finish(matrix(0), poses(), "metres", "elsewhere", {"window": 2})


def write_native_video(folder: Path) -> None:
    folder.mkdir()
    scale = depth_video_scale(0.5)
    write_depth_video(folder / "depth.mkv", depths(), scale)
    intrinsics = np.tile(matrix(0), (FRAMES, 1, 1))
    cameras = CameraFile(SIZE, intrinsics, relative_to_first(poses()), "metres", "elsewhere", {}, scale)
    cameras.save(folder / "cameras.json")


def write_da3(folder: Path) -> None:
    for i, depth in enumerate(depths()):
        write_png(folder / "depth" / f"{i:04d}.png", depth.astype("<f4").view(np.uint8).reshape(HEIGHT, WIDTH, 4))
        write_png(folder / "depth_half" / f"{i:04d}.png", np.zeros((2, 2, 4), np.uint8))
    (folder / "extrinsic.txt").write_text(rows_of(poses()[:, :3]))
    (folder / "intrinsic.txt").write_text(rows_of(np.tile(matrix(0.5), (FRAMES, 1, 1))))


def write_da3_16bit(folder: Path) -> None:
    low, high = float(depths().min()), float(depths().max())
    for i, depth in enumerate(depths().astype(np.float64)):
        write_png(folder / "depth" / f"{i:06d}.png", np.rint((depth - low) / (high - low) * 65535).astype(np.uint16))
    (folder / "metadata.txt").write_text(f"{low} {high}\n")
    lines = [np.array2string(pose[:3], separator=", ", suppress_small=True).replace("\n", "") for pose in poses()]
    (folder / "extrinsics.txt").write_text("\n".join(lines) + "\n")
    (folder / "intrinsics.txt").write_text(np.array2string(matrix(0.5), separator=", ").replace("\n", "") + "\n")


def write_tum(folder: Path) -> None:
    times = 1305031102.1 + np.arange(FRAMES) / 30
    folder.mkdir()
    (folder / "rgb.txt").write_text(
        "# color images\n# timestamp filename\n" + "".join(f"{t:.6f} rgb/{t:.6f}.png\n" for t in times)
    )
    listing = "# depth maps\n"
    for t, depth in zip(times + 0.004, depths(), strict=True):
        write_png(folder / "depth" / f"{t:.6f}.png", np.rint(depth * 5000.0).astype(np.uint16))
        listing += f"{t:.6f} depth/{t:.6f}.png\n"
    (folder / "depth.txt").write_text(listing)
    camera_to_world = np.linalg.inv(poses())
    quaternions = Rotation.from_matrix(camera_to_world[:, :3, :3]).as_quat()
    truth = "# timestamp tx ty tz qx qy qz qw\n"
    for t, pose, quaternion in zip(times, camera_to_world, quaternions, strict=True):
        truth += f"{t:.6f} " + " ".join(f"{value:.12f}" for value in [*pose[:3, 3], *quaternion]) + "\n"
    (folder / "groundtruth.txt").write_text(truth)
    (folder / "intrinsics.txt").write_text(f"{FX} {FY} {CX} {CY}\n")


def write_depth_maps(folder: Path, kind: str = "geometric") -> None:
    for i, depth in enumerate(depths()):
        path = folder / "stereo" / "depth_maps" / f"frame {i + 1:03d}.jpg.{kind}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"{WIDTH}&{HEIGHT}&1&".encode() + depth.astype("<f4").tobytes())


def colmap_images() -> list[tuple[int, NDArray, str]]:
    """(number, qw qx qy qz tx ty tz, name), out of order as COLMAP leaves them."""
    quaternions = Rotation.from_matrix(poses()[:, :3, :3]).as_quat()[:, [3, 0, 1, 2]]
    numbers = np.concatenate([quaternions, poses()[:, :3, 3]], axis=1)
    return [(10 + i, numbers[i], f"frame {i + 1:03d}.jpg") for i in (3, 0, 4, 1, 2)]


def write_colmap_text(folder: Path) -> None:
    write_depth_maps(folder)
    model = folder / "sparse"
    model.mkdir()
    (model / "cameras.txt").write_text(
        f"# Camera list\n# Number of cameras: 1\n7 PINHOLE {WIDTH} {HEIGHT} {FX} {FY} {CX + 0.5} {CY + 0.5}\n"
    )
    text = "# Image list with two lines of data per image:\n"
    for place, (number, pose, name) in enumerate(colmap_images()):
        points = "1.5 2.5 -1 3.5 4.5 12" if place % 2 else ""  # an image without points has an empty line
        text += f"{number} {' '.join(f'{value:.15g}' for value in pose)} 7 {name}\n{points}\n"
    (model / "images.txt").write_text(text)


def write_colmap_binary(folder: Path) -> None:
    write_depth_maps(folder / "dense", "photometric")
    model = folder / "dense" / "sparse" / "0"
    model.mkdir(parents=True)
    camera = struct.pack("<iiQQ4d", 7, 2, WIDTH, HEIGHT, FX, CX + 0.5, CY + 0.5, 0.0)  # SIMPLE_RADIAL, k = 0
    (model / "cameras.bin").write_bytes(struct.pack("<Q", 1) + camera)
    data = struct.pack("<Q", FRAMES)
    for place, (number, pose, name) in enumerate(colmap_images()):
        data += struct.pack("<i7di", number, *pose, 7) + name.encode() + b"\0"
        data += struct.pack("<Q", place) + struct.pack("<ddq", 1.5, 2.5, -1) * place
    (model / "images.bin").write_bytes(data)


def write_vggt(folder: Path) -> None:
    folder.mkdir()
    np.savez(
        folder / "predictions.npz",
        depth=depths()[..., None],
        depth_conf=depths() + 1,
        extrinsic=poses()[:, :3].astype(np.float64),
        intrinsic=np.tile(matrix(0), (FRAMES, 1, 1)),
        images=np.zeros((FRAMES, 3, HEIGHT, WIDTH), np.float32),
    )


def write_megasam(folder: Path) -> None:
    folder.mkdir()
    np.savez(
        folder / "my clip_sgd_cvd_hr.npz",
        images=np.zeros((FRAMES, HEIGHT, WIDTH, 3), np.uint8),
        depths=depths().astype(np.float16),
        intrinsic=matrix(0),
        cam_c2w=np.linalg.inv(poses()),
    )


def write_vipe(folder: Path) -> None:
    for name in ("pose", "intrinsics", "depth"):
        (folder / name).mkdir(parents=True)
    frames = np.arange(FRAMES)
    np.savez(folder / "pose" / "clip.npz", data=np.linalg.inv(poses()), inds=frames)
    np.savez(folder / "intrinsics" / "clip.npz", data=np.tile([FX, FY, CX, CY], (FRAMES, 1)), inds=frames)
    (folder / "intrinsics" / "clip_camera.txt").write_text("".join(f"{i}: PINHOLE\n" for i in frames))
    with zipfile.ZipFile(folder / "depth" / "clip.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i, depth in enumerate(depths()):
            archive.writestr(f"{i:05d}.exr", exr(np.where(depth > 0, depth, np.nan).astype("<f2")))


def exr(values: NDArray, channel: str = "Z") -> bytes:
    """An uncompressed OpenEXR image of half or full floats in one channel."""
    height, width = values.shape
    pixel = {2: 1, 4: 2}[values.itemsize]

    def attribute(name: str, kind: str, value: bytes) -> bytes:
        return name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(value)) + value

    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    header = struct.pack("<ii", 20000630, 2)
    header += attribute("channels", "chlist", channel.encode() + b"\0" + struct.pack("<iB3xii", pixel, 0, 1, 1) + b"\0")
    header += attribute("compression", "compression", b"\0") + attribute("dataWindow", "box2i", window)
    header += attribute("displayWindow", "box2i", window) + attribute("lineOrder", "lineOrder", b"\0") + b"\0"
    lines = [struct.pack("<ii", row, values.itemsize * width) + values[row].tobytes() for row in range(height)]
    starts = [len(header) + 8 * height + row * len(lines[0]) for row in range(height)]
    return header + struct.pack(f"<{height}Q", *starts) + b"".join(lines)


WRITERS = {
    writer.__name__.removeprefix("write_"): writer
    for writer in (
        write_native,
        write_native_video,
        write_da3,
        write_da3_16bit,
        write_tum,
        write_colmap_text,
        write_colmap_binary,
        write_vggt,
        write_megasam,
        write_vipe,
    )
}
