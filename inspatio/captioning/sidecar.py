"""Captions that the user wrote: a text file beside the clip, or one text for all clips.

A clip ``walk.mp4`` takes its prompt from ``walk.txt`` in the same folder where there is one, whatever captioner is
configured; ``--caption TEXT`` gives every clip the same. What the user wrote is used as it is but for white space:
it is never judged, but a file that cannot be meant as a prompt (binary, huge, empty) is an error, not a prompt.
"""

from __future__ import annotations

from pathlib import Path

from inspatio.captioning.captions import Caption
from inspatio.errors import ClipError, UsageError

SIDECAR_SUFFIX = ".txt"

MAX_BYTES = 64 * 1024
"""The text encoder reads 512 tokens, some two or three kilobytes; what is far larger is no prompt."""


def fixed_caption(text: str) -> Caption:
    """The caption that ``--caption`` gives to every clip.

    Raises:
        UsageError: the text is empty or is no text.
    """
    try:
        return Caption(_clean(text))
    except ValueError as error:
        raise UsageError(f"--caption {error}, expected a description of the scene in words") from error


def sidecar_path(video: Path) -> Path:
    """Where a clip's own caption is looked for."""
    return video.with_suffix(SIDECAR_SUFFIX)


def read_sidecar(video: Path) -> Caption | None:
    """The caption in the text file beside a clip; None where there is no such file.

    Raises:
        ClipError: there is one, but it cannot be read as a caption.
    """
    path = sidecar_path(video)
    if not path.exists() and not path.is_symlink():
        return None
    # Neither a folder nor a pipe (which would block) is opened.
    if not path.is_file():
        raise _unusable(path, "is no file" if path.exists() else "is a link to nothing")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror or error})") from error
    if len(content) > MAX_BYTES:
        raise _unusable(path, f"is larger than {MAX_BYTES // 1024} KiB")
    try:
        return Caption(_clean(content.decode("utf-8-sig")))
    except UnicodeDecodeError as error:
        raise _unusable(path, f"is no UTF-8 text (byte {error.start})") from error
    except ValueError as error:
        raise _unusable(path, str(error)) from error


def _clean(text: str) -> str:
    """The text with single blanks for all white space.

    Raises:
        ValueError: nothing is left, or it holds control characters.
    """
    words = " ".join(text.split())
    control = next((character for character in words if ord(character) < 0x20 or ord(character) == 0x7F), None)
    if control is not None:
        raise ValueError(f"holds the control character U+{ord(control):04X}")
    if not words:
        raise ValueError("is empty")
    return words


def _unusable(path: Path, fault: str) -> ClipError:
    return ClipError(
        f"{path}: {fault}, expected the clip's caption as UTF-8 text of at most {MAX_BYTES // 1024} KiB. "
        "Write one, or remove the file to have the clip captioned."
    )
