"""The report of an evaluation: a table for the terminal, ``report.json``, and one sheet of pictures.

Figures are by method (a generator, a baseline, ``truth`` for the measures' own limits), clip and ``metric/region``.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from inspatio.errors import UserError
from inspatio.evaluation.catalogue import in_order, label_of, metric_of
from inspatio.evaluation.statistics import Figures, Mean, differences, means
from inspatio.storage import atomic_file, write_json
from inspatio.types import Image

FORMAT, VERSION = "inspatio-evaluation", 1
CONTROL = "preview, holes blurred"
"""The method that shows what blurring alone gains."""
PREVIEW = "preview"
CLEAR = 2.0
"""A difference counts as clear from so many standard errors on."""
PACKAGES = ("inspatio", "numpy", "torch", "scikit-image", "flip-evaluator", "torchmetrics", "opencv-python-headless")

CONVENTIONS = (
    "PSNR, SSIM, FLIP, sharpness and patch distance are over all pixels of a region in the measured frames of a clip, "
    "then averaged over clips. Camera errors: poses relative to the first frame; means over frames, sums scaled to "
    "all frames; rel: each path divided by its own largest distance from the start, abs: both by the true path's; "
    "by points of known depth (SIFT, PnP), no scale fitted; by COLMAP and given poses, whose scale is free, rel only; "
    "the row truth has each estimator's own error. WorldScore's and WBench's metrics are not computed: they "
    "are defined by their networks."
)
_GAIN = ("psnr/unseen", "psnr/seen")


@dataclass
class Report:
    """The outcome of an evaluation."""

    title: str
    methods: Mapping[str, Mapping[str, Figures]]
    """By method and clip."""
    baselines: Sequence[str] = ()
    sets: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By method: FID and FVD over all clips, with their numbers of samples (``distributions.py``)."""
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """What was not computed, and why, a line each."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What was evaluated and how, as JSON values."""

    @classmethod
    def load(cls, path: Path) -> Report:
        """Read ``report.json``.

        Raises:
            UserError: it is not there, or not a report of this version.
        """
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if (record["format"], record["version"]) != (FORMAT, VERSION):
                raise ValueError(f"got {record['format']} version {record['version']}")
            facts = {name: record[name] for name in ("date", "machine", "suite", "stride") if name in record}
            sets = record.get("sets", {})
            return cls(record["title"], record["clips"], record["baselines"], sets, record["notes"], facts=facts)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: not a report ({error}), expected {FORMAT} version {VERSION}") from None

    def table(self) -> str:
        """The means of every metric by method, differences to the baselines, and what to know of them."""
        found = {method: means(clips) for method, clips in self.methods.items()}
        rows = in_order({name for each in found.values() for name in each})
        lines = [self.title, "", *_columns("mean over clips ± standard error", rows, found, signed=False)]
        for method in self.methods:
            if method in self.baselines or method == "truth":
                continue
            against = {
                f"- {baseline}": differences(self.methods[method], self.methods[baseline])
                for baseline in self.baselines
                if baseline != method and baseline in self.methods
            }
            if against:
                head = f"{method}: paired difference ± standard error (* clear: {CLEAR:g} standard errors)"
                lines += ["", *_columns(head, rows, against, signed=True)]
        lines += _set_lines(self.sets)
        taken = cost()
        lines += ["", f"cost: {taken['cpu_seconds']:.0f} CPU s, peak memory {taken['peak_memory_gib']:.2f} GiB"]
        return "\n".join([*lines, "", *self.claims(), *self.notes, *self.missing])

    def claims(self) -> list[str]:
        """What gains in PSNR over the preview mean: one line for each method, against the blurred control."""
        if not {PREVIEW, CONTROL} <= self.methods.keys():
            return []
        control = differences(self.methods[CONTROL], self.methods[PREVIEW])
        lines = []
        for method, clips in self.methods.items():
            if method in (*self.baselines, "truth"):
                continue
            gain = differences(clips, self.methods[PREVIEW])
            for name in _GAIN:
                sharpness = gain.get(f"sharpness/{name.partition('/')[2]}")
                if name not in gain or name not in control or sharpness is None:
                    continue
                if gain[name].mean <= 0:
                    continue
                enough = gain[name].mean - control[name].mean > CLEAR * gain[name].error
                verdict = "beyond what blurring gains" if enough else "no more than blurring gains: not a claim"
                lines.append(
                    f"{method}: {label_of(name)} {gain[name].mean:+.2f} dB over the preview, blurring its holes "
                    f"{control[name].mean:+.2f}, sharpness {sharpness.mean:+.2f}: {verdict}"
                )
        return lines

    def save(self, path: Path) -> None:
        """Write ``report.json``."""
        found = {method: means(clips) for method, clips in self.methods.items()}
        record = {
            "format": FORMAT,
            "version": VERSION,
            "title": self.title,
            "date": date.today().isoformat(),
            **self.facts,
            "conventions": CONVENTIONS,
            "machine": machine(),
            "packages": packages(),
            **cost(),
            "notes": [*self.claims(), *self.notes],
            "not_computed": self.missing,
            "baselines": list(self.baselines),
            "summary": {
                method: {name: _json(each) for name, each in values.items()} for method, values in found.items()
            },
            "differences": {
                method: {
                    baseline: {
                        name: _json(each)
                        for name, each in differences(self.methods[method], self.methods[baseline]).items()
                    }
                    for baseline in self.baselines
                    if baseline != method and baseline in self.methods
                }
                for method in self.methods
            },
            "clips": self.methods,
            "sets": self.sets,
        }
        write_json(path, record)


def _set_lines(sets: Mapping[str, Mapping[str, float]]) -> list[str]:
    """FID and FVD of each method, a line each."""
    lines = []
    for method, values in sets.items():
        for name in ("fid", "fvd"):
            if name in values:
                samples = f"{values[f'{name}_samples']:.0f} samples"
                lines.append(f"{method}: {name.upper()} over all clips {values[name]:.2f} ({samples})")
    return ["", *lines] if lines else []


def _json(value: Mean) -> dict[str, float | int | None]:
    return {name: each if isfinite(each) else None for name, each in asdict(value).items()}


def machine() -> str:
    """The processor and the number of cores of this machine."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    return f"{cpu}, {os.cpu_count()} cores"


def cost() -> dict[str, float]:
    """What this process and those it started have taken so far: seconds of computing, and its own peak memory."""
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    seconds = sum(each.ru_utime + each.ru_stime for each in (own, others))
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return {"cpu_seconds": round(seconds, 1), "peak_memory_gib": round(own.ru_maxrss / unit, 2)}


def packages() -> dict[str, str]:
    """Versions of the packages that figures depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _columns(head: str, rows: Sequence[str], columns: Mapping[str, Mapping[str, Mean]], *, signed: bool) -> list[str]:
    """A table as lines: a row for every figure, a column for every method."""
    cells = [
        [label_of(row), *(_cell(column.get(row), row, signed=signed) for column in columns.values())] for row in rows
    ]
    cells = [row for row in cells if any(cell != "-" for cell in row[1:])]
    table = [[head, *columns], *cells]
    widths = [max(len(row[index]) for row in table) for index in range(len(table[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in table
    ]


def _cell(value: Mean | None, figure: str, *, signed: bool) -> str:
    if value is None:
        return "-"
    digits = metric_of(figure).digits
    text = f"{value.mean:{'+' if signed else ''}.{digits}f}"
    if value.count > 1:
        text += f" ± {value.error:.{digits}f}"
        if signed:
            text += "*" if abs(value.mean) > CLEAR * value.error else " "
    return text


def markdown(report: Report, figures: Sequence[str], baseline: str | None = None) -> str:
    """Some figures of a report as a markdown table, a row for every method: means, or paired differences."""
    lines = [f"| | {' | '.join(label_of(name) for name in figures)} |", "|---" * (len(figures) + 1) + "|"]
    for method, clips in report.methods.items():
        if method == baseline:
            continue
        values = means(clips) if baseline is None else differences(clips, report.methods[baseline])
        cells = [_cell(values.get(name), name, signed=baseline is not None) for name in figures]
        if any(cell != "-" for cell in cells):
            lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write_sheet(path: Path, rows: Sequence[tuple[str, Mapping[str, Image]]], width: int = 320) -> None:
    """Write one PNG of pictures side by side: a row for every (name, pictures by title), titles above the first row."""
    lines = []
    for index, (name, pictures) in enumerate(rows):
        cells = []
        for title, picture in pictures.items():
            height = round(picture.shape[0] * width / picture.shape[1])
            cell = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
            cells.append(np.concatenate([_caption(title if index == 0 else "", width), cell]))
        line = np.concatenate(cells, axis=1)
        lines.append(np.concatenate([line, _caption(name, line.shape[1])]))
    widest = max(line.shape[1] for line in lines)
    padded = [np.pad(line, ((0, 0), (0, widest - line.shape[1]), (0, 0)), constant_values=255) for line in lines]
    done, data = cv2.imencode(".png", np.concatenate(padded)[..., ::-1])
    assert done, "a picture in memory can be encoded"
    with atomic_file(path) as part:
        part.write_bytes(data.tobytes())


def _caption(text: str, width: int) -> Image:
    """A white strip with a line of text."""
    strip = np.full((18, width, 3), 255, np.uint8)
    cv2.putText(strip, text, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return strip
