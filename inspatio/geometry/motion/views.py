"""Cameras and depth of a few views of one place, without any network: features, the mapper, and guided flow.

    features.py     what the views have in common, whatever lies between them
    mapper.py       cameras and points of that
    view_depth      depth of each view: optical flow to the views that share most with it, triangulated

Views are whole steps apart, where optical flow by itself loses its way. It starts from where the points found predict
each pixel, so that it only has to find what is missing to that. All views are taken to be of one lens, which is
estimated with them.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.poses import invert
from inspatio.geometry.backend import USUAL_VIEW
from inspatio.geometry.motion.depth import TRUSTED_PARALLAX, Map, fill, triangulate_flows
from inspatio.geometry.motion.features import LEAST_MATCHES, match_views
from inspatio.geometry.motion.mapper import MAPPER_COMMAND, MapperError, Observations, map_keyframes
from inspatio.geometry.motion.poses import Lens
from inspatio.geometry.motion.solve import (
    HELD_OUT,
    LARGEST_HELD_OUT_ERROR,
    LEAST_ANGLE,
    MAPPER_LIMIT_S,
    Solution,
    Unsolvable,
    held_out_error,
    median_angle,
)
from inspatio.geometry.motion.tracks import Grey

MOST_NEIGHBOURS = 6
"""Views that the depth of one is triangulated with."""
LEAST_BEFORE = 1.05
"""How many times as near as what another view sees something is that it sees through."""
PAIR_VIEW = (30.0, 100.0)
"""Horizontal fields of view in degrees that two views alone are believed: they hardly show their focal length."""


def solve_views(
    views: Sequence[Grey],
    focal: float | None = None,
    *,
    focal_start: float | None = None,
    limit_s: float = MAPPER_LIMIT_S,
    command: Sequence[str] = MAPPER_COMMAND,
) -> Solution:
    """Find the cameras of two or more views (``h w`` grey, of one size); arguments are as of ``solve.solve``.

    Raises:
        Unsolvable: a view has too little in common with the others, or they were all taken from one place.
    """
    size = (views[0].shape[0], views[0].shape[1])
    frames = match_views(views)
    shown = [frame.ids % HELD_OUT != 0 for frame in frames]
    alone = [index for index, kept in enumerate(shown) if kept.sum() < LEAST_MATCHES]
    if alone:
        raise Unsolvable("texture", f"{_numbered(alone)} too little in common with the others")
    observations = Observations(
        size,
        [frame.ids[kept] for frame, kept in zip(frames, shown, strict=True)],
        [frame.points[kept] for frame, kept in zip(frames, shown, strict=True)],
        focal=focal,
        focal_start=focal_start,
        apart=True,
    )
    try:
        found = map_keyframes(observations, limit_s, command)
    except MapperError as error:
        raise Unsolvable("mapper", f"{error}") from None
    lost = np.flatnonzero(~np.isfinite(found.world_to_camera[:, 0, 0])).tolist()
    if lost:
        raise Unsolvable("mapper", f"{_numbered(lost)} too little in common with the others")
    field = np.rad2deg(2 * np.arctan(size[1] / 2 / found.focal))
    least, most = PAIR_VIEW if len(views) == 2 and focal is None else USUAL_VIEW
    if not least <= field <= most:
        raise Unsolvable(
            "mapper", f"the views do not show their focal length (found {field:.0f} degrees); give it by --focal"
        )
    lens = Lens(size, found.focal, found.distortion)
    visible = [np.flatnonzero(np.isin(found.point_ids, frame.ids)) for frame in frames]
    angle = median_angle(found.points, visible, found.world_to_camera)
    if angle < LEAST_ANGLE:
        raise Unsolvable("rotation", f"the views are from nearly one place (points are seen under {angle:.1f} deg)")
    error = held_out_error(frames, found.world_to_camera, lens, least_seen=2)
    if not error < LARGEST_HELD_OUT_ERROR:
        raise Unsolvable("mapper", f"the cameras found are off by {error:.1f} pixels on points kept back")
    return Solution(lens, found.world_to_camera, found.point_ids, found.points, visible, error)


def view_depth(views: Sequence[Grey], solution: Solution, lens: Lens) -> list[Map]:
    """Inverse depth of each view, ``h w`` of the lens's size, which is that of ``views``; 0 where it is not known.

    Filled depth is spread over outlines; where another view looks through it at what is behind, it is dropped.
    """
    rows, columns = np.mgrid[: lens.size[0], : lens.size[1]]
    grid = np.stack([columns, rows], axis=-1).astype(np.float32)
    rays = lens.rays(grid.astype(np.float64)).astype(np.float32)
    sparse = [_sparse(solution, index, lens) for index in range(len(views))]
    maps = [fill(at, (at > 0).astype(np.float32), view) for at, view in zip(sparse, views, strict=True)]
    found = [_triangulated(views, index, solution, lens, grid, rays, sparse, maps) for index in range(len(views))]
    return [_without_floating(found, index, solution, lens, rays) for index in range(len(views))]


def _triangulated(
    views: Sequence[Grey],
    index: int,
    solution: Solution,
    lens: Lens,
    grid: Map,
    rays: Map,
    sparse: Sequence[Map],
    maps: Sequence[Map],
) -> tuple[Map, NDArray[np.bool_]]:
    """The filled inverse depth of a view by its flow to others, which starts from what ``maps`` predict; and where it
    was triangulated."""
    others = _neighbours(solution, index)
    flows = []
    for other in others:
        pose = solution.world_to_camera[other] @ invert(solution.world_to_camera[index])
        there = _flow(views[index], views[other], _predicted(maps[index], rays, pose, lens, grid))
        back = _flow(views[other], views[index], _predicted(maps[other], rays, invert(pose), lens, grid))
        flows.append((there, back, pose))
    median, total = triangulate_flows(flows, rays, lens)
    points = sparse[index][sparse[index] > 0]
    trusted = np.sqrt(total) / float(np.median(1 / points)) > TRUSTED_PARALLAX
    known = trusted.astype(np.float32)
    median[~trusted] = 0
    open_ = (sparse[index] > 0) & ~trusted
    median[open_], known[open_] = sparse[index][open_], 0.1
    return np.where(trusted, median, fill(median, known, views[index])), trusted


def _without_floating(
    found: Sequence[tuple[Map, NDArray[np.bool_]]], index: int, solution: Solution, lens: Lens, rays: Map
) -> Map:
    """A view's inverse depth without what was filled before surfaces that other views have triangulated."""
    inverse, trusted = found[index][0].copy(), found[index][1]
    rows, columns = np.nonzero(~trusted)
    for other in _neighbours(solution, index):
        pose = solution.world_to_camera[other] @ invert(solution.world_to_camera[index])
        there = rays[rows, columns] @ pose[:3, :2].T + pose[:3, 2] + inverse[rows, columns, None] * pose[:3, 3]
        ahead = there[:, 2] > 1e-3
        pixels = lens.pixels(there[:, :2] / np.where(ahead, there[:, 2], 1)[:, None])
        column, row = np.rint(np.clip(pixels, -1, 1e6)).astype(int).T
        inside = ahead & (column >= 0) & (column < lens.size[1]) & (row >= 0) & (row < lens.size[0])
        row, column = np.where(inside, row, 0), np.where(inside, column, 0)
        nearer = inverse[rows, columns] / np.where(ahead, there[:, 2], 1) > LEAST_BEFORE * found[other][0][row, column]
        floats = inside & found[other][1][row, column] & nearer
        inverse[rows[floats], columns[floats]] = 0
        rows, columns = rows[~floats], columns[~floats]
    return inverse


def _neighbours(solution: Solution, index: int) -> list[int]:
    """The views that share most points with one, at least as many as tell that they show the same."""
    own = solution.visible[index]
    shared = {other: len(np.intersect1d(own, at)) for other, at in enumerate(solution.visible) if other != index}
    ranked = sorted((other for other in shared if shared[other] >= LEAST_MATCHES), key=lambda other: -shared[other])
    return ranked[:MOST_NEIGHBOURS]


def _predicted(inverse: Map, rays: Map, pose: NDArray[np.float64], lens: Lens, grid: Map) -> Map:
    """``h w 2``: where each pixel of known inverse depth is in another view, less where it is here."""
    there = rays @ pose[:3, :2].T.astype(np.float32) + pose[:3, 2].astype(np.float32)
    there += inverse[..., None] * pose[:3, 3].astype(np.float32)
    depth = np.maximum(there[..., 2:], 1e-3)
    return np.ascontiguousarray(lens.pixels(there[..., :2] / depth).astype(np.float32) - grid)


def _flow(source: Grey, target: Grey, start: Map) -> Map:
    """``h w 2`` optical flow from one view to another, found near a first guess."""
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow.setFinestScale(0)
    return np.asarray(flow.calc(source, target, start), np.float32)


def _sparse(solution: Solution, index: int, lens: Lens) -> Map:
    """A view's inverse depth at the points that it sees, 0 elsewhere."""
    pose, points = solution.world_to_camera[index], solution.points[solution.visible[index]]
    points = points @ pose[:3, :3].T + pose[:3, 3]
    points = points[points[:, 2] > 0]
    column, row = np.rint(lens.pixels(points[:, :2] / points[:, 2:])).astype(int).T
    inside = (column >= 0) & (column < lens.size[1]) & (row >= 0) & (row < lens.size[0])
    inverse = np.zeros(lens.size, np.float32)
    inverse[row[inside], column[inside]] = 1 / points[inside, 2]
    return inverse


def _numbered(views: Sequence[int]) -> str:
    """``view 2 has`` or ``views 2, 3 have``, counted from 1."""
    names = ", ".join(str(view + 1) for view in views)
    return f"view {names} has" if len(views) == 1 else f"views {names} have"
