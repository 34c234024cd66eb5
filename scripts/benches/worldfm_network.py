"""Some layers of WorldFM's network against a plain implementation of the published order of operations.

Plain: modulation and positions are made in every pass, normalisation, scale and shift are operations of their own, a
zero caption goes through its embedding (nobody reads the result), every token asks in the last layer, and the joint
picture is put together before it is cut to its third. Both have the same random weights, in float32, and must agree.
"""

from __future__ import annotations

import math

import torch
from benches.measure import cpu_seconds
from einops import rearrange
from torch.nn import functional as F

from inspatio.models.worldfm.autoencoder import SHRINK
from inspatio.models.worldfm.dit import EPS, LATENT_CHANNELS, PATCH, VIEWS, Block, WorldFM, WorldFMConfig, positions

STEP = 999
CAPTION = (300, 4096)
"""Tokens and width of the published caption, which is all zeros."""


@torch.inference_mode()
def time_network(size: tuple[int, int], layers: int, repeats: int) -> dict[str, float]:
    """CPU seconds of a pass for a picture of ``size`` (height, width), both ways, and their relative difference."""
    torch.manual_seed(0)
    with torch.device("meta"):
        network = WorldFM(WorldFMConfig(depth=layers))
    network.to_empty(device="cpu")
    for parameter in network.parameters():
        parameter.normal_(0, 0.02)
    width = network.config.hidden_size
    caption = [torch.randn(shape) * 0.02 for shape in ((width, CAPTION[1]), (width, width))]
    pictures = torch.randn(3, 1, LATENT_CHANNELS, size[0] // SHRINK, size[1] // SHRINK)
    noisy, render, reference = pictures
    modulation = network.time_modulation(torch.tensor([STEP]))
    found: dict[str, torch.Tensor] = {}

    def ours() -> None:
        found["ours"] = network(noisy, render, reference, modulation)

    def plain() -> None:
        F.linear(F.gelu(F.linear(torch.zeros(CAPTION), caption[0]), approximate="tanh"), caption[1])
        found["plain"] = plain_pass(network, torch.cat((noisy, render, reference), dim=3))

    seconds = cpu_seconds({"ours": ours, "plain": plain}, repeats)
    difference = (found["ours"] - found["plain"]).abs().max() / found["plain"].abs().max()
    return {
        "layers": layers,
        "cpu_s": seconds["ours"],
        "plain_cpu_s": seconds["plain"],
        "cpu_ratio": seconds["plain"] / seconds["ours"],
        "relative_difference": float(difference),
    }


def plain_pass(network: WorldFM, joint: torch.Tensor) -> torch.Tensor:
    """The prediction ``b 8 h w`` for joint latents ``b 4 h (3 w)``, operation by operation as published."""
    rows, columns = joint.shape[2] // PATCH, joint.shape[3] // PATCH
    frequencies = torch.exp(-math.log(10000.0) * torch.arange(128) / 128)
    angles = STEP * frequencies[None]
    embedded = network.t_embedder.mlp(torch.cat((angles.cos(), angles.sin()), dim=-1))
    shared = network.t_block(embedded)

    x = network.x_embedder.proj(joint).flatten(2).transpose(1, 2) + positions(network.config, rows, columns)
    for block in network.blocks:
        x = _plain_layer(block, x, shared)
    shift, scale = (network.final_layer.scale_shift_table[None] + embedded[:, None]).chunk(2, dim=1)
    x = network.final_layer.linear(_modulated(x, shift, scale))
    whole = rearrange(x, "b (h w) (p q c) -> b c (h p) (w q)", h=rows, p=PATCH, q=PATCH)
    return whole[..., : whole.shape[3] // VIEWS]


def _plain_layer(block: Block, x: torch.Tensor, shared: torch.Tensor) -> torch.Tensor:
    b, n, c = x.shape
    heads = block.attn.heads
    modulation = block.scale_shift_table[None] + shared.reshape(b, 6, c)
    attn_shift, attn_scale, attn_gate, mlp_shift, mlp_scale, mlp_gate = modulation.chunk(6, dim=1)
    qkv = block.attn.qkv(_modulated(x, attn_shift, attn_scale)).reshape(b, n, 3, c)
    q, k, v = (each.reshape(b, n, heads, -1).permute(0, 2, 1, 3).contiguous() for each in qkv.unbind(2))
    y = F.scaled_dot_product_attention(q, k, v).permute(0, 2, 1, 3).contiguous().view(b, n, c)
    x = x + attn_gate * block.attn.proj(y)
    return x + mlp_gate * block.mlp(_modulated(x, mlp_shift, mlp_scale))


def _modulated(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=EPS) * (1 + scale) + shift
