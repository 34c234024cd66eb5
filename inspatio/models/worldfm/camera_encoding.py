"""What a network is told about the cameras of its views: PRoPE inside attention, or Plücker rays on the tokens.

Views stand side by side along the width of one token grid (``h (views w)``, row by row). Both encodings are of the
published class and unused by the published weights; models trained with one say so in their config.

PRoPE (arXiv 2507.10496) makes attention depend on relative cameras only: with ``P`` a view's projection (intrinsics
normalised by the image's size, times world-to-camera, as 4x4), ``q . k`` becomes ``q^T P_i P_j^-1 k``. The first half
of a head's channels is turned by ``P`` in groups of four, the third quarter by a rotary encoding of the token's column
inside its view, the last by its row; values are turned as keys are, and results turned back.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import einsum, rearrange, repeat

ROPE_BASE = 100.0


@dataclass(frozen=True)
class ViewCameras:
    """The cameras of a batch's views, in the order of the views along the joint width.

    ``world_to_camera`` is ``b v 4 4``, ``intrinsics`` ``b v 3 3`` in pixels of ``size`` (height, width), or None where
    only poses are to be encoded. Principal points are measured from the image's corner.
    """

    world_to_camera: torch.Tensor
    intrinsics: torch.Tensor | None
    size: tuple[int, int]


@dataclass(frozen=True)
class PRoPE:
    """Matrices and angles of one batch; every method takes and gives ``b n heads d``."""

    projection: torch.Tensor
    """``b n 4 4``: P of each token's view."""
    inverse: torch.Tensor
    """``b n 4 4``: P^-1."""
    rotary: tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
    """(cos, sin) ``n d/8`` of the column and of the row."""

    @classmethod
    def make(cls, cameras: ViewCameras, rows: int, columns: int, head_size: int, like: torch.Tensor) -> PRoPE:
        """For views of ``rows x columns`` tokens, on the device and in the dtype of ``like``."""
        views = cameras.world_to_camera.shape[1]
        world_to_camera = cameras.world_to_camera.double()
        rotation, translation = world_to_camera[..., :3, :3], world_to_camera[..., :3, 3:]
        projection, inverse = world_to_camera, torch.zeros_like(world_to_camera)
        inverse[..., :3, :3] = rotation.mT
        inverse[..., :3, 3:] = -rotation.mT @ translation
        inverse[..., 3, 3] = 1
        if cameras.intrinsics is not None:
            lens = _normalised(cameras.intrinsics.double(), cameras.size)
            projection, inverse = lens @ projection, inverse @ torch.linalg.inv(lens)
        per_token = "b v i j -> b (h v w) i j"
        count = head_size // 8
        frequencies = ROPE_BASE ** -(torch.arange(count, dtype=torch.float64) / count)
        column = repeat(torch.arange(columns, dtype=torch.float64), "w -> (h v w)", h=rows, v=views)
        row = repeat(torch.arange(rows, dtype=torch.float64), "h -> (h v w)", v=views, w=columns)
        angles = [place[:, None] * frequencies for place in (column, row)]
        about_x, about_y = ((angle.cos().to(like), angle.sin().to(like)) for angle in angles)
        return cls(
            repeat(projection, per_token, h=rows, w=columns).to(like),
            repeat(inverse, per_token, h=rows, w=columns).to(like),
            (about_x, about_y),
        )

    def queries(self, x: torch.Tensor) -> torch.Tensor:
        """Queries turned by P^T, columns and rows by their angles."""
        return self._turn(x, self.projection.mT, self.rotary, 1.0)

    def keys(self, x: torch.Tensor) -> torch.Tensor:
        """Keys or values turned by P^-1."""
        return self._turn(x, self.inverse, self.rotary, 1.0)

    def results(self, x: torch.Tensor, target: torch.Tensor | None = None) -> torch.Tensor:
        """Results of the attention turned back, of the tokens ``target`` (None: of all)."""
        if target is None:
            return self._turn(x, self.projection, self.rotary, -1.0)
        about_x, about_y = ((cos[target], sin[target]) for cos, sin in self.rotary)
        return self._turn(x, self.projection[:, target], (about_x, about_y), -1.0)

    @staticmethod
    def _turn(x: torch.Tensor, matrices: torch.Tensor, rotary: tuple, sign: float) -> torch.Tensor:
        half, quarter = x.shape[-1] // 2, x.shape[-1] // 4
        projected, by_column, by_row = x.split((half, quarter, quarter), dim=-1)
        vectors = rearrange(projected, "b n heads (k j) -> b n heads k j", j=4)
        parts = [einsum(matrices, vectors, "b n i j, b n heads k j -> b n heads k i").flatten(-2)]
        for part, (cos, sin) in zip((by_column, by_row), rotary, strict=True):
            first, second = part.chunk(2, dim=-1)
            c, s = cos[:, None], sign * sin[:, None]
            parts += [c * first + s * second, c * second - s * first]
        return torch.cat(parts, dim=-1)


def plucker_rays(cameras: ViewCameras, rows: int, columns: int) -> torch.Tensor:
    """Moment and direction ``b n 6`` (float64) of the world ray through the middle of each token.

    Raises:
        ValueError: the cameras have no intrinsics.
    """
    if cameras.intrinsics is None:
        raise ValueError("Plücker rays: got cameras without intrinsics, expected them with intrinsics")
    (height, width), like = cameras.size, cameras.intrinsics.double()
    u = (torch.arange(columns).to(like) + 0.5) * width / columns
    v = (torch.arange(rows).to(like) + 0.5) * height / rows
    pixels = torch.stack((u.expand(rows, -1), v[:, None].expand(-1, columns), torch.ones(rows, columns).to(like)), -1)
    world_to_camera = cameras.world_to_camera.double()
    to_world = world_to_camera[..., :3, :3].mT
    rays = einsum(to_world @ torch.linalg.inv(like), pixels, "b v i j, h w j -> b h v w i")
    rays = torch.nn.functional.normalize(rays, dim=-1)
    centre = -(to_world @ world_to_camera[..., :3, 3:])[..., 0]
    moment = torch.linalg.cross(centre[:, None, :, None].expand_as(rays), rays)
    return rearrange(torch.cat((moment, rays), dim=-1), "b h v w c -> b (h v w) c")


def _normalised(intrinsics: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """``... 4 4``: intrinsics in units of the image's sides, the principal point measured from the middle."""
    height, width = size
    lens = torch.zeros(*intrinsics.shape[:-2], 4, 4).to(intrinsics)
    lens[..., 0, 0] = intrinsics[..., 0, 0] / width
    lens[..., 1, 1] = intrinsics[..., 1, 1] / height
    lens[..., 0, 2] = intrinsics[..., 0, 2] / width - 0.5
    lens[..., 1, 2] = intrinsics[..., 1, 2] / height - 0.5
    lens[..., 2, 2] = lens[..., 3, 3] = 1
    return lens
