"""The transformer's part of ``bench.py structure``: a steady block's prefill and four denoising steps, and its graphs.

Eager counts follow ``counting.py``'s rules. ``layers_fused_gb`` is what a compiler would move at best, calculated from
a layer's operations: those between two products that depend on each other are one kernel, which reads what comes from
outside and writes what is used outside, each tensor once. It is a bound for what compiling can bring, no measurement.
Graphs, breaks and recompilations are PyTorch's own count over two clips, on a tiny network.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from benches.counting import PRODUCTS, Counter, Counts
from benches.generate import MODELS
from benches.measure import fill
from torch._dynamo.utils import counters
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from inspatio.generation.inspatio_world.block_loop import BlockLoop, Schedule
from inspatio.models.attention import attention, cudnn_attention
from inspatio.models.wan.autoencoder import LATENT_CHANNELS, SPATIAL_FACTOR
from inspatio.models.wan.cache import BLOCK_LATENTS, CONTEXT_LATENTS
from inspatio.models.wan.checkpoint import PUBLISHED
from inspatio.models.wan.dit import CONDITION_CHANNELS, CausalDiT
from inspatio.models.wan.optimize import compile_blocks, join_projections

META = torch.device("meta")
STEPS, SHIFT = (1000, 750, 500, 250), 5.0
ATTENTION = {torch.ops.aten._scaled_dot_product_cudnn_attention}


def count_transformer(size: tuple[int, int], layers: int | None = None) -> dict[str, Counts]:
    """Counts of a steady block's two halves, eager."""
    config = PUBLISHED[1536] if layers is None else replace(PUBLISHED[1536], num_layers=layers)
    with META:
        dit = CausalDiT(config, attention)
    dit.place(META, torch.bfloat16)
    rows, columns = (side // SPATIAL_FACTOR for side in size)

    def latents(channels: int) -> torch.Tensor:
        return torch.empty(1, BLOCK_LATENTS, channels, rows, columns, device=META, dtype=torch.bfloat16)

    source, condition = latents(LATENT_CHANNELS), latents(CONDITION_CHANNELS)
    noise = torch.empty(len(STEPS), *source.shape, device=META)
    with torch.no_grad():
        text = dit.encode_text(torch.empty(1, config.text_len, config.text_dim, device=META, dtype=torch.bfloat16))
        loop = BlockLoop(dit, Schedule.make(dit, STEPS, SHIFT), text)
        loop.step(source, condition, noise)
        with Counter() as counter:
            prefill = counter.measure(loop.prefill, source)
            denoise = counter.measure(loop.denoise, condition, noise)
    return {"prefill": prefill, "denoise": denoise}


def fused_bytes(size: tuple[int, int]) -> int:
    """Bytes that a perfect fusion of the layers of a steady block moves beside its products."""
    config = replace(PUBLISHED[1536], num_layers=1)
    rows, columns = (side // SPATIAL_FACTOR for side in size)
    with META:
        dit = CausalDiT(config, cudnn_attention)  # one operation, of which PyTorch knows the shape on any device
    dit.place(META, torch.bfloat16)
    join_projections(dit)
    (block,) = dit.blocks.children()
    with torch.no_grad():
        text = dit.encode_text(torch.empty(1, config.text_len, config.text_dim, device=META, dtype=torch.bfloat16))
        modulation, cache = dit.time_modulation(500.0).layers[0], dit.make_cache(rows, columns)

        def one_layer(frames: int) -> int:
            start = cache.begin_prefill(frames) if frames == CONTEXT_LATENTS else cache.begin_denoise(frames)
            x = torch.empty(1, len(start.cos), config.dim, device=META, dtype=torch.bfloat16)
            graph = make_fx(lambda x: block(x, modulation, start, text.layer(0), cache.layer(0)))(x)
            if frames == CONTEXT_LATENTS:
                cache.end_prefill()
            return graph_bytes(graph)

        prefill, step = one_layer(CONTEXT_LATENTS), one_layer(BLOCK_LATENTS)
    return PUBLISHED[1536].num_layers * (prefill + len(STEPS) * step)


def graph_bytes(graph: GraphModule) -> int:
    """Bytes moved by the operations of a graph that are no products, fused as well as their order allows."""
    level: dict[Node, int] = {}
    group: dict[Node, int] = {}
    groups: defaultdict[int, list[Node]] = defaultdict(list)
    for node in graph.graph.nodes:
        inputs = node.all_input_nodes
        level[node] = max((level[each] + is_product(each) for each in inputs), default=0)
        if node.op != "call_function" or is_product(node):
            continue
        joined = {group[each] for each in inputs if each in group and level[each] == level[node]}
        own = min(joined, default=len(group) + len(groups))
        for other in joined - {own}:
            for each in groups.pop(other):
                group[each] = own
                groups[own].append(each)
        group[node] = own
        groups[own].append(node)
    return sum(_group_bytes(nodes) for nodes in groups.values())


def is_product(node: Node) -> bool:
    packet = getattr(node.target, "overloadpacket", None)
    return packet in PRODUCTS or packet in ATTENTION


def _group_bytes(nodes: Sequence[Node]) -> int:
    """What a fused kernel reads and writes; a group of nothing but views moves nothing."""
    inside = set(nodes)
    if all(_is_view(node) for node in nodes):
        return 0
    read = {_base(each): each for node in nodes for each in node.all_input_nodes if each not in inside}
    written = [node for node in nodes if any(user not in inside for user in node.users) and not _is_view(node)]
    written += [node for node in nodes if node.target == torch.ops.aten.copy_.default]
    return sum(_bytes(node) for node in (*read.values(), *written))


def _is_view(node: Node) -> bool:
    return getattr(node.target, "is_view", False) or node.target in (
        torch.ops.aten._unsafe_view.default,
        torch.ops.aten.detach.default,
    )


def _base(node: Node) -> Node:
    while node.op == "call_function" and _is_view(node):
        node = node.all_input_nodes[0]
    return node


def _bytes(node: Node) -> int:
    value = node.meta.get("val")
    return value.numel() * value.element_size() if isinstance(value, torch.Tensor) else 0


def count_graphs() -> dict[str, int]:
    """What compiling does over two clips: graphs, breaks, and graphs that the second clip adds."""
    torch.compiler.reset()
    counters.clear()
    graphs: list[GraphModule] = []

    def keep(graph: GraphModule, _: object) -> Any:
        graphs.append(graph)
        return graph.forward

    config = MODELS["tiny"]
    with META:
        dit = CausalDiT(config)
    fill(dit, torch.device("cpu"))
    dit.place(torch.device("cpu"), torch.float32)
    compile_blocks(join_projections(dit), backend=keep)
    made = []
    for _ in range(2):
        with torch.inference_mode():
            text = dit.encode_text(torch.zeros(1, config.text_len, config.text_dim))
            loop = BlockLoop(dit, Schedule.make(dit, STEPS, SHIFT), text)
            for _ in range(3):
                source, condition = torch.zeros(1, 3, 16, 4, 4), torch.zeros(1, 3, 20, 4, 4)
                loop.step(source, condition, torch.zeros(len(STEPS), *source.shape))
        made.append(len(graphs))
    breaks = sum(counters["graph_break"].values())
    torch.compiler.reset()
    return {"graphs": made[0], "graph_breaks": breaks, "recompilations_in_a_second_clip": made[1] - made[0]}
