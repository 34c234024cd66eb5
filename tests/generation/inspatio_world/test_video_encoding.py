"""A picture that stands still: nothing is computed, and every bit is what encoding gives."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from support.networks import seeded

from inspatio.generation.inspatio_world.frames import UploadedFrames, to_video
from inspatio.generation.inspatio_world.video_encoding import VideoEncoding
from inspatio.models.wan.taehv import TaeEncoder
from inspatio.models.wan.vae import WanEncoder

HOST = torch.device("cpu")
STILL = 16
"""Blocks of the same picture: as many as Wan's encoder remembers, and some more."""


def uploaded(frames: np.ndarray) -> UploadedFrames:
    return UploadedFrames.of(frames, HOST)


def clip() -> np.ndarray:
    """A block that moves, a picture that stands still, and a block that moves, of 16x16."""
    random = np.random.default_rng(0)
    moving = random.integers(0, 256, (9 + 12, 16, 16, 3), np.uint8)
    still = np.repeat(moving[8:9], 12 * STILL, axis=0)
    return np.concatenate((moving[:9], still, moving[9:]))


@pytest.mark.parametrize("network", [WanEncoder, TaeEncoder])
def test_a_still_picture_is_not_encoded_again_and_gives_the_same(network: Any) -> None:
    encoder, frames = seeded(network(4)), clip()
    encoding, state, start = VideoEncoding(encoder, torch.float32), encoder.start(), 0
    computed = 0
    with torch.inference_mode(), patch.object(encoder, "encode", wraps=encoder.encode) as encode:
        while start < len(frames):
            end = start + (9 if start == 0 else 12)
            group, ahead = frames[start:end], frames[end : end + encoder.lookahead]
            before = encode.call_count
            got = encoding.encode(uploaded(group), uploaded(ahead))
            computed += encode.call_count - before
            video, following = (to_video(each, HOST, torch.float32) for each in (group, ahead))
            assert torch.equal(got, encoder.encode(video, state, following if len(ahead) else None))
            start = end
    blocks = STILL + 2
    needed = 2 + 1 + -(-encoder.reach // 12)  # those that move, one at rest, and the way there
    assert needed <= computed <= needed + 1 < blocks


def test_a_picture_that_changes_in_one_level_is_encoded() -> None:
    encoder = seeded(TaeEncoder(4))
    encoding = VideoEncoding(encoder, torch.float32)
    still = np.full((12, 16, 16, 3), 100, np.uint8)
    with torch.inference_mode():
        rest = first = encoding.encode(uploaded(still[:9]), uploaded(still[:0]))
        for _ in range(8):
            rest = encoding.encode(uploaded(still), uploaded(still[:0]))
        assert encoding.encode(uploaded(still), uploaded(still[:0])) is rest
        changed = still.copy()
        changed[7, 3, 4, 1] += 1
        assert not torch.equal(encoding.encode(uploaded(changed), uploaded(still[:0])), rest)
    assert not torch.equal(first, rest)
