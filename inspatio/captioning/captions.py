"""Captions: the captioner protocol, quality flags, and captions written by the user.

    captions = captioner.caption([middle_frame, ...])

The generator is conditioned on a paragraph of text about each clip. A network's answer can be useless although nothing
failed; such an answer is passed on with flags, which the manifest keeps and the user sees.

A clip ``walk.mp4`` takes its caption from ``walk.txt`` in the same folder if there is one, whatever captioner is
configured; ``--caption TEXT`` gives every clip the same. These texts are used as they are except for white space; a
file that cannot be a caption (binary, huge, empty) is an error.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from inspatio.errors import ClipError, UsageError
from inspatio.media.listing import PROMPT_NAME
from inspatio.storage import is_there
from inspatio.types import Image

Flag = Literal["empty", "task_tokens", "repetition", "cut"]

FLAG_MEANINGS: dict[Flag, str] = {
    "empty": "the answer holds no text",
    "task_tokens": "the answer holds task or location tokens only",
    "repetition": "the answer repeats itself",
    "cut": "the answer was cut at the token limit",
}
"""Each flag in words for the user."""

_REPEATED_SHARE = 0.5
_REPETITION_WORDS = 6
_MARKUP = re.compile(r"</?\w+>")

SIDECAR_SUFFIX = ".txt"

MAX_BYTES = 64 * 1024
"""The text encoder reads 512 tokens, some two or three kilobytes; a much larger file is not a caption."""


@dataclass(frozen=True)
class Caption:
    """A clip's prompt; ``flags`` name its defects and are empty for a good one."""

    text: str
    flags: tuple[Flag, ...] = ()


class Captioner(Protocol):
    """Describes images in words; what its captions depend on is told by ``factory.describe_captioner``."""

    def caption(self, images: Sequence[Image]) -> list[Caption]:
        """Caption ``h w c`` uint8 RGB images of any sizes, one caption each."""
        ...


def judge(answer: str, *, cut: bool = False) -> Caption:
    """Turn a network's answer into a caption: remove markup, collapse white space, flag defects.

    Args:
        answer: the decoded text, which may contain ``<token>`` markup.
        cut: the network was stopped at the token limit.
    """
    text = " ".join(_MARKUP.sub(" ", answer).split())
    flags: list[Flag] = []
    if not text:
        flags.append("task_tokens" if answer.strip() else "empty")
    if repeats_itself(text):
        flags.append("repetition")
    if cut:
        flags.append("cut")
    return Caption(text, tuple(flags))


def repeats_itself(text: str) -> bool:
    """Whether a text is repetitive: fewer than half of its pairs of neighbouring words are distinct.

    In prose nearly all pairs are distinct at any length of a caption. A decoder caught in a loop, even one that may not
    repeat three tokens in a row, combines only a few words. Texts of fewer than six words never count as repetitive.
    """
    words = re.findall(r"\w+|[^\w\s]", text.lower())
    pairs = list(itertools.pairwise(words))
    return len(words) >= _REPETITION_WORDS and len(set(pairs)) < _REPEATED_SHARE * len(pairs)


def fixed_caption(text: str) -> Caption:
    """The caption that ``--caption`` gives to every clip.

    Raises:
        UsageError: the text is empty, not UTF-8, or has control characters.
    """
    try:
        return Caption(_clean(text))
    except ValueError as error:
        raise UsageError(f"--caption: {error}; expected a description of the scene in words") from error


def sidecar_path(video: Path) -> Path:
    """The path of a clip's own caption file; of a scene folder the one in it."""
    if not video.is_dir():
        return video.with_suffix(SIDECAR_SUFFIX)
    own = video / PROMPT_NAME
    return own if own.is_file() else video.with_name(video.name + SIDECAR_SUFFIX)


def read_sidecar(video: Path) -> Caption | None:
    """Read the caption file beside a clip; None if there is none.

    Raises:
        ClipError: the file cannot be read as a caption.
    """
    path = sidecar_path(video)
    if not is_there(path):
        return None
    # A pipe would block when opened, a folder cannot be.
    if not path.is_file():
        raise _unusable(path, "not a regular file" if path.exists() else "dangling symbolic link")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror or error})") from error
    if len(content) > MAX_BYTES:
        raise _unusable(path, f"larger than {MAX_BYTES // 1024} KiB")
    try:
        return Caption(_clean(content.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        raise _unusable(path, f"not UTF-8 text (byte {error.start})") from error
    except ValueError as error:
        raise _unusable(path, str(error)) from error


def _clean(text: str) -> str:
    """Collapse white space to single blanks.

    Raises:
        ValueError: the text is empty, or has control characters or bytes that are not text (as surrogates).
    """
    words = " ".join(text.split())
    control = next((character for character in words if ord(character) < 0x20 or ord(character) == 0x7F), None)
    if control is not None:
        raise ValueError(f"has the control character U+{ord(control):04X}")
    if not words:
        raise ValueError("empty")
    if any("\ud800" <= character <= "\udfff" for character in words):
        raise ValueError("has bytes that are not UTF-8")
    return words


def _unusable(path: Path, fault: str) -> ClipError:
    return ClipError(
        f"{path}: {fault}; expected the clip's caption as UTF-8 text of at most {MAX_BYTES // 1024} KiB. "
        "Correct the file, or remove it to have the clip captioned."
    )
