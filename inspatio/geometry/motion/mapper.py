"""Find cameras and points from tracks with COLMAP's global mapper (GLOMAP, Pan et al. 2024), in a process of its own.

    python -m inspatio.geometry.motion.mapper problem.npz solution.npz

A process of its own, because pycolmap and OpenCV bring different copies of one PNG library, and because a crash or an
endless search of the mapper must not take the clip's other shots with it. :func:`map_keyframes` starts it, waits, and
kills it after a limit. The limit counts the process's own computing, so that a busy machine gives the same result as a
quiet one; only a process that does not even compute is killed by the clock. Pixels are COLMAP's in the process (the
first pixel's centre is at 0.5) and ours outside of it.
"""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inspatio.types import WorldToCamera

if TYPE_CHECKING:
    import pycolmap

MAPPER_COMMAND = (sys.executable, "-m", "inspatio.geometry.motion.mapper")
START_FOCAL = 1.2
"""Focal length that the search starts from, as a share of the frame's longer side; 45 degrees."""
PAIRS_APART = 6
"""Keyframes are matched with this many that follow."""
LEAST_COMMON = 30
"""Tracks that two keyframes must share to be matched."""
SEED = 7
MOST_WAITING = 6
"""The process is killed by the clock after this many times its limit."""
REFINED_PIXELS = (2.0, 1.0)
"""The mapper keeps observations that are several pixels off, which draw the focal length by some percent; these are
the limits of two more adjustments without them."""
LEAST_ANGLE = 1.0
"""Degrees under which a point must be seen."""
NEEDLESS_DISTORTION = 1.01
"""A lens without distortion is taken where its mean reprojection error is at most this many times as large: little
motion cannot tell distortion from focal length, and a wrong distortion draws the focal length with it."""


class MapperError(Exception):
    """The mapper gave no solution; the message says why in half a sentence."""


@dataclass(frozen=True, eq=False)
class Observations:
    """Where the tracks are seen in ``k`` keyframes: for each, ids (``v``) and points (``v 2``, pixels)."""

    size: tuple[int, int]
    """(height, width) of the frames."""
    ids: list[NDArray[np.int64]]
    points: list[NDArray[np.float32]]
    focal: float | None = None
    """In pixels of these frames, where it is known; else it is estimated."""
    distortion: float | None = None
    """Goes with ``focal``; None: estimated."""
    focal_start: float | None = None
    """Where the search for ``focal`` starts, if something hints at it; None: START_FOCAL."""
    apart: bool = False
    """They are a few views of one place and not of a path: each is matched with all others, and points that only two of
    them see count too. Two views alone do not tell distortion from focal length: they get none."""


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What the mapper found: a camera with one radial distortion, poses of keyframes, and points.

    ``world_to_camera`` is ``k 4 4``, with NaN for keyframes that were not registered (perhaps all);
    ``point_ids`` (``v``, ascending) are the tracks' ids and ``points`` ``v 3``. The world and its scale are arbitrary.
    """

    focal: float
    distortion: float
    """k of x -> x (1 + k |x|^2), x in units of the focal length."""
    world_to_camera: WorldToCamera
    point_ids: NDArray[np.int64]
    points: NDArray[np.float64]


def map_keyframes(
    observations: Observations, limit_s: float, command: Sequence[str] = MAPPER_COMMAND
) -> Reconstruction:
    """Reconstruct in a process of its own.

    Raises:
        MapperError: it crashed, or did not end within ``limit_s`` seconds of computing.
    """
    with tempfile.TemporaryDirectory(prefix="inspatio-mapper-") as work:
        problem, solution = Path(work) / "problem.npz", Path(work) / "solution.npz"
        lengths = [len(ids) for ids in observations.ids]
        np.savez(
            problem,
            size=observations.size,
            lengths=lengths,
            ids=np.concatenate(observations.ids),
            points=np.concatenate(observations.points),
            limit_s=limit_s,
            apart=observations.apart,
            camera=[
                np.nan if value is None else value
                for value in (observations.focal, observations.distortion, observations.focal_start)
            ],
        )
        longest = MOST_WAITING * limit_s
        try:
            done = subprocess.run([*command, problem, solution], capture_output=True, text=True, timeout=longest)
        except subprocess.TimeoutExpired:
            raise MapperError(f"the mapper was stopped after {longest:.0f} s") from None
        if -done.returncode == signal.SIGXCPU:
            raise MapperError(f"the mapper was stopped after {limit_s:.0f} s of computing")
        if done.returncode or not solution.exists():
            lines = done.stderr.strip().splitlines() or ["no message"]
            what = f"was killed by signal {-done.returncode}" if done.returncode < 0 else "failed"
            raise MapperError(f"the mapper {what} ({lines[-1][:200]})")
        with np.load(solution) as found:
            return Reconstruction(
                float(found["focal"]),
                float(found["distortion"]),
                found["world_to_camera"],
                found["point_ids"],
                found["points"],
            )


def _solve(problem: Path, solution: Path) -> None:
    """The process: read the problem, write the solution."""
    import pycolmap

    pycolmap.logging.minloglevel = 3
    with np.load(problem) as given:
        height, width = map(int, given["size"])
        borders = np.cumsum(given["lengths"])[:-1]
        ids, points = np.split(given["ids"], borders), np.split(given["points"], borders)
        focal, distortion, hint = given["camera"]
        apart = bool(given["apart"])
        seconds = int(np.ceil(given["limit_s"]))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    work = problem.parent
    start = next((value for value in (focal, hint) if not np.isnan(value)), START_FOCAL * max(width, height))
    refine_focal, refine_distortion = bool(np.isnan(focal)), bool(np.isnan(distortion)) and len(ids) > 2
    camera = pycolmap.Camera(
        camera_id=1,
        model="SIMPLE_RADIAL",
        width=width,
        height=height,
        params=[start, width / 2, height / 2, 0.0 if np.isnan(distortion) else distortion],
        has_prior_focal_length=not np.isnan([focal, hint]).all(),
    )
    with pycolmap.Database.open(work / "database.db") as database:
        database.write_camera(camera, use_camera_id=True)
        sensor = pycolmap.sensor_t(pycolmap.SensorType.CAMERA, 1)
        rig = pycolmap.Rig(rig_id=1)
        rig.add_ref_sensor(sensor)
        database.write_rig(rig, use_rig_id=True)
        for k, xy in enumerate(points):
            image = pycolmap.Image(name=f"{k}", camera_id=1, image_id=k + 1)
            database.write_image(image, use_image_id=True)
            frame = pycolmap.Frame(frame_id=k + 1, rig_id=1)
            frame.add_data_id(pycolmap.data_t(sensor, k + 1))
            database.write_frame(frame, use_frame_id=True)
            database.write_keypoints(k + 1, xy.astype(np.float32) + 0.5)
        for first in range(len(ids)):
            last = len(ids) if apart else min(first + 1 + PAIRS_APART, len(ids))
            for second in range(first + 1, last):
                _, a, b = np.intersect1d(ids[first], ids[second], assume_unique=True, return_indices=True)
                if len(a) >= LEAST_COMMON:
                    database.write_matches(first + 1, second + 1, np.stack([a, b], 1).astype(np.uint32))
    pycolmap.set_random_seed(SEED)
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.max_error = 2.0
    verification.ransac.random_seed = SEED
    verifier = pycolmap.GeometricVerifierOptions()
    verifier.num_threads = 1  # several write pairs in the order in which they happen to be done, which the result shows
    pycolmap.geometric_verification(work / "database.db", verifier, two_view_geometry_options=verification)
    options = pycolmap.GlobalPipelineOptions()
    options.random_seed = SEED
    options.mapper.random_seed = SEED
    options.num_threads = 1
    options.mapper.bundle_adjustment.refine_focal_length = refine_focal
    options.mapper.bundle_adjustment.refine_extra_params = refine_distortion
    if apart:
        options.min_model_size = 2
        options.mapper.track_min_num_views_per_track = 2
        options.mapper.global_positioning.min_num_view_per_track = 2
        options.mapper.bundle_adjustment.min_track_length = 2
        options.mapper.retriangulation.ignore_two_view_tracks = False
    models = pycolmap.global_mapping(work / "database.db", work, work / "models", options)
    world_to_camera = np.full((len(ids), 4, 4), np.nan)
    if not models:
        np.savez(solution, focal=0, distortion=0, world_to_camera=world_to_camera, point_ids=[], points=[])
        return
    model = max(models.values(), key=lambda model: model.num_reg_images())
    model = _refined(model, refine_focal=refine_focal, refine_distortion=refine_distortion)
    for image in model.images.values():
        if image.has_pose:
            world_to_camera[image.image_id - 1] = np.eye(4)
            world_to_camera[image.image_id - 1, :3] = image.cam_from_world().matrix()
    found = {}
    for point in model.points3D.values():
        # Every track has one point, unless the mapper split it: then its longest part counts.
        element = point.track.elements[0]
        track = int(ids[element.image_id - 1][element.point2D_idx])
        if track not in found or point.track.length() > found[track][0]:
            found[track] = (point.track.length(), point.xyz)
    order = sorted(found)
    params = model.cameras[1].params
    np.savez(
        solution,
        focal=params[0],
        distortion=params[3],
        world_to_camera=world_to_camera,
        point_ids=np.array(order, np.int64),
        points=np.array([found[track][1] for track in order]).reshape(-1, 3),
    )


def _refined(model: pycolmap.Reconstruction, *, refine_focal: bool, refine_distortion: bool) -> pycolmap.Reconstruction:
    """The model adjusted again without outliers; without distortion as well where that explains the tracks as well."""
    import pycolmap

    for limit in REFINED_PIXELS:
        _adjust(model, limit, refine_focal, refine_distortion)
    if not refine_distortion:
        return model
    plain = pycolmap.Reconstruction(model)
    plain.cameras[1].params = [*plain.cameras[1].params[:3], 0.0]
    _adjust(plain, REFINED_PIXELS[-1], refine_focal, False)
    as_well = plain.compute_mean_reprojection_error() <= NEEDLESS_DISTORTION * model.compute_mean_reprojection_error()
    kept = plain.compute_num_observations() >= model.compute_num_observations() / NEEDLESS_DISTORTION
    return plain if as_well and kept else model


def _adjust(model: pycolmap.Reconstruction, limit: float, refine_focal: bool, refine_distortion: bool) -> None:
    """Bundle adjustment in place, after dropping what is more than ``limit`` pixels off."""
    import pycolmap

    pycolmap.ObservationManager(model).filter_all_points3D(limit, LEAST_ANGLE)
    options = pycolmap.BundleAdjustmentOptions()
    options.refine_focal_length = refine_focal
    options.refine_extra_params = refine_distortion
    options.print_summary = False
    options.ceres.loss_function_type = pycolmap.LossFunctionType.CAUCHY
    options.ceres.loss_function_scale = limit / 4
    options.ceres.solver_options.num_threads = 1
    options.ceres.solver_options.max_num_iterations = 30
    pycolmap.bundle_adjustment(model, options)


if __name__ == "__main__":
    _solve(Path(sys.argv[1]), Path(sys.argv[2]))
