"""The causal session: laws that hold whatever the weights are, and what stops it."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from unittest.mock import patch

import numpy as np
import pytest
import torch
from support.networks import make_generator
from support.scenes import NOISE_SIZE, ArraySource, frames_of, hills, noise_scene, scene_of, sideways, targets

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.timeline import Timeline
from inspatio.errors import ClipError, UserError
from inspatio.generation.base import drive
from inspatio.generation.inspatio_world.frames import extended, to_frames, to_video
from inspatio.generation.inspatio_world.session import CausalGenerator
from inspatio.generation.inspatio_world.streams import CudaStream
from inspatio.models.wan.taehv import TaeEncoder
from inspatio.render import PointRenderer, WarpRenderer
from inspatio.render.views import render_views
from inspatio.scene import Render, Scene
from inspatio.types import Frames

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def generator() -> CausalGenerator:
    return make_generator()


def path(scene: Scene, count: int | None = None) -> Cameras:
    """A slow move over a scene's clip."""
    return targets(scene, sideways(count or len(scene)))


def run(generator: CausalGenerator, scene: Scene, seed: int = 7) -> Frames:
    return frames_of(generator.start(scene, seed=seed), path(scene))


@pytest.mark.parametrize("count", [1, 9, 10, 22])
def test_every_frame_of_any_clip_comes_out(generator: CausalGenerator, count: int) -> None:
    frames = run(generator, noise_scene(count))
    assert frames.shape == (count, *NOISE_SIZE, 3)
    assert frames.dtype == np.uint8
    assert frames.std() > 1


def test_live_views_are_those_that_brute_force_chooses(generator: CausalGenerator) -> None:
    """Without render files each block's context is chosen as it is rendered: the frames are those of a clip that shows
    the chosen views, beside renders of all views."""
    clip = hills(4, *NOISE_SIZE, seed=2)
    scene = replace(scene_of(clip), still=True, timeline=Timeline([0], "hold"))
    cameras = Cameras.from_poses(clip.target[:1] @ sideways(21), clip.target_intrinsics[0])
    sources = Cameras(scene.intrinsics, scene.world_to_camera)
    order: list[int] = []
    for start, lengths in ((0, (1, 4, 4)), (9, (4, 4, 4))):
        covered = np.zeros((sum(lengths), 4), int)
        for (place, view), _ in np.ndenumerate(covered):
            at = start + place
            frame, depth = scene.frames.read([view]), scene.depth.read([view])
            covered[place, view] = (WarpRenderer().render(frame, depth, sources[[view]], cameras[[at]]).masks > 0).sum()
        rows = [part.sum(axis=0) for part in np.split(covered, np.cumsum(lengths)[:-1])]
        best = sorted(range(4), key=lambda view: (-covered[:, view].sum(), view))[:3]
        views = max(permutations(best), key=lambda each: sum(row[view] for row, view in zip(rows, each, strict=True)))
        order += np.repeat(views, lengths).tolist()
    assert len(set(order)) == 3, "views that take turns"

    class Rendered:
        def read(self, start: int, cameras: Cameras) -> Render:
            return render_views(WarpRenderer(), scene, cameras)[0]

        def read_after(self, place: int, count: int) -> Frames:
            return np.zeros((0, *NOISE_SIZE, 3), np.uint8)

    live = frames_of(generator.start(scene, seed=3), cameras)
    filmed = replace(scene, timeline=Timeline(order), renders=Rendered())
    assert np.array_equal(live, frames_of(generator.start(filmed, seed=3), cameras))


def test_cut_back_equals_the_clip_extended_by_its_last_frame(generator: CausalGenerator) -> None:
    """The frames that fill the last block up leave no trace but there."""
    scene = noise_scene(13)
    order = [*range(13), *[12] * 8]
    whole = frames_of(generator.start(scene.select(order), seed=7), path(scene)[order])
    assert np.array_equal(run(generator, scene), whole[:13])


def test_a_short_block_before_the_end_sees_the_frames_that_follow(generator: CausalGenerator) -> None:
    """Its source is that of the whole block, as it is where it was encoded ahead; only renders are filled up."""
    scene, other = noise_scene(21), noise_scene(21)
    other.frames.values[16:] = 255 - other.frames.values[16:]  # pyright: ignore[reportAttributeAccessIssue]
    made = [frames_of(generator.start(each, seed=7), path(each)[:13]) for each in (scene, other)]
    assert np.array_equal(made[0][:9], made[1][:9])
    assert not np.array_equal(made[0][9:], made[1][9:])


def test_the_past_does_not_depend_on_the_future(generator: CausalGenerator) -> None:
    scene, other = noise_scene(33), noise_scene(33)
    changed = noise_scene(33, seed=1)
    for source in ("frames", "depth"):
        array = getattr(other, source).values
        array[21:] = getattr(changed, source).values[21:]
    one, two = run(generator, scene), run(generator, other)
    assert np.array_equal(one[:21], two[:21])
    assert not np.array_equal(one[21:], two[21:])


def test_a_run_depends_on_its_seed_and_on_nothing_before_it(generator: CausalGenerator) -> None:
    scene = noise_scene(21)
    first = run(generator, scene)
    run(generator, noise_scene(9, seed=3))
    torch.manual_seed(99)
    assert np.array_equal(run(generator, scene), first)
    assert not np.array_equal(run(generator, scene, seed=8), first)


def test_the_prompt_matters(generator: CausalGenerator) -> None:
    scene = noise_scene(9)
    assert not np.array_equal(
        run(generator, scene), run(generator, replace(scene, prompt="another room, brightly lit"))
    )


class CountedSource(ArraySource):
    """Counts the frames that were read."""

    count = 0

    def read(self, indices: Sequence[int]) -> np.ndarray:
        self.count += len(indices)
        return super().read(indices)


class RecordingEncoder(TaeEncoder):
    """Keeps the latents of every call: in a step, those of the source come before those of the render."""

    def __init__(self) -> None:
        super().__init__(8)
        self.made: list[torch.Tensor] = []

    def encode(self, *given, **named) -> torch.Tensor:
        latents = super().encode(*given, **named)
        self.made.append(latents)
        return latents


def test_an_encoder_that_looks_ahead_reads_every_frame_once() -> None:
    encoder = RecordingEncoder()
    generator = make_generator(encoder=encoder)
    reads: list[int] = []

    class Watched(ArraySource):
        def read(self, indices: Sequence[int]) -> np.ndarray:
            reads.extend(indices)
            return super().read(indices)

    whole = noise_scene(35).read_frames(range(35))
    scene = replace(noise_scene(35), frames=Watched(whole), renders=BlackRenders(NOISE_SIZE))
    frames_of(generator.start(scene, seed=0), path(scene))
    assert reads == list(range(35))

    # Latents of the whole clip at once, whose last block is filled up with its last frame.
    sources = torch.cat(encoder.made[::2], dim=1)
    expected = encoder.encode(to_video(extended(torch.from_numpy(whole), 45), CPU, torch.float32), encoder.start())
    torch.testing.assert_close(sources, expected)


@pytest.mark.parametrize("kind", [WarpRenderer, PointRenderer])
@pytest.mark.parametrize("count", [22, 33])
def test_renders_that_stay_on_the_device_give_what_renders_on_the_host_give(
    kind: type[WarpRenderer] | type[PointRenderer], count: int
) -> None:
    """Also where a block is filled up; every frame of the source is read once for both encoder and renderer."""

    made = []
    for device, reads in ((CPU, count), (torch.device("cpu", 0), 2 * count)):  # the latter counts as another one
        renderer = kind(device)
        source = CountedSource(noise_scene(count).read_frames(range(count)))
        scene = replace(noise_scene(count), frames=source)
        session = make_generator(encoder=TaeEncoder(4), renderer=renderer).start(scene, seed=7)
        with patch.object(kind, "draws_on_device", True):
            made.append(list(drive(session, path(scene))))
        assert source.count == reads
    for stayed, went in zip(*made, strict=True):
        assert torch.equal(stayed.frames, went.frames)
        for ours, theirs in ((stayed.depth, went.depth), (stayed.coverage, went.coverage)):
            assert ours is not None
            assert theirs is not None
            assert np.array_equal(ours, theirs)


def test_any_size_of_whole_patches() -> None:
    generator = make_generator(size=(48, 16))
    assert run(generator, noise_scene(10, size=(48, 16))).shape == (10, 48, 16, 3)


def test_sessions_share_the_streams_of_their_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams of their own would each keep the memory that was used on them."""
    made: list[CudaStream] = []

    class Counted(CudaStream):
        def __init__(self, *given, **named) -> None:
            super().__init__(*given, **named)
            made.append(self)

    monkeypatch.setattr("inspatio.generation.inspatio_world.streams.CudaStream", Counted)
    generator, scene = make_generator(), noise_scene(9)
    for _ in range(2):
        run(generator, scene)
    assert len(made) == 3


def test_memory_does_not_grow_with_the_clip(generator: CausalGenerator) -> None:
    scene = noise_scene(57)
    session, cameras, held = generator.start(scene, seed=0), path(scene), []
    for _ in range(5):
        done = session.step(cameras[: session.block_frames])
        cameras = cameras[len(done.frames) :]
        del done
        gc.collect()
        held.append(sum(each.nbytes for each in gc.get_objects() if torch.is_tensor(each)))
    assert max(held[1:]) == held[1]


class BlackRenders:
    """Renders of any cameras: as many as are asked for, and ``more``."""

    def __init__(self, size: tuple[int, int], more: int = 0) -> None:
        self.size, self.more = size, more

    def read(self, start: int, cameras: Cameras) -> Render:
        shape = (len(cameras) + self.more, *self.size)
        return Render(np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.uint8), None)

    def read_after(self, place: int, count: int) -> np.ndarray:
        return np.zeros((count, *self.size, 3), np.uint8)


@pytest.mark.parametrize("renders", [BlackRenders(NOISE_SIZE, more=-1), BlackRenders((32, 32))])
def test_renders_that_do_not_fit(generator: CausalGenerator, renders: BlackRenders) -> None:
    scene = replace(noise_scene(9), renders=renders)
    with pytest.raises(ClipError, match="render"):
        frames_of(generator.start(scene, seed=0), path(scene))


@pytest.mark.parametrize("bad_block", [0, 1, 2])
def test_nan_stops_with_the_number_of_the_block(bad_block: int) -> None:
    """In the step after, or in the clip's last one, whether that is a whole block or not."""
    generator, scene = make_generator(), noise_scene(33)
    session, cameras = generator.start(scene, seed=0), path(scene)
    bias = generator.dit.head.head.bias

    def everything() -> None:
        done = block = 0
        while done < len(cameras):
            bias[0] = float("nan") if block == bad_block else 0.0
            done += len(session.step(cameras[done : done + session.block_frames]).frames)
            block += 1

    with pytest.raises(ClipError, match=f"block {bad_block} has NaN"):
        everything()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
    ],
)
def test_out_of_memory_says_what_to_change(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    generator, scene = make_generator(), noise_scene(9)

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(generator.decoder, "decode", refuse)
    with pytest.raises(UserError, match="--use_tae"):
        frames_of(generator.start(scene, seed=0), path(scene))


def test_frames_survive_the_way_to_the_network_and_back() -> None:
    frames = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    video = to_video(frames, torch.device("cpu"), torch.float32)
    assert float(video.min()) == -1
    assert float(video.max()) == 1
    assert np.array_equal(to_frames(video).numpy(), frames)
    assert np.array_equal(extended(torch.from_numpy(frames), 3), frames.repeat(3, axis=0))
