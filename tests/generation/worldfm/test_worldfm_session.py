"""WorldFM's session: frames on their own, the published behaviour by a switch, loading, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.networks import make_worldfm
from support.scenes import frames_of, make_scene, noise_scene, sideways, targets

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.timeline import Timeline
from inspatio.config import GeneratorConfig, load_profile
from inspatio.errors import ClipError, UsageError, UserError
from inspatio.generation.base import Download
from inspatio.generation.worldfm.loading import check_step_count, describe_worldfm, load_worldfm
from inspatio.locations import shipped
from inspatio.render import WarpRenderer
from inspatio.scene import Scene

SIZE = (32, 48)


def run(scene: Scene, cameras: Cameras, seed: int = 3, **options) -> np.ndarray:
    return frames_of(make_worldfm(SIZE, **options).start(scene, seed=seed), cameras)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return noise_scene(6, size=SIZE)


@pytest.fixture(scope="module")
def cameras(scene: Scene) -> Cameras:
    return targets(scene, sideways(6))


@pytest.mark.parametrize("noise", ["points", "fresh"])
def test_a_frame_depends_on_no_other(scene: Scene, cameras: Cameras, noise: str) -> None:
    """The same frames one at a time, four at a time, and of a clip that begins at the third."""
    whole = run(scene, cameras, noise=noise)
    assert np.abs(whole.astype(int) - run(scene, cameras, noise=noise, frames_at_once=4)).max() <= 1
    if noise == "points":  # fresh noise is of the place
        later = run(scene.select(range(2, 6)), cameras[2:], noise=noise)
        assert np.array_equal(later, whole[2:])


def test_a_still_camera_on_a_still_picture_does_not_flicker(scene: Scene) -> None:
    frozen, still = scene.select([0] * 4), targets(scene, np.tile(np.eye(4), (4, 1, 1)))
    for noise, flickers in (("points", False), ("fixed", False), ("fresh", True)):
        frames = run(frozen, still, noise=noise).astype(int)
        assert bool((frames != frames[:1]).any()) == flickers


def test_steps_seed_render_and_reference_count(scene: Scene, cameras: Cameras) -> None:
    plain = run(scene, cameras[:2])
    assert not np.array_equal(plain, run(scene, cameras[:2], steps=(999,)))
    assert not np.array_equal(plain, run(scene, cameras[:2], seed=4))
    assert not np.array_equal(plain, run(scene, cameras[4:]))
    assert np.array_equal(plain, run(scene, cameras[:2]))


@pytest.mark.parametrize("encoding", ["prope", "plucker"])
def test_networks_that_encode_cameras_are_given_them(scene: Scene, cameras: Cameras, encoding: str) -> None:
    frames = run(scene, cameras[:2], encoding=encoding)
    assert not np.array_equal(frames, run(scene, cameras[:2]))


def test_references_of_several_views_are_planned_for_a_path() -> None:
    """Two photos of a wall, and a path from one to the other that shakes where both see as much: one change."""
    wall = two_photos_of_a_wall()
    there_and_on = np.concatenate([np.linspace(0, 0.5, 6), [0.44, 0.56] * 4, np.linspace(0.5, 1, 6)])
    poses = np.tile(np.eye(4), (len(there_and_on), 1, 1))
    poses[:, 0, 3] = -0.6 * there_and_on
    session = make_worldfm(wall.size).start(wall, seed=0)
    session.plan(targets(wall, poses))
    planned = np.array(session.planned)
    assert planned[0] == 0
    assert planned[-1] == 1
    assert np.count_nonzero(np.diff(planned)) == 1


def two_photos_of_a_wall() -> Scene:
    """A wall a metre away in two photos that were taken 60 cm apart."""
    height, width = 64, 64
    lens = np.array([[60.0, 0, 31.5], [0, 60.0, 31.5], [0, 0, 1]])
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[1, 0, 3] = -0.6
    depth = np.full((2, height, width), 1.0)
    frames = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    return make_scene(frames, depth, poses, lens, still=True, timeline=Timeline([0], "hold"))


def test_a_network_that_gives_nan_is_stopped(scene: Scene, cameras: Cameras) -> None:
    generator = make_worldfm(SIZE)
    with torch.no_grad():
        next(iter(generator.network.blocks)).attn.proj.bias.fill_(float("nan"))
    session = generator.start(scene, seed=0)
    with pytest.raises(ClipError, match="NaN"):
        session.step(cameras[:1])
    assert session.closed


def test_where_the_device_lags_behind_nan_stops_the_next_frame_and_the_last_one(
    scene: Scene, cameras: Cameras, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing waits for a GPU in the step itself, but no clip ends unchecked."""
    monkeypatch.setattr(Download, "is_ready", lambda _: False)
    generator = make_worldfm(SIZE)
    with torch.no_grad():
        next(iter(generator.network.blocks)).attn.proj.bias.fill_(float("nan"))
    session = generator.start(scene, seed=0)
    session.step(cameras[:1])
    with pytest.raises(ClipError, match="frame 0 has NaN"):
        session.step(cameras[1:2])
    alone = generator.start(replace(scene, timeline=Timeline([0], "hold")), seed=0)
    with pytest.raises(ClipError, match="frame 0 has NaN"):
        alone.step(cameras[:1])


def test_out_of_memory_says_what_to_do(scene: Scene, cameras: Cameras, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = make_worldfm(SIZE)

    def greedy(*given: object) -> torch.Tensor:
        return torch.empty(1 << 50)

    monkeypatch.setattr(generator.decoder, "forward", greedy)
    with pytest.raises(UserError, match="--offload"):
        generator.start(scene, seed=0).step(cameras[:1])


def profile_config(name: str = "worldfm_tiny") -> GeneratorConfig:
    return load_profile(shipped("configs") / f"{name}.yaml").generator


def test_the_tiny_profile_loads_and_offload_changes_nothing(here: Path, scene: Scene, cameras: Cameras) -> None:
    made = {}
    for offload in (False, True):
        config = replace(profile_config(), offload=offload)
        generator = load_worldfm(config, SIZE, torch.device("cpu"), renderer=WarpRenderer())
        made[offload] = frames_of(generator.start(scene, seed=1), cameras[:2])
    assert np.array_equal(made[False], made[True])


def test_a_result_is_made_from_weights_steps_noise_and_precision(here: Path) -> None:
    config = profile_config()
    other = Path(config.checkpoint_path).with_name("worldfm_1-step.pth")
    changes = [
        {"checkpoint_path": str(other)},
        {"steps": (999, 300)},
        {"frame_noise": "fixed"},
        {"precision": "bf16"},
    ]
    told = [str(describe_worldfm(replace(config, **change))) for change in changes]
    assert len({str(describe_worldfm(config)), *told}) == 1 + len(changes)
    assert describe_worldfm(replace(config, frames_at_once=2, offload=True, compile_dit=True)) == describe_worldfm(
        config
    )


def test_a_checkpoint_of_the_other_step_count_is_refused(here: Path) -> None:
    """The public code loads the 2-step file for one step; the name tells, and a name of one's own tells nothing."""
    for name, steps in (("worldfm_1-step.pth", (999, 200)), ("worldfm_2-step.pth", (999,))):
        with pytest.raises(UsageError, match="worldfm_1step"):
            check_step_count(Path(name), steps)
    check_step_count(Path("mine.pth"), (999,))
    config = replace(profile_config(), steps=(999,))
    with pytest.raises(UsageError, match="distilled for 2 steps"):
        load_worldfm(config, SIZE, torch.device("cpu"), renderer=WarpRenderer())


@pytest.mark.parametrize("name", ["worldfm", "worldfm_1step", "worldfm_tiny"])
def test_profiles_name_the_weights_of_their_step_count(name: str) -> None:
    config = profile_config(name)
    assert Path(config.checkpoint_path).name == f"worldfm_{len(config.steps)}-step.pth"


def test_steps_are_those_of_the_schedule() -> None:
    with pytest.raises(UsageError, match="from 999"):
        GeneratorConfig(backend="worldfm", steps=(1000, 500))
