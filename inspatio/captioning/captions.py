"""What every captioner looks like to the rest: images in, prompts out, and what is wrong with them said aloud.

    captions = captioner.caption([middle_frame, ...])

The generator is conditioned on a paragraph of text about each clip. A network's answer can be useless in ways that an
exit code does not show; such an answer is passed on with flags, which the manifest keeps and the user sees.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from inspatio.types import Image

Flag = Literal["empty", "task_tokens", "repetition", "cut"]

FLAG_MEANINGS: dict[Flag, str] = {
    "empty": "the answer holds no text",
    "task_tokens": "the answer holds task or location tokens only",
    "repetition": "the answer repeats itself",
    "cut": "the answer was cut at the token limit",
}
"""What is wrong with a degenerate answer, in words for the user."""

_REPEATED_SHARE = 0.5
_REPETITION_WORDS = 6
_MARKUP = re.compile(r"</?\w+>")


@dataclass(frozen=True)
class Caption:
    """A clip's prompt; ``flags`` name what is wrong with it, and are empty for a good one."""

    text: str
    flags: tuple[Flag, ...] = ()


class Captioner(Protocol):
    """Describes images in words."""

    def fingerprint(self) -> dict[str, Any]:
        """What its captions depend on besides the image: name, version, weights, options (JSON values)."""
        ...

    def caption(self, images: Sequence[Image]) -> list[Caption]:
        """One caption for each ``h w c`` uint8 RGB image; the images may differ in size."""
        ...


def judge(answer: str, *, cut: bool = False) -> Caption:
    """A network's answer as a caption: markup removed, white space made single, and flags for what is wrong.

    Args:
        answer: the text as decoded, with whatever ``<token>`` the network wrote between the words.
        cut: the network was stopped before it ended the answer itself.
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
    """Whether a text goes round in circles: fewer than half of its pairs of neighbouring words are distinct.

    In prose nearly all pairs are distinct, at any length that a caption has; a decoder caught in a loop, also one that
    is kept from repeating three tokens in a row, draws them from a few words. Too short a text is never judged.
    """
    words = re.findall(r"\w+|[^\w\s]", text.lower())
    pairs = list(itertools.pairwise(words))
    return len(words) >= _REPETITION_WORDS and len(set(pairs)) < _REPEATED_SHARE * len(pairs)
