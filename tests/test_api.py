"""The public API: a scene, a generator and a trajectory in a few lines, by ``import inspatio`` alone."""

from __future__ import annotations

import gc
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.panoramas import box_panorama, write_point_cloud
from support.paths import EXAMPLES
from support.pictures import gradient, write_picture, write_views

import inspatio
from inspatio.errors import ClipError, MissingWeightsError, UsageError

SMALL = (48, 80)


def test_every_public_name_is_there() -> None:
    for name in inspatio.__all__:
        assert getattr(inspatio, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nonsense', expected one of"):
        _ = inspatio.nonsense  # pyright: ignore[reportAttributeAccessIssue]


def test_a_few_lines_give_frames(tmp_path: Path) -> None:
    profile = tmp_path / "small.yaml"
    profile.write_text("{height: 48, width: 80, caption: {backend: sidecar}, generator: {backend: preview}}")
    scene = inspatio.open_scene(EXAMPLES / "living_room.mp4", size=SMALL)
    assert scene.scale == "metres"  # the example's own geometry, beside the clip
    blocks = inspatio.generate(inspatio.load_generator(profile), scene, inspatio.load_trajectory("orbit_left"))
    first, second = next(blocks), next(blocks)
    assert first.frames.shape[1:] == second.frames.shape[1:] == (*SMALL, 3)
    assert second.start == len(first.frames)


def test_sources_of_other_kinds(tmp_path: Path) -> None:
    """A folder of views, and a portrait photo, which turns the frame; a panorama is no plain picture."""
    views = inspatio.open_scene(write_views(tmp_path / "room"), size=SMALL)
    assert (views.clip_id, views.view_count, views.size, views.still) == ("room", 3, SMALL, True)
    photo = write_picture(tmp_path / "tall.png", gradient(80, 48))
    assert inspatio.open_scene(photo, size=SMALL).size == SMALL[::-1]
    assert inspatio.open_scene(photo, size=SMALL, turn=False).size == SMALL
    with pytest.raises(ClipError, match=r"all.panorama.depth.npy"):
        inspatio.open_scene(write_picture(tmp_path / "all.panorama.png"), size=SMALL)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="two or more"):
        inspatio.open_scene(tmp_path / "empty", size=SMALL)


def test_places_to_look_around_in(tmp_path: Path) -> None:
    """A panorama with its depth and a point cloud, which WorldFM takes, are opened as they are."""
    image, distance = box_panorama(64)
    cv2.imwrite(str(tmp_path / "all.png"), image[..., ::-1])
    np.save(tmp_path / "all.depth.npy", distance)
    write_point_cloud(tmp_path / "lidar")
    for name, views in (("all.png", 42), ("lidar", 3)):
        scene = inspatio.open_scene(tmp_path / name, size=SMALL, prompt="a box")
        assert (scene.still, scene.size, scene.prompt, len(scene.frames)) == (True, SMALL, "a box", views)
        assert scene.points is not None
        seen = scene.points.render(scene.cameras([0]), SMALL)
        assert (seen.masks > 0).mean() > 0.9, name


def test_a_converted_geometry_lives_as_long_as_something_reads_it() -> None:
    scene = inspatio.open_scene(EXAMPLES / "living_room.mp4", size=SMALL)
    played = scene.select(range(3))
    del scene
    gc.collect()
    assert played.read_depth([2]).max() > 0


def test_a_generator_that_cannot_be_loaded_says_why() -> None:
    with pytest.raises(UsageError, match="nonsense"):
        inspatio.load_generator("nonsense")
    with pytest.raises(MissingWeightsError, match=r"download\.sh"):
        inspatio.load_generator("inference_1.3b")
