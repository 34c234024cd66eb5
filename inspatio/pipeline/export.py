"""`inspatio export`: a clip's points, cameras and images for other programs, from the geometry of an earlier run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import get_args

import numpy as np

from inspatio.cameras.cameras import Cameras
from inspatio.cameras.formats.paths import read_path
from inspatio.captioning.captions import read_sidecar
from inspatio.errors import UsageError
from inspatio.export.formats import MOST_POINTS, export, export_name, write_points
from inspatio.export.points import PointCloud
from inspatio.export.v15 import SIZE, write_v15
from inspatio.geometry.panorama import even_points, load_distance, load_panorama, views
from inspatio.geometry.panorama_backend import DISTANCE_NAME
from inspatio.geometry.scene import open_scene
from inspatio.geometry.store import load_geometry
from inspatio.media import open_source, probe_source
from inspatio.media.fit import ROUNDING_CUT, Fit
from inspatio.media.listing import identify
from inspatio.pipeline.job import OUTPUT_ROOT
from inspatio.pipeline.path_options import ExportOptions
from inspatio.storage import atomic_folder
from inspatio.types import ExportFormat

_log = logging.getLogger(__name__)


def export_clip(options: ExportOptions) -> int:
    """Write one clip's export; returns the exit code.

    Raises:
        UsageError: no format or clip is named, or the clip has no geometry.
    """
    form, clip = options.export_format, options.clip
    if form is None or clip is None:
        raise UsageError(f"export: expected a format ({', '.join(get_args(ExportFormat))}) and a clip")
    work = options.work_folder or work_folder_of(clip)
    folder = geometry_folder(clip, work)
    if folder is None:
        raise UsageError(
            f"{clip}: has no geometry in {work}. Run inspatio geometry --input_dir {clip} --work_folder {work} first"
        )
    target = options.target or work / "exports" / export_name(clip.stem, form)
    target.parent.mkdir(parents=True, exist_ok=True)
    found = identify(clip)
    if found is not None and found.kind == "panorama":
        _export_panorama(clip, folder, target, form)
        _log.info("export: %s", target)
        return 0
    geometry = load_geometry(folder)
    paths = {}
    if options.cameras is not None:
        given = read_path(options.cameras, geometry.image_size).cameras
        paths["target"] = Cameras(given.intrinsics, given.world_to_camera)
    info = probe_source(clip)
    if form == "v15":
        caption = read_sidecar(clip)
        prompt = caption.text if caption else ""
        cut = Fit.make(info.size, SIZE).cut_share
        if cut > ROUNDING_CUT:
            _log.info(
                "export: %.1f%% of the picture is cut away to make the %dx%d of version 1.5", 100 * cut, *SIZE[::-1]
            )
        with open_scene(info, folder, SIZE, clip_id=clip.stem, prompt=prompt) as scene, atomic_folder(target) as made:
            write_v15(scene, made, paths.get("target"))
    else:
        with open_source(info, geometry.image_size) as frames:
            export(geometry, frames, target, form, frame_rate=info.frame_rate, indices=options.frames, paths=paths)
    _log.info("export: %s", target)
    return 0


def _export_panorama(path: Path, folder: Path, target: Path, form: ExportFormat) -> None:
    """Write a panorama's points, in the world of its results: the first view, which looks at the panorama's middle.

    Raises:
        UsageError: a format that is of frames along a path.
    """
    if form not in ("ply", "glb"):
        raise UsageError(f"export {form}: {path} is a panorama, which has points but no frames; expected ply or glb")
    image = load_panorama(path)
    distance = load_distance(folder / DISTANCE_NAME, (image.shape[0], image.shape[1]))
    points, colours, _ = even_points(image, distance, MOST_POINTS)
    first = views((1, 1)).world_to_camera[0]
    write_points(PointCloud(points.astype(np.float64) @ first[:3, :3].T, colours), target, form)


def work_folder_of(clip: Path) -> Path:
    """The work folder that `inspatio run` gives the folder of a clip."""
    return OUTPUT_ROOT / (clip.parent.resolve().name or "root")


def geometry_folder(clip: Path, work: Path) -> Path | None:
    """The clip's geometry in a work folder, if it is there."""
    for name in (clip.stem, clip.name):
        folder = work / "geometry" / name
        if (folder / "cameras.json").is_file():
            return folder
    return None
