"""The choice of references: what a view shares with a frame, and a path's plan."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from support.panoramas import LOWER, UPPER, box_panorama

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.poses import centred_intrinsics, orbit
from inspatio.generation.worldfm.references import SWITCH_COST, ReferenceViews, plan, sample_grid
from inspatio.generation.worldfm.still_scene import Photo, panorama_scene
from inspatio.geometry import panorama

SIZE = (64, 64)


def views() -> ReferenceViews:
    distance = box_panorama(128)[1]
    cameras = panorama.views(SIZE)
    depth = [panorama.view_depth(distance, cameras.intrinsics[i], cameras.world_to_camera[i], SIZE) for i in range(42)]
    return ReferenceViews(cameras, np.stack(depth))


def test_a_view_shares_most_with_itself_and_nothing_with_its_back() -> None:
    references = views()
    for index in (0, 3, 12, 40):
        lens, pose = references.cameras.intrinsics[index], references.cameras.world_to_camera[index]
        hits, samples = references.hits(references.depth[index], lens, pose)
        assert hits[index] == samples == hits.max()
        assert np.argmax(hits) == index
    hits, _ = references.hits(
        references.depth[0], references.cameras.intrinsics[0], references.cameras.world_to_camera[0]
    )
    assert hits[4] == 0  # turned by 180 degrees


def test_hits_need_the_same_surface() -> None:
    """Another depth at the same places is something in between, and no view sees it."""
    references = views()
    lens, pose = references.cameras.intrinsics[0], references.cameras.world_to_camera[0]
    turned = orbit(0.0, 20.0, 0.0)
    moved = np.linalg.inv(turned) @ pose
    depth = panorama.view_depth(box_panorama(128)[1], lens, moved, SIZE)
    assert references.hits(depth, lens, moved)[0].max() > 0.5 * len(sample_grid(SIZE)[0])
    assert references.hits(0.8 * depth, lens, moved)[0].max() < 0.05 * len(sample_grid(SIZE)[0])
    nothing, samples = references.hits(np.zeros_like(depth), lens, moved)
    assert samples == nothing.max() == 0


def test_a_plan_is_the_best_of_all() -> None:
    """Against every choice there is, for a few frames and views."""
    shares = np.random.default_rng(2).uniform(0, 1, (5, 3))
    chosen = plan(shares)

    def value(choice: tuple[int, ...]) -> float:
        changes = sum(a != b for a, b in pairwise(choice))
        return sum(shares[t, view] for t, view in enumerate(choice)) - SWITCH_COST * changes

    best = max(value(choice) for choice in product(range(3), repeat=5))
    assert abs(value(tuple(chosen)) - best) < 1e-12


def test_a_plan_does_not_jump_to_and_fro() -> None:
    shares = np.full((20, 2), 0.5)
    shares[::2, 0] += 0.05
    shares[1::2, 1] += 0.05
    assert len(set(plan(shares))) == 1
    shares[10:, 1] += 0.4
    assert np.count_nonzero(np.diff(plan(shares))) <= 1
    assert plan(shares)[-1] == 1


def test_places_beyond_walls_are_hidden_and_those_in_the_room_are_not() -> None:
    """Also close to a wall, on either side of it; of a place that no view looks at nothing is said."""
    references = views()
    free = np.array([[0, 0, 0], [1.9, 0, 0], [-1.4, 1.0, -1.6], [0.5, -1.1, 1.4]], float)
    walled = np.array([[2.1, 0, 0], [-1.7, 1.0, -1.6], [0.5, -1.4, 1.4], [0, 40, 0]], float)
    assert references.hides(np.concatenate([free, walled])).tolist() == [False] * 4 + [True] * 4
    ahead = ReferenceViews(references.cameras[:1], references.depth[:1])
    assert ahead.hides(np.array([[2.1, 0, 0], [-9.0, 0, 0]])).tolist() == [True, False]


def test_points_of_the_views_lie_on_the_walls() -> None:
    references = views()
    points = references.points().points
    assert len(points) == references.depth.size
    assert np.abs(np.minimum(np.abs(points - LOWER), np.abs(points - UPPER)).min(axis=1)).max() < 0.05


def test_the_photo_that_a_panorama_was_made_from_is_a_reference() -> None:
    """Seen from where it was taken it is the first choice, with its own pixels; elsewhere the panorama's views are."""
    room, distance = box_panorama(128)
    lens = centred_intrinsics(np.diag([50.0, 50.0, 1.0]), (48, 96))
    taken = panorama.view_image(room, panorama.views(SIZE).world_to_camera[0], lens, (48, 96))
    photo = Photo(taken, field_of_view=2 * np.degrees(np.arctan(48 / 50)))
    scene = panorama_scene(room, distance, SIZE, photo=photo).scene
    assert len(scene.frames) == 43
    picture, fitted = photo.fitted(SIZE)
    assert np.array_equal(scene.frames.read([0])[0], picture)
    assert fitted[0, 0] == pytest.approx(50 * 64 / 48)
    references = ReferenceViews(Cameras(scene.intrinsics, scene.world_to_camera), scene.depth.read(range(43)))
    for view, best in ((0, 0), (3, 3)):
        hits, _ = references.hits(references.depth[view], scene.intrinsics[view], scene.world_to_camera[view])
        assert np.argmax(hits) == best
