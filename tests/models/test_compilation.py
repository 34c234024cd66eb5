"""Where compiled kernels are kept, and what is said where none can be had."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch._inductor.runtime.cache_dir_utils import cache_dir

from inspatio.models.compilation import CACHE_VARIABLE, prepare_compiler, why_it_fails


def test_kernels_are_kept_in_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "own"))
    prepare_compiler()
    assert cache_dir() == str(tmp_path / "own"), "a folder that the user chose is kept"
    monkeypatch.delenv(CACHE_VARIABLE)
    prepare_compiler()
    assert Path(cache_dir()).is_relative_to(tmp_path / "inspatio")


def fail(error: BaseException) -> None:
    raise error


def test_what_fails_says_why_in_one_line_whatever_is_raised() -> None:
    class CompilationError(Exception):
        """As Triton's, which is no RuntimeError."""

    assert why_it_fails(lambda: None) is None
    assert why_it_fails(lambda: fail(CompilationError("at 3:4:\n    more of it"))) == "at 3:4:"
    assert why_it_fails(lambda: fail(AssertionError())) == "AssertionError"
    with pytest.raises(torch.OutOfMemoryError):  # smaller pieces may help, another kernel would not
        why_it_fails(lambda: fail(torch.OutOfMemoryError("CUDA out of memory")))
