"""What every generator's session keeps to, asked of all: counts, one error, closing, live beyond the clip's end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from support.networks import make_generator, make_worldfm
from support.scenes import ArraySource, frames_of, noise_scene, sideways, targets

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.timeline import Timeline
from inspatio.cameras.trajectory import OrbitTrajectory
from inspatio.clip_options import Controls
from inspatio.errors import ClipError
from inspatio.generation.base import Generator, Session, drive, generate
from inspatio.generation.inspatio_world.session import CausalGenerator
from inspatio.generation.preview.session import PreviewGenerator
from inspatio.render import WarpRenderer
from inspatio.render.renderer import Renderer
from inspatio.scene import Render, Scene, adapt

SIZE = (32, 48)
AS_FILMED = Controls(adaptive_frames=False)


class FailingRenderer(WarpRenderer):
    """Fails in its next call where it is told to."""

    fails = False

    def render(self, *given, **named) -> Render:
        if self.fails:
            raise OSError("the renderer broke")
        return super().render(*given, **named)


MAKERS: dict[str, Callable[[Renderer], Generator]] = {
    "causal": lambda renderer: make_generator(SIZE, renderer=renderer),
    "preview": lambda renderer: PreviewGenerator(SIZE, renderer),
    "worldfm": lambda renderer: make_worldfm(SIZE, renderer, frames_at_once=3),
}

GIVEN_A_RENDERER = MAKERS | {"preview": lambda renderer: PreviewGenerator(SIZE, renderer, live=True)}
"""Those that draw with the renderer they are given, as the preview does only live."""


@pytest.fixture(scope="module", params=list(MAKERS))
def maker(request: pytest.FixtureRequest) -> Callable[[Renderer], Generator]:
    return MAKERS[request.param]


@pytest.fixture(scope="module")
def generator(maker: Callable[[Renderer], Generator]) -> Generator:
    return maker(WarpRenderer())


def start(generator: Generator, scene: Scene | None = None) -> tuple[Session, Cameras]:
    """A session on a clip, and more cameras than the clip has frames."""
    scene = scene or noise_scene(21)
    return generator.start(scene, seed=3), targets(scene, sideways(64))


def test_blocks_follow_one_another_with_what_is_known_of_each_pixel(generator: Generator) -> None:
    session, cameras = start(generator)
    done = 0
    for _ in range(2):
        needed = session.block_frames
        block = session.step(cameras[done : done + needed])
        assert block.start == done
        assert block.frames.shape == (needed, *SIZE, 3)
        assert block.depth is not None
        assert block.coverage is not None
        assert block.depth.shape == block.coverage.shape == (needed, *SIZE)
        assert (block.depth[block.coverage > 0] > 0).all()
        done += needed


def test_other_cameras_are_one_error_that_changes_nothing(generator: Generator) -> None:
    session, cameras = start(generator)
    expected = start(generator)[0].step(cameras[: session.block_frames]).frames
    wrong = [cameras[:0], cameras[: session.block_frames + 1], sideways(session.block_frames)]
    for given in wrong:
        with pytest.raises(ValueError, match="expected"):
            session.step(given)  # pyright: ignore[reportArgumentType]
        assert not session.closed
    assert (session.step(cameras[: session.block_frames]).frames == expected).all()


def test_a_short_block_closes_the_session(generator: Generator) -> None:
    session, cameras = start(generator)
    assert len(session.step(cameras[:2]).frames) == 2
    assert session.closed
    with pytest.raises(ValueError, match="closed"):
        session.step(cameras[: session.block_frames])


def test_a_session_goes_on_beyond_the_clip(generator: Generator) -> None:
    """A clip that bounces equals one that was made of those frames beforehand; nothing but the driver ends it."""
    scene = noise_scene(21)
    session, cameras = start(generator, scene)
    longer = scene.select([*range(21), *range(19, -1, -1), *range(1, 21)])
    live, batch = frames_of(session, cameras[:45]), frames_of(start(generator, longer)[0], cameras[:45])
    assert len(live) == 45
    assert np.array_equal(live, batch)


def test_a_timeline_committed_block_by_block(generator: Generator) -> None:
    """Pausing and going back live gives the frames of the same order fixed beforehand."""
    order = [*range(9), 8, 8, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0]
    scene = noise_scene(9)
    timeline = Timeline(order[:9])
    session, cameras = start(generator, replace(scene, timeline=timeline))
    first = list(drive(session, cameras[:9]))
    timeline.append(order[9:])
    made = [block.frames.numpy() for block in (*first, *drive(session, cameras[9:21]))]
    expected = frames_of(start(generator, scene.select(order))[0], cameras[:21])
    assert np.array_equal(np.concatenate(made), expected)


def test_a_prompt_counts_from_the_next_step_on(generator: Generator) -> None:
    plain, cameras = start(generator)
    changed, _ = start(generator)
    a, b = plain.block_frames, cameras[: plain.block_frames]
    assert (plain.step(b).frames == changed.step(b).frames).all()
    changed.set_prompt("another place altogether")
    rest = cameras[a : a + plain.block_frames]
    reads_text = isinstance(generator, CausalGenerator)
    assert bool((plain.step(rest).frames != changed.step(rest).frames).any()) == reads_text


@pytest.mark.parametrize("maker", GIVEN_A_RENDERER.values(), ids=GIVEN_A_RENDERER)
def test_a_step_that_fails_closes_the_session(maker: Callable[[Renderer], Generator]) -> None:
    """Whatever had been advanced when it failed, nothing comes out of a half advanced state."""
    renderer = FailingRenderer()
    generator = maker(renderer)
    session, cameras = start(generator)
    done = len(session.step(cameras[: session.block_frames]).frames)
    renderer.fails = True
    with pytest.raises(OSError, match="broke"):
        session.step(cameras[done : done + session.block_frames])
    renderer.fails = False
    assert session.closed
    with pytest.raises(ValueError, match=f"frame {done} on failed"):
        session.step(cameras[done : done + session.block_frames])
    # The generator itself is unharmed.
    fresh = frames_of(start(maker(WarpRenderer()))[0], cameras[:21])
    assert np.array_equal(frames_of(start(generator)[0], cameras[:21]), fresh)


def test_frames_that_cannot_be_read_close_the_session(generator: Generator) -> None:
    class Broken(ArraySource):
        def read(self, indices: Sequence[int]) -> np.ndarray:
            if 12 in indices:
                raise ClipError("clip: frame 12 cannot be decoded")
            return super().read(indices)

    scene = noise_scene(21)
    session, cameras = start(generator, replace(scene, frames=Broken(scene.read_frames(range(21)))))
    with pytest.raises(ClipError, match="frame 12"):
        frames_of(session, cameras[:21])
    assert session.closed


def test_a_scene_of_another_size(generator: Generator) -> None:
    with pytest.raises(ClipError, match="16"):
        generator.start(noise_scene(9, size=(16, 16)), seed=0)


def test_a_scene_of_the_turned_size(maker: Callable[[Renderer], Generator]) -> None:
    """A portrait clip goes through the generator of wide ones."""
    height, width = SIZE
    scene = noise_scene(21, size=(width, height))
    frames = frames_of(maker(WarpRenderer()).start(scene, seed=3), targets(scene, sideways(21)))
    assert frames.shape == (21, width, height, 3)
    assert frames.std() > 1


def test_generate_is_adapting_starting_and_driving(generator: Generator) -> None:
    scene, trajectory = noise_scene(10), OrbitTrajectory((0.0, 0.0), (0.0, 3.0), (1.0, 1.0))
    adapted, cameras = adapt(scene, trajectory, AS_FILMED)
    made = [block.frames.numpy() for block in generate(generator, scene, trajectory, seed=5, controls=AS_FILMED)]
    expected = frames_of(generator.start(adapted, seed=5), cameras)
    assert len(expected) == 10
    assert np.array_equal(np.concatenate(made), expected)
