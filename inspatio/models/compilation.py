"""What compiling needs, whichever network it is for: a cache that lasts, and room for several frame sizes."""

from __future__ import annotations

import os

import torch

from inspatio.locations import compiler_cache

CACHE_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
GRAPHS = 64
"""Graphs that one function may have. A transformer layer has four for each frame size of a process; PyTorch's own limit
of 8 would be reached by the third size, which would then run without being compiled."""


def prepare_compiler() -> None:
    """Set PyTorch's compiler up for this process: call it before anything is compiled.

    Compiled kernels are kept in the user's cache folder, unless TORCHINDUCTOR_CACHE_DIR names another: PyTorch's own
    choice is below /tmp, where a restart or another container finds nothing.
    """
    os.environ.setdefault(CACHE_VARIABLE, str(compiler_cache()))
    torch._dynamo.config.recompile_limit = max(GRAPHS, torch._dynamo.config.recompile_limit)
