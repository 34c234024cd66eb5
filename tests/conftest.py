"""Tiny checkpoints of every network, written once for all tests of the whole pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from make_tiny_checkpoints import main as make_tiny_checkpoints
from tiny_videos import write_clip


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "checkpoints" / "tiny"
    make_tiny_checkpoints([str(folder)])
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoints: Path) -> Path:
    """An empty folder to work in, with the tiny checkpoints where the profile looks for them, and one clip."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/tiny").symlink_to(checkpoints)
    write_clip(tmp_path / "clips/one.mp4", count=14)
    return tmp_path


@pytest.fixture
def single_thread() -> Iterator[None]:
    """Tiny networks are too small to share out, and threads that wait for each other only burn."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
