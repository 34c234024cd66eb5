"""Where compiled kernels are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch._inductor.runtime.cache_dir_utils import cache_dir

from inspatio.models.compilation import CACHE_VARIABLE, prepare_compiler


def test_kernels_are_kept_in_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "own"))
    prepare_compiler()
    assert cache_dir() == str(tmp_path / "own"), "a folder that the user chose is kept"
    monkeypatch.delenv(CACHE_VARIABLE)
    prepare_compiler()
    assert Path(cache_dir()).is_relative_to(tmp_path / "inspatio")
