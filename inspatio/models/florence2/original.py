"""Convert the original Florence-2 layout (microsoft/Florence-2-large and fine-tunes of it) to transformers' names.

The weights equal those of the converted folder (florence-community/Florence-2-large) under other names. The Python
files beside them, which the original needs with ``trust_remote_code``, are never read. Four things differ:

- ``config.json`` has other field names for the vision tower;
- the names of the tensors; the image projection is stored transposed; a bias of the logits is stored, which is zero;
- the tokenizer's file lacks the 1024 task and location tokens, which the original's processor adds at run time;
- ``<image>``, the placeholder of the image's features in the prompt, has no row in the token embedding.

Source: Florence-2 (arXiv 2311.06242) and the layout of its public folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer

from inspatio.errors import MissingWeightsError

IMAGE_TOKEN = "<image>"

LOCATIONS = 1000

TASK_TOKENS: tuple[str, ...] = (
    *("<od>", "</od>", "<ocr>", "</ocr>"),
    *(f"<loc_{place}>" for place in range(LOCATIONS)),
    *("<cap>", "</cap>", "<ncap>", "</ncap>", "<dcap>", "</dcap>", "<grounding>", "</grounding>"),
    # "desciption" is the published spelling.
    *("<seg>", "</seg>", "<sep>", "<region_cap>", "</region_cap>", "<region_to_desciption>", "</region_to_desciption>"),
    *("<proposal>", "</proposal>", "<poly>", "</poly>", "<and>"),
)
"""Tokens that the original's processor adds to the tokenizer, in this order, after the file's own."""

_LOGITS_BIAS = "language_model.final_logits_bias"
_IMAGE_PROJECTION = "image_projection"
_EMBEDDINGS = (
    "language_model.model.shared.weight",
    "language_model.model.encoder.embed_tokens.weight",
    "language_model.model.decoder.embed_tokens.weight",
    "language_model.lm_head.weight",
)
_PROJECTOR = "model.multi_modal_projector."
_PREFIXES = {
    "language_model.lm_head.": "lm_head.",
    "language_model.model.": "model.language_model.",
    "vision_tower.": "model.vision_tower.",
    "image_proj_norm.": f"{_PROJECTOR}image_proj_norm.",
    "image_pos_embed.": f"{_PROJECTOR}image_position_embed.",
    "visual_temporal_embed.": f"{_PROJECTOR}visual_temporal_embed.",
}
_VISION_PARTS = (
    (re.compile(r"^(convs\.\d+)\.proj\."), r"\1.conv."),
    (re.compile(r"\.(conv[12])\.fn\.dw\."), r".\1."),
    (re.compile(r"\.(?:window|channel)_attn\.norm\."), ".norm1."),
    (re.compile(r"\.(window_attn|channel_attn)\.fn\."), r".\1."),
    (re.compile(r"\.ffn\.norm\."), ".norm2."),
    (re.compile(r"\.ffn\.fn\.net\."), ".ffn."),
)
_VISION_FACTS: dict[str, Any] = {
    "image_feature_source": ["spatial_avg_pool", "temporal_avg_pool"],
    "visual_temporal_embedding.type": "COSINE",
    "image_pos_embed.type": "learned_abs_2d",
}
"""Fields of the original's config that transformers' Florence-2 supports with one value only."""


def is_original(config: Mapping[str, Any]) -> bool:
    """Whether a Florence-2 ``config.json`` has the original layout."""
    vision = config.get("vision_config")
    return isinstance(vision, dict) and "dim_embed" in vision


def convert_config(config: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """Convert the original's ``config.json`` to the converted folder's field names.

    Raises:
        MissingWeightsError: a field is missing, or asks for a variant that transformers' network does not have.
    """
    vision: dict[str, Any] = dict(config["vision_config"])
    for name, expected in _VISION_FACTS.items():
        got = _field(vision, name, source)
        if got != expected:
            raise MissingWeightsError(
                f"{source}: vision_config.{name} is {got!r}, expected {expected!r} as in the published Florence-2; "
                "this variant cannot be run without the folder's own code, which is never executed"
            )
    vision["embed_dim"] = vision["dim_embed"]
    vision["max_temporal_embeddings"] = _field(vision, "visual_temporal_embedding.max_temporal_embeddings", source)
    vision["max_position_embeddings"] = _field(vision, "image_pos_embed.max_pos_embeddings", source)
    return {**config, "vision_config": vision}


def extend_tokenizer(tokenizer: Tokenizer) -> None:
    """Add the task and location tokens and ``<image>`` to the original's tokenizer, if they are missing."""
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in (*TASK_TOKENS, IMAGE_TOKEN)]
    )


def rename(key: str) -> str | None:
    """Map a tensor's name to transformers' network; None for the bias of the logits, which it does not have."""
    if key == _LOGITS_BIAS:
        return None
    if key == _IMAGE_PROJECTION:
        return f"{_PROJECTOR}image_projection.weight"
    for prefix, native in _PREFIXES.items():
        if key.startswith(prefix):
            name = key.removeprefix(prefix)
            if prefix == "vision_tower.":
                for pattern, replacement in _VISION_PARTS:
                    name = pattern.sub(replacement, name)
            return native + name
    return f"({key})"  # not a name of the network, so that it is reported as unexpected and cannot replace another


def convert_state(state: Mapping[str, torch.Tensor], embedding_rows: int, source: Path) -> dict[str, torch.Tensor]:
    """Convert the original's tensors to the converted folder's shapes, names unchanged.

    The token embedding gets ``embedding_rows`` rows; new rows are zero: the network never reads them (image features
    replace ``<image>``), and decoding must suppress them.

    Raises:
        MissingWeightsError: the bias of the logits is not zero, so that leaving it out would change the answers.
    """
    converted = dict(state)
    bias = converted.get(_LOGITS_BIAS)
    if bias is not None and bool(torch.any(bias != 0)):
        raise MissingWeightsError(
            f"{source}: {_LOGITS_BIAS} is not zero, expected zeros as in the published weights; "
            "transformers' Florence-2 has no such bias and would answer differently"
        )
    projection = converted.get(_IMAGE_PROJECTION)
    if projection is not None and projection.ndim == 2:
        converted[_IMAGE_PROJECTION] = projection.T
    # Usually one matrix under several names: keep it one.
    widened: dict[int, torch.Tensor] = {}
    for name in _EMBEDDINGS:
        embedding = converted.get(name)
        if embedding is not None and embedding.ndim == 2 and len(embedding) < embedding_rows:
            if embedding.data_ptr() not in widened:
                padding = (0, 0, 0, embedding_rows - len(embedding))
                widened[embedding.data_ptr()] = torch.nn.functional.pad(embedding, padding)
            converted[name] = widened[embedding.data_ptr()]
    return converted


def _field(config: Mapping[str, Any], name: str, source: Path) -> Any:
    value: Any = config
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            raise MissingWeightsError(f"{source}: vision_config.{name} is missing, expected the original's fields")
        value = value[part]
    return value
