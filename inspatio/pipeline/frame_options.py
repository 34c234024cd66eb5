"""The options of `inspatio frames`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from inspatio.settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class FrameOptions(Settings):
    """What `inspatio frames` takes."""

    meta: Path = setting(
        Path(), "meta.json with name, image, K and c2w", option="--meta", metavar="FILE", required=True
    )
    output_dir: Path = setting(Path("output"), "results go into <DIR>/<name>", option="--output_dir", metavar="DIR")
    panorama: Path | None = setting(
        None, "equirectangular picture", option="--panorama", metavar="FILE", unset="beside the meta.json"
    )
    panorama_depth: Path | None = setting(
        None,
        "distance of each of its pixels",
        option="--panorama_depth",
        metavar="FILE",
        unset="beside the panorama",
    )
    photo_fov: float | None = setting(
        None,
        "field of view in degrees, along its longer side, of the photo (image) that the panorama was made from; with "
        "it the photo is a reference too. HunyuanWorld takes every photo as of 80",
        option="--photo_fov",
        metavar="DEG",
        unset="the photo is not used",
        least=1,
        most=170,
    )
    frame_profile: str = setting("worldfm", "a profile with the generator worldfm", option="--profile", metavar="NAME")
    save_mode: Literal["video", "image"] = setting("video", "one video, or a PNG for each pose", option="--save_mode")
    fps: int = setting(30, "frames per second of the video", option="--fps", metavar="N", least=1, most=1000)
    seed: int = setting(0, "of the noise", option="--seed", metavar="N", least=0)
