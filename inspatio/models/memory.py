"""Device memory: uploads, what is free, and whether it has run out, for those who make their pieces smaller and go on.

A CUDA device says so by an exception of its own; the CPU's and Apple's allocators do not.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from inspatio.errors import UserError


def upload(host: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the host on a device; for a GPU the host goes on at once, which takes a copy from pinned memory."""
    if device.type != "cuda":
        return host.to(device)
    return (host if host.is_pinned() else host.pin_memory()).to(device, non_blocking=True)


def free_memory(device: torch.device) -> int:
    """Bytes that can be had on a device now."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return _free_host_memory()


def _free_host_memory() -> int:
    """What this process can still take without pushing others out, within its container's limit."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    info = Path("/proc/meminfo")
    if not info.is_file():
        return total // 2  # macOS tells what there is, not what is free
    lines = dict(line.split(":", 1) for line in info.read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    group = Path("/sys/fs/cgroup")
    limit, used = group / "memory.max", group / "memory.current"
    if limit.is_file() and used.is_file() and (most := limit.read_text().strip()) != "max":
        free = min(free, max(int(most) - int(used.read_text()), 0))
    return free


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on whatever device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # The CPU's and Apple's allocators, pinned memory and the libraries of NVIDIA raise plain RuntimeErrors. cuDNN finds
    # no engine where no workspace is left for any.
    message = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        sign in message
        for sign in ("out of memory", "can't allocate memory", "cudnn_status_alloc_failed", "unable to find an engine")
    )


@contextmanager
def out_of_memory_said(what: str, device: torch.device, advice: str) -> Iterator[None]:
    """Turn running out of memory into one line: ``what`` was made when it happened, and the ``advice``.

    Raises:
        UserError: memory ran out, on whatever device.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        free = free_memory(device) / 2**30
        raise UserError(f"{what}: out of memory on {device} ({free:.1f} GiB free). {advice}") from error


def release_memory(device: torch.device) -> None:
    """Give cached memory back to a device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
