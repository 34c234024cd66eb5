"""Share the frames of one clip out over processes: each makes its own of a block, and all get the whole block.

Frames have no past, so this is exact: a process makes the same batches of frames as one process alone would, and the
result is the same to the byte. Every process runs the session with the same cameras, as under sequence parallelism
(``models/wan/parallel.py``); decoding the source and choosing the references is not shared out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from inspatio.cameras.cameras import Cameras
from inspatio.errors import UserError
from inspatio.generation.base import FrameBlock


def share_frames(
    make: Callable[[int, Cameras], FrameBlock],
    start: int,
    cameras: Cameras,
    frames_at_once: int,
    group: dist.ProcessGroup,
) -> FrameBlock:
    """The frames from place ``start`` on, made by all processes of a group; every one of them calls this.

    Args:
        make: (place of the first frame, cameras) -> their frames.
        start: the place of the first camera in the clip.
        cameras: at most ``frames_at_once`` for each process.
        frames_at_once: frames that a process makes together.
        group: the processes.

    Raises:
        UserError: what stopped one process, raised in all of them, so that none waits for the others.
    """
    rank, size = dist.get_rank(group), dist.get_world_size(group)
    first = rank * frames_at_once
    own = cameras[first : first + frames_at_once]
    made: FrameBlock | UserError | None = None
    if len(own):
        try:
            made = _on_host(make(start + first, own))
        except UserError as error:
            made = error
    parts: list[Any] = [None] * size
    dist.all_gather_object(parts, made, group=group)
    for part in parts:
        if isinstance(part, UserError):
            raise part
    blocks = [part for part in parts if part is not None]
    return FrameBlock(
        start,
        torch.cat([block.frames for block in blocks]),
        np.concatenate([block.depth for block in blocks]),
        np.concatenate([block.coverage for block in blocks]),
    )


def _on_host(block: FrameBlock) -> FrameBlock:
    return FrameBlock(block.start, block.frames.cpu(), block.depth, block.coverage)
