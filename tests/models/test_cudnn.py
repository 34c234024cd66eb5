"""Which releases are warned of."""

from __future__ import annotations

import pytest

from inspatio.models.cudnn import fault_in_half


@pytest.mark.parametrize(
    ("torch_version", "cudnn", "words"),
    [
        ("2.9.1+cu128", 91002, "does not use cuDNN 9.10.2"),
        ("2.8.0+cu128", 91002, "wrongly or slowly"),
        ("2.11.0+cu130", None, "no cuDNN"),
        ("2.11.0+cu130", 91500, None),
        ("2.6.0+cu124", 90100, None),
    ],
)
def test_releases(torch_version: str, cudnn: int | None, words: str | None) -> None:
    fault = fault_in_half(torch_version, cudnn)
    assert fault is None if words is None else words in (fault or "")
