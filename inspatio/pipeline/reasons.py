"""Why a result is made again: what differs between the inputs it was made from and those of today, in words.

A result keeps its inputs as a flat dict (:func:`flatten`): options under their names in a profile, hashes of the source
and of weights, the fingerprints of earlier results, versions of stages. The fingerprint decides *whether* a result
is out of date; what is here only says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inspatio.clip_options import Controls
from inspatio.config import Profile
from inspatio.pipeline.options import GROUPS
from inspatio.settings import Setting, StageName, blocks, declared

_KINDS = ("backend", "name")
"""The keys that name which implementation a group of inputs belongs to."""
_SENTENCES = {
    "source": "the source changed",
    "trajectory": "the trajectory changed",
    "prompt": "the prompt changed",
    "geometry": "its geometry changed",
    "render": "its render changed",
    "files": "the geometry files beside the clip changed",
}
"""Inputs of which only a hash or a text is kept that is too long to show."""


def flatten(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a result with nested groups as dotted keys: ``{"a": {"b": 1}}`` is ``{"a.b": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in inputs.items():
        if isinstance(value, Mapping):
            flat |= {key if inner == key else f"{key}.{inner}": each for inner, each in flatten(value).items()}
        else:
            flat[key] = value
    return flat


def differences(stage: StageName, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between the inputs of a result (:func:`flatten`) and those of today, one phrase for each input."""
    if old.get("given") != new.get("given"):  # a caption's inputs are either a given text or a captioner's
        return [_given(old.get("given"), new.get("given"))]
    found, told = [], set()
    for group in dict.fromkeys(key.split(".")[0] for key in (*new, *old) if "." in key):
        before, after = _kind(group, old), _kind(group, new)
        if before != after:  # the settings of another implementation do not compare
            found.append(f"{_label(stage, group, 'backend')} changed from {before} to {after}")
            told.add(group)
    for key in dict.fromkeys((*new, *old)):
        if key.split(".")[0] not in told and old.get(key) != new.get(key):
            found.append(_phrase(stage, key, old.get(key), new.get(key)))
    return list(dict.fromkeys(found))


def option_changes(stage: StageName, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The options of a stage whose values differ, such as "--fit: crop there, pad here".

    An option that one side does not have, as another version or implementation has not, is left out.
    """
    return [
        "{}: {} there, {} here".format(*_shown(stage, key, old[key], new[key]))
        for key in new
        if key in old and old[key] != new[key]
    ]


def _given(old: Any, new: Any) -> str:
    if old is None:
        return "its prompt is given now"
    return "its prompt is no longer given" if new is None else "the given prompt changed"


def _kind(group: str, inputs: Mapping[str, Any]) -> Any:
    """Which implementation a group of inputs belongs to."""
    kinds = [inputs.get(key) for key in (group, *(f"{group}.{kind}" for kind in _KINDS))]
    return next((kind for kind in kinds if kind is not None), None)


def _phrase(stage: StageName, key: str, old: Any, new: Any) -> str:
    *groups, name = key.split(".")
    if name == "version":
        return "made by an older version" if _number(old) < _number(new) else "made by another version"
    if "weights" in groups or name in ("weights", "text_encoder"):
        return f"weights changed ({name if 'weights' in groups else key})"
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new) == 2 and old[0] == new[0]:
        if isinstance(new[0], str):  # an implementation and the hash of its weights
            return f"weights changed ({key})"
    elif name in _SENTENCES:
        return _SENTENCES[name]
    shown, before, after = _shown(stage, key, old, new)
    return f"{shown} changed from {before} to {after}"


def _number(version: Any) -> float:
    return version if isinstance(version, int) else 0


def _shown(stage: StageName, key: str, old: Any, new: Any) -> tuple[str, str, str]:
    """An input's name and its two values as a user knows them."""
    if isinstance(old, list) and isinstance(new, list) and old and new and isinstance(old[0], str):
        old, new = old[0], new[0]  # an implementation and the hash of its weights
    *groups, name = key.split(".")
    each = _declaration(stage, name)
    if each is not None and each.option is None and each.off is not None:  # --disable_X is on where X is off
        return each.off, _text(each, not old), _text(each, not new)
    return _label(stage, *groups, name), _text(each, old), _text(each, new)


def _label(stage: StageName, *key: str) -> str:
    """The option of a setting, else its key in a profile, else the name that the stage gave the input."""
    each = _declaration(stage, key[-1])
    if each is not None and each.options:
        return each.options[0]
    if each is not None:
        block = next((name for name, kind in blocks(Profile).items() if each in declared(kind)), "")
        return f"{block}.{each.name}" if block else each.name
    return ".".join(key)


def _declaration(stage: StageName, name: str) -> Setting | None:
    """The setting of a name on which a stage's results depend."""
    kinds = dict.fromkeys(kind for group in GROUPS for kind in (*group.settings, Controls, Profile))
    found = (each for kind in kinds for each in declared(kind) if each.name == _setting_name(name))
    return next((each for each in found if each.changes == stage), None)


def _setting_name(name: str) -> str:
    """The name of the setting behind an input, where the two differ."""
    return {"direction": "trajectory_direction"}.get(name, name)


def _text(each: Setting | None, value: Any) -> str:
    if value is None:
        return (each.unset if each else None) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ",".join(_text(None, item) for item in value)
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
