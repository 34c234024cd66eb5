"""Which frame the others are seen from: the one most typical of the clip.

The any-view network predicts everything relative to one reference view, which it finds at the front. The choice is
made from the class tokens halfway into the frame-wise part, by three measures: how similar a frame is to the others on
average, how long its token is, and how much its normalised token varies. Each is stretched to 0..1 over the clip, and
the frame that lies nearest to the middle of all three is taken.

Source: Depth Anything 3 (arXiv 2511.10647).
"""

from __future__ import annotations

import torch
from torch import Tensor


def choose_reference(class_tokens: Tensor) -> int:
    """Index of the reference among ``s c`` class tokens, s at least 2."""
    tokens = class_tokens.float()
    lengths = tokens.norm(dim=-1)
    directions = tokens / lengths[:, None]
    # A frame's similarity to itself is 1 and tells nothing.
    similarity = ((directions @ directions.T).sum(dim=-1) - 1) / (len(tokens) - 1)
    measures = torch.stack([similarity, lengths, directions.var(dim=-1)])
    low, high = measures.amin(dim=-1, keepdim=True), measures.amax(dim=-1, keepdim=True)
    return int(((measures - low) / (high - low + 1e-8) - 0.5).abs().sum(dim=0).argmin())


def order_with_first(reference: int, count: int) -> Tensor:
    """``count`` indices with the reference at the front and the others in their order behind it."""
    return torch.tensor([reference, *(index for index in range(count) if index != reference)])


def restoring(order: Tensor) -> Tensor:
    """The order that undoes ``order``."""
    return torch.argsort(order)
