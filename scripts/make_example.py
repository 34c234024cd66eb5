"""Film the example scene: examples/living_room.mp4 and its true geometry beside it, examples/living_room.geometry/.

    python scripts/make_example.py [--folder examples]

The geometry folder holds cameras.json and depth.mkv (inverse depth, half the video's size: as coarse as an estimator's
would be). Everything is deterministic: made again, the geometry has the same bytes and the video was encoded from the
same pixels. The scene itself is inspatio/evaluation/synthetic_room/scene.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from tqdm import tqdm

from inspatio.cameras.camera_file import CameraFile
from inspatio.evaluation.synthetic_room import scene
from inspatio.geometry.depth_video import DEPTH_VIDEO_FILE, write_depth_video
from inspatio.geometry.store import CAMERAS_FILE
from inspatio.storage import atomic_file

CLIP = "living_room"
DEPTH_SIZE = (scene.SIZE[0] // 2, scene.SIZE[1] // 2)
DEPTH_STEP = 1 / (1.5 * 800)
"""Step of the inverse depth in 1/metre: an eighth of a pixel of motion when the camera moves by 20 cm."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("examples"), help="where the clip goes [examples]")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    make_geometry(folder / f"{CLIP}.geometry")
    make_video(folder / f"{CLIP}.mp4")


def make_video(path: Path) -> None:
    """Film all frames with the source camera."""
    world_to_camera = scene.source_world_to_camera()
    bt709, video_range = Colorspace.ITU709, ColorRange.MPEG
    with (
        atomic_file(path) as part,
        av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as container,
    ):
        # Smaller than the results are (media.VideoWriter): it is in the repository.
        stream = container.add_stream("libx264", rate=scene.FRAME_RATE, options={"preset": "slow", "crf": "20"})
        stream.height, stream.width = scene.SIZE
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.thread_count = 1  # the file depends on it
        context.colorspace, context.color_range = bt709, video_range
        context.color_primaries = context.color_trc = 1
        for index in tqdm(range(scene.FRAME_COUNT), desc=path.name, unit="frame"):
            picture = av.VideoFrame.from_ndarray(scene.true_view(index, world_to_camera[index]))
            frame = picture.reformat(format="yuv420p", dst_colorspace=bt709, dst_color_range=video_range)
            frame.pts, frame.time_base = index, 1 / scene.FRAME_RATE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def make_geometry(folder: Path) -> None:
    """Write the true depth and cameras of all frames as a geometry folder."""
    folder.mkdir(exist_ok=True)
    n = scene.FRAME_COUNT
    world_to_camera = scene.source_world_to_camera()
    camera = depth_intrinsics()
    maps = (
        scene.true_depth(frame, world_to_camera[frame], camera, DEPTH_SIZE)
        for frame in tqdm(range(n), desc=folder.name, unit="frame")
    )
    write_depth_video(folder / DEPTH_VIDEO_FILE, maps, DEPTH_STEP, scene.FRAME_RATE)
    cameras = CameraFile(
        image_size=scene.SIZE,
        intrinsics=np.tile(scene.intrinsics(), (n, 1, 1)),
        world_to_camera=world_to_camera,
        scale="metres",
        backend="truth",
        settings={"made_by": Path(__file__).name},
        depth_scale=DEPTH_STEP,
    )
    cameras.save(folder / CAMERAS_FILE)


def depth_intrinsics() -> np.ndarray:
    """``3 3``: the source camera's intrinsics for maps of DEPTH_SIZE."""
    scale = DEPTH_SIZE[0] / scene.SIZE[0]
    # Pixel centres are at integers: u goes to (u + 0.5) * scale - 0.5.
    shrink = np.array([[scale, 0, scale / 2 - 0.5], [0, scale, scale / 2 - 0.5], [0, 0, 1]])
    return shrink @ scene.intrinsics()


if __name__ == "__main__":
    main()
