"""What compiling needs, whichever network it is for: a cache that lasts, room for several frame sizes, and a trial.

prepare_compiler()                     once, before anything is compiled
reason = why_it_fails(work)            None, or one line that says why a kernel cannot be used here
"""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

from inspatio.locations import compiler_cache
from inspatio.models.memory import is_out_of_memory

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


def why_it_fails(work: Callable[[], object]) -> str | None:
    """Do some work and say in one line why it failed; None where it did not. Memory that runs out is raised.

    What a compiled kernel needs (a C compiler, headers, instructions of the GPU) shows only when it runs. Compilers
    raise what they like, Triton's errors being no RuntimeErrors, and whatever it is, there is another way to compute.
    """
    try:
        work()
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return None


def why_not_compiled(device: torch.device) -> str | None:
    """Say why nothing can be compiled for a GPU, by compiling a little; None where it can be, and on a CPU."""
    if device.type != "cuda":
        return None
    prepare_compiler()
    with torch.inference_mode(), torch.cuda.device(device):
        return why_it_fails(lambda: torch.compile(_little, dynamic=False)(torch.ones(1024, device=device)))


def _little(x: torch.Tensor) -> torch.Tensor:
    return torch.sin(x) + 1
