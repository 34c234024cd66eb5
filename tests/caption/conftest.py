"""Tiny Florence-2 folders of both layouts, written once; one thread, since such networks are too small to share out."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import florence as tiny

from inspatio.caption.florence import Florence2Captioner
from inspatio.types import Image


@pytest.fixture(autouse=True, scope="package")
def single_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="package")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each layout, of one seed; not to be changed."""
    made = {}
    for layout in ("converted", "original"):
        made[layout] = tmp_path_factory.mktemp("florence") / layout
        tiny.write(made[layout], seed=0, layout=layout)
    return made


@pytest.fixture(scope="package")
def captioners(folders: dict[str, Path]) -> dict[str, Florence2Captioner]:
    return {layout: Florence2Captioner.load(folder) for layout, folder in folders.items()}


@pytest.fixture
def copy_of(folders: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a layout's folder, to be damaged."""

    def copy(layout: str) -> Path:
        return Path(shutil.copytree(folders[layout], tmp_path / layout))

    return copy


@pytest.fixture(scope="package")
def images() -> list[Image]:
    """Pictures of several shapes with something to see in them: soft blobs, a black and a white one."""
    random = np.random.default_rng(5)
    shapes = [(48, 83), (64, 64), (90, 20), (7, 5), (120, 200)]
    noise = [random.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]
    return [*noise, np.zeros((60, 80, 3), np.uint8), np.full((60, 80, 3), 255, np.uint8)]
