"""Make a trajectory of another program's camera path: tie its world, scale and focal length to the scene's.

In this order: a path whose world is the scene's already is taken as it is; one with the source's cameras beside it is
brought to the scene by the similarity transform between those and the scene's source cameras; of any other, the first
pose becomes the first source camera, and that is said.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from inspatio.cameras.camera_path import CameraPath
from inspatio.cameras.poses import invert, rotation_only
from inspatio.cameras.similarity import align_cameras
from inspatio.cameras.trajectory import ZOOM_RANGE, FlightTrajectory, SourcePath
from inspatio.errors import ClipError, UsageError
from inspatio.types import CameraToWorld

NOMINAL_SIZE = (480, 832)
"""(height, width) that imported intrinsics are read for; only their ratio to the source's counts."""
STILL_DEGREES, STILL_REACH = 0.1, 1e-3
"""A path that turns and moves less (the latter in foreground depths, or in its own unit) has no motion."""


@dataclass(frozen=True, eq=False)
class TiedTrajectory(FlightTrajectory):
    """A camera for each frame in a world that the ``source_path`` cameras (``m 4 4``) tie to the scene's."""

    source_path: CameraToWorld | None = None
    name: str = "trajectory"

    def camera_to_world(
        self,
        frame_count: int,
        foreground_depth: float,
        *,
        rotation_only: bool = False,
        source: SourcePath | None = None,
    ) -> CameraToWorld:
        assert source is not None, "a path that is tied by the source's cameras needs them"
        assert self.source_path is not None, "a path that is tied by the source's cameras has some"
        own, scene = _without_held_end(self.source_path, len(source.camera_to_world)), source.camera_to_world
        if len(own) != len(scene):
            raise ClipError(
                f"{self.name}: has {len(own)} source cameras, but the clip has {len(scene)} frames; expected one for "
                "each. It belongs to another clip, or leave its source cameras out"
            )
        try:
            moved = align_cameras(own, scene).cameras(invert(self.key_poses))
        except ValueError as error:
            raise ClipError(f"{self.name}: its source cameras are not this clip's: {error}") from None
        return FlightTrajectory(invert(moved)).camera_to_world(
            frame_count, foreground_depth, rotation_only=rotation_only
        )


def imported_trajectory(path: Path, found: CameraPath, scale: float = 1.0) -> tuple[FlightTrajectory, tuple[str, ...]]:
    """The trajectory of a camera path, and what to tell the user about it.

    Args:
        path: the file, for messages.
        found: its content, read for frames of ``NOMINAL_SIZE``.
        scale: multiplies its distances where nothing else ties them to the scene's.

    Raises:
        UsageError: it has no motion, or too short or too long a focal length.
    """
    notes = list(found.notes)
    poses = invert(found.cameras.world_to_camera)
    focal = found.cameras.intrinsics[:, 0, 0] / NOMINAL_SIZE[1]
    kept = {
        "source_frames": found.source_frames,
        "source_times": found.source_times,
        "focal": focal if found.has_intrinsics else None,
    }
    if found.in_scene:
        unit = "foreground" if found.in_foreground_units else "scene"
        return FlightTrajectory(poses, unit=unit, **kept), tuple(notes)
    if found.has_intrinsics:
        zoom = focal / focal[0]
        if not (ZOOM_RANGE[0] <= zoom.min() and zoom.max() <= ZOOM_RANGE[1]):
            raise UsageError(
                f"{path}: its focal length changes by {zoom.min():.3g} to {zoom.max():.3g}, expected "
                f"{ZOOM_RANGE[0]:g} to {ZOOM_RANGE[1]:g} times the first"
            )
        kept["source_focal"] = float(focal[0])
    if found.source is not None:
        notes.append(f"{path.name}: tied to the scene by its {len(found.source)} source cameras")
        trajectory = TiedTrajectory(poses, source_path=invert(found.source), name=path.name, **kept)
        return trajectory, tuple(notes)
    relative = invert(poses[:1]) @ poses
    relative[0] = np.eye(4)
    if not has_motion(relative) and np.ptp(focal) == 0:
        raise UsageError(
            f"{path}: got {len(poses)} camera{'s' * (len(poses) != 1)} without motion, and the first becomes the first "
            "source camera; expected a path that moves. Use the trajectory still, or another file"
        )
    relative[:, :3, 3] *= scale
    said = "" if scale == 1 else f" times {scale:g}"
    notes.append(
        f"{path.name}: has no source cameras, so its first pose is the first source camera, "
        f"and a length of 1 in it is the scene's{said}"
    )
    return FlightTrajectory(relative, **kept), tuple(notes)


def _without_held_end(path: CameraToWorld, count: int) -> CameraToWorld:
    """The first ``count`` poses, where those after them stand still: programs that sample all cameras of a file over
    the longest of them (Blender's glTF) hold the last pose of the others."""
    if len(path) <= count:
        return path
    size = max(float(np.ptp(path[:, :3, 3], axis=0).max()), 1e-9)
    steps = np.abs(path[count:] - path[count - 1])
    held = steps[:, :3, :3].max() < STILL_REACH and steps[:, :3, 3].max() < STILL_REACH * size
    return path[:count] if held else path


def has_motion(camera_to_world: CameraToWorld, unit: float = 1.0) -> bool:
    """Whether a path that starts at the identity turns or moves at all; ``unit`` is the length that counts as 1."""
    reach = float(np.linalg.norm(camera_to_world[:, :3, 3], axis=1).max())
    cosines = (np.trace(rotation_only(camera_to_world)[:, :3, :3], axis1=1, axis2=2) - 1) / 2
    turned = float(np.rad2deg(np.arccos(np.clip(cosines, -1, 1))).max())
    return reach > STILL_REACH * unit or turned > STILL_DEGREES


def scaled_to(trajectory: FlightTrajectory, reach: float) -> FlightTrajectory:
    """The flight with its largest distance from the start at ``reach`` foreground depths."""
    poses = trajectory.key_poses.copy()
    farthest = float(np.linalg.norm(poses[:, :3, 3], axis=1).max())
    poses[:, :3, 3] *= reach / farthest if farthest > 0 else 1.0
    return replace(trajectory, key_poses=poses, unit="foreground")
