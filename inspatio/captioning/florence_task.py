"""What Florence-2 is asked for, and what its answer depends on; imported without waiting for a network library.

The published pipeline's task is ``<MORE_DETAILED_CAPTION>``, decoded greedily with at most 1024 new tokens.

Source: Florence-2 (arXiv 2311.06242).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inspatio.models.weights import weights_fingerprint, weights_path

VERSION = 1
"""Raised when the same weights come to give other captions."""

INSTRUCTION = "Describe with a paragraph what is shown in the image."
"""What the task ``<MORE_DETAILED_CAPTION>`` says to the network in words."""

NO_REPEAT_NGRAM = 3
"""The published decoder never writes the same three tokens in a row twice."""

MAX_NEW_TOKENS = 1024


def describe(folder: Path, max_new_tokens: int = MAX_NEW_TOKENS) -> dict[str, Any]:
    """What the captions of a model folder depend on, without loading it: a captioner's fingerprint.

    Device, precision and batch size are left out: they change captions as rounding does, and a run that goes on
    elsewhere keeps what it has.

    Raises:
        MissingWeightsError: there are no weights in the folder.
    """
    return {
        "name": "florence2",
        "version": VERSION,
        "weights": weights_fingerprint(weights_path(folder)),
        "instruction": INSTRUCTION,
        "max_new_tokens": max_new_tokens,
    }
