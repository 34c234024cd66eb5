"""Golden cases of the video autoencoders.

The sets hold whole clips; here each goes through in one group, and cut into the smallest groups there are as well:
the worse of both is what counts, so that streaming is held to the published numbers too.
"""

from __future__ import annotations

from pathlib import Path

import torch

from inspatio.models.wan.taehv import TaeDecoder, TaeEncoder
from inspatio.models.wan.vae import WanDecoder, WanEncoder
from inspatio.models.weights import load_strict
from parity_cases.golden import TOLERANCES, GoldenCase, Measured, Outputs, compare


def lengths(case: GoldenCase, kind: str) -> list[int]:
    """The clip lengths of a case, from its tensors' names (``encode13``: 13)."""
    return sorted(int(name.removeprefix(kind)) for name in case.stored if name.startswith(kind))


VAE_TOLERANCES = {**TOLERANCES, torch.bfloat16: 1e-1}
"""With random weights, rounding the VAE's weights alone to bfloat16 and computing in float32 is off by 4e-2 already."""


def worst(case: GoldenCase, name: str, tolerance: float, *results: torch.Tensor) -> Measured:
    """The result that is furthest from the stored tensor."""
    measured = [compare(result, case.stored[name], tolerance) for result in results]
    return max(measured, key=lambda m: (m.error != m.error, m.error))


def load_half(
    model: torch.nn.Module,
    weights: dict[str, torch.Tensor],
    omitted: tuple[str, ...],
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    """An encoder or a decoder from a case's weights without the other half's."""

    def rename(key: str) -> str | None:
        return None if key.startswith(omitted) else key

    load_strict(model, weights, source=Path("golden set"), rename=rename, device=device, dtype=dtype)


def wan_vae(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> Outputs:
    weights = case.weights("vae.")
    width = case.manifest["dim"]
    encoder, decoder = WanEncoder(width), WanDecoder(width)
    for model, other in ((encoder, ("decoder.", "conv2.")), (decoder, ("encoder.", "conv1."))):
        load_half(model, weights, other, device, dtype)
    outputs: dict[str, Measured] = {}
    for t in lengths(case, "encode"):
        shape = (1, 3, t, *(8 * side for side in case.stored[f"encode{t}"].shape[-2:]))
        video = case.noise(f"vae.video{t}", shape).clamp(-1, 1).to(device, dtype)
        whole = encoder.encode(video, encoder.start())
        state = encoder.start()
        groups = [video[:, :, :1], *video[:, :, 1:].split(4, dim=2)] if t > 1 else [video]
        cut = torch.cat([encoder.encode(group, state) for group in groups], dim=1)
        outputs[f"encode{t}"] = worst(
            case, f"encode{t}", VAE_TOLERANCES[dtype], *(x.transpose(1, 2) for x in (whole, cut))
        )

        latents = case.stored[f"encode{t}"].transpose(1, 2).to(device, dtype)
        whole = decoder.decode(latents, decoder.start())
        state = decoder.start()
        cut = torch.cat([decoder.decode(latent, state) for latent in latents.split(1, dim=1)], dim=2)
        outputs[f"decode{t}"] = worst(case, f"decode{t}", VAE_TOLERANCES[dtype], whole, cut)
    return outputs


def taehv(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> Outputs:
    weights = case.weights("tae.")
    width = case.keys["encoder.0.weight"][0]
    encoder, decoder = TaeEncoder(width), TaeDecoder(width)
    for model, other in ((encoder, "decoder."), (decoder, "encoder.")):
        load_half(model, weights, (other,), device, dtype)
    outputs: dict[str, Measured] = {}
    for t in lengths(case, "encode"):
        _, f, _, h, w = case.stored[f"encode{t}"].shape
        frames = (case.noise(f"tae.video{t}", (1, t, 3, 8 * h, 8 * w)) * 0.25 + 0.5).clamp(0, 1)
        video = (frames.transpose(1, 2) * 2 - 1).to(device, dtype)
        # A group is 1 + 4 k frames; those beyond, of clips that are not, are the frames that follow it.
        count = 4 * f - 3
        whole = encoder.encode(video[:, :, :count], encoder.start(), video[:, :, count:])
        state = encoder.start()
        cut = [encoder.encode(video[:, :, :1], state, video[:, :, 1:4])]
        cut += [encoder.encode(video[:, :, i : i + 4], state, video[:, :, i + 4 : i + 7]) for i in range(1, count, 4)]
        outputs[f"encode{t}"] = worst(case, f"encode{t}", TOLERANCES[dtype], whole, torch.cat(cut, dim=1))
    for f in lengths(case, "decode"):
        _, _, _, h, w = case.stored[f"decode{f}"].shape
        latents = case.noise(f"tae.latent{f}", (1, f, 16, h // 8, w // 8)).to(device, dtype)
        whole = decoder.decode(latents, decoder.start())
        state = decoder.start()
        cut = torch.cat([decoder.decode(latent, state) for latent in latents.split(1, dim=1)], dim=2)
        outputs[f"decode{f}"] = worst(
            case, f"decode{f}", TOLERANCES[dtype], *(x.transpose(1, 2) * 0.5 + 0.5 for x in (whole, cut))
        )
    return outputs


CASES = {"wan_vae": wan_vae, "taehv": taehv}
