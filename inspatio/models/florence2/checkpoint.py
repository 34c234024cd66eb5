"""Load a Florence-2 folder of either published layout: network, tokenizer, image preprocessing.

    checkpoints/Florence-2-large/
        config.json                 sizes of the network: converted, or original (see original.py)
        preprocessor_config.json    size, mean and deviation of the images (or processor_config.json, which holds it)
        tokenizer.json              byte-level BPE
        model.safetensors           or pytorch_model.bin

Only these files are read: tensors, and JSON of which only the fields named here are used. Nothing in the folder is
executed, imported or followed: no ``auto_map``, no attention implementation, no generation settings.

Source: Florence-2 (arXiv 2311.06242).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from einops import rearrange
from tokenizers import Tokenizer
from transformers import BartConfig, Florence2Config, Florence2ForConditionalGeneration, Florence2VisionConfig

from inspatio.errors import MissingWeightsError
from inspatio.models.checkpoints import how_to_get
from inspatio.models.florence2 import original
from inspatio.models.weights import load_state, load_strict, read_json, read_tokenizer, weights_path
from inspatio.types import Image

_Kind = Literal["a whole number", "a whole number for each stage", "a bool for each stage"]
_VISION_FIELDS: dict[str, _Kind] = {
    **dict.fromkeys(("depths", "patch_size", "patch_stride", "patch_padding"), "a whole number for each stage"),
    **dict.fromkeys(("embed_dim", "num_heads", "num_groups"), "a whole number for each stage"),
    "patch_prenorm": "a bool for each stage",
    **dict.fromkeys(
        ("window_size", "projection_dim", "max_temporal_embeddings", "max_position_embeddings"), "a whole number"
    ),
}
_STAGES = 4
_LARGEST = 1_000_000
"""Of any number in a config.json; the published ones stay below 52 000."""
_TEXT_FIELDS: dict[str, _Kind] = dict.fromkeys(
    (
        *("vocab_size", "d_model", "max_position_embeddings", "encoder_layers", "encoder_ffn_dim"),
        *("encoder_attention_heads", "decoder_layers", "decoder_ffn_dim", "decoder_attention_heads"),
        *("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"),
    ),
    "a whole number",
)
_FACTS = {"activation_function": "gelu", "scale_embedding": False, "qkv_bias": True, "mlp_ratio": 4.0}
_EMBEDDING_MULTIPLE = 64
_TIED = (
    "model.language_model.shared.weight",
    "model.language_model.encoder.embed_tokens.weight",
    "model.language_model.decoder.embed_tokens.weight",
    "lm_head.weight",
)
"""One matrix under four names; a file may hold one or all of them."""


_BICUBIC = 3
_IMAGE_FACTS: dict[str, Any] = {"do_resize": True, "do_rescale": True, "do_normalize": True, "resample": _BICUBIC}


@dataclass(frozen=True)
class ImageFormat:
    """How images are prepared: size in pixels, normalisation, tokens per image (None: the file does not say).

    The whole image is scaled to a square, not cropped, as by the published preprocessor: bicubic with antialiasing,
    rounded to 8 bits, then ``(x / 255 - mean) / std``. Torch alone does it; neither Pillow nor torchvision is needed.
    """

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    tokens: int | None = None

    @classmethod
    def from_fields(cls, fields: dict[str, Any], source: Path) -> ImageFormat:
        """Read the fields of a ``preprocessor_config.json``.

        Raises:
            MissingWeightsError: a field is missing or asks for steps that Florence-2 does not have.
        """
        for name, expected in _IMAGE_FACTS.items():
            if fields.get(name) not in (None, expected):
                raise MissingWeightsError(f"{source}: {name} is {fields[name]!r}, expected {expected!r} for Florence-2")
        try:
            size = fields["size"]
            made = cls(
                height=int(size["height"]),
                width=int(size["width"]),
                mean=tuple(float(value) for value in fields["image_mean"]),
                std=tuple(float(value) for value in fields["image_std"]),
                tokens=fields.get("image_seq_length"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise MissingWeightsError(
                f"{source}: size, image_mean or image_std is missing or malformed ({type(error).__name__}: {error})"
            ) from error
        if fields.get("do_center_crop", False) and fields.get("crop_size") != size:
            raise MissingWeightsError(f"{source}: crops images after scaling them, expected do_center_crop false")
        if min(made.height, made.width) < 1 or len(made.mean) != 3 or len(made.std) != 3 or min(made.std) <= 0:
            raise MissingWeightsError(f"{source}: size must be positive, image_mean and image_std three numbers each")
        return made

    def prepare(self, images: Sequence[Image]) -> torch.Tensor:
        """Scale and normalise ``h w c`` uint8 RGB images of any sizes to one ``b c h w`` float32 tensor on the CPU."""
        scaled = torch.cat([self._scale(image) for image in images])
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return (scaled.float() / 255 - mean) / std

    def grid(self, sizes: Sequence[int], strides: Sequence[int], paddings: Sequence[int]) -> tuple[int, int]:
        """Rows and columns of features after the vision tower's convolutions, one value of each per stage."""
        rows, columns = self.height, self.width
        for size, stride, padding in zip(sizes, strides, paddings, strict=True):
            rows, columns = ((side + 2 * padding - size) // stride + 1 for side in (rows, columns))
        return rows, columns

    def _scale(self, image: Image) -> torch.Tensor:
        assert (image.dtype, image.ndim) == (np.uint8, 3), f"expected h w 3 uint8, got {image.dtype} {image.shape}"
        pixels = rearrange(torch.from_numpy(np.ascontiguousarray(image)), "h w c -> 1 c h w")
        if pixels.shape[2:] == (self.height, self.width):
            return pixels
        size = (self.height, self.width)
        return torch.nn.functional.interpolate(pixels, size, mode="bicubic", antialias=True)


@dataclass(frozen=True)
class FlorenceFolder:
    """A model folder, read except for its weights.

    ``vision`` and ``text`` are configs of transformers' network, whose token embedding has at least one row for every
    token of ``tokenizer``.
    """

    path: Path
    vision: Florence2VisionConfig
    text: BartConfig
    tokenizer: Tokenizer
    image_format: ImageFormat
    is_original: bool

    @classmethod
    def read(cls, path: Path) -> FlorenceFolder:
        """Read a folder of either layout.

        Raises:
            MissingWeightsError: not a folder, not Florence-2, or a file is missing, damaged or does not fit another.
        """
        if not path.is_dir():
            raise MissingWeightsError(
                f"{path}: no such folder (looked for it at {path.absolute()}), expected Florence-2. "
                f"Write captions yourself in <clip>.txt files, or: {how_to_get('Florence-2-large')}"
            )
        source = path / "config.json"
        fields = read_json(source)
        if fields.get("model_type") != "florence2":
            raise MissingWeightsError(f"{source}: model_type is {fields.get('model_type')!r}, expected 'florence2'")
        tokenizer = read_tokenizer(path / "tokenizer.json")
        is_original = original.is_original(fields)
        if is_original:
            fields = original.convert_config(fields, source)
            original.extend_tokenizer(tokenizer)
        elif original.IMAGE_TOKEN not in tokenizer.get_vocab():
            raise MissingWeightsError(f"{path / 'tokenizer.json'}: has no {original.IMAGE_TOKEN} token")
        # The original's config has all sizes; the converted one may leave out transformers' defaults.
        vision = _pick(fields, "vision_config", _VISION_FIELDS, source, required=is_original)
        text = _pick(fields, "text_config", _TEXT_FIELDS, source, required=is_original)
        made = cls(
            path,
            Florence2VisionConfig(**vision),
            BartConfig(**text),
            tokenizer,
            ImageFormat.from_fields(*_read_preprocessor(path)),
            is_original,
        )
        made._check_image_tokens()
        made._fit_vocabulary(source)
        return made

    @property
    def image_token(self) -> int:
        """The placeholder token of an image feature in the prompt."""
        return self.token(original.IMAGE_TOKEN)

    @property
    def image_tokens(self) -> int:
        """Features per image: one for the whole, one for each cell of the grid (577 at 768x768)."""
        rows, columns = self._grid
        return 1 + rows * columns

    def token(self, name: str) -> int:
        """The number of a special token, such as ``<s>``."""
        number = self.tokenizer.token_to_id(name)
        assert number is not None, f"the tokenizer has no {name}"
        return number

    @property
    def config(self) -> Florence2Config:
        """The config of the whole network."""
        return Florence2Config(vision_config=self.vision, text_config=self.text, image_token_id=self.image_token)

    def load_model(self, device: torch.device, dtype: torch.dtype) -> Florence2ForConditionalGeneration:
        """Load the network with the folder's weights, in evaluation mode.

        Raises:
            MissingWeightsError: the weights are missing, cut short, refused, or do not fit the config.
        """
        source = weights_path(self.path)
        state = load_state(source)
        names: dict[str, str | None] = {key: key for key in state}
        if self.is_original:
            state = original.convert_state(state, self.text.vocab_size, source)
            names = {key: original.rename(key) for key in state}
        _share_embedding(state, names, device, dtype, source)
        with torch.device("meta"):
            model = Florence2ForConditionalGeneration(self.config)
        load_strict(model, state, source=source, rename=names.__getitem__, device=device, dtype=dtype)
        model.tie_weights()
        return model.eval()

    @property
    def _grid(self) -> tuple[int, int]:
        vision = self.vision
        return self.image_format.grid(vision.patch_size, vision.patch_stride, vision.patch_padding)

    def _check_image_tokens(self) -> None:
        """Check the grid of features against the image fields and the number of position embeddings."""
        if min(self.vision.patch_stride) < 1:
            raise MissingWeightsError(f"{self.path}: patch_stride is {self.vision.patch_stride}, expected 1 or more")
        size = f"{self.image_format.height}x{self.image_format.width}"
        if max(self._grid) > self.vision.max_position_embeddings:
            raise MissingWeightsError(
                f"{self.path}: images of {size} become {self._grid} features, but the network has "
                f"{self.vision.max_position_embeddings} positions a side"
            )
        if self.image_format.tokens not in (None, self.image_tokens):
            raise MissingWeightsError(
                f"{self.path}: image_seq_length is {self.image_format.tokens}, but images of {size} become "
                f"{self.image_tokens} tokens. Are config.json and preprocessor_config.json of one model?"
            )

    def _fit_vocabulary(self, source: Path) -> None:
        """Give the token embedding a row for every token; the original's lacks that of ``<image>``."""
        size, rows = self.tokenizer.get_vocab_size(), self.text.vocab_size
        if self.is_original and size in (rows, rows + 1):
            self.text.vocab_size = -(-size // _EMBEDDING_MULTIPLE) * _EMBEDDING_MULTIPLE
        elif self.is_original or size > rows:
            raise MissingWeightsError(
                f"{source}: vocab_size is {rows}, but the tokenizer has {size} tokens with {original.IMAGE_TOKEN}. "
                "Are config.json and tokenizer.json of one model?"
            )
        for name, token in (("bos_token_id", "<s>"), ("pad_token_id", "<pad>"), ("eos_token_id", "</s>")):
            got, expected = getattr(self.text, name), self.tokenizer.token_to_id(token)
            if got != expected:
                raise MissingWeightsError(
                    f"{source}: text_config.{name} is {got}, but the tokenizer's {token} is {expected}"
                )


def _share_embedding(
    state: dict[str, torch.Tensor],
    names: dict[str, str | None],
    device: torch.device,
    dtype: torch.dtype,
    source: Path,
) -> None:
    """Store the token embedding once, already converted, under all its names, so that it takes memory once."""
    keys = [key for key, name in names.items() if name in _TIED]
    if not keys:
        return
    matrix = state[keys[0]]
    different = [key for key in keys[1:] if not torch.equal(state[key], matrix)]
    if different:
        raise MissingWeightsError(
            f"{source}: {', '.join(different)} and {keys[0]} differ, expected one matrix under all names"
        )
    shared = matrix.to(device=device, dtype=dtype)
    state.update(dict.fromkeys(keys, shared))
    for name in set(_TIED) - set(names.values()):
        state[name] = shared
        names[name] = name


def _pick(
    fields: Mapping[str, Any], part: str, kinds: Mapping[str, _Kind], source: Path, *, required: bool
) -> dict[str, Any]:
    given = fields.get(part)
    if not isinstance(given, dict):
        raise MissingWeightsError(f"{source}: {part} is missing, expected the sizes of Florence-2's network")
    missing = [name for name in kinds if name not in given]
    if required and missing:
        raise MissingWeightsError(f"{source}: {part} lacks {', '.join(missing)}")
    for name, expected in _FACTS.items():
        if given.get(name, expected) != expected:
            raise MissingWeightsError(f"{source}: {part}.{name} is {given[name]!r}, expected {expected!r}")
    picked = {name: given[name] for name in kinds if name in given}
    for name, value in picked.items():
        if not _is(value, kinds[name]):
            raise MissingWeightsError(f"{source}: {part}.{name} is {value!r:.60}, expected {kinds[name]}")
    return picked


def _is(value: object, kind: _Kind) -> bool:
    if kind == "a whole number":
        return type(value) is int and 0 <= value <= _LARGEST
    if not isinstance(value, list) or len(value) != _STAGES:
        return False
    if kind == "a bool for each stage":
        return all(isinstance(each, bool) for each in value)
    return all(_is(each, "a whole number") for each in value)


def _read_preprocessor(path: Path) -> tuple[dict[str, Any], Path]:
    """The image fields, and the file they are in."""
    source = path / "preprocessor_config.json"
    if source.is_file():
        return read_json(source), source
    source = path / "processor_config.json"
    fields = read_json(source).get("image_processor")
    if not isinstance(fields, dict):
        raise MissingWeightsError(f"{source}: image_processor is missing, and so is preprocessor_config.json")
    return fields, source
