"""A learned finish for completed views: a small network corrects what patches made up, once for each view.

    finish = load_finish(path)
    keyframe = complete_view(memory, camera, threads, finish)

The network sees the view in cells, :data:`CELLS_ACROSS` or so across whatever its size: its colours by patches and
smoothly spread, how much detail the patches have, inverse depth, how far known pixels are, and where in the view a cell
lies. It answers with colours to be added, with a factor for the patches' detail, and with a fine correction. Known
pixels stay. As the result goes into the session's memory, it stays where it is as the camera moves, and costs a pass
of the network for each completed view, not for each frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch.nn import functional

from inspatio.generation.preview.inpaint import DEPTH_RANGE, KNOWN, SHARP_REACH, WANTED, Completion
from inspatio.models.completion import SUBCELLS, CompletionNetwork, load_completion
from inspatio.models.weights import weights_fingerprint
from inspatio.types import Image

VERSION = 1
CELLS_ACROSS = 156
"""About so many cells in the width of a view with its margin: four pixels each at 416x240, as in training."""
TRAINED_CELL = 4
REACHES = (16.0, 64.0)
"""Distances, in pixels at the size of training, that the network sees fade."""
DETAIL_SCALE = 8.0


@dataclass(frozen=True, eq=False)
class Parts:
    """A completion as tensors ``b c h w``: colours 0..1, ``known`` and ``wanted`` 0 or 1."""

    image: torch.Tensor
    patched: torch.Tensor
    smooth: torch.Tensor
    guide: torch.Tensor
    """Inverse depth, 0..1."""
    distance: torch.Tensor
    """Pixels from the nearest known one."""
    known: torch.Tensor
    wanted: torch.Tensor
    place: torch.Tensor
    """Two channels: how far from the middle column, and the row, both up to 1."""

    @classmethod
    def of(cls, completion: Completion) -> Parts:
        """The tensors of one completion."""
        height, width = completion.state.shape
        rows, columns = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
        return cls(
            _tensor(completion.image) / 255,
            _tensor(completion.patched) / 255,
            _tensor(completion.smooth) / 255,
            _tensor(completion.guide) / DEPTH_RANGE,
            _tensor(completion.distance()),
            _tensor(completion.state == KNOWN),
            _tensor(completion.state == WANTED),
            _tensor(np.stack([np.abs(columns), rows], axis=-1)),
        )

    @property
    def softened(self) -> torch.Tensor:
        """The picture that the preview makes of the completion, where it is made up."""
        share = torch.exp(-((self.distance / SHARP_REACH) ** 2)) * self.wanted
        return self.smooth + share * (self.patched - self.smooth)

    def cropped(self, rows: slice, columns: slice) -> Parts:
        """A window of the view."""
        return replace(self, **{each.name: getattr(self, each.name)[..., rows, columns] for each in fields(self)})


def cell_of(width: int) -> int:
    """Pixels in the side of a cell, a power of two, for a view with its margin of a width in pixels."""
    return 2 ** max(round(math.log2(width / CELLS_ACROSS)), 0)


def finished(network: CompletionNetwork, parts: Parts, cell: int) -> torch.Tensor:
    """The network's picture ``b 3 h w`` (0..1, not clamped) of a completion; sides are multiples of ``cell``."""

    def cells(values: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(values, cell)

    low = cells(parts.patched)
    detail = parts.patched - enlarged(low, cell)
    distance = cells(parts.distance) * (TRAINED_CELL / cell)
    seen = [
        2 * low - 1,
        2 * cells(parts.smooth) - 1,
        DETAIL_SCALE * cells(detail.abs().mean(dim=1, keepdim=True)),
        cells(parts.guide),
        *(torch.exp(-distance / reach) for reach in REACHES),
        cells(parts.known),
        cells(parts.wanted),
        cells(parts.place),
    ]
    coarse, fine = network(torch.cat(seen, dim=1))
    coarse = enlarged(coarse, cell)
    fine = enlarged(fine, cell // SUBCELLS) if cell > SUBCELLS else functional.avg_pool2d(fine, SUBCELLS // cell)
    made_up = parts.softened + coarse[:, :3] + coarse[:, 3:] * detail + fine
    return torch.where(parts.known > 0, parts.image, torch.where(parts.wanted > 0, made_up, parts.smooth))


def enlarged(values: torch.Tensor, factor: int) -> torch.Tensor:
    """Values ``b c h w`` enlarged evenly: repeated, and blurred by a box of their size.

    PyTorch's own interpolation rounds by the number of threads.
    """
    repeated = functional.interpolate(values, scale_factor=float(factor), mode="nearest")
    reach = factor // 2
    return functional.avg_pool2d(functional.pad(repeated, (reach,) * 4, mode="replicate"), 2 * reach + 1, stride=1)


class LearnedFinish:
    """Makes the completed picture (``fill.Finish``) with a network."""

    def __init__(self, network: CompletionNetwork) -> None:
        self._network = network

    @torch.inference_mode()
    def __call__(self, completion: Completion) -> Image:
        height, width = completion.state.shape
        cell = cell_of(width)
        parts = Parts.of(completion)
        right, below = -width % cell, -height % cell
        padded = Parts(
            **{
                each.name: functional.pad(getattr(parts, each.name), (0, right, 0, below), mode="replicate")
                for each in fields(parts)
            }
        )
        made = finished(self._network, padded, cell)[0, :, :height, :width]
        picture = rearrange(made.clamp(0, 1) * 255 + 0.5, "c h w -> h w c").to(torch.uint8).numpy()
        return np.where((completion.state == KNOWN)[..., None], completion.image, picture)


def load_finish(path: Path) -> LearnedFinish:
    """The finish of a network's weights.

    Raises:
        MissingWeightsError: the file is missing, damaged, or of another network.
    """
    return LearnedFinish(load_completion(path))


def describe_completion(path: Path) -> dict[str, Any]:
    """What completed views depend on besides what is completed, as JSON values.

    Raises:
        MissingWeightsError: the file is not there.
    """
    return {"version": VERSION, "weights": weights_fingerprint(path)}


def _tensor(values: NDArray) -> torch.Tensor:
    """``1 c h w`` float32 of ``h w`` or ``h w c``."""
    shaped = np.asarray(values, np.float32).reshape(*values.shape[:2], -1)
    return torch.from_numpy(np.ascontiguousarray(shaped.transpose(2, 0, 1)))[None]
