"""Fingerprints: short hashes of what a result is made from, by which a run tells whether it is out of date."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def fingerprint(value: Any) -> str:
    """Hash a JSON value (16 hex digits); the order of keys does not count."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=_no_json)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def file_fingerprint(path: Path) -> str:
    """Hash the whole content of a file (16 hex digits)."""
    with path.open("rb") as file:
        digest = hashlib.blake2b(digest_size=8)
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()


def _no_json(value: Any) -> Any:
    raise TypeError(f"a fingerprint is made of JSON values, got {type(value).__name__}: {value!r}")
