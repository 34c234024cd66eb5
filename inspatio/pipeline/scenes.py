"""What the render and generate stages share: opening a clip as a scene, and what its target cameras depend on."""

from __future__ import annotations

from contextlib import AbstractContextManager
from fractions import Fraction
from typing import Any

from inspatio.cameras.controls import clip_order
from inspatio.cameras.named import NamedTrajectory
from inspatio.errors import ClipError
from inspatio.geometry.scene import open_scene
from inspatio.pipeline.fingerprints import file_fingerprint, fingerprint
from inspatio.pipeline.job import Job
from inspatio.pipeline.records import PictureFacts
from inspatio.pipeline.workspace import ClipState, Workspace
from inspatio.scene import Scene
from inspatio.settings import result_settings


def open_clip(state: ClipState, workspace: Workspace) -> AbstractContextManager[Scene]:
    """The clip as a scene at the job's working size, its frames in the source's order.

    Raises:
        ClipError: the clip has no geometry, or it does not fit the video.
    """
    if state.geometry is None:
        raise ClipError(f"{state.id}: has no geometry yet; run the geometry stage first (without --skip_step2)")
    return open_scene(
        workspace.info(state),
        workspace.work.folder / state.geometry.folder,
        workspace.job.profile.size,
        workspace.job.fit,
        clip_id=state.id,
        prompt=state.caption.text if state.caption else "",
        foreground_ratio=state.public.radius_ratio if state.public else 1.0,
    )


def target_frame_count(job: Job, state: ClipState) -> int:
    """How many frames the clip has once it is adapted to the trajectory; its own number where it cannot be adapted."""
    assert job.trajectory is not None, "a stage of the run without a trajectory"
    try:
        facts = state.facts
        rate, still = Fraction(facts.frame_rate), isinstance(facts, PictureFacts)
        count = 1 if still else facts.frame_count
        return len(clip_order(count, job.trajectory, job.controls, frame_rate=rate, still=still))
    except ClipError:  # rendering the clip will report it
        return state.facts.frame_count


def _trajectory_fingerprint(named: NamedTrajectory) -> str:
    """Of a file its content; of what is made of several files, or of none, all of them and the text that names them."""
    contents = [file_fingerprint(path) for path in named.files]
    return contents[0] if named.is_file else fingerprint({"text": named.text, "files": contents})


def trajectory_inputs(job: Job) -> dict[str, Any]:
    """What the target cameras depend on besides the geometry, as JSON values."""
    assert job.named is not None, "a stage of the run without a trajectory"
    controls = result_settings(job.controls)
    repeat, frame = controls.pop("freeze_repeat"), controls.pop("freeze_frame")
    # A length that nobody gave is left out, as before there was one, so that older results count.
    length = {name: value for name in ("frames", "seconds") if (value := controls.pop(name)) is not None}
    return {
        "trajectory": _trajectory_fingerprint(job.named),
        "direction": job.trajectory_direction,
        **controls,
        **length,
        "freeze": [repeat, frame] if repeat else None,  # which frame it would be does not matter
        "fit": job.fit,
        "size": list(job.profile.size),
    }
