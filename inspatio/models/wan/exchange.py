"""How the tokens of a network's pass are spread over processes, as the network sees it.

Token-wise work needs no exchange; attention needs all tokens, but only some heads at a time. A network calls these four
functions around its attention and knows nothing else of other processes. :class:`Alone` is the only process;
``generation/sequence_parallel.py`` has the others.
"""

from __future__ import annotations

from typing import Protocol

import torch


class Exchange(Protocol):
    """How the tokens of a pass are spread over processes: each has a part of the tokens, or a part of the heads."""

    @property
    def size(self) -> int:
        """How many processes share the tokens."""
        ...

    def split(self, tokens: torch.Tensor, dim: int) -> torch.Tensor:
        """All tokens -> this process's part of them, padded to a part of equal size."""
        ...

    def join(self, tokens: torch.Tensor, count: int) -> torch.Tensor:
        """``b n/size c`` parts -> all ``count`` tokens ``b n c``."""
        ...

    def to_heads(self, x: torch.Tensor, count: int) -> torch.Tensor:
        """A part of the tokens with all heads -> all ``count`` tokens with a part of the heads (``b n h d``)."""
        ...

    def to_tokens(self, x: torch.Tensor) -> torch.Tensor:
        """The way back of ``to_heads``."""
        ...


class Alone:
    """One process has all tokens and all heads."""

    size = 1

    def split(self, tokens: torch.Tensor, dim: int) -> torch.Tensor:
        return tokens

    def join(self, tokens: torch.Tensor, count: int) -> torch.Tensor:
        return tokens

    def to_heads(self, x: torch.Tensor, count: int) -> torch.Tensor:
        return x

    def to_tokens(self, x: torch.Tensor) -> torch.Tensor:
        return x
