"""Which licences are reported for what is installed."""

from __future__ import annotations

from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest

from inspatio.pipeline.cli import main
from inspatio.pipeline.dependencies import gpl_parts, license_of


def package(folder: Path, metadata: str, files: tuple[str, ...] = (), name: str = "thing") -> Distribution:
    """An installed package with this metadata and these files."""
    info = folder / "thing-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{metadata}\n")
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in files))
    return Distribution.at(info)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ("License-Expression: MIT\nLicense: something else", "MIT"),
        ("License: BSD\nClassifier: License :: OSI Approved :: MIT License", "BSD"),
        (
            "License: A text\n        of lines\nClassifier: License :: OSI Approved :: ISC License",
            "ISC License",
        ),
        ("Classifier: Programming Language :: Python", "not stated"),
    ],
)
def test_the_licence_is_the_most_exact_that_is_stated(tmp_path: Path, metadata: str, expected: str) -> None:
    assert license_of(package(tmp_path, metadata)) == expected


def test_bundled_gpl_libraries_are_found_on_every_platform_and_their_headers_are_not(tmp_path: Path) -> None:
    files = ("thing.libs/libx264-d6.so.165", "thing/.dylibs/libx265.216.dylib", "thing.libs/libx264-3.dll")
    found = gpl_parts(package(tmp_path, "", (*files, "thing/libx264.h", "thing.libs/libopus.so.0")))
    assert [name for name, _ in found] == ["libx264-3.dll", "libx264-d6.so.165", "libx265.216.dylib"]
    assert all(terms.startswith("GPL-2.0") for _, terms in found)


def test_gpl_libraries_without_a_file_of_their_own_are_named(tmp_path: Path) -> None:
    ((name, terms),) = gpl_parts(package(tmp_path, "", ("pycolmap/_core.so",), "pycolmap"))
    assert "SuiteSparseQR" in name
    assert terms.startswith("GPL-2.0")


def test_every_installed_package_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["licenses", "--dependencies"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for each in distributions():
        assert any(line.split()[:2] == [each.metadata["Name"], each.version] for line in lines)
