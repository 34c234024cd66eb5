"""What several test folders share: tiny checkpoints of every network, written once, and a folder to run in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

# Before torch is imported, here and in the processes that tests start: rounding depends on the number of threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from make_tiny_checkpoints import main as make_tiny_checkpoints
from support.clips import write_clip
from tiny import florence

from inspatio.captioning.florence import Florence2Captioner
from inspatio.locations import HOME_VARIABLE
from inspatio.types import Image


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """One thread for every test: tiny networks are too small to share out, and rounding depends on the number.

    Set again each time, because numba's parallel loops (the synthetic room's) raise it for PyTorch too: both load the
    same OpenMP library.
    """
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny checkpoints of every network, in the published layout; not to be changed."""
    folder = tmp_path_factory.mktemp("weights") / "checkpoints" / "tiny"
    make_tiny_checkpoints([str(folder)])
    return folder


@pytest.fixture(scope="session", autouse=True)
def _no_weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Weights that lie in the checkout are not looked for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoints: Path) -> Path:
    """An empty folder to work in, with the tiny checkpoints where the profile looks for them, and one clip."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/tiny").symlink_to(checkpoints)
    write_clip(tmp_path / "clips/one.mp4", count=14)
    return tmp_path


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny Florence-2 folder of each layout, of one seed; not to be changed."""
    made = {}
    for layout in ("converted", "original"):
        made[layout] = tmp_path_factory.mktemp("florence") / layout
        florence.write(made[layout], seed=0, layout=layout)
    return made


@pytest.fixture(scope="session")
def captioners(folders: dict[str, Path]) -> dict[str, Florence2Captioner]:
    return {layout: Florence2Captioner.load(folder) for layout, folder in folders.items()}


@pytest.fixture
def copy_of(folders: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """Makes a copy of a layout's folder, to be damaged."""

    def copy(layout: str) -> Path:
        return Path(shutil.copytree(folders[layout], tmp_path / layout))

    return copy


@pytest.fixture(scope="session")
def images() -> list[Image]:
    """Pictures of several shapes with something to see in them: noise, a black and a white one."""
    random = np.random.default_rng(5)
    shapes = [(48, 83), (64, 64), (90, 20), (7, 5), (120, 200)]
    noise = [random.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    return [*noise, np.zeros((60, 80, 3), np.uint8), np.full((60, 80, 3), 255, np.uint8)]
