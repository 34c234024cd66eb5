"""No wrong result without a word, and nobody else's file touched."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
from support.clips import write_clip
from support.runs import PROFILE, contents, run, times

from inspatio.pipeline.cli import main
from inspatio.pipeline.manifest import Manifest
from inspatio.pipeline.render import RenderStage


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with the profile and one clip."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(PROFILE)
    write_clip(tmp_path / "clips/one.mp4", count=4)
    return tmp_path


class TestRunsSideBySide:
    def test_geometry_is_not_replaced_while_another_run_reads_it(self, here, monkeypatch):
        """The other run used to replace it: results of the new geometry were recorded as those of the old."""
        geometry = ["geometry", "--config_path", "small.yaml", "--input_dir", "clips", "--geometry", "plane"]
        assert main(geometry) == 0
        depth = here / "output/clips/geometry/one/depth.npy"
        original, codes, made = RenderStage.process, [], depth.stat().st_ino
        other = threading.Thread(target=lambda: codes.append(main([*geometry, "--force"])))

        def process(stage, states, progress):
            other.start()
            other.join(1)
            assert other.is_alive(), "the other run did not wait"
            results = original(stage, states, progress)
            assert depth.stat().st_ino == made
            return results

        monkeypatch.setattr(RenderStage, "process", process)
        assert run("--skip_step2", "--skip_step3") == 0
        other.join(30)
        assert codes == [0]
        assert depth.stat().st_ino != made


class TestOtherPeoplesFiles:
    def test_only_our_own_temporary_files_are_removed(self, here):
        """Every ``.*.part`` below the output folder used to go, even in the input folder."""
        theirs = ["clips/.download.mp4.part", "other/.thesis.docx.part", ".backup.part/file", ".report.2024.part"]
        for name in theirs:
            (here / name).parent.mkdir(exist_ok=True)
            (here / name).write_text("theirs")
        assert run("--output_folder", here, "--work_folder", here / "work") == 0
        assert (here / "one.mp4").is_file()
        assert all((here / name).is_file() for name in theirs)

    @pytest.mark.parametrize("options", [["--work_folder", "."], ["--work_folder", "w", "--output_folder", "."]])
    def test_an_input_where_results_are_written_is_refused(self, here, options, capsys):
        """Clips in ``geometry/`` of the work folder were beside folders that a run replaces."""
        inside = "geometry" if len(options) == 2 else "render"
        (here / "clips").rename(here / inside)
        before = contents(here)
        assert run("--input_dir", inside, *options) == 2
        assert inside in capsys.readouterr().err
        assert contents(here) == before

    def test_a_result_never_replaces_a_listed_input(self, here, capsys):
        """A clip list may name videos anywhere, also in the output folder."""
        (here / "clips/new.json").write_text(json.dumps([{"video_path": "one.mp4"}]))
        before = contents(here / "clips")
        assert run("--input_dir", "clips/new.json", "--work_folder", "w", "--output_folder", "clips") == 2
        assert "one.mp4: a result would replace this input" in capsys.readouterr().err
        assert contents(here / "clips") == before


class TestDamage:
    FILES = ("geometry/one/depth.npy", "geometry/one/cameras.json", "still/render/one/render.mp4", "still/one.mp4")

    def test_a_damaged_file_alone_is_made_again(self, here, capsys):
        """A run used to look only whether files are there: an empty result was "done"."""
        assert run() == 0
        folder = here / "output/clips"
        whole, before = contents(folder), times(folder)
        for name in self.FILES:
            path = folder / name
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        same_size = folder / "still/render/one/mask.mp4"
        same_size.write_bytes(bytes(same_size.stat().st_size))
        assert main(["verify", "--work_folder", str(folder)]) == 1
        said = capsys.readouterr().err
        assert all(name.removeprefix("still/") in said for name in (*self.FILES, "mask.mp4"))
        assert run("--dry_run") == 0
        assert capsys.readouterr().err.count("damaged") == 3
        assert run() == 0
        assert contents(folder) == whole
        assert main(["verify", "--work_folder", str(folder)]) == 0
        (folder / "still/one.mp4").unlink()
        before = times(folder)
        assert run() == 0
        assert {name for name, time in times(folder).items() if before.get(name) != time} == {
            "still/one.mp4",
            "still/one.cameras.json",
        }

    def test_a_flipped_byte_of_old_time_is_found_by_verify(self, here, capsys):
        assert run() == 0
        path = here / "output/clips/geometry/one/depth.npy"
        facts, data = path.stat(), bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        assert main(["verify", "--work_folder", "output/clips"]) == 1
        assert "depth.npy is damaged" in capsys.readouterr().err

    def test_a_result_of_an_earlier_version_counts_while_its_files_are_there(self, here):
        assert run() == 0
        before = times(here / "output")
        for path in (here / "output").rglob("manifest.json"):
            data = json.loads(path.read_text()) | {"version": 2}
            for field in ("geometry", "render", "output"):
                data["clips"][0].get(field, {}).pop("files", None)
            path.write_text(json.dumps(data))
        assert run() == 0
        assert times(here / "output") == before


class TestLongNames:
    def test_names_of_side_files_are_shortened(self, here):
        """The longest name that a clip can have, alone and as one of two: side files had impossible names."""
        stem = "猫" * 83  # of 249 bytes
        write_clip(here / f"clips/{stem}.ts", 2)
        for name in (f"{stem}xx.mp4", f"{stem}xx.mov"):
            write_clip(here / "clips" / name, 2)
        assert main(["geometry", "--config_path", "small.yaml", "--input_dir", "clips", "--export", "colmap"]) == 0
        assert run("--comparison") == 0
        names = {path.name for path in (here / "output/clips/still").glob("*.mp4")}
        assert len(names) == 8
        assert f"{stem}.mp4" in names
        before = times(here / "output")
        assert run("--comparison") == 0
        assert times(here / "output") == before

    def test_a_name_that_is_too_long_for_the_disk_fails_alone(self, here):
        """It ended the run. Here the whole path is longer than the system allows."""
        write_clip(here / f"clips/{'n' * 200}.mp4", 2)
        deep = here / "w"
        while len(os.fsencode(deep)) < 4095 - 180:
            deep = deep / ("d" * min(100, 4095 - 180 - len(os.fsencode(deep))))
        options = ("--work_folder", deep, "--output_folder", "out")
        assert run(*options) == 1
        (good, bad) = Manifest.open(deep, input=here / "clips").clips[::-1]
        assert (here / "out/one.mp4").is_file()
        assert good.error is None
        assert bad.error
        assert "longer than this file system allows" in bad.error.message


class TestNamesThatCollide:
    @pytest.mark.parametrize("other", ["one.comparison.mp4", "...mp4"])
    def test_clips_whose_results_would_collide_are_refused(self, here, other, capsys):
        """One result replaced the other with "2 of 2 clips done"; a clip named ``..`` renamed ``geometry/..``."""
        entries = [{"video_path": "one.mp4"}, {"video_path": other}]
        (here / "clips" / other).write_bytes((here / "clips/one.mp4").read_bytes())
        (here / "clips/new.json").write_text(json.dumps(entries))
        assert run("--input_dir", "clips/new.json", "--comparison") == 2
        assert other in capsys.readouterr().err
        assert not list((here / "output").rglob("*.mp4"))

    @pytest.mark.parametrize("name", ["geometry", "reports", "prompts"])
    def test_a_trajectory_named_like_a_folder_of_ours_needs_an_output_folder(self, here, name, capsys):
        """Its renders and results went among the geometry."""
        trajectory = here / f"{name}.txt"
        trajectory.write_text("0\n0\n0\n")
        assert run(trajectory=trajectory) == 2
        assert "--output_folder" in capsys.readouterr().err
