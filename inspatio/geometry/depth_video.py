"""Read and write depth as a losslessly compressed video, for clips that are shipped with their geometry.

``depth.mkv`` is FFV1 with 16 bits a pixel. A value holds inverse depth in steps of ``scale`` (the ``depth_coding``
of ``cameras.json``): ``depth = 1 / (value * scale)``, 0 = unknown. Image motion is proportional to inverse
depth, so equal steps of it are equal steps on the screen; with ``scale`` chosen from the nearest
surface, the error of any point is at most 1/131070 of the nearest one's parallax.

Only the importer reads this and converts it to ``depth.npy``, because random access to video is slow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from inspatio.errors import ClipError

DEPTH_VIDEO_FILE = "depth.mkv"
LARGEST = np.iinfo(np.uint16).max
_PIXELS = "gray16le"


def depth_video_scale(nearest: float) -> float:
    """The step of inverse depth that stores the ``nearest`` depth of a clip as the largest value."""
    if not (np.isfinite(nearest) and nearest > 0):
        raise ValueError(f"the nearest depth must be positive, got {nearest}")
    return 1.0 / (nearest * LARGEST)


def write_depth_video(
    path: Path, depth_maps: Iterable[NDArray[np.floating]], scale: float, frame_rate: Fraction = Fraction(25)
) -> int:
    """Write ``h w`` depth maps (0 = unknown) one after another; returns their number.

    Raises:
        ValueError: a depth is nearer than ``scale`` can hold (see :func:`depth_video_scale`).
    """
    count = 0
    # Without +bitexact the file gets a random identifier: the same maps must give the same bytes.
    with av.open(str(path), "w", format="matroska", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("ffv1", rate=frame_rate, options={"level": "3", "context": "1"})
        stream.pix_fmt = _PIXELS
        for depth in depth_maps:
            if count == 0:
                stream.height, stream.width = depth.shape
            frame = av.VideoFrame.from_ndarray(_encode(np.asarray(depth, np.float64), scale), format=_PIXELS)
            frame.pts, frame.time_base = count, 1 / frame_rate
            container.mux(stream.encode(frame))
            count += 1
        container.mux(stream.encode(None))
    return count


def read_depth_video(path: Path, scale: float) -> Iterator[NDArray[np.float32]]:
    """Read the video's ``h w`` depth maps in order.

    Raises:
        ClipError: the file is missing, damaged, or another kind of video.
    """
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            for frame in container.decode(video=0):
                if frame.format.name != _PIXELS:
                    raise ClipError(
                        f"{path}: pixels are {frame.format.name}, expected {_PIXELS} (16-bit inverse depth)"
                    )
                value = frame.to_ndarray().astype(np.float64)
                with np.errstate(divide="ignore"):
                    yield np.where(value > 0, 1.0 / (value * scale), 0.0).astype(np.float32)
    except (FFmpegError, OSError, IndexError) as error:
        raise ClipError(f"{path}: cannot be read as a depth video ({error})") from error


def _encode(depth: NDArray[np.float64], scale: float) -> NDArray[np.uint16]:
    known = np.isfinite(depth) & (depth > 0)
    value = np.rint(1.0 / (np.where(known, depth, 1.0) * scale))
    if (value[known] > LARGEST).any():
        raise ValueError(f"depth {depth[known].min():g} is nearer than the scale {scale:g} can hold")
    # A known depth stays known however far it is: the farthest value is 1, because 0 means unknown.
    return np.where(known, np.maximum(value, 1), 0).astype(np.uint16)
