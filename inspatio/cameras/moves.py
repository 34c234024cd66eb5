"""Pose strings: a camera path as moves held for a number of frames.

    forward:36, right*0.5:12, right+turn-left:24     names, times a speed, for so many frames
    w-31, right-1                                    HY-WorldPlay: keys for so many latents of 4 frames
    a*4,w*8                                          minWM: keys for so many latents of 4 frames

Moves go along the camera's level heading, so that looking up does not fly upwards. Speeds are those of the programs
that the spellings come from, without their easing, in foreground depths where theirs are in a unit of their own: 0.012
a frame and 1.2 degrees for names, 0.08 a latent and 3 degrees for keys.
"""

from __future__ import annotations

import re

import numpy as np
from scipy.spatial.transform import Rotation

from inspatio.cameras.poses import compose
from inspatio.cameras.trajectory import MAX_FRAMES, FlightTrajectory
from inspatio.errors import UsageError

_AXES = {"forward": (0, 1), "back": (0, -1), "right": (1, 1), "left": (1, -1), "up": (2, 1), "down": (2, -1)}
_AXES |= {"turn-right": (3, 1), "turn-left": (3, -1), "look-up": (4, 1), "look-down": (4, -1), "still": (0, 0)}
"""Of each name: which of forward, right, up, yaw and pitch it changes, and its sign."""
_HY_KEYS = {"w": "forward", "s": "back", "a": "left", "d": "right"}
_HY_KEYS |= {"left": "turn-left", "right": "turn-right", "up": "look-up", "down": "look-down"}
_MINWM_KEYS = {"w": "forward", "s": "back", "a": "left", "d": "right"}
_MINWM_KEYS |= {"j": "turn-left", "l": "turn-right", "i": "look-up", "k": "look-down"}
_NAME_SPEEDS = 0.012, 1.2
"""Foreground depths and degrees a frame, of names at full speed."""
_KEY_SPEEDS = 0.08 / 4, 3.0 / 4
"""The same of keys."""
_LATENT = 4
"""Frames of a latent."""
MAX_PITCH = 85.0
"""How far up or down the camera may look, in degrees; beyond it the heading would flip."""

_NAMED = re.compile(r"([a-z-]+(?:\*[\d.]+)?(?:\+[a-z-]+(?:\*[\d.]+)?)*):(\d+)")
_HY = re.compile(r"(w|s|a|d|left|right|up|down)-(\d+)(?:\.\d+)?")
_MINWM = re.compile(r"([wsadijkl])\*(\d+)")


def is_move(text: str) -> bool:
    """Whether a text is one move of a pose string."""
    text = text.strip()
    return any(pattern.fullmatch(text) for pattern in (_NAMED, _HY, _MINWM))


def parse_moves(text: str) -> FlightTrajectory:
    """The flight that a pose string describes: a frame at the source's camera, then one for each frame of a move.

    Raises:
        UsageError: a move is not known, or there are too many frames.
    """
    steps = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        step, count = _move(part)
        if len(steps) + count > MAX_FRAMES:
            raise UsageError(f"{text[:60]}: more than {MAX_FRAMES} frames, expected at most that many")
        steps += [step] * count
    if not steps:
        raise UsageError(f"{text[:60]!r}: got no frames, expected moves such as forward:36, turn-left:24")
    forward, right, up, yaw, pitch = np.array(steps).T
    heading = np.concatenate([[0], np.cumsum(yaw)])
    tilt = np.concatenate([[0], np.cumsum(pitch)])
    if np.abs(tilt).max() > MAX_PITCH:
        raise UsageError(
            f"{text[:60]}: looks {np.abs(tilt).max():g} degrees up or down, expected at most {MAX_PITCH:g}"
        )
    level = Rotation.from_euler("y", heading[:, None], degrees=True)
    moved = level[1:].apply(np.stack([right, -up, forward], axis=1))
    centres = np.concatenate([np.zeros((1, 3)), np.cumsum(moved, axis=0)])
    rotations = level * Rotation.from_euler("x", tilt[:, None], degrees=True)
    return FlightTrajectory(compose(rotations.as_matrix(), centres), unit="foreground")


def _move(part: str) -> tuple[np.ndarray, int]:
    """The change in each frame (forward, right, up in foreground depths; yaw, pitch in degrees) and the frames."""
    if match := _NAMED.fullmatch(part):
        step = np.zeros(5)
        for term in match[1].split("+"):
            name, _, speed = term.partition("*")
            step += _step(part, name, _NAME_SPEEDS) * _speed(part, speed)
        return step, int(match[2])
    for pattern, keys in ((_HY, _HY_KEYS), (_MINWM, _MINWM_KEYS)):
        if match := pattern.fullmatch(part):
            return _step(part, keys[match[1]], _KEY_SPEEDS), _LATENT * int(match[2])
    raise UsageError(f"{part!r}: not a move; expected such as forward:36, turn-left*0.5:24, w-31 or a*4")


def _speed(part: str, text: str) -> float:
    try:
        return float(text or 1)
    except ValueError:
        raise UsageError(f"{part!r}: got a speed of {text!r}, expected a number") from None


def _step(part: str, name: str, speeds: tuple[float, float]) -> np.ndarray:
    if name not in _AXES:
        raise UsageError(f"{part!r}: got {name!r}, expected one of {', '.join(_AXES)}")
    axis, sign = _AXES[name]
    step = np.zeros(5)
    step[axis] = sign * speeds[axis >= 3]
    return step
