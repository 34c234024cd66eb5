"""The user's choices of how a trajectory is laid over a clip; ``cameras/controls.py`` follows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from inspatio.errors import UsageError
from inspatio.settings import Settings, setting

FrameChoice = int | Literal["middle"]
"""A frame of a clip: its number, counted from 0, or the middle one."""


@dataclass(frozen=True, kw_only=True)
class Controls(Settings):
    """How a trajectory is laid over a clip: which source frames are shown, and what the camera path is relative to."""

    relative_to_source: bool = setting(
        False,
        "add the trajectory to the source camera's own motion (default: undo that motion)",
        option="--relative_to_source",
        changes="render",
    )
    rotation_only: bool = setting(
        False, "turn the camera without moving it", option="--rotation_only", changes="render"
    )
    adaptive_frames: bool = setting(
        True,
        "keep the clip's number of frames, whatever the speed of the trajectory",
        off="--disable_adaptive_frame",
        changes="render",
    )
    frames: int | None = setting(
        None,
        "frames of the result: the clip is bounced or subsampled, a still scene shown for so long",
        option="--frames",
        metavar="N",
        unset="as the path needs",
        least=1,
        most=100_000,
        changes="render",
    )
    seconds: float | None = setting(
        None,
        "the same in seconds",
        option="--seconds",
        metavar="S",
        unset="as the path needs",
        least=0.01,
        most=7200,
        changes="render",
    )
    fps: float | None = setting(
        None,
        "frames a second of still scenes (images, views, panoramas); videos keep their own",
        option="--fps",
        metavar="N",
        unset="15, or what a 1.5 scene folder says",
        least=1,
        most=240,
        changes="render",
    )
    freeze_repeat: int = setting(
        0,
        "show one frame N more times (bullet time)",
        option="--freeze_repeat",
        metavar="N",
        least=0,
        most=100_000,
        changes="render",
    )
    freeze_frame: FrameChoice = setting(
        "middle",
        "frame that is repeated: middle, or its number counted from 0",
        option="--freeze_frame",
        metavar="FRAME",
        least=0,
        changes="render",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames is not None and self.seconds is not None:
            raise UsageError(f"--frames {self.frames} and --seconds {self.seconds:g}: choose one")
