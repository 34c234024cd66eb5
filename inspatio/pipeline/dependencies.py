"""List what is installed beside this program, with versions and licences: `inspatio licenses --dependencies`.

Licences are what each package's own metadata says. A wheel may bundle libraries under other terms, so those under the
GPL are named as well, told by the names of the files that were installed, or by :data:`LINKED_IN`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import PurePath

GPL_LIBRARIES = {
    "libx264": "GPL-2.0-or-later: H.264 encoder",
    "libx265": "GPL-2.0-or-later: H.265 encoder",
    "libxvidcore": "GPL-2.0-or-later: MPEG-4 encoder",
    "librubberband": "GPL-2.0-or-later: audio stretching",
    "libvidstab": "GPL-2.0-or-later: video stabilizer",
    "libreadline": "GPL-3.0-or-later: line editor",
    "libgfortran": "GPL-3.0-or-later WITH GCC-exception-3.1: Fortran runtime, free to link with",
    "libquadmath": "LGPL-2.1-or-later: Fortran runtime",
    "libgomp": "GPL-3.0-or-later WITH GCC-exception-3.1: OpenMP runtime, free to link with",
}
"""Libraries of the GPL family that wheels of this field bundle, by the beginning of the file name."""

LINKED_IN = {
    "pycolmap": ("SuiteSparseQR and CHOLMOD/Supernodal, linked in", "GPL-2.0-or-later: sparse solvers"),
}
"""What no file name tells, by package: found among the strings of the library of pycolmap 4.2.1 for Linux."""

_UNHELPFUL = ("", "UNKNOWN", "Files: *")
_PREFIX = "License :: "


def dependency_lines() -> Iterator[str]:
    """The lines of the report: every installed package, then the GPL parts that wheels bundle."""
    installed = {str(each.metadata["Name"]): each for each in distributions()}
    ordered = sorted(installed.items(), key=lambda entry: entry[0].lower())
    width = max(len(f"{name} {each.version}") for name, each in ordered)
    yield f"{len(ordered)} packages are installed (licences as their own metadata gives them)"
    for name, each in ordered:
        label = f"{name} {each.version}"
        yield f"  {label:{width}}  {license_of(each)}"
    bundled = [(name, part) for name, each in ordered for part in gpl_parts(each)]
    yield "bundled parts of the GPL family" if bundled else "no bundled parts of the GPL family were found"
    for name, (file, terms) in bundled:
        yield f"  {name}: {file}: {terms}"
    if any(terms.startswith("GPL") and "exception" not in terms for _, (_, terms) in bundled):
        yield "Passing these packages on is subject to the GPL; using them here is not restricted by it."


def license_of(package: Distribution) -> str:
    """The licence in a package's metadata: its SPDX expression, else one line of free text, else its classifiers."""
    expression = _first(package, "License-Expression")
    if expression:
        return " ".join(expression.split())
    text = _first(package, "License").strip()
    if text not in _UNHELPFUL and len(text.splitlines()) == 1:
        return text
    classifiers = package.metadata.get_all("Classifier") or []
    named = [line.removeprefix(_PREFIX).split(" :: ")[-1] for line in classifiers if line.startswith(_PREFIX)]
    return ", ".join(named) or "not stated"


def _first(package: Distribution, field: str) -> str:
    values = package.metadata.get_all(field) or [""]
    return str(values[0])


def gpl_parts(package: Distribution) -> list[tuple[str, str]]:
    """(file name, terms) of a package's shared libraries that :data:`GPL_LIBRARIES` knows, and what is linked in."""
    names = sorted({PurePath(str(file)).name for file in package.files or []})
    libraries = [name for name in names if re.search(r"\.(so|dylib|dll)\b", name)]
    found = [(name, terms) for name in libraries for part, terms in GPL_LIBRARIES.items() if name.startswith(part)]
    linked = LINKED_IN.get(str(package.metadata["Name"]).lower())
    return [*found, linked] if linked else found
