"""One clip through the networks: frames in, a geometry folder out, in memory that does not grow with the clip.

1  every frame through the networks (``sweep.py``); what they give waits in files
2  over the whole clip: one scale to metres, one depth for the sky (``alignment.py``)
3  written out: depth scaled, poses relative to the first frame and smoothed, intrinsics for the source frame
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from inspatio.cameras.poses import relative_to_first, smooth
from inspatio.errors import ClipError
from inspatio.geometry.depth_anything3 import alignment
from inspatio.geometry.depth_anything3.frames import SmallFrames
from inspatio.geometry.depth_anything3.spool import Spool, pieces
from inspatio.geometry.depth_anything3.sweep import Cameras, Clip, Findings, Sweep, Waiting
from inspatio.geometry.store import GeometryWriter
from inspatio.models.depth_anything3.camera import to_source_frame
from inspatio.scene import FrameSource
from inspatio.types import Intrinsics, Progress

BACKEND = "da3"
EXTREME_VIEW = (10.0, 120.0)
"""Degrees across; cameras outside are reported."""


def estimate_clip(clip: Clip, source: FrameSource, folder: Path, findings: Findings, progress: Progress) -> None:
    """Write the geometry of a clip into ``folder``; ``findings`` is added to.

    Raises:
        ClipError: too little memory for the smallest window, or the networks give no numbers.
    """
    frames = SmallFrames(source, clip.options.longest)
    with ExitStack() as stack:

        def spool(name: str, dtype: DTypeLike = np.float32) -> Spool:
            return stack.enter_context(Spool(folder / f".{name}", clip.small_size, dtype))

        cameras_known, single = clip.networks.any_view is not None, clip.networks.single is not None
        waiting = Waiting(
            depth=spool("depth"),
            confidence=spool("confidence") if cameras_known else None,
            single=spool("single") if cameras_known and single else None,
            sky=spool("sky", np.bool_) if single else None,
        )
        cameras = Sweep(clip, frames, waiting, findings).run(progress)
        _write(clip, cameras, waiting, folder, findings)
    if frames.uniform == clip.count:
        findings.notes.append("every frame is of one colour: there is nothing to see, and the geometry is a guess")
    elif frames.uniform:
        findings.notes.append(f"{frames.uniform} of {clip.count} frames are of one colour; their geometry is a guess")


def _write(clip: Clip, cameras: Cameras, waiting: Waiting, folder: Path, findings: Findings) -> None:
    """Steps 2 and 3 of the module's docstring."""
    scale = _scale(clip, cameras, waiting, findings)
    sky = _sky_depth(waiting, scale, findings)
    writer = GeometryWriter(folder, clip.size, clip.small_size, clip.count)
    known = 0
    for start, stop in pieces(clip.count):
        depth = waiting.depth.read(start, stop) * scale[start:stop, None, None].astype(np.float32)
        known += np.count_nonzero(depth)
        confidence = None if waiting.confidence is None else waiting.confidence.read(start, stop)
        is_sky = None if waiting.sky is None else waiting.sky.read(start, stop)
        if is_sky is not None and sky is not None:
            depth[is_sky] = sky
            if confidence is not None:
                confidence[is_sky] = 1
        writer.write(depth, confidence, is_sky)
    _report_unknown(1 - known / (clip.count * clip.small_size[0] * clip.small_size[1]), findings)

    poses = cameras.world_to_camera.copy()
    poses[:, :3, 3] *= scale[0]
    poses = smooth(relative_to_first(poses), clip.options.pose_smoothing)
    intrinsics = to_source_frame(cameras.intrinsics, clip.small_size, clip.size)
    _report_views(intrinsics, clip.size, findings)
    writer.finish(intrinsics, poses, findings.scale, BACKEND, findings.settings)


def _scale(clip: Clip, cameras: Cameras, waiting: Waiting, findings: Findings) -> NDArray[np.float64]:
    """What every frame's waiting depth is multiplied with (``n``); with cameras, the same for all frames."""
    networks, count = clip.networks, clip.count
    focal = (cameras.intrinsics[:, 0, 0] + cameras.intrinsics[:, 1, 1]) / 2
    if networks.any_view is None:
        if networks.is_metric and clip.options.field_of_view is not None:
            findings.scale = "metres"
        return focal / alignment.METRIC_FOCAL if networks.is_metric else np.ones(count)
    if waiting.single is None:
        return np.ones(count)
    single, sky, confidence = waiting.single, waiting.sky, waiting.confidence
    assert sky is not None, "a metric network gives a sky map"
    assert confidence is not None, "an any-view network gives confidence"

    def maps() -> Iterator[alignment.AlignmentMaps]:
        for start, stop in pieces(count):
            metres = single.read(start, stop) * (focal[start:stop, None, None] / alignment.METRIC_FOCAL)
            yield alignment.AlignmentMaps(
                waiting.depth.read(start, stop), confidence.read(start, stop), metres, sky.read(start, stop)
            )

    scale = alignment.metric_scale(maps)
    if scale is None:
        findings.notes.append(
            "there is hardly anything but sky to measure: depth stays in the any-view network's own scale, not metres"
        )
        return np.ones(count)
    findings.scale = "metres"
    findings.settings["metric_scale"] = scale
    return np.full(count, scale)


def _sky_depth(waiting: Waiting, scale: NDArray[np.float64], findings: Findings) -> float | None:
    """Where the sky goes; None where there is no sky map, or nothing in front of it."""
    sky = waiting.sky
    if sky is None:
        return None

    def ground() -> Iterator[NDArray[np.floating]]:
        for start, stop in pieces(len(scale)):
            depth = waiting.depth.read(start, stop) * scale[start:stop, None, None].astype(np.float32)
            yield depth[~sky.read(start, stop)]

    furthest = alignment.FURTHEST_SKY if findings.scale == "metres" else np.inf
    return alignment.sky_depth(ground, furthest)


def _report_unknown(share: float, findings: Findings) -> None:
    if share == 1:
        raise ClipError(
            "Depth Anything 3 gave no finite depth for any pixel. The weights are damaged: get them again "
            "(scripts/download.sh DA3)"
        )
    if share:
        findings.notes.append(f"{share:.1%} of the depth values were not numbers and count as not known")


def _report_views(intrinsics: Intrinsics, size: tuple[int, int], findings: Findings) -> None:
    across = np.rad2deg(2 * np.arctan(size[1] / 2 / intrinsics[:, 0, 0]))
    narrowest, widest = float(across.min()), float(across.max())
    if narrowest < EXTREME_VIEW[0] or widest > EXTREME_VIEW[1]:
        findings.notes.append(
            f"the field of view comes out as {narrowest:.3g} to {widest:.3g} degrees across, which few cameras have; "
            "depth and motion may be off"
        )
