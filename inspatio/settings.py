"""How a setting is declared: one dataclass field says everything about it.

    @dataclass(frozen=True, kw_only=True)
    class RenderConfig(Settings):
        backend: Literal["warper", "ply"] = setting("warper", "forward splat or discs", option="--render_backend")

The field gives the key in a profile's YAML, the type, the choices and the range of its values, the option on the
command line with its help, the row in docs/options.md, and whether the fingerprint of a stage contains it. Adding a
setting means adding a field. Values are checked in one place, :func:`convert`, whether they come from YAML, the command
line or Python.
"""

from __future__ import annotations

import dataclasses
import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from inspatio.errors import UsageError

StageName = Literal["caption", "geometry", "render", "generate"]
Filled = TypeVar("Filled", bound="Settings")

_KEY = "setting"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One declared setting of a :class:`Settings` class. See :func:`setting` for the attributes."""

    name: str = ""
    kind: Any = None
    default: Any
    help: str | None
    option: str | None
    off: str | None
    metavar: str | None
    unset: str | None
    least: float | None
    most: float | None
    required: bool
    changes: StageName | None
    by_content: bool

    @property
    def options(self) -> tuple[str, ...]:
        """Its spellings on the command line: the option and the one that switches it off, as far as there are any."""
        return tuple(spelling for spelling in (self.option, self.off) if spelling)

    @property
    def is_switch(self) -> bool:
        """Whether its options take no value: it is on, off, or (where its type allows None) not decided."""
        return set(_alternatives(self.kind)) <= {bool, NoneType} and self.kind is not NoneType

    @property
    def choices(self) -> tuple[str, ...]:
        """The values of a setting that has a fixed number of them; empty for all others."""
        kinds = [kind for kind in _alternatives(self.kind) if kind is not NoneType]
        return get_args(kinds[0]) if len(kinds) == 1 and get_origin(kinds[0]) is Literal else ()

    @property
    def default_text(self) -> str:
        """The default as the help and the documentation show it; empty where there is nothing to say."""
        if self.default is None:
            return self.unset or ""
        if isinstance(self.default, bool):
            return "on" if self.default and self.option else "off"
        if isinstance(self.default, tuple):
            return ",".join(map(str, self.default))
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)


def setting(
    default: Any,
    help: str | None,
    *,
    option: str | None = None,
    off: str | None = None,
    metavar: str | None = None,
    unset: str | None = None,
    least: float | None = None,
    most: float | None = None,
    required: bool = False,
    changes: StageName | None = None,
    by_content: bool = False,
) -> Any:
    """Declare a setting: the default value of a field of a :class:`Settings` class.

    Args:
        default: the value where nobody gives one.
        help: what it does, as shown by --help and docs/options.md; None hides it from both.
        option: the option that sets it; None: a profile can, the command line cannot.
        off: the option that makes a bool False, such as ``--no_offload``.
        metavar: stands for the value in the help; choices need none.
        unset: what None means, in the place where the help shows defaults.
        least: the smallest number allowed.
        most: the largest number allowed; beyond it a typing error is likelier than a wish.
        required: the command line must give it.
        changes: the stage whose results depend on it, directly. Its fingerprint must then depend on it too.
        by_content: it names files, and the fingerprint depends on their content, not on their path.
    """
    declaration = Setting(
        default=default,
        help=help,
        option=option,
        off=off,
        metavar=metavar,
        unset=unset,
        least=least,
        most=most,
        required=required,
        changes=changes,
        by_content=by_content,
    )
    return dataclasses.field(default=default, metadata={_KEY: declaration})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of all classes that hold settings; checks and converts each value.

    Raises:
        UsageError: a value is of the wrong type, not among the choices, or out of range.
    """

    def __post_init__(self) -> None:
        for each in declared(type(self)):
            try:
                value = convert(getattr(self, each.name), each.kind, each.least, each.most)
            except ValueError as error:
                raise UsageError(f"{each.name}: {error}") from error
            object.__setattr__(self, each.name, value)


@cache
def declared(kind: type[Settings]) -> tuple[Setting, ...]:
    """The settings of a class, in the order of its fields."""
    hints = get_type_hints(kind)
    return tuple(
        dataclasses.replace(field.metadata[_KEY], name=field.name, kind=hints[field.name])
        for field in dataclasses.fields(kind)
        if _KEY in field.metadata
    )


@cache
def blocks(kind: type[Settings]) -> dict[str, type[Settings]]:
    """The fields of a class that are settings classes themselves, by name."""
    hints = get_type_hints(kind)
    found = {field.name: hints[field.name] for field in dataclasses.fields(kind)}
    return {name: each for name, each in found.items() if isinstance(each, type) and issubclass(each, Settings)}


def fill(kind: type[Filled], values: object) -> Filled:
    """Build a settings class from a mapping with strings as keys; what it leaves out has the default.

    Raises:
        UsageError: a key is unknown, or its value wrong; the message begins with the key, ``generator.precision`` say.
    """
    if not isinstance(values, Mapping):
        raise UsageError(f"got {values!r}, expected a mapping of keys to values")
    known = [each.name for each in declared(kind)] + list(blocks(kind))
    given: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise UsageError(f"{key}: unknown key, expected one of {', '.join(known)}")
        if key not in blocks(kind):
            given[key] = value
        elif value is not None:
            try:
                given[key] = fill(blocks(kind)[key], value)
            except UsageError as error:
                raise UsageError(f"{key}{': ' if str(error).startswith('got ') else '.'}{error}") from error
    return kind(**given)


def result_settings(settings: Settings) -> dict[str, Any]:
    """The settings that results depend on by value, as JSON values: the part of a fingerprint that is theirs.

    Settings that name files are left out, since fingerprints contain what is in the files.
    """
    marked = [each for each in declared(type(settings)) if each.changes and not each.by_content]
    return {each.name: _as_json(getattr(settings, each.name)) for each in marked}


def convert(value: object, kind: Any, least: float | None = None, most: float | None = None) -> Any:
    """Convert a value to the type of its field. Text counts as the number, path or comma-separated list it spells.

    Args:
        value: from YAML, from the command line (then text), or from Python.
        kind: the field's type: bool, int, float, str, Path, a Literal, ``tuple[X, ...]``, or a union of those.
        least: the smallest number allowed.
        most: the largest number allowed.

    Raises:
        ValueError: got another value than expected.
    """
    for alternative in _alternatives(kind):
        try:
            return _as(alternative, value, least, most)
        except (ValueError, TypeError, OverflowError):  # OverflowError: a whole number that no float can hold
            continue
    raise ValueError(f"got {reprlib.repr(value)}, expected {expected(kind, least, most)}")


def expected(kind: Any, least: float | None = None, most: float | None = None) -> str:
    """Describe the values of a type in words."""
    kinds = [each for each in _alternatives(kind) if each is not NoneType]
    if len(kinds) > 1:
        return " or ".join(expected(each, least, most) for each in kinds)
    (kind,) = kinds
    if get_origin(kind) is Literal:
        *others, last = get_args(kind)
        return f"{', '.join(others)} or {last}" if others else last
    bounds = [f"{word} {limit:.10g}" for word, limit in (("at least", least), ("at most", most)) if limit is not None]
    bound = f" of {' and '.join(bounds)}" if bounds else ""
    if get_origin(kind) is tuple:
        return f"a list, separated by commas, each {expected(get_args(kind)[0], least, most)}"
    names = {
        bool: "true or false",
        int: f"a whole number{bound}",
        float: f"a number{bound}",
        str: "text",
        Path: "a path",
    }
    return names[kind]


def parse_number(text: str) -> float:
    """Read a number as people write it in files and options: ASCII digits, no ``1_000``, neither NaN nor infinity.

    Python's ``float`` takes underscores and the digits of every script, whose values few readers could check.

    Raises:
        ValueError: it is not such a number.
    """
    if not text.isascii() or "_" in text or not math.isfinite(float(text)):
        raise ValueError(f"got {text[:40]!r}, expected a finite number")
    return float(text)


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _as(kind: Any, value: Any, least: float | None, most: float | None) -> Any:
    """Convert a value to one type that is not a union, or raise ValueError or TypeError."""
    if get_origin(kind) is Literal:
        return get_args(kind)[get_args(kind).index(value)]
    if get_origin(kind) is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if not items:
            raise ValueError("an empty list")
        return tuple(convert(item, get_args(kind)[0], least, most) for item in items)
    number_or_text: Any = kind
    if kind is NoneType or kind is bool:
        if not isinstance(value, kind):
            raise TypeError("only None is None, and only True and False are bools")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str | Path):
        raise TypeError("neither text nor a number")
    if kind is int and isinstance(value, float):
        raise TypeError("int() would cut a fraction off")
    if kind in (int, float) and isinstance(value, str):
        parse_number(value)
    converted = number_or_text(value)
    if kind is float and not math.isfinite(converted):
        raise ValueError("not finite")
    if kind in (int, float) and least is not None and converted < least:
        raise ValueError("too small")
    if kind in (int, float) and most is not None and converted > most:
        raise ValueError("too large")
    return converted


def _as_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_as_json(item) for item in value]
    return str(value) if isinstance(value, Path) else value
