"""The causal session: laws that hold whatever the weights are, and what stops it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from support.networks import make_generator
from support.scenes import NOISE_SIZE as SIZE
from support.scenes import ArraySource
from support.scenes import noise_scene as make_scene
from support.scenes import sideways as cameras

from inspatio.errors import ClipError, UserError
from inspatio.generation.inspatio_world.frames import Download, extended, to_frames, to_video
from inspatio.generation.inspatio_world.session import CausalGenerator
from inspatio.models.wan.taehv import TaeEncoder
from inspatio.scene import Scene
from inspatio.types import Frames, Masks, WorldToCamera

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def generator() -> CausalGenerator:
    return make_generator()


def run(generator: CausalGenerator, scene: Scene, seed: int = 7, blocks: int | None = None) -> Frames:
    session = generator.start(scene, seed=seed)
    target = cameras(len(scene))
    made: list[Frames] = []
    done = 0
    while (needed := session.frames_needed) and (blocks is None or len(made) < blocks):
        block = session.step(target[done : done + needed])
        assert block.start == done
        made.append(Download(block.frames).wait())
        assert made[-1].shape == (needed, *scene.size, 3)
        done += needed
    return np.concatenate(made)


@pytest.mark.parametrize("count", [1, 2, 9, 10, 21, 22])
def test_every_frame_of_any_clip_comes_out(generator: CausalGenerator, count: int) -> None:
    frames = run(generator, make_scene(count))
    assert frames.shape[0] == count
    assert frames.dtype == np.uint8
    assert frames.std() > 1


def test_cut_back_equals_the_clip_extended_by_its_last_frame(generator: CausalGenerator) -> None:
    """The frames that fill the last block up leave no trace but there."""
    scene = make_scene(13)
    order = [*range(13), *[12] * 8]
    target = cameras(13)[order]
    session = generator.start(scene.select(order), seed=7)
    whole = np.concatenate([session.step(target[:9]).frames.numpy(), session.step(target[9:]).frames.numpy()])
    assert np.array_equal(run(generator, scene), whole[:13])


def test_the_past_does_not_depend_on_the_future(generator: CausalGenerator) -> None:
    scene, other = make_scene(33), make_scene(33)
    changed = make_scene(33, seed=1)
    for source in ("frames", "depth"):
        array = getattr(other, source).values
        array[21:] = getattr(changed, source).values[21:]
    one, two = run(generator, scene), run(generator, other)
    assert np.array_equal(one[:21], two[:21])
    assert not np.array_equal(one[21:], two[21:])


def test_a_run_depends_on_its_seed_and_on_nothing_before_it(generator: CausalGenerator) -> None:
    scene = make_scene(21)
    first = run(generator, scene)
    run(generator, make_scene(9, seed=3))
    torch.manual_seed(99)
    assert np.array_equal(run(generator, scene), first)
    assert not np.array_equal(run(generator, scene, seed=8), first)


def test_the_prompt_and_the_render_matter(generator: CausalGenerator) -> None:
    scene = make_scene(9)
    other = make_scene(9)
    object.__setattr__(other, "prompt", "another room, brightly lit")
    assert not np.array_equal(run(generator, scene), run(generator, other))


def test_an_encoder_that_looks_ahead_reads_every_frame_once() -> None:
    encoder = TaeEncoder(8)
    generator = make_generator(encoder=encoder)
    scene = make_scene(35)
    reads: list[int] = []

    class Watched(ArraySource):
        def read(self, indices: Sequence[int]) -> np.ndarray:
            reads.extend(indices)
            return super().read(indices)

    object.__setattr__(scene, "frames", Watched(scene.read_frames(range(35))))
    session = generator.start(scene, seed=0, renders=StoredRenders(9, SIZE))
    for needed in (9, 12, 12, 2):
        session._renders = StoredRenders(needed, SIZE)
        session.step(cameras(needed))
    assert reads == list(range(35))

    # Latents of the whole clip at once, whose last block is filled up with its last frame.
    whole = encoder.encode(to_video(extended(scene.read_frames(range(35)), 45), CPU, torch.float32), encoder.start())
    blocks = []
    session = generator.start(scene, seed=0)
    for needed in (9, 12, 12, 2):
        blocks.append(session._encode_source())
        session._start += needed
        session._block += 1
    torch.testing.assert_close(torch.cat(blocks, dim=1), whole)


def test_any_size_of_whole_patches() -> None:
    generator = make_generator(size=(48, 16))
    assert run(generator, make_scene(10, size=(48, 16))).shape == (10, 48, 16, 3)


def test_memory_does_not_grow_with_the_clip(generator: CausalGenerator) -> None:
    session = generator.start(make_scene(57), seed=0)
    target, done = cameras(57), 0
    held: list[int] = []
    while needed := session.frames_needed:
        session.step(target[done : done + needed])
        done += needed
        cache = session._loop.cache
        assert cache is not None
        states = (session._source_state, session._render_state, session._decoder_state)
        held.append(sum(t.nbytes for t in (*cache.keys, *cache.values)) + sum(state.bytes for state in states))
    assert len(held) == 5
    assert held[0] > 0
    assert held[1:] == held[1:2] * 4


class StoredRenders:
    """Renders that do not fit."""

    def __init__(self, frames: int, size: tuple[int, int]) -> None:
        self.shape = (frames, *size)

    def read(self, start: int, world_to_camera: WorldToCamera) -> tuple[Frames, Masks]:
        return np.zeros((*self.shape, 3), np.uint8), np.zeros(self.shape, np.uint8)


@pytest.mark.parametrize("renders", [StoredRenders(8, (32, 48)), StoredRenders(9, (32, 32))])
def test_renders_that_do_not_fit(generator: CausalGenerator, renders: StoredRenders) -> None:
    session = generator.start(make_scene(9), seed=0, renders=renders)
    with pytest.raises(ClipError, match="render"):
        session.step(cameras(9))


def test_scene_of_another_size(generator: CausalGenerator) -> None:
    with pytest.raises(ClipError, match="16x16"):
        generator.start(make_scene(9, size=(16, 16)), seed=0)


@pytest.mark.parametrize("count", [8, 10])
def test_wrong_number_of_cameras(generator: CausalGenerator, count: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        generator.start(make_scene(21), seed=0).step(cameras(count))


@pytest.mark.parametrize("bad_block", [0, 1, 2])
def test_nan_stops_with_the_number_of_the_block(bad_block: int) -> None:
    generator = make_generator()
    session = generator.start(make_scene(33), seed=0)
    bias = generator.dit.head.head.bias
    target = cameras(33)

    def everything() -> None:
        done = block = 0
        while needed := session.frames_needed:
            bias[0] = float("nan") if block == bad_block else 0.0
            session.step(target[done : done + needed])
            done, block = done + needed, block + 1

    with pytest.raises(ClipError, match=f"block {bad_block} has NaN"):
        everything()


def test_out_of_memory_says_what_to_change(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = make_generator()
    session = generator.start(make_scene(9), seed=0)

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1 << 30, 8 << 30))

    def refuse(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(generator.dit, "prefill", refuse)
    with pytest.raises(UserError, match="--offload"):
        session.step(cameras(9))


def test_frames_survive_the_way_to_the_network_and_back() -> None:
    frames = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    video = to_video(frames, torch.device("cpu"), torch.float32)
    assert float(video.min()) == -1
    assert float(video.max()) == 1
    assert np.array_equal(to_frames(video).numpy(), frames)
    assert np.array_equal(extended(ArraySource(frames).read([0]), 3), frames.repeat(3, axis=0))
