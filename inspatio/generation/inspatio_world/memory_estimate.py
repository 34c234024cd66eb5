"""Estimate a generator's peak memory on its device, before anything is loaded.

    peak = estimate_memory(config, dit_config, size=(480, 832)).peak

The networks are built without storage (torch's meta device) and run for two blocks. Persistent tensors (weights,
caches, the autoencoders' states) are exact; activations are the peak measured on meta tensors. Not included, because
nothing here can know them: the CUDA context, the libraries' workspaces, what the allocator loses between blocks, and
what compilation saves.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from inspatio.config import GeneratorConfig
from inspatio.generation.inspatio_world.block_loop import BLOCK_FRAMES, FIRST_BLOCK_FRAMES, BlockLoop, Schedule
from inspatio.generation.inspatio_world.loading import precision_dtype
from inspatio.models.wan import linear, taehv
from inspatio.models.wan import vae as wan_vae
from inspatio.models.wan.autoencoder import LATENT_CHANNELS, SPATIAL_FACTOR
from inspatio.models.wan.cache import BLOCK_LATENTS
from inspatio.models.wan.checkpoint import channels_last
from inspatio.models.wan.dit import CONDITION_CHANNELS, CausalDiT, DiTConfig
from inspatio.models.wan.offload import STAYS
from inspatio.models.wan.optimize import rounded_parts

META = torch.device("meta")


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on the device by part: ``kept`` all the time, ``passing`` at the worst moment of a part's work."""

    kept: dict[str, int]
    passing: dict[str, int]
    overlap: bool
    """The parts run on CUDA streams of their own, so that none can use what another has given back."""

    @property
    def peak(self) -> int:
        """Bytes of all tensors at the worst moment: ``torch.cuda.max_memory_allocated`` of a run. A part's tensors are
        given back when the host has enqueued its work, before it enqueues the next part's."""
        return sum(self.kept.values()) + max(self.passing.values())

    @property
    def reserved(self) -> int:
        """Bytes that PyTorch takes from the device where it can: each stream keeps its part's worst moment."""
        return sum(self.kept.values()) + (sum if self.overlap else max)(self.passing.values())


def estimate_memory(
    config: GeneratorConfig,
    dit_config: DiTConfig,
    size: tuple[int, int],
    *,
    widths: tuple[int, int] | None = None,
) -> MemoryEstimate:
    """What a profile's generator needs.

    Args:
        config: the profile's generator block (autoencoders, precision, offload).
        dit_config: the transformer's size.
        size: the working frame (height, width).
        widths: of encoder and decoder; None: as published.

    Raises:
        UsageError: the precision does not exist.
    """
    dtype = precision_dtype(config.precision)
    with META:
        dit = CausalDiT(dit_config, attend=attended)
        encoder, decoder = _autoencoders(config, widths)
    dit.place(META, dtype)
    for half in (encoder, decoder):
        channels_last(half.to(dtype))
    with torch.no_grad(), LiveBytes() as live:
        kept = {
            "transformer weights": transformer_bytes(dit, config, dtype),
            "encoder weights": module_bytes(encoder),
            "decoder weights": module_bytes(decoder),
        }
        passing: dict[str, int] = {}
        source, render, going = encoder.start(), encoder.start(), decoder.start()
        schedule = Schedule.make(dit, config.steps, config.shift)
        text = dit.encode_text(_empty(1, dit_config.text_len, dit_config.text_dim, dtype=dtype))
        one_step = Schedule(schedule.sigmas[:1], schedule.steps[:1], schedule.context)  # the others hold as much
        loop = BlockLoop(dit, one_step, text)
        rows, columns = (side // SPATIAL_FACTOR for side in size)
        latents = _empty(1, BLOCK_LATENTS, LATENT_CHANNELS, rows, columns, dtype=dtype)
        noise = _empty(1, *latents.shape, dtype=torch.float32)
        condition = _empty(1, BLOCK_LATENTS, CONDITION_CHANNELS, rows, columns, dtype=dtype)
        # The second block is the first with a full context, and with the autoencoders' states as they stay.
        for frames in (FIRST_BLOCK_FRAMES, BLOCK_FRAMES):
            video = _empty(1, 3, frames, *size, dtype=dtype)
            passing["encode"] = live.during(encoder.encode, video, source)
            encoder.encode(video, render)
            passing["denoise"] = live.during(loop.step, latents, condition, noise)
            passing["decode"] = live.during(decoder.decode, latents, going)
        cache = loop.cache
        assert cache is not None
        rotary = (cache.rotary.cos, cache.rotary.sin)
        kept["context keys and values"] = _tensor_bytes([*cache.keys, *cache.values, *rotary])
        kept["prompt keys and values"] = _tensor_bytes([*text.keys, *text.values])
        kept["schedule"] = _tensor_bytes(
            tensor for time in (*schedule.steps, schedule.context) for tensor in (time.layers, time.head)
        )
        kept["encoder states (source and render)"] = source.bytes + render.bytes
        kept["decoder state"] = going.bytes
    if config.offload:
        # The cache is on the device only while its part runs.
        passing["denoise"] += kept.pop("context keys and values")
    return MemoryEstimate(kept, passing, overlap=not config.offload)


def _empty(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(shape, device=META, dtype=dtype)


def _autoencoders(config: GeneratorConfig, widths: tuple[int, int] | None) -> tuple[Any, Any]:
    published = {"wan": wan_vae.PUBLISHED_WIDTH, "taehv": taehv.PUBLISHED_WIDTH, "linear": LATENT_CHANNELS}
    widest = widths or (published[config.encoder], published[config.decoder])
    encoders = {"wan": wan_vae.WanEncoder, "taehv": taehv.TaeEncoder, "linear": linear.LinearEncoder}
    decoders = {"wan": wan_vae.WanDecoder, "taehv": taehv.TaeDecoder, "linear": linear.LinearDecoder}
    return encoders[config.encoder](widest[0]), decoders[config.decoder](widest[1])


def attended(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """What a fused attention kernel allocates: its result."""
    return torch.empty_like(query)


def transformer_bytes(dit: nn.Module, config: GeneratorConfig, dtype: torch.dtype) -> int:
    """Bytes on the device of a network whose layers are the children of its ``blocks``, in a profile's precision."""
    blocks = list(dit.get_submodule("blocks").children())
    if config.offload:
        # The layers stay on the host, but for their modulation and two layers that take turns.
        turns = 2 * sum(p.numel() for p in blocks[0].parameters()) * dtype.itemsize
        stays = [p for name, p in dit.named_parameters() if not name.startswith("blocks.") or name.endswith(STAYS)]
        return turns + _tensor_bytes(stays)
    whole = module_bytes(dit)
    if config.precision == "fp8":
        parts = [block.get_parameter(f"{name}.weight") for block in blocks for name in rounded_parts(block)]
        # One byte a weight, and a float32 scale for each row.
        whole += sum(w.numel() + 4 * w.shape[0] - w.numel() * w.dtype.itemsize for w in parts)
    return whole


def module_bytes(module: nn.Module) -> int:
    """Bytes of a module's parameters and buffers."""
    return _tensor_bytes(module.state_dict().values())


def _tensor_bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.dtype.itemsize for tensor in tensors)


def convolution_layout(source: torch.Tensor, weight: torch.Tensor) -> torch.memory_format:
    """The memory format that a convolution works and ends in on a GPU: channels last where input or weight is."""
    layout = torch.channels_last_3d if source.ndim == 5 else torch.channels_last
    tensors = source, weight
    if any(t.is_contiguous(memory_format=layout) and not t.is_contiguous() for t in tensors):
        return layout
    return torch.contiguous_format


class _FusedKernels(TorchFunctionMode):
    """Has functions that are one kernel on a GPU allocate their result alone; other devices take them apart."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in (functional.rms_norm, functional.layer_norm):
            return func(*args, **(kwargs or {}))
        with _disable_current_modes():
            result = func(*args, **(kwargs or {}))
        return result.clone()  # which is seen


@dataclass
class LiveBytes(TorchDispatchMode):
    """While it is entered: bytes of the storages that operations have made and that are alive still."""

    now: int = 0
    peak: int = 0
    _seen: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self._kernels = _FusedKernels()

    def __enter__(self) -> Any:
        self._kernels.__enter__()
        return super().__enter__()

    def __exit__(self, *exception: Any) -> None:
        super().__exit__(*exception)
        self._kernels.__exit__(*exception)

    def during(self, work: Callable[..., Any], *arguments: Any) -> int:
        """The most bytes that some work holds at once, over those held before it."""
        before = self.peak = self.now
        work(*arguments)
        return self.peak - before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {id(leaf.untyped_storage()) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default and result.device.type == "meta":
            result = result.contiguous(memory_format=convolution_layout(*args[:2]))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and id(leaf.untyped_storage()) not in before:
                self._born(leaf.untyped_storage())
        return result

    def _born(self, storage: torch.UntypedStorage) -> None:
        key = id(storage)
        if key in self._seen:
            return
        self._seen.add(key)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size
