"""Read the frames of a video by index, in any order, fitted to a size, in bounded memory.

A clip is played forward and backward, frozen and subsampled (``Scene.select``), so reads come in any order. Forward
reads decode on. A backward step decodes again from a key frame and keeps the stretch before the wanted frame in a
cache of fixed size, so that a backward pass over a group of pictures decodes it once per cache-full instead of once
per frame.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from inspatio.errors import ClipError
from inspatio.media.color import upright_rgb
from inspatio.media.container import open_video
from inspatio.media.fit import Fit
from inspatio.media.video_info import VideoInfo, probe
from inspatio.types import FitMode, Frames, Image, Masks

CACHE_BYTES = 128 << 20
"""What the fitted frames of one reader may take: 112 of them at 832x480."""
_LEAST_CACHED_FRAMES = 8


class VideoReader:
    """The frames of a clip, upright, with square pixels, fitted to ``size`` (height, width); None: the clip's own size.

    Implements ``scene.FrameSource``. Not thread-safe. Close it, or use it in a ``with``.

    Raises:
        ClipError: the file cannot be read (here if it is not probed yet, or when frames are read).
    """

    def __init__(
        self,
        video: VideoInfo | Path,
        size: tuple[int, int] | None = None,
        fit: FitMode = "crop",
        *,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.info = video if isinstance(video, VideoInfo) else probe(video)
        self.fit = Fit.make(self.info.size, size or self.info.size, fit)
        self._capacity = max(cache_bytes // (3 * self.fit.target[0] * self.fit.target[1]), _LEAST_CACHED_FRAMES)
        self._cache: OrderedDict[int, Image] = OrderedDict()
        self._last_read = -1
        self._reformatter = VideoReformatter()
        self._file = ExitStack()
        self._decoded: Iterator[tuple[int, av.VideoFrame]] = iter(())
        self._next = len(self)
        """The decoder gives this frame or a later one next; past the end while nothing is open."""

    def __len__(self) -> int:
        return self.info.frame_count

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; reading again would open it again."""
        self._decoded, self._next = iter(()), len(self)
        self._file.close()
        self._cache.clear()

    def read(self, indices: Sequence[int]) -> Frames:
        """``t h w 3`` uint8 RGB frames, in any order, repeats allowed.

        Raises:
            IndexError: an index outside ``0 .. len - 1``.
            ClipError: a frame cannot be decoded.
        """
        frames = np.empty((len(indices), *self.fit.target, 3), np.uint8)
        for place, index in enumerate(indices):
            if not 0 <= index < len(self):
                raise IndexError(f"{self.info.path}: frame {index} of a clip of {len(self)} frames")
            following = indices[place + 1] if place + 1 < len(indices) else index
            if index not in self._cache:
                backward = following < index or 0 < self._last_read - index < self._capacity
                self._decode(max(index - self._capacity + 1, 0) if backward else index, index)
            self._cache.move_to_end(index)
            frames[place] = self._cache[index]
            self._last_read = index
        return frames

    def read_masks(self, indices: Sequence[int]) -> Masks:
        """``t h w`` uint8: the frames of a gray clip, exactly as stored where it has this reader's size."""
        return np.ascontiguousarray(self.read(indices)[..., 0])

    def _decode(self, first: int, last: int) -> None:
        """Bring the frames ``first .. last`` into the cache."""
        keys = self.info.index.keys
        key = bisect_right(keys, first, key=lambda k: k.index) - 1
        if self._next > first or keys[key].index > self._next:
            self._start(key)
        # A container may seek past the key frame it was asked for, and a decoder may hold frames back after one: try
        # again from the key frame before, and then from the beginning of the file.
        retries = [0, key - 1] if key > 1 else [0]
        wanted = first
        while wanted <= last:
            index, frame = next(self._decoded, (len(self), None))
            self._next = index + 1
            if index == wanted and frame is not None:
                self._keep(index, frame)
                wanted += 1
            elif index > wanted:
                if not retries:
                    raise ClipError(f"{self.info.path}: frame {wanted} cannot be decoded; expected a whole video")
                self._start(retries.pop())

    def _start(self, key: int) -> None:
        """Restart the decoder at a key frame (or, where the container seeks inexactly, before or after it)."""
        index = self.info.index
        self._file.close()
        container, stream = self._file.enter_context(open_video(self.info.path))
        if key and index.seekable:
            container.seek(index.keys[key].seek, stream=stream)
        self._decoded = self._frames(container, stream, 0 if index.seekable else index.keys[key].packet)
        self._next = 0

    def _frames(self, container: InputContainer, stream: VideoStream, skip: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield (index, frame) as they are decoded; the first ``skip`` packets of the stream are skipped."""
        count = 0
        try:
            for packet in container.demux(stream):
                if packet.size and skip:
                    skip -= 1
                    continue
                for frame in packet.decode():
                    place = self._place(frame, count)
                    if place is not None:
                        yield place, frame
                        count += 1
        except FFmpegError as error:
            raise ClipError(
                f"{self.info.path}: damaged near frame {self._next} ({error.strerror}); expected a whole video"
            ) from error

    def _place(self, frame: av.VideoFrame, count: int) -> int | None:
        """Which frame of the clip this is; None for one that is not shown."""
        index = self.info.index
        if not index.stamped:
            return None if frame.is_corrupt and count == 0 else count
        if frame.pts is None:
            return None
        place = int(np.searchsorted(index.ticks, frame.pts))
        return place if place < len(self) and index.ticks[place] == frame.pts else None

    def _keep(self, index: int, frame: av.VideoFrame) -> None:
        """Fit a decoded frame and put it into the cache in place of the least recently used one."""
        if index not in self._cache:
            if frame.is_corrupt:
                raise ClipError(f"{self.info.path}: frame {index} is damaged; expected a whole video. Copy it again.")
            self._cache[index] = self._fitted(index, frame)
        self._cache.move_to_end(index)
        while len(self._cache) > self._capacity:
            self._cache.popitem(last=False)

    def _fitted(self, index: int, frame: av.VideoFrame) -> Image:
        try:
            if (frame.height, frame.width) == self.info.stored_size:
                return self.fit.place(upright_rgb(frame, self.info.orientation, self.fit.scaled, self._reformatter))
            # The size changes in mid-stream: first the picture that the clip would have had without the change, so that
            # depth and cameras, which know one size only, hold for this frame as well.
            whole = Fit.make(self._shown_size(frame), self.info.size, "crop")
            image = whole.place(upright_rgb(frame, self.info.orientation, whole.scaled, self._reformatter))
            return self.fit.image(image)
        except FFmpegError as error:
            raise ClipError(
                f"{self.info.path}: frame {index} ({frame.format.name}, colour matrix {frame.colorspace}) cannot be "
                f"converted to RGB ({error.strerror}); convert the clip to plain 8-bit H.264 first"
            ) from error

    def _shown_size(self, frame: av.VideoFrame) -> tuple[int, int]:
        """(height, width) of a frame of another size than the first, upright, its pixels as square as the first's."""
        orientation = self.info.orientation
        stored = orientation.size((frame.height, frame.width))
        usual = orientation.size(self.info.stored_size)
        shown = [max(round(s * size / u), 1) for s, size, u in zip(stored, self.info.size, usual, strict=True)]
        return shown[0], shown[1]
