"""Input that grows and disks that disappear during a run: one line, no wrong result, and the next run works."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support.clips import write_clip
from support.runs import PROFILE, contents, run, times

from inspatio.media.listing import FoundSource
from inspatio.pipeline import source_files
from inspatio.pipeline.generate import GenerateStage
from inspatio.pipeline.geometry import GeometryStage
from inspatio.pipeline.render import RenderStage

PLANE = ("--geometry", "plane")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(PROFILE)
    for seed, name in enumerate(("one", "two")):
        write_clip(tmp_path / f"clips/{name}.mp4", count=2, seed=seed)
    return tmp_path


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0\0\0\x08free")


class TestInputThatGrows:
    @pytest.mark.parametrize("stage", [GeometryStage, RenderStage, GenerateStage])
    def test_what_was_made_of_a_part_is_not_kept(self, here: Path, stage, monkeypatch, capsys) -> None:
        """A clip that was still being copied used to give a result, recorded as that of the file's first part."""
        process = stage.process

        def while_it_grows(self, states, progress):
            if states[0].id == "one":
                grow(states[0].path)
            return process(self, states, progress)

        assert run(*PLANE, "--caption", "a") == 0
        before = times(here / "output")
        with monkeypatch.context() as patch:
            patch.setattr(stage, "process", while_it_grows)
            assert run(*PLANE, "--caption", "b", "--force") == 1
        said = [line for line in capsys.readouterr().err.splitlines() if "FAILED" in line]
        assert len(said) == 1
        assert "one.mp4: changed while it was read: got" in said[0]
        after = times(here / "output")
        assert after["clips/still/one.mp4"] == before["clips/still/one.mp4"]
        assert after["clips/still/two.mp4"] != before["clips/still/two.mp4"]
        assert run(*PLANE, "--caption", "b") == 0
        assert times(here / "output")["clips/still/one.mp4"] != before["clips/still/one.mp4"]

    def test_a_file_that_grows_while_it_is_probed_fails_alone(self, here: Path, monkeypatch, capsys) -> None:
        probe_found = source_files.probe_found

        def while_it_grows(found: FoundSource):
            info = probe_found(found)
            if found.path.stem == "one":
                grow(found.path)
            return info

        with monkeypatch.context() as patch:
            patch.setattr(source_files, "probe_found", while_it_grows)
            assert run(*PLANE) == 1
        assert "probe: one FAILED: clips/one.mp4: changed while it was read" in capsys.readouterr().err
        assert not (here / "output/clips/still/one.mp4").exists()
        assert run(*PLANE) == 0


class TestDiskThatDisappears:
    @pytest.mark.parametrize("how", ["removed", "unmounted"])
    def test_it_is_one_line_and_the_next_run_works(self, here: Path, how: str, monkeypatch, capsys) -> None:
        """A removed folder used to be made again, with a manifest of results that were gone."""
        disk = here / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "none", str(disk)]
        if how == "unmounted" and subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("nothing can be mounted here")
        options = (*PLANE, "--work_folder", disk / "work", "--output_folder", disk / "work/run")
        process = RenderStage.process

        def until_it_is_gone(self, states, progress):
            results = process(self, states, progress)
            if how == "removed":
                shutil.rmtree(disk / "work")
            else:
                subprocess.run(["umount", "-l", disk], check=True)
            return results

        with monkeypatch.context() as patch:
            patch.setattr(RenderStage, "process", until_it_is_gone)
            assert run(*options) == 1
        lines = capsys.readouterr().err.splitlines()
        assert "was removed or its disk unmounted during the run" in lines[-1]
        assert not any("Traceback" in line for line in lines)
        try:
            if how == "unmounted":
                subprocess.run(mount, check=True)
            assert run(*options) == 0
            found = contents(disk)
        finally:
            if how == "unmounted":
                subprocess.run(["umount", disk], check=True)
        assert {"work/run/one.mp4", "work/run/two.mp4"} <= set(found)
