"""The neural generator: InSpatio-World's causal diffusion transformer between two streaming video autoencoders.

    generator = CausalGenerator(dit, encoder, decoder, prompts, renderer, options)
    session = generator.start(scene, seed=7)              renders live, or reads scene.renders
    block = session.step(cameras[: session.block_frames])

``loading.py`` makes one from a profile. A block is three latent frames: 9 frames first (the first latent holds one
frame), then 12. A step goes through five parts, each bounded by a block's size and each a
``torch.profiler.record_function`` of that name:

    render    the source as the target cameras see it, with its coverage mask          (host or device)
    encode    source and render to latents, each in a stream of its own through the clip
    prefill   source latents and the previous block's prediction into the key-value cache
    denoise   a few steps from noise to this block's three latent frames
    decode    latents to frames

On a GPU encoding, denoising and decoding have CUDA streams of their own: the source of the next block is read and
encoded, and the block before is decoded, while this one is denoised. A block's frames are ready on the caller's stream;
a caller that waits for them only after its next ``step`` (``base.drive``) keeps the GPU busy. The same code runs in
plain order on a CPU, with the same results.

A last block of fewer cameras is filled up: with the clip's following frames where it has them, then with its last one,
and the last render. Noise is drawn on the CPU from a generator of the clip's own, so results depend neither on the
device's random numbers nor on how many workers ran. Where a GPU renders live, the order of its additions is not fixed,
so there the same seed gives the same frames only with render files. Latents are float32 between the steps. Whether they
are finite is known without waiting for the device only later: a block that holds NaN stops the session in one of the
two steps after it, from the clip's end on in its own step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.profiler import record_function

from inspatio.cameras.cameras import Cameras
from inspatio.errors import ClipError
from inspatio.generation.base import Download, FrameBlock, Session, check_size, take_arrived
from inspatio.generation.inspatio_world.block_loop import BLOCK_FRAMES, FIRST_BLOCK_FRAMES, BlockLoop, Schedule
from inspatio.generation.inspatio_world.condition import condition_channels, pack_mask
from inspatio.generation.inspatio_world.cuda_graphs import GraphedBlockLoop
from inspatio.generation.inspatio_world.frames import UploadedFrames, extended, to_frames, to_mask
from inspatio.generation.inspatio_world.streams import GeneratorStreams
from inspatio.generation.inspatio_world.video_encoding import VideoEncoding
from inspatio.models.memory import out_of_memory_said, upload
from inspatio.models.wan.autoencoder import VideoDecoder, VideoEncoder
from inspatio.models.wan.cache import TextCache
from inspatio.models.wan.dit import CausalDiT
from inspatio.models.wan.offload import release_unused
from inspatio.render.renderer import DeviceRender, Renderer
from inspatio.render.views import context_views, render_scene, render_views
from inspatio.scene import Render, Scene
from inspatio.types import Frames, LatentTensor

Prompts: TypeAlias = Callable[[str], torch.Tensor]
"""A prompt's embeddings ``1 m c``."""


@dataclass(frozen=True)
class CausalOptions:
    """How a generator runs.

    ``size`` is the working frame (height, width), multiples of 16, which portrait scenes may have turned. ``offload``
    saves memory at the cost of time: what a part of a block does not need is not on the device meanwhile, and the parts
    have no CUDA streams of their own, each of which keeps memory of its own. ``cuda_graphs`` replays steady blocks
    (``cuda_graphs.py``); not with ``offload``.
    """

    size: tuple[int, int] = (480, 832)
    steps: tuple[int, ...] = (1000, 750, 500, 250)
    shift: float = 5.0
    offload: bool = False
    cuda_graphs: bool = False


class CausalGenerator:
    """A loaded network and its autoencoders, all on the network's device and in its dtype."""

    def __init__(
        self,
        dit: CausalDiT,
        encoder: VideoEncoder[Any],
        decoder: VideoDecoder[Any],
        prompts: Prompts,
        renderer: Renderer,
        options: CausalOptions,
    ) -> None:
        """``renderer`` serves sessions that have no render files."""
        self.dit = dit
        self.encoder = encoder
        self.decoder = decoder
        self.prompts = prompts
        self.renderer = renderer
        self.options = options
        self.schedule = Schedule.make(dit, options.steps, options.shift)
        self.streams = GeneratorStreams.make(dit.device, overlap=not options.offload)

    def start(self, scene: Scene, *, seed: int) -> CausalSession:
        """Start a session; see :class:`base.Generator`."""
        check_size(scene, self.options.size)
        return CausalSession(self, scene, seed)


class CausalSession(Session):
    """The running generation of one clip; see the module's docstring."""

    def __init__(self, generator: CausalGenerator, scene: Scene, seed: int) -> None:
        super().__init__()
        self._generator = generator
        self._scene = scene
        self._device, self._dtype = generator.dit.device, generator.dit.dtype
        self._random = torch.Generator().manual_seed(seed)
        self._block = 0
        streams = generator.streams
        self._encoding, self._denoising, self._decoding = streams.encoding, streams.denoising, streams.decoding
        make_loop = GraphedBlockLoop if generator.options.cuda_graphs else BlockLoop
        self._loop = make_loop(generator.dit, generator.schedule, self._text(scene.prompt))
        self._source, self._target = (VideoEncoding(generator.encoder, self._dtype) for _ in range(2))
        self._decoder_state = generator.decoder.start()
        self._read_ahead = self._no_frames = self._upload(np.zeros((0, *scene.size, 3), np.uint8))
        self._shown: tuple[int, UploadedFrames] | None = None
        """The source's frames as they were last encoded, and their first place: live renders are drawn of them."""
        self._next_source: LatentTensor | None = None
        self._sources = 0
        """Blocks whose source latents have been read or encoded."""
        self._unchecked: deque[tuple[int, Download]] = deque()
        """Blocks, and whether their latents are finite."""
        self._unkept: deque[tuple[int, Download]] = deque()
        """Blocks, and source latents on their way to the host."""

    @property
    def block_frames(self) -> int:
        """9 cameras for the first block, 12 for every later one: three latent frames each."""
        return FIRST_BLOCK_FRAMES if self._start == 0 else BLOCK_FRAMES

    def set_prompt(self, text: str) -> None:
        """Describe the scene by another text from the next step on."""
        text_cache = self._text(text)
        with self._denoising.run_after():
            self._loop.set_text(text_cache)

    @torch.inference_mode()
    def _generate(self, cameras: Cameras) -> FrameBlock:
        """The next block.

        Raises:
            ClipError: the renders do not fit the clip, or the network gave values that are not finite.
            UserError: the device has too little memory.
        """
        after, clip_end = self._start + len(cameras), len(self._scene)
        with self._errors():
            if self._chooses_views:
                render, source = self._render_views(cameras)
            else:
                source = self._next_source
                if source is None:
                    source = self._encode_source(self._start, self.block_frames, len(cameras))
                render = self._render(cameras)
            condition = self._encode_condition(render)
            noise = self._draw_noise(source.shape)
            self._check_finished_blocks()
            self._keep_source_latents()
            with self._denoising.run_after(self._encoding, reads=(source, condition)):
                with record_function("prefill"):
                    self._loop.prefill(source)
                with record_function("denoise"):
                    latents = self._loop.denoise(condition, upload(noise, self._device))
                if self._generator.options.offload:
                    self._loop.free_cache()
                    release_unused(self._device)
                self._unchecked.append((self._block, Download(latents.isfinite().all())))
            with self._decoding.run_after(self._denoising, reads=(latents,)), record_function("decode"):
                frames = to_frames(self._generator.decoder.decode(latents.to(self._dtype), self._decoder_state))
            frames = self._decoding.to_current(frames)[: len(cameras)]
            self._block += 1
            self._next_source = None
            if after >= clip_end or len(cameras) < self.block_frames:
                self._check_finished_blocks(wait=True)
                self._keep_source_latents(wait=True)
            elif self._encodes_ahead and clip_end - after >= BLOCK_FRAMES:
                self._next_source = self._encode_source(after, BLOCK_FRAMES, BLOCK_FRAMES)
        return FrameBlock(self._start, frames, render.depth, render.masks)

    @property
    def _encodes_ahead(self) -> bool:
        return self._device.type == "cuda" and not self._generator.options.offload and not self._chooses_views

    @property
    def _chooses_views(self) -> bool:
        """Whether the source's frames are chosen by what each block shows; render files come with the choice."""
        return self._scene.view_count > 1 and self._scene.renders is None

    def _encode_source(self, start: int, block_frames: int, cameras: int) -> LatentTensor:
        """The source's latents of the block from ``start`` on, ``cameras`` of whose ``block_frames`` are wanted."""
        block, kept = self._sources, self._scene.source_latents
        self._sources += 1
        known = kept.read(block) if kept is not None else None
        if known is not None:
            with self._encoding.run_after():
                return upload(known, self._device)
        encoder, clip_end = self._generator.encoder, len(self._scene)
        shown = max(cameras, min(block_frames, clip_end - start))
        # Only the clip itself is looked ahead at: a live timeline may still decide what comes after it.
        read_until, wanted = start + len(self._read_ahead), start + shown
        places = range(read_until, max(wanted, min(wanted + encoder.lookahead, clip_end)))
        new = self._scene.read_frames(places) if places else None
        with self._encoding.run_after(), record_function("encode"):
            read = self._read_ahead if new is None else self._read_ahead.followed_by(self._upload(new))
            # What the encoder looks ahead at is kept for the next block, since reading backwards would cost a seek.
            self._read_ahead = read[shown:]
            self._shown = start, read[:shown]
            latents = self._source.encode(read[:shown].extended(block_frames), self._read_ahead)
            if kept is not None:
                self._unkept.append((block, Download(latents)))
            return latents

    def _keep_source_latents(self, *, wait: bool = False) -> None:
        """Hand over the source latents that have arrived on the host; see :meth:`_check_finished_blocks`."""
        for block, latents in take_arrived(self._unkept, wait=wait):
            assert self._scene.source_latents is not None, "latents are queued where they are kept"
            self._scene.source_latents.keep(block, latents)

    def _upload(self, frames: Frames) -> UploadedFrames:
        return UploadedFrames.of(frames, self._device)

    def _render(self, cameras: Cameras) -> Render | DeviceRender:
        """The target view: from the scene's files, or live with its depth, on the device if it is drawn there."""
        scene, start = self._scene, self._start
        # Not on the caller's stream: a renderer waits for its own work, and that stream is behind the last decoding.
        with self._encoding.run_after(), record_function("render"):
            if scene.renders is not None:
                render = scene.renders.read(start, cameras)
            elif self._renders_on_device:
                render = self._render_on_device(cameras)
            else:
                render = render_scene(self._generator.renderer, scene, start, cameras, with_depth=True)
        expected = (len(cameras), *scene.size)
        if render.frames.shape[:3] != expected or render.masks.shape != expected:
            raise ClipError(
                f"{scene.clip_id}: got render {_by(render.frames.shape[:3])} and mask {_by(render.masks.shape)} from "
                f"frame {start} on, expected {_by(expected)} (frames, height, width). Run the render stage again"
            )
        return render

    @property
    def _renders_on_device(self) -> bool:
        """Whether live renders are drawn of frames that are on the device for the encoder, and stay there."""
        renderer, scene = self._generator.renderer, self._scene
        same = renderer.device.type == self._device.type and renderer.device.index in (None, self._device.index)
        return same and renderer.draws_on_device and scene.points is None

    def _render_on_device(self, cameras: Cameras) -> DeviceRender:
        scene, places = self._scene, range(self._start, self._start + len(cameras))
        first, shown = self._shown or (None, self._no_frames)
        if first != self._start or len(shown) < len(cameras):  # latents that were read have left them unread
            shown = self._upload(scene.read_frames(places))
        depth = upload(torch.from_numpy(scene.read_depth(places)), self._device)
        frames = shown.on_device[: len(cameras)]
        return self._generator.renderer.render_on_device(frames, depth, scene.cameras(places), cameras)

    def _render_views(self, cameras: Cameras) -> tuple[Render, LatentTensor]:
        """The target view of a still scene from all its views, and the latents of those chosen as context."""
        with self._encoding.run_after(), record_function("render"):
            render, covered = render_views(self._generator.renderer, self._scene, cameras)
            chosen = context_views(covered, first=self._start == 0)
            frames = self._scene.frames.read(chosen)
        with self._encoding.run_after(), record_function("encode"):
            shown = self._upload(frames).extended(self.block_frames)
            return render, self._source.encode(shown, self._no_frames)

    def _encode_condition(self, render: Render | DeviceRender) -> LatentTensor:
        """Mask and render latents of the target view."""
        renders, lookahead = self._scene.renders, self._generator.encoder.lookahead
        following = None
        if renders is not None and lookahead and len(render.frames) == self.block_frames:
            following = renders.read_after(self._start + self.block_frames, lookahead)
        with self._encoding.run_after(), record_function("encode"):
            if isinstance(render, DeviceRender):
                frames = UploadedFrames(render.frames, None)
            else:
                frames = self._upload(render.frames)
            ahead = self._no_frames if following is None else self._upload(following)
            latents = self._target.encode(frames.extended(self.block_frames), ahead)
            masks = extended(to_mask(render.masks, self._device)[0, 0], self.block_frames)
            mask = pack_mask(masks[None, None], first=self._start == 0)
            return condition_channels(mask, latents)

    @torch.inference_mode()
    def _text(self, prompt: str) -> TextCache:
        # On the stream that reads them: a prompt may come while earlier blocks are still being denoised.
        with self._errors(), self._denoising.run_after():
            return self._generator.dit.encode_text(self._generator.prompts(prompt))

    def _draw_noise(self, shape: Sequence[int]) -> torch.Tensor:
        """All noise of a block, ``s b f 16 h w`` on the host: drawn step by step, to be uploaded at once."""
        steps = len(self._generator.schedule.sigmas)
        noise = torch.empty((steps, *shape), pin_memory=self._device.type == "cuda")
        for each in noise:
            torch.randn(each.shape, generator=self._random, out=each)
        return noise

    def _check_finished_blocks(self, *, wait: bool = False) -> None:
        """Stop if a finished block holds NaN or infinity; of those still at work wait for all but the latest, or for
        all.

        On a GPU the answer of the block before the last one is there by now, so that nothing waits for the device.
        """
        for block, finite in take_arrived(self._unchecked, wait=wait):
            if not finite:
                raise ClipError(
                    f"{self._scene.clip_id}: block {block} has NaN or infinite latents, so it is not kept. Check "
                    "the checkpoint (scripts/parity.py) or run with precision fp32"
                )

    def _errors(self) -> AbstractContextManager[None]:
        """Turn running out of memory into an error that says what to change."""
        height, width = self._scene.size
        return out_of_memory_said(
            f"{self._scene.clip_id}: block {self._block} at {width}x{height}",
            self._device,
            "Use --offload (on a GPU), --use_tae, a smaller height and width, or a device with more memory",
        )


def _by(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
