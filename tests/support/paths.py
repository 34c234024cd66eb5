"""Folders of the checkout that tests read."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
EXAMPLES = ROOT / "examples"
SHARED = ROOT.parent / "shared"
"""Real clips that are not part of the project; tests that need them skip without."""
