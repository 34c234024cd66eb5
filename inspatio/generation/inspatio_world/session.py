"""The neural generator: InSpatio-World's causal diffusion transformer between two streaming video autoencoders.

    generator = CausalGenerator(dit, encoder, decoder, prompts, options)
    session = generator.start(scene, seed=7)              renders live; or renders=RenderFiles(...)
    while session.frames_needed:
        block = session.step(world_to_camera)

``loading.py`` makes one from a profile. A step goes through five parts, each bounded by a block's size:

    render    the source as the target cameras see it, with its coverage mask          (host or device)
    encode    source and render to latents, each in a stream of its own through the clip
    prefill   source latents and the previous block's prediction into the key-value cache
    denoise   a few steps from noise to this block's three latent frames
    decode    latents to frames

On a GPU encoding, denoising and decoding have CUDA streams of their own: the source of the next block is read and
encoded, and the block before is decoded, while this one is denoised. A block's frames are ready on the caller's stream;
a caller that starts their way to the host (``frames.Download``) and waits for them only after its next ``step`` keeps
the GPU busy. The same code runs in plain order on a CPU, with the same results.

Noise is drawn on the CPU from a generator of the clip's own, so results depend neither on the device's random numbers
nor on how many workers ran. Latents are float32 between the steps. Whether they are finite is known without waiting for
the device only later: a block that holds NaN stops the session in the step after it, the last one in its own step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch

from inspatio.errors import ClipError, UserError
from inspatio.generation.base import BLOCK_FRAMES, FIRST_BLOCK_FRAMES, Block, RenderSource
from inspatio.generation.inspatio_world.block_loop import BlockLoop, Schedule
from inspatio.generation.inspatio_world.condition import condition_channels, pack_mask
from inspatio.generation.inspatio_world.frames import extended, to_frames, to_mask, to_video
from inspatio.generation.inspatio_world.streams import CudaStream
from inspatio.models.wan.autoencoder import AutoencoderState, VideoDecoder, VideoEncoder
from inspatio.models.wan.dit import CausalDiT
from inspatio.models.wan.offload import release_unused, resident
from inspatio.render.live import LiveRenders, Renderer
from inspatio.scene import Scene
from inspatio.types import Frames, LatentTensor, WorldToCamera

PARTS = ("render", "encode", "context", "denoise", "decode")

Watch: TypeAlias = Callable[[str], AbstractContextManager[Any]]
"""Called with the name of a part; the part runs inside what it returns. For measuring."""

Prompts: TypeAlias = Callable[[str], torch.Tensor]
"""A prompt's embeddings ``1 m c``."""


def _unwatched(part: str) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class CausalOptions:
    """How a generator runs.

    ``size`` is the working frame (height, width), multiples of 16; ``offload`` saves memory at the cost of time: what a
    part of a block does not need is not on the device meanwhile, and the parts have no CUDA streams of their own, each
    of which keeps memory of its own. ``fingerprint`` says where the weights come from (JSON values).
    """

    size: tuple[int, int] = (480, 832)
    steps: tuple[int, ...] = (1000, 750, 500, 250)
    shift: float = 5.0
    offload: bool = False
    fingerprint: dict[str, Any] = field(default_factory=dict)


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

    def fingerprint(self) -> dict[str, Any]:
        """What results depend on besides the scene; see :class:`base.Generator`."""
        return dict(self.options.fingerprint)

    def start(
        self, scene: Scene, *, seed: int, renders: RenderSource | None = None, watch: Watch = _unwatched
    ) -> CausalSession:
        """A fresh session; see :class:`base.Generator`.

        Raises:
            ClipError: the scene's frames have another size than the generator.
        """
        if scene.size != self.options.size:
            raise ClipError(
                f"{scene.clip_id}: frames of {_by(scene.size)}, the generator works at {_by(self.options.size)}; "
                "open the scene at the profile's height and width"
            )
        return CausalSession(self, scene, seed, renders or LiveRenders(scene, self.renderer), watch)


class CausalSession:
    """The running generation of one clip; see the module's docstring."""

    def __init__(
        self, generator: CausalGenerator, scene: Scene, seed: int, renders: RenderSource, watch: Watch
    ) -> None:
        self._generator = generator
        self._scene = scene
        self._renders = renders
        self._watch = watch
        self._device, self._dtype = generator.dit.device, generator.dit.dtype
        self._random = torch.Generator().manual_seed(seed)
        self._start = 0
        self._block = 0
        with self._errors(), torch.inference_mode():
            text = generator.dit.encode_text(generator.prompts(scene.prompt))
        self._loop = BlockLoop(generator.dit, generator.schedule, text, self._noise)
        self._source_state = generator.encoder.start()
        self._render_state = generator.encoder.start()
        self._decoder_state = generator.decoder.start()
        streams = (CudaStream(self._device, overlap=not generator.options.offload) for _ in range(3))
        self._encoding, self._denoising, self._decoding = streams
        self._read_ahead: Frames = np.zeros((0, *generator.options.size, 3), np.uint8)
        self._next_source: LatentTensor | None = None
        self._finite: torch.Tensor | None = None

    @property
    def frames_needed(self) -> int:
        """How many cameras the next ``step`` takes; 0 when the clip has ended."""
        return min(self._block_frames, len(self._scene) - self._start)

    @torch.inference_mode()
    def step(self, world_to_camera: WorldToCamera) -> Block:
        """The next block, seen from ``frames_needed`` target cameras; see :class:`base.Session`.

        Raises:
            ClipError: the renders do not fit the clip, or the network gave values that are not finite.
            UserError: the device has too little memory.
        """
        needed = self.frames_needed
        if needed == 0 or world_to_camera.shape != (needed, 4, 4):
            raise ValueError(f"got cameras {world_to_camera.shape}, expected ({needed}, 4, 4) for block {self._block}")
        with self._errors():
            source = self._encode_source() if self._next_source is None else self._next_source
            condition = self._encode_condition(world_to_camera)
            self._check_last_block()
            with self._denoising.run_after(self._encoding, reads=(source, condition)):
                with self._watch("context"):
                    self._loop.prefill(source)
                with self._watch("denoise"):
                    latents = self._loop.denoise(condition, source.shape)
                if self._generator.options.offload:
                    self._loop.free_cache()
                    release_unused(self._device)
                self._finite = latents.isfinite().all()
            with (
                self._decoding.run_after(self._denoising, reads=(latents,)),
                self._watch("decode"),
                self._resident(self._decoder_state),
            ):
                frames = to_frames(self._generator.decoder.decode(latents.to(self._dtype), self._decoder_state))
            block = Block(self._start, self._decoding.to_current(frames)[:needed])
            self._start += needed
            self._block += 1
            self._next_source = None
            if self.frames_needed == 0:
                self._check_last_block()
            elif self._device.type == "cuda" and not self._generator.options.offload:
                self._next_source = self._encode_source()
        return block

    @property
    def _block_frames(self) -> int:
        return FIRST_BLOCK_FRAMES if self._block == 0 else BLOCK_FRAMES

    def _encode_source(self) -> LatentTensor:
        """The source's latents of the block that comes next; the clip's last frame stands for those after it."""
        encoder, needed = self._generator.encoder, self.frames_needed
        known = self._start + len(self._read_ahead)
        places = range(known, min(self._start + needed + encoder.lookahead, len(self._scene)))
        read = np.concatenate((self._read_ahead, self._scene.read_frames(places))) if places else self._read_ahead
        # What the encoder looks ahead at is kept for the next block, since reading backwards would cost a seek.
        self._read_ahead = read[needed:]
        with self._encoding.run_after(), self._watch("encode"), self._resident(self._source_state):
            video = to_video(extended(read[:needed], self._block_frames), self._device, self._dtype)
            ahead = to_video(self._read_ahead, self._device, self._dtype) if len(self._read_ahead) else None
            return encoder.encode(video, self._source_state, ahead)

    def _encode_condition(self, world_to_camera: WorldToCamera) -> LatentTensor:
        """Mask and render latents of the target view."""
        # Not on the caller's stream: a renderer waits for its own work, and that stream is behind the last decoding.
        with self._encoding.run_after(), self._watch("render"):
            frames, masks = self._renders.read(self._start, world_to_camera)
        expected = (len(world_to_camera), *self._generator.options.size)
        if frames.shape[:3] != expected or masks.shape != expected:
            raise ClipError(
                f"{self._scene.clip_id}: render {_by(frames.shape[:3])} and mask {_by(masks.shape)} from frame "
                f"{self._start} on, expected {_by(expected)} (frames, height, width); run the render stage again"
            )
        frames, masks = extended(frames, self._block_frames), extended(masks, self._block_frames)
        with self._encoding.run_after(), self._watch("encode"), self._resident(self._render_state):
            video = to_video(frames, self._device, self._dtype)
            render = self._generator.encoder.encode(video, self._render_state)
            mask = pack_mask(to_mask(masks, self._device), first=self._block == 0)
            return condition_channels(mask, render)

    def _resident(self, state: AutoencoderState) -> AbstractContextManager[None]:
        return resident(state, self._device) if self._generator.options.offload else nullcontext()

    def _noise(self, shape: Sequence[int]) -> torch.Tensor:
        noise = torch.randn(tuple(shape), generator=self._random)
        return noise.pin_memory().to(self._device, non_blocking=True) if self._device.type == "cuda" else noise

    def _check_last_block(self) -> None:
        """Wait for the latents of the block before, and stop if they hold NaN or infinity."""
        if self._finite is None:
            return
        with self._denoising.run_after():  # not the caller's stream, which waits for the decoding as well
            finite = bool(self._finite)
        if not finite:
            raise ClipError(
                f"{self._scene.clip_id}: block {self._block - 1} has NaN or infinite latents, so it is not kept. Check "
                "the checkpoint (scripts/parity.py) or run with precision fp32"
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError as error:
            free, total = (x / 2**30 for x in torch.cuda.mem_get_info(self._device))
            height, width = self._generator.options.size
            raise UserError(
                f"{self._scene.clip_id}: out of GPU memory in block {self._block} ({free:.1f} of {total:.1f} GiB free) "
                f"at {width}x{height}: use --offload, --use_tae, a smaller height and width, or a GPU with more memory"
            ) from error


def _by(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
