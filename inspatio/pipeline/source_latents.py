"""Keep a clip's source latents in the work folder, so that the next trajectory over it encodes no source.

    with SourceLatents.open(folder, "clip", made_from, blocks=11) as latents:
        generator.start(replace(scene, source_latents=latents), seed=7)       reads them, or keeps what it encodes

What the source's frames are encoded to does not depend on the target cameras. A file is named by the clip and by the
fingerprint of all that its latents depend on, the device among it, since another one rounds otherwise: what is read is
what would be encoded, bit for bit. It is a line of JSON (``dtype``, ``shape``), the latents of each block without gaps,
and 16 bytes of BLAKE2b of all that; it is checked whole before its first block is used. Blocks are read and written one
at a time, so memory does not grow with the clip. A file appears when the clip is finished; the files used longest ago
make room.

Latents can always be made again: a damaged file is removed, and where none can be written (a full disk) one line says
so and the clip goes on.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch

from inspatio.pipeline.fingerprints import fingerprint
from inspatio.storage import file_name, sync

FOLDER = "latents"
"""In the work folder."""
ENDING = ".latents"
LARGEST = 4 << 30
"""Bytes that the folder holds at most; at 832x480 in half precision 12 frames take 0.6 MB."""
DIGEST_BYTES = 16
LONGEST_HEADER = 1024
PIECE = 1 << 20
UNFINISHED = f"{ENDING}.part"
"""Ending of a file that is being written. Not the temporary files' own, which a run removes when it begins: runs of
other trajectories may be writing here at that time."""
LEFT_BEHIND = 24 * 3600
"""Seconds after which an unfinished file belongs to no run any more."""

_log = logging.getLogger(__name__)


class SourceLatents:
    """The latents of one clip's blocks, in order; see :class:`inspatio.scene.LatentSource`. A context manager."""

    def __init__(self, path: Path, blocks: int, *, may_read: bool = True, may_write: bool = True) -> None:
        """``blocks`` is how many the clip has."""
        self.path = path
        self._blocks = blocks
        self._may_write = may_write
        self._known = self._opened() if may_read else None
        self._new: BinaryIO | None = None
        self._part = path.with_name(f".{uuid.uuid4().hex}{UNFINISHED}")
        self._digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self._written = 0

    @classmethod
    def open(cls, folder: Path, clip_id: str, made_from: dict[str, Any], blocks: int, **allowed: bool) -> SourceLatents:
        """The latents of a clip that depend on ``made_from`` (JSON values); see the class."""
        return cls(folder / file_name(f"{clip_id}-{fingerprint(made_from)}", ENDING), blocks, **allowed)

    def __enter__(self) -> SourceLatents:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: Any) -> None:
        if self._known is not None:
            self._known.file.close()
        if self._new is not None:
            if kind is None and self._written == self._blocks:
                self._attempt(self._finish)
            self._give_up()

    def read(self, block: int) -> torch.Tensor | None:
        """The latents of a block on the host; None where they are to be encoded."""
        return None if self._known is None else self._known.read(block)

    def keep(self, block: int, latents: torch.Tensor) -> None:
        """Write what was encoded for a block, the blocks of a clip in order, from the host."""
        if not self._may_write or self._known is not None:
            return
        assert block == self._written, f"latents of block {block}, expected those of block {self._written}"
        self._attempt(lambda: self._append(latents))

    def _opened(self) -> _Known | None:
        """The finished file, if there is one and it is whole."""
        try:
            known = _Known(self.path, self._blocks)
            os.utime(self.path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            _log.warning("%s: removed, its latents are made again: %s", self.path, error)
            self.path.unlink(missing_ok=True)
            return None
        return known

    def _append(self, latents: torch.Tensor) -> None:
        if self._new is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self._blocks * _bytes(latents.dtype, latents.shape) > LARGEST:
                self._may_write = False
                return
            self._new = self._part.open("wb")
            header = {"dtype": str(latents.dtype).removeprefix("torch."), "shape": list(latents.shape)}
            self._write(json.dumps(header).encode() + b"\n")
        self._write(latents.contiguous().view(torch.uint8).numpy().tobytes())
        self._written += 1

    def _write(self, content: bytes) -> None:
        assert self._new is not None, "a file is opened before anything is written to it"
        self._new.write(content)
        self._digest.update(content)

    def _finish(self) -> None:
        assert self._new is not None, "a file is opened before it is finished"
        self._new.write(self._digest.digest())
        self._new.close()
        make_room(self.path.parent, self._part.stat().st_size)
        sync(self._part)
        self._part.replace(self.path)
        sync(self.path.parent)

    def _attempt(self, work: Callable[[], None]) -> None:
        """Do some writing; where that fails, the latents are not kept."""
        try:
            work()
        except OSError as error:
            _log.warning("%s: the source's latents are not kept: %s", self.path, error.strerror or error)
            self._give_up()

    def _give_up(self) -> None:
        """Write nothing any more, and remove what is not finished."""
        self._may_write = False
        if self._new is not None:
            self._new.close()
            self._new = None
            self._part.unlink(missing_ok=True)


class _Known:
    """A finished file of latents.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not whole, or not one of so many blocks.
    """

    def __init__(self, path: Path, blocks: int) -> None:
        self.file = path.open("rb")
        try:
            self._begin, self._dtype, self._shape = self._header()
            self._size = _bytes(self._dtype, self._shape)
            size, expected = path.stat().st_size, self._begin + blocks * self._size + DIGEST_BYTES
            if size != expected:
                raise ValueError(f"it has {size} bytes, expected {expected} for {blocks} blocks")
            if self._found_digest(size - DIGEST_BYTES) != self.file.read(DIGEST_BYTES):
                raise ValueError("its content is damaged")
        except BaseException:
            self.file.close()
            raise

    def read(self, block: int) -> torch.Tensor:
        self.file.seek(self._begin + block * self._size)
        content = bytearray(self.file.read(self._size))
        return torch.frombuffer(content, dtype=torch.uint8).view(self._dtype).view(self._shape)

    def _header(self) -> tuple[int, torch.dtype, tuple[int, ...]]:
        line = self.file.readline(LONGEST_HEADER)
        try:
            header = json.loads(line)
            dtype, shape = getattr(torch, header["dtype"]), tuple(header["shape"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError("its first line does not say what it holds") from error
        if not isinstance(dtype, torch.dtype) or not all(isinstance(side, int) and side > 0 for side in shape):
            raise ValueError(f"it holds {header}, expected a type and a shape")
        return len(line), dtype, shape

    def _found_digest(self, size: int) -> bytes:
        """The digest of the first ``size`` bytes; the file is left behind them."""
        digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self.file.seek(0)
        while left := size - self.file.tell():
            digest.update(self.file.read(min(PIECE, left)))
        return digest.digest()


def make_room(folder: Path, size: int) -> None:
    """Remove the files of latents that were used longest ago until ``size`` more bytes fit, and what killed runs left.

    A run that has one of them open goes on reading it.
    """
    for path in folder.glob(f".*{UNFINISHED}"):
        if _used(path) < time.time() - LEFT_BEHIND:
            path.unlink(missing_ok=True)
    kept = sorted(folder.glob(f"*{ENDING}"), key=_used)
    held = sum(_size(path) for path in kept)
    for path in kept:
        if held + size <= LARGEST:
            break
        held -= _size(path)
        path.unlink(missing_ok=True)


def _used(path: Path) -> float:
    """When a file was used last; another run may have removed it meanwhile."""
    return path.stat().st_mtime if path.exists() else 0.0


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _bytes(dtype: torch.dtype, shape: tuple[int, ...]) -> int:
    count = dtype.itemsize
    for side in shape:
        count *= side
    return count
