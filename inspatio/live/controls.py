"""The table of controls: it drives the page's keys and help, and docs/live.md.

Keys are physical (``KeyboardEvent.code``), so they lie in the same places on every keyboard layout.
"""

from __future__ import annotations

from inspatio.live.protocol import Control


def _row(action: str, keys: str, shown: str, group: str, help: str) -> Control:
    return Control(action=action, keys=keys.split(), shown=shown, group=group, help=help)


CONTROLS: tuple[Control, ...] = (
    _row("forward", "KeyW", "W", "move", "fly forward"),
    _row("back", "KeyS", "S", "move", "fly back"),
    _row("left", "KeyA", "A", "move", "fly left"),
    _row("right", "KeyD", "D", "move", "fly right"),
    _row("up", "KeyE", "E", "move", "rise"),
    _row("down", "KeyQ", "Q", "move", "sink"),
    _row("fast", "ShiftLeft ShiftRight", "Shift", "move", "four times as fast while held"),
    _row("slow", "AltLeft AltRight", "Alt", "move", "a quarter as fast while held"),
    _row("turn_left", "ArrowLeft", "←", "look", "turn left; also: drag with the mouse, or click for pointer lock"),
    _row("turn_right", "ArrowRight", "→", "look", "turn right"),
    _row("turn_up", "ArrowUp", "↑", "look", "look up"),
    _row("turn_down", "ArrowDown", "↓", "look", "look down"),
    _row("orbit", "KeyF", "F", "look", "orbit round the point under the cursor, and back to flying"),
    _row("home", "Home Digit0", "Home, 0", "look", "ease back to the source camera"),
    _row("follow", "KeyB", "B", "look", "ride along with the source camera, or stay fixed in the world"),
    _row("pause", "Space", "Space", "time", "stop the source's time, or let it run as filmed"),
    _row("step_back", "Comma", ",", "time", "one frame back"),
    _row("step_on", "Period", ".", "time", "one frame on"),
    _row("reverse", "KeyJ", "J", "time", "play backward; again: faster"),
    _row("stop", "KeyK", "K", "time", "stop"),
    _row("play", "KeyL", "L", "time", "play forward; again: faster"),
    _row("slower", "BracketLeft", "[", "time", "half the speed"),
    _row("faster", "BracketRight", "]", "time", "twice the speed"),
    _row("record", "KeyR", "R", "keep", "start or stop recording the flight"),
    _row("mark", "KeyM", "M", "keep", "set a bookmark; its number goes back to it and branches there"),
    _row(
        "bookmark",
        "Digit1 Digit2 Digit3 Digit4 Digit5 Digit6 Digit7 Digit8 Digit9",
        "1 .. 9",
        "keep",
        "back to a bookmark",
    ),
    _row("swap", "KeyV", "V", "keep", "to the branch that was left by going back to a bookmark, and back again"),
    _row("screenshot", "KeyP", "P", "keep", "save the picture"),
    _row("clip", "KeyG", "G", "keep", "save what was shown in the last ten seconds"),
    _row(
        "layer", "Tab", "Tab", "view", "next layer: result, render, holes, depth, source, wipe, branches (two compared)"
    ),
    _row("holes", "KeyH", "H", "view", "show what is made up, and its share"),
    _row("anchor", "KeyX", "X", "view", "start the generator again from the source"),
    _row("help", "Slash F1", "?", "view", "this table"),
)


def controls_markdown() -> str:
    """The table as docs/live.md shows it."""
    lines = ["| key | does | |", "|---|---|---|"]
    lines += [f"| {each.shown.replace('|', chr(92) + '|')} | {each.help} | {each.group} |" for each in CONTROLS]
    return "\n".join(lines) + "\n"
