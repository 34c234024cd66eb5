"""Which frames go through the any-view network together: all of them if they fit, else windows that overlap.

Attention over all frames makes a pass over n frames cost memory that grows with n and time that grows with its square.
Cut into windows of a fixed size, a clip of any length costs the same memory and time in proportion to its length.
The size follows from what memory is free, or is given; when it turns out to be too large, it is halved.
"""

from __future__ import annotations

import torch

from inspatio.models.depth_anything3.architecture import NetworkConfig
from inspatio.models.depth_anything3.heads import FRAMES_AT_ONCE, HeadConfig
from inspatio.models.depth_anything3.vit import PATCH

LARGEST_WINDOW = 256
"""More frames than these are cut even if they would fit: beyond, time grows faster than the picture improves."""
SMALLEST_WINDOW = 4
LARGEST_OVERLAP = 16
_SHARE = 0.8
"""Of the free memory; the rest is for what the allocator cannot use and for others."""


def overlap_of(window: int) -> int:
    """How many frames a window shares with the one before."""
    return max(2, min(LARGEST_OVERLAP, window // 4))


def next_window(done: int, frame_count: int, size: int) -> range:
    """The frames of the next window, when the first ``done`` have been through one.

    The remaining windows are made equally long, none longer than ``size``.
    """
    overlap = overlap_of(size)
    start = max(done - overlap, 0)
    left = frame_count - start
    if left <= size:
        return range(start, frame_count)
    windows = -(-(left - overlap) // (size - overlap))
    length = overlap + -(-(left - overlap) // windows)
    return range(start, start + length)


def halved(window: int) -> int | None:
    """The next smaller window to try; None below the smallest."""
    smaller = window // 2
    return smaller if smaller >= SMALLEST_WINDOW else None


def window_for(free: int, config: NetworkConfig, size: tuple[int, int], dtype: torch.dtype) -> int:
    """The largest window that ``free`` bytes are enough for, within the limits above.

    ``config`` is the any-view network's, whose weights are in memory already; ``size`` the frames' (height, width).
    """
    grid = (size[0] // PATCH, size[1] // PATCH)
    fixed = FRAMES_AT_ONCE * _head_bytes(config.head, grid)
    frames = (_SHARE * free - fixed) // _frame_bytes(config, grid, dtype)
    return int(min(max(frames, SMALLEST_WINDOW), LARGEST_WINDOW))


def _frame_bytes(config: NetworkConfig, grid: tuple[int, int], dtype: torch.dtype) -> int:
    """What each further frame of a window takes at the worst moment, in attention over all frames."""
    patches = grid[0] * grid[1]
    stream = 2 * 4 * config.backbone.dim  # the tokens and their local half, float32
    projected = 4 * config.backbone.dim * dtype.itemsize  # queries, keys, values and the result
    tapped = 4 * sum(config.head.channels)
    images_and_maps = 4 * PATCH**2 * (3 + 2 * 2)
    return patches * (stream + projected + tapped + images_and_maps)


def _head_bytes(config: HeadConfig, grid: tuple[int, int]) -> int:
    """What a head needs for one frame at full resolution: a few maps of half its features."""
    return 4 * grid[0] * grid[1] * PATCH**2 * 4 * (config.features // 2)
