"""What a run says of the disk it needs, held to what it then writes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from support.clips import encode
from support.paths import ROOT
from support.runs import PROFILE, STILL, arguments, run

from inspatio.cameras.timeline import bounced
from inspatio.media import VideoReader, probe
from inspatio.pipeline.disk import size_text

GEOMETRY = ("--geometry", "plane")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(PROFILE.replace("48", "96").replace("80", "160"))
    write_room(tmp_path / "clips/one.mp4", 24)
    return tmp_path


def write_room(path: Path, count: int, rate: int = 24) -> None:
    """The example's room as a small clip, played to and fro."""
    with VideoReader(ROOT / "examples/living_room.mp4", (96, 160)) as reader:
        frames = reader.read(range(min(count, len(reader))))
    path.parent.mkdir(exist_ok=True)
    encode(path, count, (96, 160), rate=rate, picture=lambda index, size: frames[bounced(index, len(frames))])


def said(text: str) -> dict[str, float]:
    """The bytes of each stage in a line such as "about 2 MB will be written (render 2 MB)"."""
    units = {"kB": 1e3, "MB": 1e6, "GB": 1e9}
    return {
        name: float(size) * units[unit]
        for name, size, unit in re.findall(r"(geometry|render|generate) ([\d.]+) (\wB)", text)
    }


def test_a_run_writes_about_what_was_said_and_not_more(here: Path, capsys) -> None:
    assert run(*GEOMETRY, "--dry_run", trajectory=STILL) == 0
    line = next(line for line in capsys.readouterr().err.splitlines() if "will be written" in line)
    assert run(*GEOMETRY, trajectory=STILL) == 0
    folder = here / "output/clips"
    wrote = {
        "geometry": sum(path.stat().st_size for path in (folder / "geometry").rglob("*.*")),
        "render": sum(path.stat().st_size for path in (folder / "still/render").rglob("*.*")),
        "generate": sum(path.stat().st_size for path in (folder / "still").glob("one.*")),
    }
    for name, size in said(line).items():
        assert size / 4 < wrote[name] < 1.3 * size, (name, wrote, line)
    capsys.readouterr()
    assert run(*GEOMETRY, "--dry_run", trajectory=STILL) == 0
    assert "will be written" not in capsys.readouterr().err


def test_a_disk_that_is_too_small_is_a_warning_before_the_run(here: Path, monkeypatch, capsys) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**6, 10**6 - 30_000, 30_000))
    assert run(*GEOMETRY, "--skip_step3", trajectory=STILL) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert len(lines) == 1
    assert "30 kB are free: it is likely not to fit" in lines[0]


@pytest.mark.slow
def test_an_hour_of_video_needs_the_disk_that_was_said_and_no_more_memory(here: Path, capsys) -> None:
    """An hour at one frame a second, against ten minutes of it, each in a process of its own."""
    (here / "dolly.txt").write_text("0\n0\n0 0.3 0\n")
    peaks = []
    for name, minutes in (("short", 10), ("long", 60)):
        write_room(here / f"{name}/one.mp4", minutes * 60, rate=1)
        options = ["--input_dir", name, *GEOMETRY]
        assert run(*options, "--dry_run", trajectory=here / "dolly.txt") == 0
        line = next(line for line in capsys.readouterr().err.splitlines() if "will be written" in line)
        program = (
            "import resource, sys; from inspatio.pipeline.cli import main; code = main(sys.argv[1:])\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
        )
        command = [sys.executable, "-c", program, *arguments(*options, trajectory=here / "dolly.txt")]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        folder = here / f"output/{name}"
        assert probe(folder / "dolly/one.mp4").frame_count == minutes * 60
        written = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        assert written < 1.3 * sum(said(line).values())
    assert peaks[1] < peaks[0] + 40_000, f"peak memory {peaks} kB"


@pytest.mark.parametrize(("size", "text"), [(900, "1 kB"), (1.26e6, "1.3 MB"), (52.4e9, "52 GB"), (3.1e12, "3.1 TB")])
def test_sizes_have_two_digits_or_more(size: float, text: str) -> None:
    assert size_text(size) == text
