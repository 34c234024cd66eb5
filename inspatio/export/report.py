"""Report on a clip's geometry: a picture, a summary in sentences, and warnings.

    report = describe(geometry)                       numbers, sentences, warnings
    write_report(geometry, frames, folder)            report.png and report.txt

Depth statistics come from up to 32 evenly spaced frames, so that a long clip takes no longer than a short one; the
camera path is used whole. ``report_picture.py`` draws the picture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from inspatio.cameras.poses import invert
from inspatio.export.points import confidence_floor, evenly_spaced, frame_maps, on_ground
from inspatio.export.report_picture import picture
from inspatio.geometry.backend import field_of_view_range, field_of_view_warning
from inspatio.geometry.store import Geometry
from inspatio.scene import FrameSource
from inspatio.storage import atomic_file, write_text

SAMPLED_FRAMES = 32
STILL_SHIFT = 0.005
"""A camera is static if it stays within this share of the median depth and turns less than STILL_TURN degrees."""
STILL_TURN = 0.5
JUMP = 0.25
"""A change of the median depth by more than this share between consecutive frames is a jump."""


@dataclass(frozen=True)
class GeometryReport:
    """Statistics of a geometry folder. Shares are 0..1, angles in degrees, lengths in the scene's unit."""

    moving: bool
    camera_shift: float
    """Largest distance of the camera from its first position."""
    camera_turn: float
    """Largest rotation against its first pose."""
    depth_range: tuple[float, float]
    """5 % and 95 % quantile of the known depths that are not sky; 0, 0 if there are none."""
    median_depth: float
    sky: float | None
    unknown: float
    low_confidence: float | None
    field_of_view: tuple[float, float]
    """Narrowest and widest horizontal field of view."""
    sentences: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Sampled:
    ground: NDArray[np.float32]
    medians: NDArray[np.float64]
    sky: float | None
    unknown: float
    low: float | None


def describe(geometry: Geometry) -> GeometryReport:
    """Compute the report of a geometry folder from a sample of its maps."""
    sampled = _sample(geometry)
    centres = invert(geometry.world_to_camera)[:, :3, 3]
    shift = float(np.linalg.norm(centres - centres[0], axis=-1).max())
    turn = float(_turns(geometry.world_to_camera).max())
    low, median, high = np.quantile(sampled.ground, (0.05, 0.5, 0.95)).tolist() if sampled.ground.size else (0, 0, 0)
    moving = shift > STILL_SHIFT * median or turn > STILL_TURN
    view = field_of_view_range(geometry.intrinsics, geometry.image_size[1])
    facts = GeometryReport(
        moving, shift, turn, (low, high), median, sampled.sky, sampled.unknown, sampled.low, view, (), ()
    )
    sentences, warnings = _sentences(geometry, facts), _warnings(geometry, facts, sampled)
    return replace(facts, sentences=tuple(sentences), warnings=tuple(warnings))


def write_report(geometry: Geometry, frames: FrameSource, folder: Path) -> GeometryReport:
    """Write ``report.png`` and ``report.txt`` into ``folder``; ``frames`` are the source frames at ``image_size``."""
    report = describe(geometry)
    with atomic_file(folder / "report.png") as path:
        done, png = cv2.imencode(".png", cv2.cvtColor(picture(geometry, frames), cv2.COLOR_RGB2BGR))
        assert done, "a uint8 picture can be encoded"
        path.write_bytes(png.tobytes())
    lines = [*report.sentences, *(f"WARNING: {warning}" for warning in report.warnings)]
    write_text(folder / "report.txt", "\n".join(lines) + "\n")
    return report


def _sample(geometry: Geometry) -> _Sampled:
    indices = evenly_spaced(geometry.frame_count, SAMPLED_FRAMES)
    floor = confidence_floor(geometry, indices)
    ground, medians, skies, unknown, low = [], [], [], [], []
    for index in indices:
        depth, confidence, sky = frame_maps(geometry, index)
        visible = on_ground(depth, sky)
        ground.append(depth[visible][::4])
        medians.append(float(np.median(depth[visible])) if visible.any() else np.nan)
        unknown.append(float((depth <= 0).mean()))
        if sky is not None:
            skies.append(float(sky.mean()))
        if confidence is not None and visible.any():
            low.append(float((confidence[visible] < floor).mean()))
    return _Sampled(
        np.concatenate(ground),
        np.array(medians),
        float(np.mean(skies)) if skies else None,
        float(np.mean(unknown)),
        float(np.mean(low)) if low else None,
    )


def _sentences(geometry: Geometry, facts: GeometryReport) -> list[str]:
    unit = {"metres": "m", "relative": "arbitrary units", "prior": "arbitrary units (a prior)"}[geometry.scale]
    height, width = geometry.image_size
    found = [
        f"{geometry.frame_count} frames of {width}x{height} by {geometry.backend}, "
        f"depth at {geometry.depth.shape[2]}x{geometry.depth.shape[1]}.",
        f"Depth from {facts.depth_range[0]:.3g} to {facts.depth_range[1]:.3g} {unit} (90 % of the pixels).",
    ]
    if facts.moving:
        found.append(
            f"The camera moves: at most {facts.camera_shift:.3g} from its first position, turned by at most "
            f"{facts.camera_turn:.1f} degrees."
        )
    else:
        found.append("The camera is static.")
    narrowest, widest = facts.field_of_view
    zoom = f"{narrowest:.0f} degrees" if widest - narrowest < 1 else f"{narrowest:.0f} to {widest:.0f} degrees"
    found.append(f"Field of view: {zoom} across.")
    shares = [f"{facts.unknown:.1%} unknown"]
    if facts.sky is not None:
        shares.insert(0, f"{facts.sky:.1%} sky")
    if facts.low_confidence is not None:
        shares.append(f"{facts.low_confidence:.1%} of the others of low confidence")
    found.append(f"Of all pixels: {', '.join(shares)}.")
    return found


def _warnings(geometry: Geometry, facts: GeometryReport, sampled: _Sampled) -> list[str]:
    found = []
    if geometry.scale == "prior":
        found.append("depth is a prior that does not depend on the picture; only small camera moves will look right")
    if facts.unknown > 0.2:
        found.append(f"{facts.unknown:.0%} of the depth is unknown; the render will have holes there")
    if facts.sky is not None and facts.sky > 0.8:
        found.append(f"{facts.sky:.0%} of the pixels are sky; scale and camera are uncertain")
    if facts.low_confidence is not None and facts.low_confidence > 0.4:
        found.append(f"confidence is low on {facts.low_confidence:.0%} of the pixels")
    if warning := field_of_view_warning(*facts.field_of_view):
        found.append(warning)
    if geometry.scale != "prior" and facts.depth_range[1] < 1.02 * facts.depth_range[0]:
        found.append("depth is nearly the same everywhere: a flat scene, or a failed estimate")
    found += _jumps(geometry, sampled)
    return found


def _jumps(geometry: Geometry, sampled: _Sampled) -> list[str]:
    """Warnings where depth or camera position change abruptly."""
    found = []
    if geometry.frame_count <= SAMPLED_FRAMES and len(sampled.medians) > 1:
        with np.errstate(invalid="ignore", divide="ignore"):
            change = np.abs(np.diff(sampled.medians)) / sampled.medians[:-1]
        jumps = np.flatnonzero(change > JUMP)
        if jumps.size:
            found.append(f"depth jumps by {change[jumps[0]]:.0%} at frame {jumps[0] + 1}; is there a cut?")
    steps = np.linalg.norm(np.diff(invert(geometry.world_to_camera)[:, :3, 3], axis=0), axis=-1)
    if steps.size > 2:
        largest = int(steps.argmax())
        if steps[largest] > 0.1 * np.nanmedian(sampled.medians) and steps[largest] > 10 * np.median(steps):
            found.append(f"the camera jumps by {steps[largest]:.3g} at frame {largest + 1}; is there a cut?")
    return found


def _turns(world_to_camera: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation in degrees between each pose and the first."""
    relative = world_to_camera[:, :3, :3] @ world_to_camera[0, :3, :3].T
    # Computed from the chord, which stays accurate at small angles, unlike the arc cosine of the trace.
    chord = np.linalg.norm(relative - np.eye(3), axis=(1, 2)) / np.sqrt(8)
    return np.rad2deg(2 * np.arcsin(np.clip(chord, 0, 1)))
