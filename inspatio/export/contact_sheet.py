"""Draw clips for eyes: a sheet with a row for each clip, and a small moving picture of clips side by side.

The README's picture and the sheets that results are judged by are made of it (``scripts/contact_sheet.py``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av.filter import Graph

from inspatio.export.points import evenly_spaced
from inspatio.media import VideoInfo, VideoReader
from inspatio.storage import atomic_file
from inspatio.types import Image

GAP = 4
LABEL_HEIGHT = 20
BACKGROUND = 24


def labelled(image: Image, text: str) -> Image:
    """Put a line of text above an image; letters that the font lacks become question marks."""
    strip = np.full((LABEL_HEIGHT, image.shape[1], 3), BACKGROUND, np.uint8)
    plain = text.encode("ascii", "replace").decode()
    scale = 0.45
    while scale > 0.25 and cv2.getTextSize(plain, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0] > image.shape[1] - GAP:
        scale -= 0.05
    cv2.putText(strip, plain, (2, 14), cv2.FONT_HERSHEY_SIMPLEX, scale, (235, 235, 235), 1, cv2.LINE_AA)
    return np.concatenate([strip, image])


def tile_size(video: VideoInfo, width: int) -> tuple[int, int]:
    """Compute (height, width) of a clip drawn ``width`` pixels wide in its own shape."""
    return max(round(video.size[0] * width / video.size[1]), 1), width


def row(video: VideoInfo, label: str, frames: int, width: int) -> Image:
    """Draw one clip: ``frames`` of its frames side by side, each with its number and time."""
    indices = evenly_spaced(video.frame_count, frames)
    times = video.timestamps()
    with VideoReader(video, tile_size(video, width)) as reader:
        tiles = []
        for place, index in enumerate(indices):
            number = f"{index} of {video.frame_count}, {float(times[index]):.2f} s"
            tiles.append(labelled(reader.read([index])[0], f"{label}: {number}" if place == 0 else number))
    return beside(tiles)


def beside(images: Sequence[Image]) -> Image:
    """Join images of any heights side by side, their tops in line."""
    height = max(image.shape[0] for image in images)
    return np.concatenate([_padded(image, height, image.shape[1] + GAP) for image in images], axis=1)


def _padded(image: Image, height: int, width: int) -> Image:
    padded = np.full((height, width, 3), BACKGROUND, np.uint8)
    padded[: image.shape[0], : image.shape[1]] = image
    return padded


def sheet(videos: Sequence[VideoInfo], labels: Sequence[str], frames: int, width: int) -> Image:
    """Draw all clips, one below the other: ``h w 3`` uint8 RGB, each frame ``width`` pixels wide.

    Raises:
        ClipError: a clip cannot be decoded.
    """
    rows = [row(video, label, frames, width) for video, label in zip(videos, labels, strict=True)]
    widest = max(image.shape[1] for image in rows)
    return np.concatenate([_padded(image, image.shape[0] + GAP, widest) for image in rows])


def moments(videos: Sequence[VideoInfo], frame_rate: int, seconds: float) -> list[Fraction]:
    """Compute the times in seconds of a moving picture: until the shortest clip ends, at most ``seconds``."""
    duration = min([seconds, *(video.duration for video in videos)])
    return [Fraction(i, frame_rate) for i in range(max(int(duration * frame_rate), 1))]


def pictures(
    videos: Sequence[VideoInfo], labels: Sequence[str], width: int, times: Sequence[Fraction]
) -> Iterator[Image]:
    """Yield all clips side by side, each with its label, as ``h w 3`` uint8 RGB at each of the times."""
    with ExitStack() as stack:
        readers = [stack.enter_context(VideoReader(video, tile_size(video, width))) for video in videos]
        stamps = [video.timestamps() for video in videos]
        for time in times:
            shown = [max(bisect_right(clip, time) - 1, 0) for clip in stamps]
            tiles = [
                labelled(reader.read([index])[0], label)
                for reader, index, label in zip(readers, shown, labels, strict=True)
            ]
            yield beside(tiles)[:, :-GAP]


def write_gif(path: Path, images: Iterable[Image], frame_rate: int, colours: int) -> None:
    """Write a looping GIF with one palette of ``colours``, at most 256, for all of it."""
    tick = Fraction(1, frame_rate)
    frames = (av.VideoFrame.from_ndarray(image, format="rgb24") for image in images)
    with atomic_file(path) as part, av.open(str(part), "w", format="gif", options={"loop": "0"}) as out:
        stream = out.add_stream("gif", rate=frame_rate)
        stream.pix_fmt = "pal8"
        for number, frame in enumerate(in_one_palette(frames, tick, colours)):
            if number == 0:
                stream.width, stream.height = frame.width, frame.height
            frame.pts, frame.time_base = number, tick
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def in_one_palette(frames: Iterable[av.VideoFrame], tick: Fraction, colours: int) -> Iterator[av.VideoFrame]:
    """Yield the frames in the palette that suits all of them best; all are kept in memory until it is known."""
    frames = iter(frames)
    first = next(frames)
    graph = Graph()
    source = graph.add_buffer(width=first.width, height=first.height, format=first.format, time_base=tick)
    split, sink = graph.add("split"), graph.add("buffersink")
    palette = graph.add("palettegen", f"max_colors={colours}:stats_mode=diff")
    use = graph.add("paletteuse", "dither=bayer:bayer_scale=4:diff_mode=rectangle")
    source.link_to(split)
    split.link_to(palette, 0, 0)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    for number, frame in enumerate(chain([first], frames)):
        frame.pts, frame.time_base = number, tick
        source.push(frame)
    source.push(None)
    while True:
        try:
            yield cast("av.VideoFrame", sink.pull())
        except EOFError:
            return
