"""`inspatio path`: say and draw what a camera path is, for a scene or alone, and convert it to other formats."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from inspatio import api, factory
from inspatio.cameras.anchored import AnchoredTrajectory
from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats.lenses import default_intrinsics
from inspatio.cameras.formats.paths import FRAME_RATE, write_path
from inspatio.cameras.imported import NOMINAL_SIZE, TiedTrajectory
from inspatio.cameras.named import NamedTrajectory
from inspatio.cameras.poses import invert, unproject
from inspatio.cameras.trajectory import MAX_DEGREES_PER_FRAME, FlightTrajectory
from inspatio.clip_options import Controls
from inspatio.config import RenderConfig
from inspatio.errors import UsageError
from inspatio.export.path_picture import path_picture
from inspatio.pipeline.export import geometry_folder, work_folder_of
from inspatio.pipeline.path_options import PathOptions
from inspatio.pipeline.render import LOW_COVERAGE
from inspatio.render.views import render_scene
from inspatio.scene import Scene, adapt
from inspatio.types import Image, PathFormat

SIZE = (240, 416)
"""(height, width) at which coverage is measured."""
FRAMES = 121
"""Of a path without a scene whose length depends on the clip."""
LOOKS = 24
"""Places along the path where coverage is measured."""
PICTURES = 4
_NAMES: dict[str, PathFormat] = {
    "cameras.json": "inspatio",
    "camera_path.json": "nerfstudio",
    "transforms.json": "transforms",
    "camera_extrinsics.json": "recammaster",
    "target_tcw.txt": "tcw",
    ".chan": "chan",
    ".gltf": "gltf",
    ".npz": "lyra",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shown:
    """A path as it is for a scene, or alone with a foreground depth of 1."""

    cameras: Cameras
    size: tuple[int, int]
    frame_rate: Fraction
    foreground_depth: float
    source_frames: list[int] | None
    scene: Scene | None
    """Adapted to the path."""

    @property
    def clip_frames(self) -> int | None:
        """The number of source frames."""
        return None if self.scene is None else len(self.scene.frames)


def path(options: PathOptions) -> int:
    """Show or convert a path; returns the exit code.

    Raises:
        UsageError: no trajectory is named, or it needs a scene and there is none.
    """
    if options.trajectory_text is None:
        raise UsageError("path: expected a trajectory, such as inspatio path show orbit_left --scene my_clip.mp4")
    named = factory.make_trajectory(options.trajectory_text, options.trajectory_direction)
    shown = _fitted(named, options)
    for note in named.notes:
        print(f"note       {note}")
    if options.action == "convert":
        return _convert(shown, options)
    covered = None if shown.scene is None else _coverage(shown)
    for line in facts(shown, covered):
        print(line)
    target = options.target or Path(f"{named.name}.png")
    path_picture(_points(shown), _source(shown), invert(shown.cameras.world_to_camera), _pictures(shown), target)
    print(f"picture    {target}")
    return 0


def facts(shown: Shown, covered: NDArray[np.float64] | None) -> list[str]:
    """What a path is, in lines: frames, angles, distances, focal length, source time, coverage, warnings.

    ``covered`` is the share of each of some frames, evenly spaced, that the source shows.
    """
    poses = invert(shown.cameras.world_to_camera)
    count, seconds = len(poses), len(poses) / float(shown.frame_rate)
    lines = [f"frames     {count}, {seconds:.1f} s at {float(shown.frame_rate):g} frames a second"]
    turns = Rotation.from_matrix(poses[:, :3, :3])
    yaw, pitch, roll = turns.as_euler("YXZ", degrees=True).T
    steps = np.rad2deg((turns[:-1].inv() * turns[1:]).magnitude()) if count > 1 else np.zeros(1)
    lines.append(
        f"looks      {_range(-yaw)} degrees to the left, {_range(pitch)} up, rolled by {_range(roll)}; "
        f"turns by at most {steps.max():.2g} a frame"
    )
    away = np.linalg.norm(poses[:, :3, 3] - poses[0, :3, 3], axis=1)
    length = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).sum()
    near = shown.foreground_depth
    unit = (
        "foreground depths (or of the file's unit)" if shown.scene is None else f"foreground depths ({near:.3g} each)"
    )
    lines.append(f"distances  {away.max() / near:.2g} {unit} from the start at most, {length / near:.2g} along the way")
    focal = shown.cameras.intrinsics[:, 0, 0]
    lines.append(f"focal      {_range(focal / focal[0], 2)} times the first")
    if shown.source_frames is not None:
        lines.append(f"time       {_time(shown.source_frames)}")
    warnings = []
    if steps.max() > MAX_DEGREES_PER_FRAME * 1.01:
        warnings.append(f"turns faster than {MAX_DEGREES_PER_FRAME:g} degrees a frame, which generators follow badly")
    if covered is not None:
        places = np.linspace(0, count - 1, len(covered)).round().astype(int)
        worst = int(np.argmin(covered))
        lines.append(f"coverage   {covered.mean():.0%} on average, {covered[worst]:.0%} at frame {places[worst]}")
        for first, last in _runs(covered < LOW_COVERAGE):
            warnings.append(
                f"from frame {places[first]} to {places[last]} the path leaves what the source shows: it covers "
                f"{covered[first : last + 1].mean():.0%}"
            )
    return lines + [f"warning    {text}" for text in warnings]


def _fitted(named: NamedTrajectory, options: PathOptions) -> Shown:
    trajectory = named.trajectory
    if options.scene is not None:
        work = options.work_folder or work_folder_of(options.scene)
        scene = api.open_scene(options.scene, geometry_folder(options.scene, work), size=SIZE)
        adapted, cameras = adapt(scene, trajectory, Controls())
        order = adapted.source_frames(range(len(adapted)))
        return Shown(cameras, scene.size, scene.frame_rate, scene.foreground_depth(), order, adapted)
    if isinstance(trajectory, TiedTrajectory | AnchoredTrajectory):
        raise UsageError(f"{named.text}: depends on the source's cameras. Give the clip with --scene VIDEO")
    flies = isinstance(trajectory, FlightTrajectory)
    count = len(trajectory.key_poses) if flies else FRAMES
    intrinsics = np.tile(default_intrinsics(NOMINAL_SIZE), (count, 1, 1))
    intrinsics[:, :2, :2] *= trajectory.zooms(count)[:, None, None]
    frames = list(trajectory.source_frames) if flies and trajectory.source_frames is not None else None
    cameras = Cameras(intrinsics, invert(trajectory.camera_to_world(count, 1.0)))
    return Shown(cameras, NOMINAL_SIZE, FRAME_RATE, 1.0, frames, None)


def _convert(shown: Shown, options: PathOptions) -> int:
    target = options.target
    if target is None:
        raise UsageError("path convert: expected a file to write, such as path convert orbit_left camera_path.json")
    kind = options.path_format or _NAMES.get(target.name) or _NAMES.get(target.suffix)
    if kind is None:
        raise UsageError(f"{target}: its name says no format. Give one with --to, such as --to tum")
    write_path(
        target, shown.cameras, shown.size, kind, shown.frame_rate, shown.source_frames, clip_frames=shown.clip_frames
    )
    unit = "the scene's unit" if shown.scene is not None else "foreground depths, or the file's unit"
    print(f"{kind}: {target}, {len(shown.cameras)} cameras, lengths in {unit}")
    return 0


def _coverage(shown: Shown) -> NDArray[np.float64]:
    """The share of evenly spaced target views that the source shows."""
    assert shown.scene is not None, "coverage is of a scene"
    renderer = factory.make_renderer(RenderConfig(), "cpu")
    shares = []
    for place in _places(shown, LOOKS):
        render = render_scene(renderer, shown.scene, place, shown.cameras[place : place + 1])
        shares.append(float((render.masks > 0).mean()))
    return np.array(shares)


def _pictures(shown: Shown) -> list[tuple[str, Image]]:
    """Renders of the path at a few places."""
    if shown.scene is None:
        return []
    renderer = factory.make_renderer(RenderConfig(), "cpu")
    return [
        (f"frame {place}", render_scene(renderer, shown.scene, place, shown.cameras[place : place + 1]).frames[0])
        for place in _places(shown, PICTURES)
    ]


def _places(shown: Shown, count: int) -> list[int]:
    return np.unique(np.linspace(0, len(shown.cameras) - 1, count).round().astype(int)).tolist()


def _points(shown: Shown) -> NDArray[np.float64]:
    """World points of the first frame, thinned."""
    if shown.scene is None:
        return np.zeros((0, 3))
    depth = shown.scene.depth.read([0])[0][2::5, 2::5]
    rows, columns = (5 * axis + 2 for axis in np.nonzero(depth > 0))
    known = depth[depth > 0].astype(np.float64)
    return unproject(columns, rows, known, shown.scene.intrinsics[0], shown.scene.world_to_camera[0])


def _source(shown: Shown) -> NDArray[np.float64] | None:
    return None if shown.scene is None else invert(shown.scene.world_to_camera)


def _range(values: NDArray[np.float64], digits: int = 1) -> str:
    low, high = (round(float(value), digits) + 0.0 for value in (values.min(), values.max()))
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _time(frames: Sequence[int]) -> str:
    steps = np.diff(frames)
    words = [f"source frames {min(frames)} to {max(frames)}"]
    for what, mask in (("forward", steps > 0), ("backward", steps < 0), ("standing", steps == 0)):
        if mask.any():
            words.append(f"{what} in {int(mask.sum())} frames")
    return ", ".join(words)


def _runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last index of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return [(int(first), int(last) - 1) for first, last in edges.reshape(-1, 2)]
