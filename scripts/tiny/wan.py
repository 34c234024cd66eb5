"""The generator's checkpoints in the smallest sizes, in the published layout: folders that the pipeline loads.

Three folders: ``InSpatio-World-1.3B`` (its names prefixed ``model.``), ``Wan2.1-T2V-1.3B`` (config, base transformer,
text encoder and its tokenizer, video VAE) and ``taehv``. Every kind of layer of the real networks is there, with seeded
random weights; a clip that goes through them comes out as coloured noise that depends on everything it should.

What is not as published: the tokenizer knows the words of a few sentences and spells out all others, and its
``spiece.model``, which nothing here reads, is left out.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from pathlib import Path

import torch
from safetensors.torch import save_file
from tiny.weights import random_state
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from torch import nn

from inspatio.models.wan.dit import CausalDiT, DiTConfig
from inspatio.models.wan.taehv import TaeDecoder, TaeEncoder
from inspatio.models.wan.text_encoder import TOKENIZER_FILE, WEIGHTS_FILE
from inspatio.models.wan.vae import WanDecoder, WanEncoder

TEXT_WIDTH = 64
TEXT_LAYERS, TEXT_HEADS, TEXT_FEED_FORWARD, TEXT_BUCKETS = 2, 4, 128, 32
TRANSFORMER = DiTConfig(dim=96, ffn_dim=192, num_heads=4, num_layers=3, text_dim=TEXT_WIDTH)
AUTOENCODER_WIDTH = 8

_SENTENCES = [
    "A slow shot of a street at dusk, with parked cars and people walking under the trees.",
    "The kitchen table holds a bowl of fruit, a blue cup and an open book; light falls through the window.",
    "Two dogs run across a wide green meadow while the camera moves to the left.",
    "A person in a red jacket stands near the sea, waves break on the rocks behind.",
    "Snow covers the roofs of the old town, smoke rises from the chimneys in the morning.",
]


def write(folder: Path, seed: int = 0) -> None:
    """Write the three model folders into ``folder``, which is made."""
    generator = torch.Generator().manual_seed(seed)
    world, wan, tae = (folder / name for name in ("InSpatio-World-1.3B", "Wan2.1-T2V-1.3B", "taehv"))
    for path in (world, (wan / TOKENIZER_FILE).parent, tae):
        path.mkdir(parents=True, exist_ok=True)

    with torch.device("meta"):
        transformer = CausalDiT(TRANSFORMER)
    network = seeded(transformer, generator)
    half = {name: value.bfloat16() for name, value in network.items()}
    save_file({f"model.{name}": value for name, value in half.items()}, world / "InSpatio-World-1.3B.safetensors")
    # The base model knows no mask and no render: its patches have the latent's channels only.
    base = {**network, "patch_embedding.weight": network["patch_embedding.weight"][:, :16].contiguous()}
    save_file(base, wan / "diffusion_pytorch_model.safetensors")
    _write_json(wan / "config.json", _transformer_config(TRANSFORMER))

    tokenizer = make_tokenizer()
    tokenizer.save(str(wan / TOKENIZER_FILE))
    _write_json(
        wan / TOKENIZER_FILE.with_name("tokenizer_config.json"),
        {"tokenizer_class": "T5Tokenizer", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"},
    )
    text = random_state(_text_shapes(vocabulary=tokenizer.get_vocab_size()), generator)
    torch.save({name: value.bfloat16() for name, value in text.items()}, wan / WEIGHTS_FILE)

    for path, encoder, decoder in (
        (wan / "Wan2.1_VAE.pth", WanEncoder, WanDecoder),
        (tae / "taew2_1.pth", TaeEncoder, TaeDecoder),
    ):
        with torch.device("meta"):
            halves = encoder(AUTOENCODER_WIDTH), decoder(AUTOENCODER_WIDTH)
        torch.save({name: value for part in halves for name, value in seeded(part, generator).items()}, path)


def seeded(module: nn.Module, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """A state for a module, which may be without storage."""
    return random_state({name: tuple(value.shape) for name, value in module.state_dict().items()}, generator)


def _transformer_config(config: DiTConfig) -> dict[str, object]:
    return {
        "_class_name": "WanModel",
        "dim": config.dim,
        "eps": config.eps,
        "ffn_dim": config.ffn_dim,
        "freq_dim": config.freq_dim,
        "in_dim": 16,
        "model_type": "t2v",
        "num_heads": config.num_heads,
        "num_layers": config.num_layers,
        "out_dim": config.out_dim,
        "text_dim": config.text_dim,
        "text_len": config.text_len,
    }


def _text_shapes(vocabulary: int) -> dict[str, tuple[int, ...]]:
    width, feed_forward = TEXT_WIDTH, TEXT_FEED_FORWARD
    shapes: dict[str, tuple[int, ...]] = {"token_embedding.weight": (vocabulary, width), "norm.weight": (width,)}
    for layer in range(TEXT_LAYERS):
        block = {
            "norm1": (width,),
            **{f"attn.{part}": (width, width) for part in "qkvo"},
            "norm2": (width,),
            "ffn.gate.0": (feed_forward, width),
            "ffn.fc1": (feed_forward, width),
            "ffn.fc2": (width, feed_forward),
            "pos_embedding.embedding": (TEXT_BUCKETS, TEXT_HEADS),
        }
        shapes |= {f"blocks.{layer}.{name}.weight": shape for name, shape in block.items()}
    return shapes


def make_tokenizer() -> Tokenizer:
    """Unigram pieces (the sentences' words, and all their characters), T5's special tokens, its end token after a text.

    Counted rather than trained: the library's trainer adds up in any order, and its result differs from run to run.
    """
    words = Counter(word for sentence in _SENTENCES for word in re.findall(r"\w+|\W", sentence) if word != " ")
    pieces = {f"▁{word}": math.log(count / words.total()) for word, count in sorted(words.items())}
    characters = sorted({"▁", *"".join(_SENTENCES).replace(" ", "")})
    pieces |= dict.fromkeys(characters, -12.0)
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *pieces.items()]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2, byte_fallback=False))
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def _write_json(path: Path, value: dict[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
