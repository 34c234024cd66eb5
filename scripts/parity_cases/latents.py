"""Golden cases of the video autoencoders.

The sets hold whole clips; here each goes through in one group, and cut into the smallest groups there are as well:
the worse of both is what counts, so that streaming is held to the published numbers too.
"""

from __future__ import annotations

from pathlib import Path

import torch

from inspatio.models.wan_vae import WanDecoder, WanEncoder
from inspatio.weights import load_strict
from parity_cases.golden import TOLERANCES, GoldenCase, Measured, Outputs, compare


def lengths(case: GoldenCase, kind: str) -> list[int]:
    """The clip lengths of a case, from its tensors' names (``encode13``: 13)."""
    return sorted(int(name.removeprefix(kind)) for name in case.stored if name.startswith(kind))


def worst(case: GoldenCase, name: str, dtype: torch.dtype, *results: torch.Tensor) -> Measured:
    """The result that is furthest from the stored tensor."""
    measured = [compare(result, case.stored[name], TOLERANCES[dtype]) for result in results]
    return max(measured, key=lambda m: (m.error != m.error, m.error))


def wan_vae(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> Outputs:
    weights = case.weights("vae.")
    width = case.manifest["dim"]
    encoder, decoder = WanEncoder(width), WanDecoder(width)
    for model, other in ((encoder, ("decoder.", "conv2.")), (decoder, ("encoder.", "conv1."))):
        load_strict(
            model,
            weights,
            source=Path(case.name),
            rename=lambda key, other=other: None if key.startswith(other) else key,
            device=device,
            dtype=dtype,
        )
    outputs: dict[str, Measured] = {}
    for t in lengths(case, "encode"):
        shape = (1, 3, t, *(8 * side for side in case.stored[f"encode{t}"].shape[-2:]))
        video = case.noise(f"vae.video{t}", shape).clamp(-1, 1).to(device, dtype)
        whole = encoder.encode(video, encoder.start())
        state = encoder.start()
        groups = [video[:, :, :1], *video[:, :, 1:].split(4, dim=2)] if t > 1 else [video]
        cut = torch.cat([encoder.encode(group, state) for group in groups], dim=1)
        outputs[f"encode{t}"] = worst(case, f"encode{t}", dtype, *(x.transpose(1, 2) for x in (whole, cut)))

        latents = case.stored[f"encode{t}"].transpose(1, 2).to(device, dtype)
        whole = decoder.decode(latents, decoder.start())
        state = decoder.start()
        cut = torch.cat([decoder.decode(latent, state) for latent in latents.split(1, dim=1)], dim=2)
        outputs[f"decode{t}"] = worst(case, f"decode{t}", dtype, whole, cut)
    return outputs


CASES = {"wan_vae": wan_vae}
