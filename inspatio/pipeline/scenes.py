"""What the render and generate stages share: opening a clip as a scene, and what its target cameras depend on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from inspatio.cameras.controls import clip_order
from inspatio.cameras.named import NamedTrajectory
from inspatio.errors import ClipError
from inspatio.generation.worldfm.still_scene import panorama_scene, point_cloud_scene
from inspatio.geometry.panorama import load_distance, load_panorama
from inspatio.geometry.panorama_backend import DISTANCE_NAME
from inspatio.geometry.scene import open_scene
from inspatio.media.fit import ROUNDING_CUT, Fit, working_frame
from inspatio.media.listing import PLACES
from inspatio.pipeline.fingerprints import file_fingerprint, fingerprint
from inspatio.pipeline.job import Job
from inspatio.pipeline.records import PictureFacts
from inspatio.pipeline.workspace import ClipState, Workspace
from inspatio.scene import Scene
from inspatio.settings import result_settings


@contextmanager
def open_clip(state: ClipState, workspace: Workspace) -> Iterator[Scene]:
    """The clip as a scene at the job's working size, its frames in the source's order.

    Raises:
        ClipError: the clip has no geometry, or it does not fit the video.
    """
    if state.geometry is None:
        raise ClipError(f"{state.id}: has no geometry yet; run the geometry stage first (without --skip_step2)")
    folder = workspace.work.folder / state.geometry.folder
    rate = frame_rate(state, workspace.job)
    if state.source.kind in PLACES:
        yield replace(_place(state, folder, workspace.job), frame_rate=rate)
        return
    with open_scene(
        workspace.info(state),
        folder,
        working_size(state, workspace.job),
        workspace.job.fit,
        clip_id=state.id,
        prompt=state.caption.text if state.caption else "",
        foreground_ratio=state.public.radius_ratio if state.public else 1.0,
    ) as scene:
        yield replace(scene, frame_rate=rate)


def frame_rate(state: ClipState, job: Job) -> Fraction:
    """Frames per second of the clip's result: the source's, or those that --fps gives a still scene."""
    if isinstance(state.facts, PictureFacts) and job.controls.fps is not None:
        return Fraction(job.controls.fps).limit_denominator(1001)
    return Fraction(state.facts.frame_rate)


def _place(state: ClipState, folder: Path, job: Job) -> Scene:
    """A panorama with its geometry folder, or a point cloud, as a still scene for the frame model."""
    size = working_size(state, job)
    what = {"panorama": "panorama", "cloud": "point cloud"}[state.source.kind]
    if job.profile.generator.backend != "worldfm":
        raise ClipError(
            f"{state.id}: is a {what}, which the generator {job.profile.generator.backend} does not take, expected "
            "worldfm. Use --profile worldfm, or leave it out with --clips"
        )
    if state.source.kind == "cloud":
        scene = point_cloud_scene(state.path, size, clip_id=state.id).scene
    else:
        image = load_panorama(state.path)
        distance = load_distance(folder / DISTANCE_NAME, (image.shape[0], image.shape[1]))
        scene = panorama_scene(image, distance, size, clip_id=state.id).scene
    prompt = state.caption.text if state.caption else ""
    return replace(scene, prompt=prompt)


def working_size(state: ClipState, job: Job) -> tuple[int, int]:
    """(height, width) of the clip's working frame: the profile's, turned for a portrait source unless --no_turn."""
    size = job.profile.size
    return working_frame(size, (state.facts.height, state.facts.width), job.fit) if job.turn else size


def fit_of(state: ClipState, job: Job) -> Fit:
    """How the source's frames are brought to the working size; views of a place are made in it."""
    size = working_size(state, job)
    own = size if state.source.kind in PLACES else (state.facts.height, state.facts.width)
    return Fit.make(own, size, job.fit)


def crop_note(state: ClipState, job: Job) -> list[str]:
    """What to tell the user where some of the source's picture is cut to make the working frame."""
    fit = fit_of(state, job)
    if fit.cut_share <= ROUNDING_CUT:
        return []
    (height, width), (from_height, from_width) = fit.target, fit.source
    return [
        f"{fit.cut_share:.1%} of the picture is cut away to make {width}x{height} of {from_width}x{from_height}. "
        "--fit pad keeps all of it."
    ]


def turn_note(state: ClipState, job: Job) -> list[str]:
    """What to tell the user where a network works on another frame than its weights are known for."""
    (height, width), (known_height, known_width) = working_size(state, job), job.profile.size
    if (height, width) == (known_height, known_width) or job.profile.generator.backend == "preview":
        return []
    return [
        f"made at {width}x{height} for a portrait source, which is outside of what the weights are known for "
        f"({known_width}x{known_height}). --no_turn keeps that frame."
    ]


def target_frame_count(job: Job, state: ClipState) -> int:
    """How many frames the clip has once it is adapted to the trajectory; its own number where it cannot be adapted."""
    assert job.trajectory is not None, "a stage of the run without a trajectory"
    try:
        facts = state.facts
        rate, still = frame_rate(state, job), isinstance(facts, PictureFacts)
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
    # A length or rate that nobody gave is left out, as before there was one, so that older results count.
    length = {name: value for name in ("frames", "seconds", "fps") if (value := controls.pop(name)) is not None}
    return {
        "trajectory": _trajectory_fingerprint(job.named),
        "direction": job.trajectory_direction,
        **controls,
        **length,
        "freeze": [repeat, frame] if repeat else None,  # which frame it would be does not matter
        "fit": job.fit,
        "size": list(job.profile.size),
    }
