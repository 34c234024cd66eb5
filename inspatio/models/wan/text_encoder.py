"""Text encoder (umT5): a prompt to the embeddings that the generator attends to.

Place in the flow: caption -> :class:`TextEncoder` -> ``generation/inspatio_world/prompts.py`` (kept on disk) ->
generator. Published size: 24 layers, width 4096, 64 heads, 11 GB in bfloat16, so it is used before anything else is
loaded and then dropped; on a CPU it runs from the memory map of its file.

Shapes: a prompt is at most 512 tokens, the last one the end token ``</s>``; embeddings are ``m c`` with ``m`` tokens,
padded with zeros to ``512 c``. The published code runs all 512 positions and masks the padding; attention being the
only place where tokens meet, running the ``m`` alone is the same.

Numerics: the file's own bfloat16, norms and softmax in float32 (transformers' implementation). Attention logits are not
scaled, and every layer has its own relative position bias.

Source: umT5 (arXiv 2304.09151) by transformers' ``UMT5EncoderModel``; weights ``models_t5_umt5-xxl-enc-bf16.pth`` and
the tokenizer ``google/umt5-xxl`` from the Wan 2.1 folder. All sizes are read off the file.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from transformers import UMT5Config, UMT5EncoderModel

from inspatio.errors import MissingWeightsError
from inspatio.models.checkpoints import WAN_TEXT_ENCODER, WAN_TOKENIZER
from inspatio.models.weights import load_state, load_strict, read_tokenizer

WEIGHTS_FILE = WAN_TEXT_ENCODER
TOKENIZER_FILE = Path(WAN_TOKENIZER) / "tokenizer.json"
MAX_TOKENS = 512
END_TOKEN = "</s>"

_LAYER_NAMES = {
    "norm1": "layer.0.layer_norm",
    "attn.q": "layer.0.SelfAttention.q",
    "attn.k": "layer.0.SelfAttention.k",
    "attn.v": "layer.0.SelfAttention.v",
    "attn.o": "layer.0.SelfAttention.o",
    "pos_embedding.embedding": "layer.0.SelfAttention.relative_attention_bias",
    "norm2": "layer.1.layer_norm",
    "ffn.gate.0": "layer.1.DenseReluDense.wi_0",
    "ffn.fc1": "layer.1.DenseReluDense.wi_1",
    "ffn.fc2": "layer.1.DenseReluDense.wo",
}
_INPUT_TABLE = "encoder.embed_tokens.weight"
"""transformers has the token table under two names; the file has it once."""


class TextEncoder:
    """Tokenizer and network, loaded; 11 GB in the published size, so drop it when the prompts are done."""

    def __init__(self, tokenizer: Tokenizer, network: UMT5EncoderModel) -> None:
        self.tokenizer = tokenizer
        self.network = network

    @classmethod
    def load(
        cls, wan_folder: Path, *, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
    ) -> TextEncoder:
        """From a Wan 2.1 folder; ``dtype`` None keeps the file's, and on the CPU its memory map.

        Raises:
            MissingWeightsError: weights or tokenizer are missing, damaged, or another model's.
        """
        tokenizer = load_tokenizer(wan_folder)
        path = wan_folder / WEIGHTS_FILE
        network = make_network(load_state(path), path, device=device, dtype=dtype)
        if tokenizer.get_vocab_size() > network.config.vocab_size:
            raise MissingWeightsError(
                f"{wan_folder / TOKENIZER_FILE}: has {tokenizer.get_vocab_size()} tokens, {path.name} only "
                f"{network.config.vocab_size}; expected the tokenizer that was published with it. Check wan_path in "
                "the profile"
            )
        return cls(tokenizer, network)

    @torch.inference_mode()
    def embed(self, prompt: str) -> torch.Tensor:
        """``m c`` embeddings of a prompt's ``m`` tokens, in the network's dtype, on its device."""
        ids = torch.tensor([self.tokenizer.encode(clean_prompt(prompt)).ids], device=self.network.device)
        return self.network(input_ids=ids).last_hidden_state[0]


def clean_prompt(prompt: str) -> str:
    """Repair broken encodings, resolve HTML entities (also doubly escaped ones), collapse white space."""
    import ftfy  # here: a network without prompts of its own (parity, benchmarks) needs no text library

    text = html.unescape(html.unescape(ftfy.fix_text(prompt)))
    return re.sub(r"\s+", " ", text).strip()


def pad_embeddings(embeddings: torch.Tensor) -> torch.Tensor:
    """``m c`` embeddings of a prompt -> ``1 512 c``, zeros after the prompt."""
    return F.pad(embeddings, (0, 0, 0, MAX_TOKENS - embeddings.shape[0]))[None]


def load_tokenizer(wan_folder: Path) -> Tokenizer:
    """The published tokenizer: ends every prompt with the end token, cuts it to 512 tokens.

    Raises:
        MissingWeightsError: the file is missing, or is not a tokenizer of this kind.
    """
    path = wan_folder / TOKENIZER_FILE
    tokenizer = read_tokenizer(path)
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    if tokenizer.encode("").tokens != [END_TOKEN]:
        raise MissingWeightsError(
            f"{path}: ends prompts with {tokenizer.encode('').tokens}, expected {END_TOKEN}; another model's tokenizer?"
        )
    return tokenizer


def make_network(
    state: Mapping[str, torch.Tensor],
    source: Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
) -> UMT5EncoderModel:
    """The network of a published checkpoint, whose sizes are read off its tensors.

    Raises:
        MissingWeightsError: it is another model's checkpoint.
    """
    config = _config(state, source)
    with torch.device("meta"):
        network = UMT5EncoderModel(config)
    both = {**state, _INPUT_TABLE: state["token_embedding.weight"]}
    load_strict(network, both, source=source, rename=_transformers_name, device=device, dtype=dtype)
    return network.eval()


def _config(state: Mapping[str, torch.Tensor], source: Path) -> UMT5Config:
    try:
        vocabulary, width = state["token_embedding.weight"].shape
        buckets, heads = state["blocks.0.pos_embedding.embedding.weight"].shape
        attention = state["blocks.0.attn.q.weight"].shape[0]
        feed_forward = state["blocks.0.ffn.gate.0.weight"].shape[0]
    except KeyError as error:
        raise MissingWeightsError(
            f"{source}: not a umT5 encoder checkpoint: missing key {error}. Check the path"
        ) from error
    return UMT5Config(
        vocab_size=vocabulary,
        d_model=width,
        d_kv=attention // heads,
        d_ff=feed_forward,
        num_layers=1 + max(int(key.split(".")[1]) for key in state if key.startswith("blocks.")),
        num_heads=heads,
        relative_attention_num_buckets=buckets,
        use_cache=False,
    )


def _transformers_name(key: str) -> str | None:
    """The published name of a parameter to transformers'; names that are not published stay, and are refused."""
    if key in ("token_embedding.weight", "norm.weight"):
        return {"token_embedding.weight": "shared.weight", "norm.weight": "encoder.final_layer_norm.weight"}[key]
    matched = re.fullmatch(r"blocks\.(\d+)\.(.+)\.weight", key)
    if matched and matched[2] in _LAYER_NAMES:
        return f"encoder.block.{matched[1]}.{_LAYER_NAMES[matched[2]]}.weight"
    return key
