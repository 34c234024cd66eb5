"""From a clip's geometry folder and the job's options to the scene that is rendered, and its target cameras."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from inspatio.controls import clip_order, target_cameras
from inspatio.errors import ClipError
from inspatio.fit import Fit
from inspatio.geometry.folder import GeometryDepth, load_geometry
from inspatio.job import Job
from inspatio.manifest import file_fingerprint
from inspatio.media import VideoReader
from inspatio.scene import Scene
from inspatio.stages.workspace import ClipState, Workspace
from inspatio.types import WorldToCamera


@contextmanager
def open_scene(state: ClipState, workspace: Workspace) -> Iterator[Scene]:
    """The clip as a scene at the working size, its frames in the source's order.

    Raises:
        ClipError: the clip has no geometry, or it does not fit the video.
    """
    if state.geometry is None:
        raise ClipError(f"{state.id}: has no geometry yet; run the geometry stage first (without --skip_step2)")
    job = workspace.job
    video = state.video
    geometry = load_geometry(workspace.work.folder / state.geometry.folder)
    if geometry.frame_count != video.frame_count:
        raise ClipError(
            f"{state.id}: the geometry has {geometry.frame_count} frames, the video {video.frame_count}; "
            "run the geometry stage again with --force"
        )
    fit = Fit.make((video.height, video.width), job.profile.size, job.fit)
    with VideoReader(workspace.info(state), job.profile.size, job.fit) as frames:
        yield Scene(
            clip_id=state.id,
            frames=frames,
            depth=GeometryDepth(geometry, fit),
            intrinsics=fit.intrinsics(geometry.intrinsics, geometry.image_size),
            world_to_camera=geometry.world_to_camera,
            size=job.profile.size,
            frame_rate=video.rate,
            scale=geometry.scale,
            prompt=state.caption.text if state.caption else "",
            foreground_ratio=state.public.radius_ratio if state.public else 1.0,
        )


def adapt(scene: Scene, job: Job) -> tuple[Scene, WorldToCamera]:
    """The scene with its clip adapted to the trajectory, and the target cameras of the adapted clip."""
    assert job.trajectory is not None, "a stage of the run without a trajectory"
    adapted = scene.select(clip_order(len(scene), job.trajectory, job.controls))
    return adapted, target_cameras(adapted, job.trajectory, job.controls)


def trajectory_inputs(job: Job) -> dict[str, Any]:
    """What the target cameras depend on besides the geometry, as JSON values."""
    assert job.trajectory_path is not None, "a stage of the run without a trajectory"
    controls = job.controls
    return {
        "trajectory": file_fingerprint(job.trajectory_path),
        "direction": job.trajectory_direction,
        "relative_to_source": controls.relative_to_source,
        "rotation_only": controls.rotation_only,
        "adaptive_frames": controls.adaptive_frames,
        "freeze": [controls.freeze_repeat, controls.freeze_frame] if controls.freeze_repeat else None,
        "fit": job.fit,
        "size": list(job.profile.size),
    }
