"""Compiled blocks and the attention function chosen by the environment do not change Depth Anything 3's results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.clips import write_clip
from tiny import da3

from inspatio.config import GeometryConfig
from inspatio.errors import UsageError
from inspatio.factory import make_geometry
from inspatio.geometry.store import Geometry, load_geometry
from inspatio.media import probe
from inspatio.models.attention import ENVIRONMENT_VARIABLE
from inspatio.models.depth_anything3 import backbone
from inspatio.models.depth_anything3.checkpoint import open_folder
from inspatio.models.depth_anything3.network import DepthNetwork

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    da3.write(folder, seed=4)
    return folder


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def load(models: Path) -> tuple[DepthNetwork, ...]:
    return open_folder(models / "DA3").load(CPU, torch.float32)


def images(count: int, size: tuple[int, int] = (42, 70)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, *size, generator=generator) * torch.linspace(0.5, 2, count)[:, None, None, None]


def assert_same(networks: tuple[DepthNetwork, ...], expected: tuple[DepthNetwork, ...], pictures: torch.Tensor) -> None:
    ours, theirs = networks[0].any_view(pictures), expected[0].any_view(pictures)
    for name in ("depth", "confidence", "world_to_camera", "intrinsics"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=1e-4, atol=1e-5)
    alone, single = networks[1].single_frames(pictures), expected[1].single_frames(pictures)
    torch.testing.assert_close(alone.depth, single.depth, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone.sky, single.sky, rtol=1e-4, atol=1e-5)


def test_compiled_equals_plain(models: Path) -> None:
    """For several numbers and shapes of frames; without the code generator, which needs a C++ compiler and time."""
    plain, compiled = load(models), load(models)
    for network in compiled:
        network.backbone.compile_blocks("aot_eager")
    for pictures in (images(4), images(1, (28, 98))):
        assert_same(compiled, plain, pictures)


def test_blocks_of_a_kind_are_compiled_once(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pieces for each kind of block, whatever the numbers of frames and of blocks are."""
    graphs: list[torch.fx.GraphModule] = []

    def count(graph: torch.fx.GraphModule, _: object) -> Any:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(backbone, "SLICE_TOKENS", 2 * 16)
    (network, _) = load(models)
    network.backbone.compile_blocks(count)
    network.any_view(images(6))
    once = len(graphs)
    network.any_view(images(4))
    network.any_view(images(8))
    network.any_view(images(8, (56, 42)))
    blocks = [block for block in network.backbone.blocks if isinstance(block, backbone.Block)]
    kinds = {type(block.attn.get_submodule("q_norm")) for block in blocks}
    assert len(blocks) > len(kinds)
    assert len(graphs) == once <= 2 * len(kinds) + 1


def estimate(models: Path, folder: Path, **options: Any) -> Geometry:
    """Of two frames: with more, rounding could decide which of similar frames becomes the reference view."""
    folder.mkdir()
    clip = probe(write_clip(folder / "clip.mp4", 2, (24, 32)))
    config = GeometryConfig(model_path=str(models / "DA3"), longest=112, **options)
    (folder / "geometry").mkdir()
    make_geometry(config, "cpu").estimate(clip, folder / "geometry", lambda done, total: None)
    return load_geometry(folder / "geometry")


def test_config_compiles(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting reaches both networks of the model; that compiled blocks give the same is tested above."""
    compiled: list[backbone.Backbone] = []
    monkeypatch.setattr(backbone.Backbone, "compile_blocks", lambda network: compiled.append(network))
    estimate(models, tmp_path / "plain")
    assert not compiled
    estimate(models, tmp_path / "compiled", compile=True)
    assert len(compiled) == 2


def test_attention_of_the_environment(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = estimate(models, tmp_path / "plain")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "math")
    np.testing.assert_allclose(estimate(models, tmp_path / "math").depth, plain.depth, rtol=1e-4)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "flash2")
    with pytest.raises(UsageError, match=r"flash2 cannot run here.*NVIDIA"):
        estimate(models, tmp_path / "flash")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "fastest")
    with pytest.raises(UsageError, match="fastest"):
        estimate(models, tmp_path / "none")
