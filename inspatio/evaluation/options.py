"""The options of `inspatio evaluate`; imports nothing heavy, since every command's parser knows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from inspatio.config import PREVIEW_PROFILE
from inspatio.errors import UsageError
from inspatio.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(Settings):
    """What `inspatio evaluate` measures, and against what."""

    what: Path | None = setting(None, "a result (.mp4), or a run folder with results", option="WHAT", unset="none")
    suite: Literal["synthetic"] | None = setting(
        None,
        "measure generators on held-out clips whose truth is known, in place of WHAT",
        option="--suite",
        unset="none",
    )
    clips: tuple[str, ...] | None = setting(
        None, "only these clips, by name, comma-separated", option="--clips", metavar="NAMES", unset="all"
    )
    generators: tuple[str, ...] = setting(
        (PREVIEW_PROFILE,), "profiles to run on the suite, comma-separated", option="--generators", metavar="NAMES"
    )
    geometries: tuple[str, ...] = setting(
        ("files",), "geometry of the suite's clips: files is the true one", option="--geometries", metavar="NAMES"
    )
    truth: Path | None = setting(
        None, "the true video, or a folder of <clip>.mp4", option="--truth", metavar="PATH", unset="none"
    )
    render: Path | None = setting(
        None, "render folder of a result", option="--render", metavar="DIR", unset="that of the run folder"
    )
    cameras: Path | None = setting(
        None, "cameras.json of a result", option="--cameras", metavar="FILE", unset="<result>.cameras.json"
    )
    wanted: Path | None = setting(
        None,
        "camera path that a result should follow (cameras.json, RealEstate10K, TUM, KITTI, COLMAP)",
        option="--wanted",
        metavar="PATH",
        unset="the cameras it was made with",
    )
    poses: Path | None = setting(
        None,
        "camera path that another program found in a result, any scale (same formats)",
        option="--poses",
        metavar="PATH",
        unset="none",
    )
    source: Path | None = setting(None, "source video of a result", option="--source", metavar="VIDEO", unset="none")
    source_geometry: Path | None = setting(
        None, "geometry folder of the source", option="--source_geometry", metavar="DIR", unset="none"
    )
    stride: int = setting(4, "measure every N-th frame", option="--stride", metavar="N", least=1, most=1000)
    colmap: bool = setting(
        False, "also estimate cameras by structure from motion (pycolmap), as a second opinion", option="--colmap"
    )
    networks: Path | None = setting(
        None, "folder of network files, for LPIPS, DISTS, FID and FVD", option="--networks", metavar="DIR", unset="none"
    )
    report: Path | None = setting(
        None, "where report.json and sheet.png go", option="--report", metavar="DIR", unset="output/evaluation/<name>"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.what is None) == (self.suite is None):
            raise UsageError(
                "evaluate: got neither or both of WHAT and --suite, expected one. See inspatio evaluate -h."
            )
