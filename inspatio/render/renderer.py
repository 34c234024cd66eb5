"""What every renderer looks like to the rest: source frames with depth in, the target view out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch

from inspatio.cameras.cameras import Cameras
from inspatio.models.memory import upload
from inspatio.scene import Render
from inspatio.types import DepthMaps, Frames


@dataclass(frozen=True, eq=False)
class DeviceRender:
    """A :class:`inspatio.scene.Render` that stays on the device that drew it; shapes and types are its."""

    frames: torch.Tensor
    masks: torch.Tensor
    depth: torch.Tensor

    def to_host(self, *, with_depth: bool) -> Render:
        """The same in the host's memory, which waits for the device."""
        frames, masks = self.frames.cpu().numpy(), self.masks.cpu().numpy()
        return Render(frames, masks, self.depth.cpu().numpy() if with_depth else None)


class Renderer(ABC):
    """Draws source frames with depth as other cameras see them.

    Each frame depends on nothing but its own inputs. On the CPU the result is the same bit for bit, whatever the number
    of threads and however a clip is cut into chunks.
    """

    def __init__(self, device: str | torch.device = "cpu", threads: int | None = None) -> None:
        """``threads``: how many frames at once on the CPU (None: as many as torch uses)."""
        self.device = torch.device(device)
        self.threads = threads or torch.get_num_threads()

    def render(
        self, frames: Frames, depth: DepthMaps, source: Cameras, target: Cameras, *, with_depth: bool = False
    ) -> Render:
        """Render ``t`` frames from ``t`` new cameras.

        Args:
            frames: ``t h w 3`` uint8.
            depth: ``t h w`` z-depth of the source frames; 0, negative, NaN and infinite count as unknown.
            source: the cameras that filmed the frames.
            target: the cameras to see them from; their images have the frames' size.
            with_depth: also give the z-depth of the target view.
        """
        t, h, w, channels = frames.shape
        assert channels == 3, f"frames {frames.shape}, expected t h w 3"
        assert frames.dtype == np.uint8, f"frames are {frames.dtype}, expected uint8"
        assert depth.shape == (t, h, w), f"depth {depth.shape}, expected {(t, h, w)} as the frames are"
        assert len(source) == len(target) == t, f"{len(source)} source and {len(target)} target cameras, expected {t}"
        if not self.draws_on_device:
            return self._draw(frames, depth, source, target, with_depth=with_depth)
        pictures, maps = (torch.from_numpy(np.ascontiguousarray(each)) for each in (frames, depth))
        drawn = self.render_on_device(upload(pictures, self.device), upload(maps, self.device), source, target)
        return drawn.to_host(with_depth=with_depth)

    @property
    def draws_on_device(self) -> bool:
        """Whether it draws where the networks compute, and not on the host."""
        return self.device.type != "cpu"

    @abstractmethod
    def render_on_device(
        self, frames: torch.Tensor, depth: torch.Tensor, source: Cameras, target: Cameras
    ) -> DeviceRender:
        """As :meth:`render`, from tensors to tensors of one device, which the host does not wait for."""

    @abstractmethod
    def _draw(self, frames: Frames, depth: DepthMaps, source: Cameras, target: Cameras, *, with_depth: bool) -> Render:
        """Draw checked input on the host."""


def source_to_target(source: Cameras, target: Cameras) -> np.ndarray:
    """``t 4 4``: from each source camera's coordinates to its target camera's."""
    return target.world_to_camera @ np.linalg.inv(source.world_to_camera)
