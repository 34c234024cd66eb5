"""Golden case of the text encoder."""

from __future__ import annotations

from pathlib import Path

import torch

from inspatio.models.wan.text_encoder import make_network
from parity_cases.golden import TOLERANCES, GoldenCase, Outputs, compare

TEXT_TOLERANCES = {**TOLERANCES, torch.bfloat16: 1e-1}
"""With random weights, rounding the weights alone to bfloat16 and computing in float32 is off by 6e-2 already."""


def umt5(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> Outputs:
    network = make_network(case.weights("t5."), Path("golden set"), device=device, dtype=dtype)
    ids, mask = case.stored_input("ids").to(device), case.stored_input("mask").to(device)
    embeddings = torch.zeros(*ids.shape, network.config.d_model, device=device, dtype=dtype)
    # As in use: each prompt on its own, without its padding.
    for row, (prompt, present) in enumerate(zip(ids, mask.bool(), strict=True)):
        embeddings[row, present] = network(input_ids=prompt[present][None]).last_hidden_state[0]
    return {"embeds": compare(embeddings, case.stored["embeds"], TEXT_TOLERANCES[dtype])}


CASES = {"umt5": umt5}
