"""A picture of one or more clips, for eyes: a row for each clip, evenly spaced frames across; or a small moving one.

    python scripts/contact_sheet.py output/*/x_y_circle_cycle/*.mp4 -o sheet.png
    python scripts/contact_sheet.py examples/room.mp4 result.mp4 --labels source,"new view" --gif room.gif

The sheet is what the results are judged by; the GIF, with the clips side by side, is what the README shows.
"""

from __future__ import annotations

import argparse
import sys
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

from inspatio.errors import UserError
from inspatio.export.points import evenly_spaced
from inspatio.media import VideoInfo, VideoReader, probe
from inspatio.storage import atomic_file
from inspatio.types import Image

GAP = 4
LABEL_HEIGHT = 20
BACKGROUND = 24


def labelled(image: Image, text: str) -> Image:
    """The image with a line of text over it; letters that the font lacks become question marks."""
    strip = np.full((LABEL_HEIGHT, image.shape[1], 3), BACKGROUND, np.uint8)
    plain = text.encode("ascii", "replace").decode()
    scale = 0.45
    while scale > 0.25 and cv2.getTextSize(plain, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0] > image.shape[1] - GAP:
        scale -= 0.05
    cv2.putText(strip, plain, (2, 14), cv2.FONT_HERSHEY_SIMPLEX, scale, (235, 235, 235), 1, cv2.LINE_AA)
    return np.concatenate([strip, image])


def tile_size(video: VideoInfo, width: int) -> tuple[int, int]:
    """(height, width) of a clip drawn ``width`` wide, its shape kept."""
    return max(round(video.size[0] * width / video.size[1]), 1), width


def row(video: VideoInfo, label: str, frames: int, width: int) -> Image:
    """One clip: ``frames`` of its frames side by side, each with its number and time."""
    indices = evenly_spaced(video.frame_count, frames)
    times = video.timestamps()
    with VideoReader(video, tile_size(video, width)) as reader:
        tiles = []
        for place, index in enumerate(indices):
            number = f"{index} of {video.frame_count}, {float(times[index]):.2f} s"
            tiles.append(labelled(reader.read([index])[0], f"{label}: {number}" if place == 0 else number))
    return beside(tiles)


def beside(images: Sequence[Image]) -> Image:
    """Images of any heights side by side, their tops in line."""
    height = max(image.shape[0] for image in images)
    return np.concatenate([_padded(image, height, image.shape[1] + GAP) for image in images], axis=1)


def _padded(image: Image, height: int, width: int) -> Image:
    padded = np.full((height, width, 3), BACKGROUND, np.uint8)
    padded[: image.shape[0], : image.shape[1]] = image
    return padded


def sheet(videos: Sequence[VideoInfo], labels: Sequence[str], frames: int, width: int) -> Image:
    """All clips, one below the other."""
    rows = [row(video, label, frames, width) for video, label in zip(videos, labels, strict=True)]
    widest = max(image.shape[1] for image in rows)
    return np.concatenate([_padded(image, image.shape[0] + GAP, widest) for image in rows])


def moments(videos: Sequence[VideoInfo], frame_rate: int, seconds: float) -> list[Fraction]:
    """The times of a moving picture of the clips: until the shortest ends, or ``seconds``."""
    duration = min([seconds, *(video.duration for video in videos)])
    return [Fraction(i, frame_rate) for i in range(max(int(duration * frame_rate), 1))]


def pictures(
    videos: Sequence[VideoInfo], labels: Sequence[str], width: int, times: Sequence[Fraction]
) -> Iterator[Image]:
    """All clips side by side at each of the times, each clip with its label."""
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


def write_animation(path: Path, images: Iterable[Image], frame_rate: int, colours: int) -> None:
    """A looping GIF (one palette of ``colours`` for all of it) or WebP."""
    tick = Fraction(1, frame_rate)
    is_gif = path.suffix.lower() == ".gif"
    frames = (av.VideoFrame.from_ndarray(image, format="rgb24") for image in images)
    with (
        atomic_file(path) as part,
        av.open(str(part), "w", format=path.suffix[1:].lower(), options={"loop": "0"}) as out,
    ):
        stream = out.add_stream("gif", rate=frame_rate) if is_gif else out.add_stream("libwebp_anim", rate=frame_rate)
        stream.pix_fmt = "pal8" if is_gif else "yuv420p"
        if not is_gif:
            stream.options = {"quality": "75", "compression_level": "6"}
        for number, frame in enumerate(in_one_palette(frames, tick, colours) if is_gif else frames):
            if number == 0:
                stream.width, stream.height = frame.width, frame.height
            frame.pts, frame.time_base = number, tick
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def in_one_palette(frames: Iterable[av.VideoFrame], tick: Fraction, colours: int) -> Iterator[av.VideoFrame]:
    """The frames in the palette that suits all of them best; all of them are held until it is known."""
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


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="the clips, in the order to show them")
    parser.add_argument("-o", "--output", type=Path, help="the sheet to write (.png or .jpg)")
    parser.add_argument("--gif", type=Path, help="the moving picture to write (.gif or .webp)")
    parser.add_argument("--labels", help="names to write on the clips, separated by commas [file names]")
    parser.add_argument("--frames", type=int, default=6, help="frames of each clip on the sheet [6]")
    parser.add_argument("--width", type=int, default=320, help="width of one clip in pixels [320]")
    parser.add_argument("--fps", type=int, default=10, help="frames per second of the moving picture [10]")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of the moving picture at most [6]")
    parser.add_argument("--colours", type=int, default=128, help="colours of the GIF, up to 256 [128]")
    options = parser.parse_args(arguments)
    if options.output is None and options.gif is None:
        parser.error("nothing to write: give -o SHEET.png, --gif MOVING.gif, or both")
    for path, known in ((options.output, (".png", ".jpg")), (options.gif, (".gif", ".webp"))):
        if path is not None and path.suffix.lower() not in known:
            parser.error(f"{path}: expected a name ending in {' or '.join(known)}")
    options.labels = options.labels.split(",") if options.labels else [path.stem for path in options.videos]
    if len(options.labels) != len(options.videos):
        parser.error(f"{len(options.labels)} labels for {len(options.videos)} clips; give one for each")
    for name, least in (("frames", 1), ("width", 16), ("fps", 1), ("colours", 4)):
        if getattr(options, name) < least:
            parser.error(f"--{name} must be at least {least}, got {getattr(options, name)}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    try:
        videos = [probe(path) for path in options.videos]
        if options.output is not None:
            image = sheet(videos, options.labels, options.frames, options.width)
            with atomic_file(options.output) as part:
                encoded = cv2.imencode(options.output.suffix, image[..., ::-1])[1]
                part.write_bytes(encoded.tobytes())
        if options.gif is not None:
            times = moments(videos, options.fps, options.seconds)
            write_animation(
                options.gif, pictures(videos, options.labels, options.width, times), options.fps, options.colours
            )
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
