"""The options of `inspatio train`; imports nothing heavy, since every command's parser knows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from inspatio.errors import UsageError
from inspatio.settings import Settings, setting

GUIDANCE_PROMPT = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，"
    "丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，"
    "杂乱的背景，三条腿，背景人很多，倒着走"
)
"""Wan 2.1's own negative prompt, which Self-Forcing guides away from too."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions(Settings):
    """What `inspatio train` does: train a stage, or prepare its data."""

    action: Literal["prepare"] | None = setting(
        None, "prepare: encode clips into training data", option="ACTION", unset="train a stage"
    )
    train_config: Path | None = setting(
        None, "YAML file of a stage, as in configs/train", option="--config_path", metavar="FILE", unset="none"
    )
    folder: Path | None = setting(
        None,
        "where checkpoints and logs go; prepare: where the shards go",
        option="--output_folder",
        metavar="DIR",
        unset="output/training/<config's name>",
    )
    steps: int | None = setting(None, "optimiser steps", option="--steps", metavar="N", least=1, unset="the config's")
    clips: Path | None = setting(
        None,
        "prepare: folder of videos, or of folders with source.mp4, target.mp4, render.mp4, mask.mp4",
        option="--input_dir",
        metavar="DIR",
        unset="none",
    )
    rooms: int = setting(0, "prepare: make so many clips of synthetic rooms", option="--rooms", metavar="N", least=0)
    first_seed: int = setting(0, "prepare: seed of the first room", option="--seed", metavar="N", least=0, most=899_999)
    encoding_profile: str = setting(
        "inference_1.3b",
        "prepare: profile whose size, autoencoder and text encoder are used",
        option="--profile",
        metavar="NAME_OR_FILE",
    )
    kind: Literal["clips", "frames", "completions"] = setting(
        "clips",
        "prepare: clips for InSpatio-World, frames for WorldFM, completions (of rooms) for the preview's network",
        option="--kind",
    )
    frames: int = setting(
        81, "prepare: frames of a sample, in whole blocks: 9, 21, 33, ...", option="--frames", metavar="N", least=9
    )
    guidance_prompt: str = setting(
        GUIDANCE_PROMPT, "prepare: what guidance goes away from", option="--guidance_prompt", metavar="TEXT"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.action is None and self.train_config is None:
            raise UsageError("train: got no --config_path, expected a YAML file. Take one of configs/train")
        if self.action == "prepare" and (self.clips is None) == (self.rooms == 0):
            raise UsageError("train prepare: got neither or both of --input_dir and --rooms, expected one. Choose one")
        if self.kind == "completions" and self.clips is not None:
            raise UsageError("train prepare: got --input_dir with --kind completions, expected --rooms. Leave it out")
        if self.action == "prepare" and self.folder is None:
            raise UsageError("train prepare: got no --output_folder, expected one for the shards. Add it")
