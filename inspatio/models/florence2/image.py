"""Images as Florence-2 sees them: 768x768, whatever their shape, normalised per channel.

The whole image is scaled to a square (not cropped), as the published preprocessor does it: bicubic with antialiasing,
rounded to 8 bits, then ``(x / 255 - mean) / std``. Computed with torch alone; neither Pillow nor torchvision is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange

from inspatio.errors import MissingWeightsError
from inspatio.types import Image

_BICUBIC = 3
_FACTS: dict[str, Any] = {"do_resize": True, "do_rescale": True, "do_normalize": True, "resample": _BICUBIC}


@dataclass(frozen=True)
class ImageFormat:
    """The size in pixels, the normalisation, and how many tokens an image becomes (None: the file does not say)."""

    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    tokens: int | None = None

    @classmethod
    def from_fields(cls, fields: dict[str, Any], source: Path) -> ImageFormat:
        """Read from the fields of a ``preprocessor_config.json``.

        Raises:
            MissingWeightsError: a field is missing or asks for other steps than Florence-2's.
        """
        for name, expected in _FACTS.items():
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
                f"{source}: size, image_mean or image_std is not as expected ({type(error).__name__}: {error})"
            ) from error
        if fields.get("do_center_crop", False) and fields.get("crop_size") != size:
            raise MissingWeightsError(f"{source}: crops images after scaling them, expected do_center_crop false")
        if min(made.height, made.width) < 1 or len(made.mean) != 3 or len(made.std) != 3 or min(made.std) <= 0:
            raise MissingWeightsError(f"{source}: size must be positive, image_mean and image_std three numbers each")
        return made

    def prepare(self, images: Sequence[Image]) -> torch.Tensor:
        """``h w c`` uint8 RGB images of any sizes as one ``b c h w`` float32 tensor on the CPU."""
        scaled = torch.cat([self._scale(image) for image in images])
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return (scaled.float() / 255 - mean) / std

    def grid(self, sizes: Sequence[int], strides: Sequence[int], paddings: Sequence[int]) -> tuple[int, int]:
        """Rows and columns of features after the vision tower's convolutions, one of each value per stage."""
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
