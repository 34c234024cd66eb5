"""Golden sets: what the published reference models compute, with weights that any machine can generate.

A set is a folder with ``manifest.json`` (a ``tag``, and for every case the network's size and its parameters' names and
shapes) and one safetensors file of expected outputs per case; ``tests/golden/README.md`` describes the one that ships.
Weights and inputs are not stored: each value is a hash of its tensor's name and its place, so that two sets with
different tags, widths and depths go through the same code.

Each case is run by a function, listed in ``scripts/parity.py``:

    def dit(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> Outputs: ...

It returns what was computed under the names of the stored tensors. Every stored tensor must be answered for, unless
the case read it as an input (:meth:`GoldenCase.stored_input`).
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from safetensors.torch import load_file

from inspatio.errors import UsageError

TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""Allowed max |got - expected| / max |expected|, by the precision computed in.

float32 is the golden sets' own figure. A bfloat16 has 8 bits of mantissa (2^-9 = 0.2 % per rounding), a float16 11;
the worst element of a whole network lies some ten roundings off, which is where the other two come from.
"""

EXACT_TOLERANCE = 1e-6
"""For what is computed in float32 whatever the networks run in: schedules, mask packing, poses."""


@dataclass(frozen=True)
class Measured:
    """The outcome of a comparison: passed when ``error`` is at most ``tolerance``."""

    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance  # False for NaN, as it must be


Outputs: TypeAlias = Mapping[str, torch.Tensor | Measured]
"""By stored tensor: what was computed, or the outcome by the case's own rule where a plain comparison does not fit."""


def compare(got: torch.Tensor, expected: torch.Tensor, tolerance: float) -> Measured:
    """max |got - expected| / max |expected|; infinite where the shapes differ."""
    if got.shape != expected.shape:
        return Measured(math.inf, tolerance)
    got, expected = got.detach().cpu().double(), expected.double()
    error = float((got - expected).abs().max() / expected.abs().max().clamp_min(torch.finfo(torch.float64).tiny))
    return Measured(error, tolerance)


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float64 in [-1, 1): value i is splitmix64 of (CRC-32 of the name) * 2^32 + i; 53 of its bits are the fraction."""
    start = np.uint64(zlib.crc32(name.encode()) << 32)
    bits = start + np.arange(math.prod(shape), dtype=np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    return ((bits >> np.uint64(11)) * (2.0 / (1 << 53)) - 1.0).reshape(shape)


def noise(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """float32, zero mean and unit variance."""
    return torch.from_numpy(uniform(name, shape) * math.sqrt(3.0)).float()


def weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """float32 parameter; its spread follows from what its name says it is."""
    values = torch.from_numpy(uniform(name, shape))
    if name.endswith("gamma") or (name.endswith("weight") and len(shape) == 1):
        values = 1.0 + 0.1 * values
    elif name.endswith("bias"):
        values = 0.1 * values
    elif "modulation" in name or "scale_shift_table" in name:
        values = 0.5 * values
    else:
        fan_in = max(1, math.prod(shape[1:]))
        values = values * math.sqrt(3.0 / fan_in)
    return values.float()


@dataclass(frozen=True)
class GoldenCase:
    """One case of a set: its sizes, its weights and inputs, and what must come out."""

    name: str
    tag: str
    folder: Path
    manifest: Mapping[str, Any]
    """The case's own entry: ``config``, ``keys``, ... as far as it has them."""
    cases: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The entries of the whole set."""
    inputs_read: set[str] = field(default_factory=set)

    @cached_property
    def stored(self) -> dict[str, torch.Tensor]:
        """Every tensor of the case's file."""
        path = self.folder / f"{self.name}.safetensors"
        if not path.is_file():
            raise UsageError(f"{path}: no such file, though manifest.json has the case; get the whole set again")
        return load_file(path)

    def stored_input(self, name: str) -> torch.Tensor:
        """A stored tensor that is an input: it need not be among the outputs."""
        self.inputs_read.add(name)
        return self.stored[name]

    @property
    def expected(self) -> dict[str, torch.Tensor]:
        """The stored tensors that were not read as inputs."""
        return {name: value for name, value in self.stored.items() if name not in self.inputs_read}

    @property
    def keys(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter, by its published name."""
        return {key: tuple(shape) for key, shape in self.manifest["keys"].items()}

    def noise(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        """The input of this name."""
        return noise(f"{self.tag}.{name}", shape)

    def weights(self, prefix: str, shapes: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, torch.Tensor]:
        """A whole checkpoint in float32: every parameter of ``shapes`` (the manifest's, unless given).

        ``prefix`` is the case's, with its dot (``dit.``).
        """
        shapes = self.keys if shapes is None else shapes
        return {key: weight(f"{self.tag}.{prefix}{key}", tuple(shape)) for key, shape in shapes.items()}


CaseFunction: TypeAlias = Callable[[GoldenCase, torch.device, torch.dtype], Outputs]


@dataclass(frozen=True)
class CaseResult:
    """How a case came out, tensor by tensor; ``problem`` is why it could not be compared."""

    name: str
    measured: Mapping[str, Measured]
    problem: str | None = None

    @property
    def passed(self) -> bool:
        return self.problem is None and bool(self.measured) and all(m.passed for m in self.measured.values())

    @property
    def worst(self) -> tuple[str, Measured] | None:
        """The tensor that comes nearest to its tolerance, or goes furthest beyond it."""
        if not self.measured:
            return None
        return max(self.measured.items(), key=lambda item: _strain(item[1]))


def _strain(measured: Measured) -> float:
    if measured.tolerance == 0:  # must be exact
        return 0.0 if measured.passed else math.inf
    ratio = measured.error / measured.tolerance
    return math.inf if math.isnan(ratio) else ratio


def read_set(folder: Path) -> list[GoldenCase]:
    """The cases of a golden set.

    Raises:
        UsageError: the folder holds no golden set.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise UsageError(f"{path}: no such file; --golden takes a folder with manifest.json and the cases beside it")
    manifest = json.loads(path.read_text())
    if not isinstance(manifest, dict) or "tag" not in manifest or not manifest.get("cases"):
        raise UsageError(f"{path}: not a golden set: expected an object with a tag and at least one case")
    return [
        GoldenCase(name, manifest["tag"], folder, entry, manifest["cases"]) for name, entry in manifest["cases"].items()
    ]


def judge(case: GoldenCase, outputs: Outputs, dtype: torch.dtype) -> CaseResult:
    """Hold the outputs against the stored tensors; an output left out is a failure of the case."""
    missing = sorted(case.expected.keys() - outputs.keys())
    unknown = sorted(outputs.keys() - case.stored.keys())
    measured = {
        name: value if isinstance(value, Measured) else compare(value, case.expected[name], TOLERANCES[dtype])
        for name, value in outputs.items()
        if name in case.expected
    }
    problems = [f"not computed: {', '.join(missing)}"] * bool(missing)
    problems += [f"not in the set: {', '.join(unknown)}"] * bool(unknown)
    return CaseResult(case.name, measured, "; ".join(problems) or None)
