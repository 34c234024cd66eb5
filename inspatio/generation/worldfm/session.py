"""WorldFM as a generator: every frame on its own, from a point render at its camera and a reference picture.

    generator = WorldFMGenerator(network, encoder, decoder, renderer, options)
    session = generator.start(scene, seed=7)
    block = session.step(cameras[: session.block_frames])          one camera (or options.frames_at_once)

``loading.py`` makes one from a profile. A step goes through four parts, each a ``torch.profiler.record_function``:

    render    what the scene shows of the target view, with its depth
    encode    the render's latents, and the reference's where they are not known yet
    denoise   one or two passes of the network from noise to the frame's latents
    decode    latents to the frame

Frames have no past: the result for a camera at a place of the clip depends on nothing that was stepped before, so
places are shared out where several processes work on a clip (:mod:`sharing`). What the render is and which picture is
the reference depend on the scene. A clip's frame is drawn from its own source frame, which is also the reference, so
that what moves in the clip moves in the result. A still scene (an image, several views, a panorama, a scanned place) is
drawn from all of its views or of its points, and of its views :mod:`references` chooses. Renders are always made here,
because noise that is attached to surfaces needs the target view's depth; render files are not read.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed import ProcessGroup
from torch.profiler import record_function

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.poses import invert
from inspatio.config import FrameNoise
from inspatio.errors import ClipError
from inspatio.generation.base import Download, FrameBlock, Session, check_size, take_arrived
from inspatio.generation.worldfm.noise import NoiseSource
from inspatio.generation.worldfm.pictures import to_frames, to_images
from inspatio.generation.worldfm.references import ReferenceViews, plan
from inspatio.generation.worldfm.sampler import sample_frames
from inspatio.generation.worldfm.sharing import share_frames
from inspatio.models.memory import out_of_memory_said, upload
from inspatio.models.worldfm.autoencoder import ImageDecoder, ImageEncoder
from inspatio.models.worldfm.camera_encoding import ViewCameras
from inspatio.models.worldfm.dit import LATENT_CHANNELS, WorldFM
from inspatio.render.renderer import Renderer
from inspatio.render.views import render_scene
from inspatio.scene import Render, Scene
from inspatio.types import Frames

REFERENCES_KEPT = 256
"""Latents of reference pictures that a session remembers; 64 KiB each at 512x512."""
REFERENCE_STRIDE = 4
"""References are chosen by every fourth row and column of the depth maps: a view has 300 samples at most."""
PLANNED_AT_ONCE = 64
_RENDER_SALT, _REFERENCE_SALT = 1001, 1002
"""Of the noise that a sampled encoding takes, beside the numbers of the sampling steps."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorldFMOptions:
    """How the generator runs.

    ``size`` is the frame (height, width), multiples of 16; ``steps`` are training steps from the noisiest down;
    ``frames_at_once`` cameras make a step of one process. With ``noise`` "fresh" conditions are encoded by sampling
    too, as published; else by the mean.
    """

    size: tuple[int, int] = (512, 512)
    steps: tuple[int, ...] = (999, 200)
    noise: FrameNoise = "points"
    frames_at_once: int = 1


class WorldFMGenerator:
    """A loaded network and its autoencoder, and where they work."""

    def __init__(
        self,
        network: WorldFM,
        encoder: ImageEncoder,
        decoder: ImageDecoder,
        renderer: Renderer,
        options: WorldFMOptions,
        group: ProcessGroup | None = None,
    ) -> None:
        """``group``: the processes that share each clip's frames."""
        self.network = network
        self.encoder = encoder
        self.decoder = decoder
        self.renderer = renderer
        self.options = options
        self.device = network.device
        self.group = group
        self.processes = 1 if group is None else dist.get_world_size(group)
        with torch.inference_mode():
            self.schedule = [network.time_modulation(torch.tensor([step])) for step in options.steps]

    def start(self, scene: Scene, *, seed: int) -> WorldFMSession:
        """Start a session; see :class:`base.Generator`."""
        check_size(scene, self.options.size)
        return WorldFMSession(self, scene, seed)


class WorldFMSession(Session):
    """The running generation of one clip; see the module's docstring."""

    def __init__(self, generator: WorldFMGenerator, scene: Scene, seed: int) -> None:
        super().__init__()
        self._generator = generator
        self._scene = scene
        self._noise = NoiseSource(generator.options.noise, seed, scene.size)
        self._references: OrderedDict[int, torch.Tensor] = OrderedDict()
        self._views = _reference_views(scene) if scene.still else None
        self._planned: Sequence[int] = ()
        self._unchecked: deque[tuple[int, Download]] = deque()
        """Steps' first places, and whether their images are finite."""

    @property
    def block_frames(self) -> int:
        return self._generator.options.frames_at_once * self._generator.processes

    def set_prompt(self, text: str) -> None:
        """Accepted without effect: the model reads no text."""

    @property
    def planned(self) -> Sequence[int]:
        """The view of a still scene that is the reference at each place of the planned path; empty without a plan."""
        return self._planned

    def plan(self, cameras: Cameras) -> None:
        """Choose the references of a whole path so that they seldom change, and say where it leads into a wall.

        Without a plan each frame takes the view that shares most with it.
        """
        if self._views is None:
            return
        hidden = np.flatnonzero(self._views.hides(invert(cameras.world_to_camera)[:, :3, 3]))
        if len(hidden):
            _log.warning(
                "%s: %d of %d cameras (first: frame %d) are inside or behind a surface, where what they see is wrong. "
                "Shorten the path",
                *(self._scene.clip_id, len(hidden), len(cameras), hidden[0]),
            )
        if len(self._scene.frames) == 1:
            return
        points = self._scene.points or self._views.points()
        shares = []
        size = tuple(len(range(0, side, REFERENCE_STRIDE)) for side in self._scene.size)
        assert len(size) == 2, f"size {size}, expected (height, width)"
        for start in range(0, len(cameras), PLANNED_AT_ONCE):
            small = _strided(cameras[start : start + PLANNED_AT_ONCE])
            depth = points.render(small, size).depth
            assert depth is not None, "points know their depth"
            shares += [self._shares(depth[i], small, i) for i in range(len(small))]
        self._planned = plan(np.stack(shares)).tolist()

    def _shares(self, depth: np.ndarray, cameras: Cameras, index: int) -> np.ndarray:
        """How much of a target view each reference view shares, 0..1."""
        assert self._views is not None, "a still scene has views"
        hits, samples = self._views.hits(depth, cameras.intrinsics[index], cameras.world_to_camera[index])
        return hits / max(samples, 1)

    def _choose_views(self, places: Sequence[int], cameras: Cameras, render: Render) -> list[int]:
        """The source frame that is each place's reference: the clip's own, or a view of the still scene."""
        if self._views is None:
            return self._scene.source_frames(places)
        assert render.depth is not None, "points know their depth"
        return [
            self._planned[place]
            if place < len(self._planned)
            else int(np.argmax(self._shares(render.depth[index], cameras, index)))
            for index, place in enumerate(places)
        ]

    def _generate(self, cameras: Cameras) -> FrameBlock:
        group = self._generator.group
        if group is None:
            return self._make(self._start, cameras)
        return share_frames(self._make, self._start, cameras, self._generator.options.frames_at_once, group)

    @torch.inference_mode()
    def _make(self, start: int, cameras: Cameras) -> FrameBlock:
        """The frames from place ``start`` on, whatever was made before.

        Raises:
            ClipError: the network gave values that are not finite; on a GPU in one of the two steps after it, but for
                the clip's last.
            UserError: the device has too little memory.
        """
        places = range(start, start + len(cameras))
        with self._errors(start):
            with record_function("render"):
                render = render_scene(self._generator.renderer, self._scene, start, cameras, with_depth=True)
            views = self._choose_views(places, cameras, render)
            with record_function("encode"):
                conditions = self._encode(render.frames, [(_RENDER_SALT, place) for place in places])
                references = self._encode_references(views)
            with record_function("denoise"):
                latents = self._denoise(conditions, references, places, render, cameras, views)
            with record_function("decode"):
                images = self._generator.decoder(latents)
            self._unchecked.append((start, Download(images.isfinite().all())))
            # Every process of a group fails together, at its own frame.
            is_last = start + len(cameras) >= len(self._scene) or len(cameras) < self._generator.options.frames_at_once
            self._check_finished_frames(wait=is_last or self._generator.group is not None)
        frames = to_frames(images)
        return FrameBlock(start, frames, render.depth, render.masks)

    def _check_finished_frames(self, *, wait: bool) -> None:
        """Stop if a finished step holds NaN or infinity; of those still at work wait for all but the latest, or for
        all.

        So the next frame is rendered on the CPU while a GPU is at this one.
        """
        for place, finite in take_arrived(self._unchecked, wait=wait):
            if not finite:
                raise ClipError(
                    f"{self._scene.clip_id}: frame {place} has NaN or infinite values, so it is not kept. Check the "
                    "checkpoint (inspatio doctor --weights) or run with --precision fp32"
                )

    def _encode(self, frames: Frames, keys: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Latents ``b 4 h w`` of pictures: their mean, or with fresh noise a sample; a key names each one's noise."""
        device = self._generator.device
        noise = None
        if self._noise.kind == "fresh":
            noise = upload(torch.from_numpy(np.stack([self._noise.normal(*key) for key in keys])), device)
        return self._generator.encoder(to_images(frames, device), noise)

    def _encode_references(self, views: Sequence[int]) -> torch.Tensor:
        """Latents ``b 4 h w`` of source frames, each encoded once."""
        missing = sorted(set(views) - self._references.keys())
        if missing:
            frames = self._scene.frames.read(missing)
            for view, latents in zip(
                missing, self._encode(frames, [(_REFERENCE_SALT, view) for view in missing]), strict=True
            ):
                self._references[view] = latents
        found = torch.stack([self._references[view] for view in views])
        for view in views:
            self._references.move_to_end(view)
        while len(self._references) > max(REFERENCES_KEPT, len(views)):
            self._references.popitem(last=False)
        return found

    def _denoise(
        self,
        conditions: torch.Tensor,
        references: torch.Tensor,
        places: Sequence[int],
        render: Render,
        cameras: Cameras,
        views: Sequence[int],
    ) -> torch.Tensor:
        network, schedule = self._generator.network, self._generator.schedule
        assert render.depth is not None, "depth was asked for"
        depth = render.depth
        encoded = self._view_cameras(cameras, views) if network.config.camera_encoding != "none" else None

        def v(noisy: torch.Tensor, step: int) -> torch.Tensor:
            return network(noisy, conditions, references, schedule[step], encoded)[:, :LATENT_CHANNELS]

        def noise(step: int) -> torch.Tensor:
            return upload(self._noise.draw(step, places, depth, cameras), self._generator.device)

        return sample_frames(v, noise, self._generator.options.steps)

    def _view_cameras(self, cameras: Cameras, views: Sequence[int]) -> ViewCameras:
        """Target, target and reference: the cameras of the three pictures, principal points from the corner."""
        sources = Cameras(self._scene.intrinsics, self._scene.world_to_camera)[list(views)]
        per_view = (cameras, cameras, sources)
        intrinsics = np.stack([each.intrinsics for each in per_view], axis=1)
        intrinsics[..., :2, 2] += 0.5
        poses = np.stack([each.world_to_camera for each in per_view], axis=1)
        device = self._generator.device
        return ViewCameras(
            torch.from_numpy(poses).to(device), torch.from_numpy(intrinsics).to(device), self._scene.size
        )

    def _errors(self, start: int) -> AbstractContextManager[None]:
        """Turn running out of memory into an error that says what to change."""
        height, width = self._scene.size
        return out_of_memory_said(
            f"{self._scene.clip_id}: frame {start} at {width}x{height}",
            self._generator.device,
            "Use --offload (on a GPU), a smaller height and width, or a device with more memory",
        )


def _reference_views(scene: Scene) -> ReferenceViews:
    cameras = Cameras(scene.intrinsics, scene.world_to_camera)
    depth = [scene.depth.read([i])[0, ::REFERENCE_STRIDE, ::REFERENCE_STRIDE] for i in range(len(cameras))]
    return ReferenceViews(_strided(cameras), np.stack(depth))


def _strided(cameras: Cameras) -> Cameras:
    """The cameras of pictures that have every ``REFERENCE_STRIDE``-th row and column."""
    return Cameras(
        np.diag([1 / REFERENCE_STRIDE, 1 / REFERENCE_STRIDE, 1.0]) @ cameras.intrinsics, cameras.world_to_camera
    )
