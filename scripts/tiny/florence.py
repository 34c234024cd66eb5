"""Tiny Florence-2 folders with seeded random weights, in both published layouts.

    write(folder, seed=0)                       # as florence-community/Florence-2-large lies on the hub
    write(folder, seed=0, layout="original")    # as microsoft/Florence-2-large does, its Python files included

One seed gives the same network in both. It has every kind of layer of the real one and every file that is read, and
takes a second to write. Its captions mean nothing, but they are words, depend on the image, and end by themselves: the
vocabulary spells out a few dozen words, all other tokens are made unlikely, and the position table pushes
towards the end token.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from einops import rearrange
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import BartConfig, Florence2Config, Florence2ForConditionalGeneration, Florence2VisionConfig

from inspatio.models.florence2.original import IMAGE_TOKEN, TASK_TOKENS

Layout = Literal["converted", "original"]

_SENTENCES = """
    a the and of in on with to is are near behind under over red green blue white dark bright small large old quiet
    street house tree river hill stone door window chair table cup lamp bird dog horse man woman child boat train
    car bridge cloud sky sun rain snow grass flower wall roof light shadow walks stands sits runs looks holds shines
"""
WORDS = tuple(_SENTENCES.split())


@dataclass(frozen=True)
class Sizes:
    """A network's sizes: transformers' vision and text fields, the image's side in pixels, and the tokens of the file.

    The file is filled up to ``tokens`` with some that no text needs; None leaves it at what the words need.
    """

    vision: dict[str, Any]
    text: dict[str, Any]
    image_size: int
    tokens: int | None = None


TINY = Sizes(
    {
        "depths": [1, 1, 2, 1],
        "patch_size": [7, 3, 3, 3],
        "patch_stride": [4, 2, 2, 2],
        "patch_padding": [3, 1, 1, 1],
        "patch_prenorm": [False, True, True, True],
        "embed_dim": [8, 16, 24, 32],
        "num_heads": [1, 2, 3, 4],
        "num_groups": [1, 2, 3, 4],
        "window_size": 4,
        "projection_dim": 64,
        "drop_path_rate": 0.1,
        "max_temporal_embeddings": 100,
        "max_position_embeddings": 50,
    },
    {
        "d_model": 64,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 128,
        "decoder_ffn_dim": 128,
        "max_position_embeddings": 1024,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
    },
    image_size=64,
)


def _published(width: int, d_model: int, layers: int) -> Sizes:
    """Sizes of a published network: the vision tower's first width, the text's width, the layers of each side."""
    widths, heads = ([first * 2**stage for stage in range(4)] for first in (width, width // 32))
    sides = ("encoder", "decoder")
    vision = {"depths": [1, 1, 9, 1], "embed_dim": widths, "num_heads": heads, "num_groups": heads}
    text = {
        **{f"{side}_layers": layers for side in sides},
        **{f"{side}_attention_heads": d_model // 64 for side in sides},
        **{f"{side}_ffn_dim": 4 * d_model for side in sides},
    }
    return Sizes(
        TINY.vision | vision | {"window_size": 12, "projection_dim": d_model},
        TINY.text | text | {"d_model": d_model},
        image_size=768,
        tokens=50265,
    )


BASE = _published(128, 768, 6)
LARGE = _published(256, 1024, 12)
"""As Florence-2-base and Florence-2-large are, for benchmarks."""

_TIED = tuple(f"model.language_model.{side}.embed_tokens.weight" for side in ("encoder", "decoder"))
_TIME_TABLE = "model.multi_modal_projector.visual_temporal_embed.pos_idx_to_embed"
_CAPTION_LENGTH = 16
_NEVER_RUN = 'raise SystemExit("{name}: a file of the model folder was run; nothing in it may ever be")\n'


def write(folder: Path, seed: int = 0, layout: Layout = "converted") -> None:
    """Write a folder that ``Florence2Captioner.load`` takes, in float16 as published."""
    folder.mkdir(parents=True, exist_ok=True)
    state = make_state(seed)
    write_settings(folder, layout)
    if layout == "converted":
        state = {key: value for key, value in state.items() if "embed_tokens" not in key and key != "lm_head.weight"}
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        torch.save(to_original(state), folder / "pytorch_model.bin")


def write_settings(folder: Path, layout: Layout = "converted", sizes: Sizes = TINY) -> None:
    """Write everything but the weights."""
    tokenizer = make_tokenizer(sizes)
    preprocessor = _preprocessor(sizes.image_size)
    if layout == "converted":
        tokenizer.add_special_tokens([_special(token) for token in (*TASK_TOKENS, IMAGE_TOKEN)])
        config = _converted_config(sizes)
        _write_json(folder / "tokenizer_config.json", {"tokenizer_class": "BartTokenizer"})
        _write_json(folder / "processor_config.json", {"processor_class": "Florence2Processor"})
    else:
        config = _original_config(sizes)
        preprocessor["auto_map"] = {"AutoProcessor": "processing_florence2.Florence2Processor"}
        _write_json(folder / "tokenizer_config.json", {"model_max_length": 1024})
        _write_json(folder / "vocab.json", dict(sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])))
        for name in ("configuration_florence2.py", "modeling_florence2.py", "processing_florence2.py"):
            (folder / name).write_text(_NEVER_RUN.format(name=name), encoding="utf-8")
    _write_json(folder / "config.json", config)
    _write_json(folder / "preprocessor_config.json", preprocessor)
    # As published: the captioner must not take its settings from here.
    _write_json(folder / "generation_config.json", {"num_beams": 3, "early_stopping": False})
    tokenizer.save(str(folder / "tokenizer.json"))


def make_tokenizer(sizes: Sizes = TINY) -> Tokenizer:
    """A byte-level BPE in the order of Florence-2's own file: ``<s> <pad> </s> <unk>``, the text tokens, ``<mask>``."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        whole = "Ġ"
        for letter in word:
            if whole + letter not in tokens:
                merges.append((whole, letter))
                tokens.append(whole + letter)
            whole += letter
    tokens += [f"unused{number}" for number in range((sizes.tokens or 0) - len(tokens) - 1)]
    tokens.append("<mask>")
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer.add_special_tokens([_special(token) for token in ("<s>", "<pad>", "</s>", "<unk>")])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True, normalized=True)])
    return tokenizer


def base_rows(sizes: Sizes = TINY) -> int:
    """Rows of the original's token embedding: the file's tokens and the task tokens, without ``<image>``."""
    return make_tokenizer(sizes).get_vocab_size() + len(TASK_TOKENS)


def make_state(seed: int) -> dict[str, torch.Tensor]:
    """The tiny network's tensors by transformers' names, float16, made of one seed."""
    tokenizer = make_tokenizer()
    rows = _rounded(base_rows() + 1)
    config = Florence2Config(
        vision_config=Florence2VisionConfig(**TINY.vision), text_config=BartConfig(vocab_size=rows, **TINY.text)
    )
    with torch.device("meta"):
        model = Florence2ForConditionalGeneration(config)
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("bias"):
            state[name] = 0.1 * noise
        elif "norm" in name:
            state[name] = 1 + 0.1 * noise
        elif "embed" in name or "shared" in name:
            state[name] = noise
        else:
            gain = 2 if "encoder_attn" in name else 1
            state[name] = gain * noise / tensor[0].numel() ** 0.5
    state[_TIME_TABLE] = _time_table(TINY.vision["max_temporal_embeddings"], TINY.vision["embed_dim"][-1])
    # Only whole words are likely, weakly enough that one does not call for itself again. The end is decided by the
    # first feature, which no layer of the decoder writes: it says how far the answer has come.
    embedding = state["model.language_model.shared.weight"]
    words = {tokenizer.token_to_id(f"Ġ{word}") for word in WORDS}
    embedding *= 0.2
    embedding[[token for token in range(rows) if token not in words]] *= 0.02
    embedding[:, 0] = 0
    embedding[TINY.text["eos_token_id"], 0] = 20
    for name, tensor in state.items():
        if re.search(r"decoder\.layers\.\d+\.(.*\.out_proj|fc2)\.", name):
            tensor[0] = 0
    places = state["model.language_model.decoder.embed_positions.weight"]
    places[:, 0] = torch.arange(len(places)) - _CAPTION_LENGTH
    for name in (*_TIED, "lm_head.weight"):
        state[name] = embedding
    return {name: tensor.half() for name, tensor in state.items()}


def to_original(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors under the original's names: the way back of ``inspatio/models/florence2/original.py``."""
    rows = base_rows()
    embedding = state["model.language_model.shared.weight"][:rows].clone()
    original: dict[str, torch.Tensor] = {"language_model.final_logits_bias": torch.zeros(1, rows).half()}
    for name, tensor in state.items():
        value = embedding if name in (*_TIED, "lm_head.weight", "model.language_model.shared.weight") else tensor
        if name == "model.multi_modal_projector.image_projection.weight":
            original["image_projection"] = value.T.contiguous()
            continue
        for pattern, replacement in _TO_ORIGINAL:
            name = re.sub(pattern, replacement, name)
        original[name] = value
    return original


_TO_ORIGINAL = (
    (r"^lm_head\.", "language_model.lm_head."),
    (r"^model\.language_model\.", "language_model.model."),
    (r"^model\.multi_modal_projector\.image_position_embed\.", "image_pos_embed."),
    (r"^model\.multi_modal_projector\.", ""),
    (r"^model\.vision_tower\.", "vision_tower."),
    (r"^(vision_tower\.convs\.\d+)\.conv\.", r"\1.proj."),
    (r"^(vision_tower\.blocks\..*\.conv[12])\.", r"\1.fn.dw."),
    (r"^(vision_tower\.blocks\..*\.(?:window|channel)_attn)\.", r"\1.fn."),
    (r"^(vision_tower\.blocks\..*\.spatial_block)\.norm1\.", r"\1.window_attn.norm."),
    (r"^(vision_tower\.blocks\..*\.channel_block)\.norm1\.", r"\1.channel_attn.norm."),
    (r"^(vision_tower\.blocks\..*)\.ffn\.", r"\1.ffn.fn.net."),
    (r"^(vision_tower\.blocks\..*)\.norm2\.", r"\1.ffn.norm."),
)


def _converted_config(sizes: Sizes) -> dict[str, Any]:
    return {
        "dtype": "float16",
        "image_token_id": base_rows(sizes),
        "model_type": "florence2",
        "text_config": {"model_type": "bart", "vocab_size": _rounded(base_rows(sizes) + 1), **sizes.text},
        "vision_config": {"model_type": "florence_vision", **sizes.vision},
    }


def _original_config(sizes: Sizes) -> dict[str, Any]:
    renamed = ("embed_dim", "max_temporal_embeddings", "max_position_embeddings")
    vision = {name: value for name, value in sizes.vision.items() if name not in renamed}
    width, times, positions = (sizes.vision[name] for name in renamed)
    vision |= {
        "dim_embed": width,
        "model_type": "davit",
        "visual_temporal_embedding": {"type": "COSINE", "max_temporal_embeddings": times},
        "image_pos_embed": {"type": "learned_abs_2d", "max_pos_embeddings": positions},
        "image_feature_source": ["spatial_avg_pool", "temporal_avg_pool"],
    }
    text = {"vocab_size": base_rows(sizes), "activation_function": "gelu", "scale_embedding": False, "num_beams": 3}
    return {
        "auto_map": {"AutoModelForCausalLM": "modeling_florence2.Florence2ForConditionalGeneration"},
        "model_type": "florence2",
        "text_config": {**sizes.text, **text},
        "torch_dtype": "float16",
        "vision_config": vision,
    }


def _preprocessor(size: int) -> dict[str, Any]:
    return {
        "crop_size": {"height": size, "width": size},
        "do_center_crop": False,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_seq_length": 1 + (size // 32) ** 2,  # four convolutions divide each side by 32
        "image_std": [0.229, 0.224, 0.225],
        "resample": 3,
        "size": {"height": size, "width": size},
    }


def _time_table(length: int, width: int) -> torch.Tensor:
    """The cosine table of places in time, sine and cosine taking turns; a still image uses its first row only."""
    rates = torch.exp(torch.arange(width // 2) * -(math.log(10000) / (width // 2)))
    angles = torch.arange(length)[:, None] * rates
    return rearrange(torch.stack([angles.sin(), angles.cos()]), "part t c -> t (c part)")


def _rounded(rows: int) -> int:
    return -(-rows // 64) * 64


def _special(token: str) -> AddedToken:
    return AddedToken(token, special=True, normalized=False)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
