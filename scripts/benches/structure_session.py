"""The session's part of ``bench.py structure``: how often the host waits for the device in a steady block.

A whole session runs on the meta device, its networks at a tiny size, since no wait depends on sizes. What a session
sends to a device goes through ``memory.upload`` (from pinned memory, not waited for) and what it wants back through
``base.Download`` (an event, waited for when the answer is needed). Both are replaced by ones that count; every other
value that the host asks for, and every other copy between host and device, is a wait by ``counting.py``'s rules.
``late`` is a device that lags behind: no answer has come when it is looked for, so that everything there is to wait for
is waited for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from unittest import mock

import numpy as np
import torch
from benches.counting import Counter
from benches.generate import MODELS, clip, random_prompt

from inspatio.cameras.cameras import Cameras
from inspatio.generation.inspatio_world import frames as frames_module
from inspatio.generation.inspatio_world import session as session_module
from inspatio.generation.inspatio_world.session import CausalGenerator, CausalOptions, CausalSession
from inspatio.models.wan.dit import CausalDiT
from inspatio.models.wan.taehv import TaeDecoder, TaeEncoder
from inspatio.models.wan.vae import WanDecoder, WanEncoder
from inspatio.render import PointRenderer, Renderer, WarpRenderer, points_torch, splat_torch
from inspatio.scene import Render
from inspatio.types import Frames

META = torch.device("meta")
SIZE = (32, 64)
BLOCKS = 4
HALVES = {"wan": (WanEncoder, WanDecoder), "taehv": (TaeEncoder, TaeDecoder)}
WIDTH = 8


class BlackRenders:
    """Render files of nothing."""

    def read(self, start: int, cameras: Cameras) -> Render:
        count = len(cameras)
        return Render(np.zeros((count, *SIZE, 3), np.uint8), np.zeros((count, *SIZE), np.uint8), None)

    def read_after(self, place: int, count: int) -> Frames:
        return np.zeros((count, *SIZE, 3), np.uint8)


def count_session_waits(autoencoder: str, renderer: Renderer | None, *, late: bool) -> list[int]:
    """Waits of the host in each block but the last, which a session ends by waiting for all that is left.

    The first block makes what lasts for the clip, the tables of positions, and copies it.

    ``renderer`` renders live; None stands for render files.
    """
    with META:
        dit, encoder, decoder = CausalDiT(MODELS["tiny"]), *(half(WIDTH) for half in HALVES[autoencoder])
    options, config = CausalOptions(size=SIZE), MODELS["tiny"]
    waits: list[str] = []
    with torch.no_grad(), sent_and_fetched(waits, late=late):
        generator = CausalGenerator(
            dit, encoder, decoder, lambda text: random_prompt(text, config.text_len, config.text_dim).to(META),
            renderer or WarpRenderer(META), options,
        )  # fmt: skip
        scene, targets = clip(generator, BLOCKS)
        counts: list[int] = []
        session, done = generator.start(scene if renderer else replace(scene, renders=BlackRenders()), seed=0), 0
        with Counter() as counter:
            while done < len(targets):
                waits.clear()
                before = counter.total.host_syncs
                done += len(session.step(targets[done : done + session.block_frames]).frames)
                counts.append(counter.total.host_syncs - before + len(waits))
    return counts[:-1]


@contextmanager
def sent_and_fetched(waits: list[str], *, late: bool) -> Iterator[None]:
    """Have sessions on the meta device work as on a GPU, and note what their downloads wait for."""

    class Download:
        def __init__(self, tensor: torch.Tensor) -> None:
            self._answer = torch.ones(tensor.shape, dtype=tensor.dtype)

        def is_ready(self) -> bool:
            return not late

        def wait(self) -> torch.Tensor:
            if late:
                waits.append("download")
            return self._answer

    def upload(host: torch.Tensor, device: torch.device) -> torch.Tensor:
        return torch.empty(host.shape, dtype=host.dtype, device=device)

    session = CausalSession
    with ExitStack() as stack:
        for module in (frames_module, session_module, splat_torch, points_torch):
            stack.enter_context(mock.patch.object(module, "upload", upload))
        stack.enter_context(mock.patch.object(session_module, "Download", Download))
        stack.enter_context(mock.patch.object(session, "_encodes_ahead", True))
        for name in ("_generate", "_text"):  # without inference mode, which hides what operations are made of
            stack.enter_context(mock.patch.object(session, name, vars(session)[name].__wrapped__))
        yield


CASES: dict[str, tuple[str, Renderer | None]] = {
    "wan, files": ("wan", None),
    "taehv, files": ("taehv", None),
    "taehv, warper": ("taehv", WarpRenderer(META)),
    "taehv, ply": ("taehv", PointRenderer(META)),
}
"""Autoencoder and renderer."""


def session_waits() -> dict[str, int]:
    """The most waits in a steady block of each case, the device lagging behind."""
    return {name: max(count_session_waits(*case, late=True)[1:]) for name, case in CASES.items()}
