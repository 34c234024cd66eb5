"""Write tensors to a safetensors file whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from inspatio.storage import atomic_file

_SYSTEM_ERROR = re.compile(r"os error (\d+)")


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors by name, atomically.

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    with atomic_file(path) as part:
        try:
            save_file({name: value.contiguous() for name, value in tensors.items()}, part)
        except SafetensorError as error:
            # The library's own exception tells the operating system's error in words only.
            if found := _SYSTEM_ERROR.search(str(error)):
                raise OSError(int(found[1]), str(error), str(part)) from error
            raise
