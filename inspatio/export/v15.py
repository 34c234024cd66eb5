"""Write a scene and a camera path as a scene folder of InSpatio-World 1.5; the published code runs it as it is.

``media/scene_folder.py`` and ``geometry/formats/v15.py`` describe the files and read them again.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

from inspatio.cameras.cameras import Cameras
from inspatio.errors import UsageError
from inspatio.geometry.formats.v15 import DEPTH_VIDEO, INTRINSICS_FILE, LEVELS, POSES_FILE, RANGE_FILE, depth_names
from inspatio.media import VideoWriter
from inspatio.media.listing import PROMPT_NAME, SCENE_FILE
from inspatio.media.scene_folder import MOST_VIEWS, VIDEO_NAME, VIEW_NAME
from inspatio.render.views import block_ends
from inspatio.scene import Scene

SIZE = (480, 832)
"""(height, width): the only one that the published code takes."""
STILL_FRAMES = 141
"""Poses of a still scene where no path is given: as in the published examples."""
PATH_NAME = "input/target_tcw.txt"


def write_v15(scene: Scene, folder: Path, path: Cameras | None = None) -> None:
    """Write a scene into an empty folder; the published code takes scenes of ``SIZE`` only.

    Args:
        scene: frames, depth, cameras and prompt.
        folder: is filled.
        path: target cameras, whose poses alone are kept: targets have the first source camera's intrinsics there. None:
            the source's own path.

    Raises:
        UsageError: a scene of more pictures than can be named.
    """
    count = len(scene.frames)
    if scene.still and count > MOST_VIEWS:
        raise UsageError(f"{scene.clip_id}: {count} views, expected at most {MOST_VIEWS}")
    (folder / "input").mkdir()
    (folder / "depth").mkdir()
    poses, valid = _path(scene, path)
    rows = {
        INTRINSICS_FILE: scene.intrinsics.reshape(count, 9),
        POSES_FILE: scene.world_to_camera.reshape(count, 16),
        PATH_NAME: poses.reshape(-1, 16),
    }
    for name, values in rows.items():
        np.savetxt(folder / name, values, fmt="%.12g")
    (folder / PROMPT_NAME).write_text(f"{scene.prompt}\n", encoding="utf-8")
    farthest = max(float(np.nan_to_num(scene.depth.read([index])[0], posinf=0).max()) for index in range(count)) or 1.0
    np.savetxt(folder / RANGE_FILE, [[0.0, farthest]], fmt="%.9g")
    if scene.still:
        for index, name in enumerate(depth_names(count)):
            _write_png(folder / VIEW_NAME.format(index), scene.frames.read([index])[0][..., ::-1])
            _write_png(folder / name, _levels(scene, index, farthest))
    else:
        with VideoWriter(folder / VIDEO_NAME, scene.size, scene.frame_rate, quality="render") as video:
            for index in range(count):
                video.write(scene.frames.read([index]))
        _write_depth_video(folder / DEPTH_VIDEO, scene, farthest)
    frame = "view_00" if scene.still else "frame_000000"
    facts = {
        "output_id": folder_id(scene.clip_id),
        "kind": "image" if scene.still else "video",
        "views": count,
        "frames": len(poses),
        "valid_frames": valid,
        "fps": float(scene.frame_rate),
        "resolution": list(scene.size),
        "target_intrinsics": f"estimated_source_{frame}_fixed",
        "depth_encoding": "uint16_minmax_v1",
    }
    (folder / SCENE_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def folder_id(clip_id: str) -> str:
    """The clip's name as the published code allows it: ASCII letters, digits, ``_ . -``, the first no sign."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "_" for c in clip_id)
    return kept if kept[:1].isalnum() else f"clip{kept}"


def _path(scene: Scene, path: Cameras | None) -> tuple[np.ndarray, int]:
    """Target poses, the last one repeated as often as the published code wants it, and how many are meant."""
    count = len(scene.frames)
    own = np.tile(np.eye(4), (STILL_FRAMES, 1, 1)) if scene.still else scene.world_to_camera
    poses = own if path is None else np.array(path.world_to_camera)
    wanted = next(end for end in block_ends() if end >= len(poses)) if scene.still else count
    valid = min(len(poses), wanted)
    return np.concatenate([poses[:wanted], np.repeat(poses[-1:], wanted - valid, axis=0)]), valid


def _levels(scene: Scene, index: int, farthest: float) -> np.ndarray:
    depth = np.nan_to_num(scene.depth.read([index])[0].astype(np.float64), posinf=0)
    levels = np.rint(np.clip(depth / farthest, 0, 1) * LEVELS)
    return np.where(depth > 0, np.maximum(levels, 1), 0).astype(np.uint16)


def _write_png(path: Path, image: np.ndarray) -> None:
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())


def _write_depth_video(path: Path, scene: Scene, farthest: float) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264rgb", rate=Fraction(scene.frame_rate), options={"crf": "0"})
        assert isinstance(stream, VideoStream), "libx264rgb encodes video"
        (stream.height, stream.width), stream.pix_fmt = scene.size, "rgb24"
        for index in range(len(scene.frames)):
            levels = _levels(scene, index, farthest)
            pixels = np.dstack([levels >> 8, levels & 255, np.zeros_like(levels)]).astype(np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode(None))
