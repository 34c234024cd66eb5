"""What makes the frame model faster or smaller gives its results: compiled, in 8 bits, and with layers on the host."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.networks import seeded
from torch._dynamo.utils import counters

from inspatio.config import GeneratorConfig
from inspatio.generation.inspatio_world.memory_estimate import META, transformer_bytes
from inspatio.models.wan.offload import offload_blocks
from inspatio.models.wan.optimize import compile_blocks, round_products, rounded_parts
from inspatio.models.worldfm.dit import WorldFM, WorldFMConfig

CPU = torch.device("cpu")
LAYERS = 3


def network() -> WorldFM:
    return seeded(WorldFM(WorldFMConfig(hidden_size=64, depth=LAYERS, num_heads=2)))


@torch.inference_mode()
def predict(model: WorldFM, size: tuple[int, int] = (6, 8)) -> torch.Tensor:
    """Both sampling steps."""
    noisy, render, reference = torch.randn(3, 1, 4, *size, generator=torch.Generator().manual_seed(0))
    steps = [model.time_modulation(torch.tensor([step])) for step in (999, 200)]
    return torch.cat([model(noisy, render, reference, step) for step in steps])


def test_layers_are_compiled_once_for_all_but_the_last() -> None:
    """Two graphs for each frame size (the last layer asks for the target alone), no break in any, the same result."""
    torch.compiler.reset()
    graphs: list[torch.fx.GraphModule] = []

    def count(graph: torch.fx.GraphModule, _: object) -> Any:
        graphs.append(graph)
        return graph.forward

    expected, model = predict(network()), compile_blocks(network(), backend=count)
    counters.clear()
    torch.testing.assert_close(predict(model), expected)
    predict(model)
    assert len(graphs) == 2
    assert not counters["graph_break"]
    predict(model, (4, 4))
    assert len(graphs) == 4
    torch.compiler.reset()


@pytest.mark.slow  # 20 seconds of compilation
def test_what_the_compiler_makes_is_the_network() -> None:
    torch.compiler.reset()
    expected = predict(network())
    compiled = predict(compile_blocks(network()))
    assert (compiled - expected).abs().max() <= 1e-5 * expected.abs().max()
    torch.compiler.reset()


def test_8_bit_products_are_near_the_exact_ones() -> None:
    """Of a layer all products but the attention's output, which would need a pass of its own to be rounded."""
    exact, rounded = network().place(CPU, torch.bfloat16), network().place(CPU, torch.bfloat16)
    for block in rounded.blocks:
        assert rounded_parts(block) == ["attn.qkv", "mlp.fc1", "mlp.fc2"]
        round_products(block)
    expected, got = predict(exact), predict(rounded)
    assert not torch.equal(got, expected)
    assert float((got - expected).norm() / expected.norm()) < 0.1


def test_layers_on_the_host_give_the_same_and_take_what_was_said() -> None:
    """On a CPU the buffers of two layers are copies too; what they take is what the estimate says."""
    model, expected = network(), predict(network())
    offload_blocks(model, CPU)
    assert torch.equal(predict(model), expected)
    assert torch.equal(predict(model), expected)
    layer = sum(p.numel() for p in next(model.blocks.children()).parameters())
    outside = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("blocks."))
    tables = LAYERS * next(model.blocks.children()).scale_shift_table.numel()
    with META:
        on_meta = WorldFM(model.config)
    config = GeneratorConfig(backend="worldfm", steps=(999, 200), offload=True, precision="fp32")
    assert transformer_bytes(on_meta, config, torch.float32) == 4 * (2 * layer + outside + tables)
    whole = transformer_bytes(on_meta, GeneratorConfig(backend="worldfm", steps=(999, 200)), torch.float32)
    assert whole == 4 * (LAYERS * layer + outside)
