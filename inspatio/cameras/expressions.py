"""Camera paths as expressions: presets with parameters, joined by ``+``.

    orbit(yaw=20, pitch=5, cycles=2)                a closed loop around the foreground
    dolly_zoom(distance=0.4)                        forward, with the focal length that keeps the foreground's size
    steady(strength=0.8) + dolly(distance=0.2)      relative to the source's camera without its shake
    lock_off(frame=30)                              the camera stands as at frame 30
    orbit_left + zoom(1, 2) + time(0, 0.5, 0.5, 1)  a named trajectory, zooming in, with the clip frozen half way
    follow(other.mp4)                               the camera of another clip

One term says where the camera goes (none: it follows its anchor, or stands), one may be an anchor (``steady``,
``lock_off``), and ``zoom`` and ``time`` may be added.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from inspatio.cameras.anchored import Anchor, AnchoredTrajectory, Held, Steady
from inspatio.cameras.imported import TiedTrajectory
from inspatio.cameras.poses import compose
from inspatio.cameras.trajectory import (
    MAX_DISPLACEMENT,
    MAX_FRAMES,
    MAX_TURN_DEGREES,
    ZOOM_RANGE,
    FlightTrajectory,
    MatrixTrajectory,
    OrbitTrajectory,
    Trajectory,
)
from inspatio.errors import UsageError
from inspatio.settings import parse_number

_TERM = re.compile(r"([A-Za-z_]\w*)\s*(?:\((.*)\))?", re.DOTALL)
_CYCLE_KEYS = 16
"""Keyframes of one cycle of an orbit."""
_MAX_CYCLES = 100


@dataclass(frozen=True)
class Term:
    """One term of an expression: a name and its arguments as they were written."""

    text: str
    name: str
    positional: tuple[str, ...]
    named: dict[str, str]


@dataclass(frozen=True)
class _Timing:
    kind: Literal["zoom", "time"]
    keyframes: tuple[float, ...]


def is_expression(text: str) -> bool:
    """Whether a text has the form of an expression: names with arguments in brackets, or several terms."""
    parts = split(text, "+")
    return all(_TERM.fullmatch(part.strip()) for part in parts) and (len(parts) > 1 or "(" in text)


def parse_expression(text: str, load: Callable[[Term], Trajectory]) -> Trajectory:
    """The trajectory of an expression.

    Args:
        text: the expression.
        load: gives the trajectory of a term that is no preset of this module: a named one, or one of a file.

    Raises:
        UsageError: an unknown name or argument, or values that cannot be meant.
    """
    path: Trajectory | None = None
    anchor: Anchor | None = None
    timings: dict[str, tuple[float, ...]] = {}
    for part in split(text, "+"):
        term = parse_term(part)
        made = _call(term, PRESETS[term.name]) if term.name in PRESETS else load(term)
        if isinstance(made, _Timing):
            if made.kind in timings:
                raise UsageError(f"{text}: got {made.kind} twice, expected it once")
            timings[made.kind] = made.keyframes
        elif isinstance(made, Steady | Held):
            if anchor is not None:
                raise UsageError(f"{text}: got two of steady and lock_off, expected one")
            anchor = made
        elif path is not None:
            raise UsageError(f"{text}: got two camera paths, expected one. Leave out {term.text}")
        else:
            path = made
    path = path or OrbitTrajectory((0.0,), (0.0,), (0.0,))
    if "zoom" in timings and path.zoom != (1.0,):
        raise UsageError(f"{text}: got zoom({', '.join(map(str, timings['zoom']))}) for a path that zooms itself")
    if "time" in timings and (path.time is not None or _has_times(path)):
        raise UsageError(f"{text}: got time for a path that has its own times. Leave one out")
    if anchor is not None:
        if isinstance(path, TiedTrajectory):
            raise UsageError(f"{text}: got steady or lock_off for a path that is tied to the scene. Leave one out")
        path = AnchoredTrajectory(path, anchor, time=path.time)
    return replace(path, **timings)


def parse_term(text: str) -> Term:
    """Split ``name(1, key=2)`` into its parts.

    Raises:
        UsageError: it has another form.
    """
    text = text.strip()
    match = _TERM.fullmatch(text)
    if match is None:
        raise UsageError(f"{text!r}: expected a name, or a name with arguments such as orbit(yaw=20)")
    positional: list[str] = []
    named: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in split(match[2] or "", ","))):
        key, sign, value = part.partition("=")
        if sign and key.strip().isidentifier():
            named[key.strip()] = value.strip()
        elif named:
            raise UsageError(f"{text}: got {part!r} after an argument with a name, expected key=value")
        else:
            positional.append(part)
    return Term(text, match[1], tuple(positional), named)


def split(text: str, sign: str) -> list[str]:
    """Split at a sign that stands outside brackets.

    Raises:
        UsageError: brackets are not closed.
    """
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            break
        if letter == sign and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    if depth != 0:
        raise UsageError(f"{text}: its brackets do not match")
    return parts


def number(term: Term, name: str, text: str, least: float, most: float) -> float:
    """The value of an argument.

    Raises:
        UsageError: it is not a number, or out of range.
    """
    try:
        value = parse_number(text)
    except ValueError:
        raise UsageError(f"{term.text}: {name}: got {text!r}, expected a number") from None
    if not least <= value <= most:
        raise UsageError(f"{term.text}: {name}: got {value:g}, expected {least:g} to {most:g}")
    return value


def _orbit(yaw: float = 0, pitch: float = 0, cycles: float = 1, radius: float = 1) -> Trajectory:
    """A closed loop around the foreground: yaw to both sides, pitch up and down again."""
    phase = 2 * np.pi * np.linspace(0, cycles, max(round(_CYCLE_KEYS * cycles), 1) + 1)
    yaws, pitches = yaw * np.sin(phase), pitch * (1 - np.cos(phase)) / 2
    return OrbitTrajectory(_tuple(pitches), _tuple(yaws), (radius,))


def _pan(yaw: float) -> Trajectory:
    """Turn to the left by so many degrees, without moving."""
    return OrbitTrajectory((0.0,), (0.0, -yaw), (0.0,))


def _tilt(pitch: float) -> Trajectory:
    """Turn up by so many degrees, without moving."""
    return OrbitTrajectory((0.0, -pitch), (0.0,), (0.0,))


def _dolly(distance: float) -> Trajectory:
    """Move forward by so many foreground depths."""
    return OrbitTrajectory((0.0,), (0.0,), (0.0, distance))


def _truck(distance: float) -> Trajectory:
    """Move to the right by so many foreground depths."""
    return _straight(distance, 0, 0)


def _crane(height: float) -> Trajectory:
    """Move up by so many foreground depths."""
    return _straight(0, -height, 0)


def _dolly_zoom(distance: float, subject: float = 1) -> Trajectory:
    """Move forward and widen the lens so that what is so many foreground depths away (subject) keeps its size."""
    last = (subject - distance) / subject
    if not ZOOM_RANGE[0] <= last <= ZOOM_RANGE[1]:
        raise UsageError(
            f"dolly_zoom(distance={distance:g}, subject={subject:g}): ends at {last:.3g} times the focal length, "
            f"expected {ZOOM_RANGE[0]:g} to {ZOOM_RANGE[1]:g}. The camera must stay before the subject"
        )
    return OrbitTrajectory((0.0,), (0.0,), (0.0, distance), zoom=(1.0, last))


def _steady(strength: float = 1, window: float = 12) -> Steady:
    """The source's own camera without its shake; strength 0 to 1, window in frames."""
    return Steady(strength, window)


def _lock_off(frame: float = 0) -> Held:
    """The camera stands as at a frame of the source."""
    if frame != int(frame):
        raise UsageError(f"lock_off(frame={frame:g}): expected a whole number")
    return Held(int(frame))


def _zoom(*keyframes: float) -> _Timing:
    """Focal length over time, times the source's; one value zooms from 1 to it."""
    return _Timing("zoom", keyframes if len(keyframes) > 1 else (1.0, *keyframes))


def _time(*keyframes: float) -> _Timing:
    """Moments of the clip (0 its first frame, 1 its last): equal neighbours freeze it, falling ones reverse it."""
    return _Timing("time", keyframes)


PRESETS: dict[str, Callable[..., Any]] = {
    "orbit": _orbit,
    "pan": _pan,
    "tilt": _tilt,
    "dolly": _dolly,
    "truck": _truck,
    "crane": _crane,
    "dolly_zoom": _dolly_zoom,
    "zoom": _zoom,
    "time": _time,
    "steady": _steady,
    "lock_off": _lock_off,
}
_RANGES = {
    "yaw": (-MAX_TURN_DEGREES, MAX_TURN_DEGREES),
    "pitch": (-MAX_TURN_DEGREES, MAX_TURN_DEGREES),
    "cycles": (1 / _CYCLE_KEYS, _MAX_CYCLES),
    "radius": (0.0, MAX_DISPLACEMENT),
    "distance": (-MAX_DISPLACEMENT, MAX_DISPLACEMENT),
    "height": (-MAX_DISPLACEMENT, MAX_DISPLACEMENT),
    "subject": (1e-3, MAX_DISPLACEMENT),
    "strength": (0.0, 1.0),
    "window": (0.0, 1000.0),
    "frame": (0, MAX_FRAMES),
    "zoom": ZOOM_RANGE,
    "time": (0.0, 1.0),
}


def signatures() -> list[tuple[str, str]]:
    """How each preset is spelled, and what it does."""
    found = []
    for name, preset in PRESETS.items():
        words = []
        for key, each in inspect.signature(preset).parameters.items():
            if each.kind is inspect.Parameter.VAR_POSITIONAL:
                words.append(f"{key[:-1]}, ..")
            else:
                words.append(key if each.default is inspect.Parameter.empty else f"{key}={each.default:g}")
        found.append((f"{name}({', '.join(words)})", (inspect.getdoc(preset) or "").splitlines()[0]))
    return found


def presets_markdown() -> str:
    """The table of presets in docs/formats.md."""
    rows = [f"| `{spelling}` | {about} |" for spelling, about in signatures()]
    return "\n".join(["| preset | what it does |", "|---|---|", *rows])


def _call(term: Term, preset: Callable[..., Any]) -> Any:
    """Call a preset with a term's arguments, checked."""
    parameters = inspect.signature(preset).parameters
    several = any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters.values())
    usage = next(spelling for spelling, _ in signatures() if spelling.startswith(f"{term.name}("))
    if several:
        if term.named or not term.positional or len(term.positional) > MAX_FRAMES:
            raise UsageError(f"{term.text}: expected {usage}")
        return preset(*(number(term, term.name, text, *_RANGES[term.name]) for text in term.positional))
    if len(term.positional) > len(parameters):
        raise UsageError(f"{term.text}: got {len(term.positional)} arguments, expected {usage}")
    arguments = dict(zip(parameters, term.positional, strict=False))
    for key, value in term.named.items():
        if key not in parameters or key in arguments:
            raise UsageError(f"{term.text}: got {key}, expected {usage}")
        arguments[key] = value
    missing = [key for key, each in parameters.items() if each.default is inspect.Parameter.empty]
    if not set(missing) <= set(arguments):
        raise UsageError(f"{term.text}: expected {usage}")
    return preset(**{key: number(term, key, value, *_RANGES[key]) for key, value in arguments.items()})


def _straight(x: float, y: float, z: float) -> Trajectory:
    return MatrixTrajectory(compose(np.eye(3), np.array([[0, 0, 0], [x, y, z]], np.float64)), "foreground")


def _has_times(path: Trajectory) -> bool:
    return isinstance(path, FlightTrajectory) and (path.source_frames is not None or path.source_times is not None)


def _tuple(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in np.round(values, 12))
