"""The whole pipeline without networks, at a small size: resume, isolation of failures, exit codes, what is kept."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from support.clips import cut_short, write_clip, write_sound_only
from support.runs import ORBIT, PROFILE, STILL, arguments, contents, run, times

from inspatio.media import VideoReader, probe
from inspatio.pipeline.cli import main
from inspatio.pipeline.manifest import Manifest
from inspatio.pipeline.render import RenderStage
from inspatio.render.files import RenderedCameras


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, with the profile and a clip folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(PROFILE)
    (tmp_path / "clips").mkdir()
    return tmp_path


def errors(here: Path, trajectory: str = "still") -> dict[str, str]:
    work = Manifest.open(here / "output/clips", input=here / "clips")
    clips = work.clips
    folder = here / "output/clips" / trajectory
    if (folder / "manifest.json").is_file():
        clips = clips + Manifest.open(folder, input=here / "clips", work=here / "output/clips").clips
    return {clip.id: clip.error.message for clip in clips if clip.error}


class TestWhole:
    def test_a_folder_of_clips_becomes_a_folder_of_results(self, here):
        write_clip(here / "clips/one.mp4")
        write_clip(here / "clips/two.mov", count=30, size=(60, 90), rate=30)
        before = contents(here / "clips")
        assert run() == 0
        run_folder = here / "output/clips/still"
        for name, count, rate in (("one", 14, 24), ("two", 30, 30)):
            video = probe(run_folder / f"{name}.mp4")
            assert (video.frame_count, video.frame_rate, video.size) == (count, rate, (48, 80))
            cameras = RenderedCameras.load(run_folder / f"{name}.cameras.json")
            rendered = RenderedCameras.load(run_folder / "render" / name / "cameras.json")
            assert np.array_equal(cameras.world_to_camera, rendered.world_to_camera)
            assert len(cameras.world_to_camera) == count
        assert contents(here / "clips") == before

    def test_a_still_camera_gives_the_source_back(self, here):
        write_clip(here / "clips/one.mp4", size=(48, 80))
        assert run() == 0
        with VideoReader(here / "clips/one.mp4") as source, VideoReader(here / "output/clips/still/one.mp4") as result:
            a, b = (reader.read(range(14)).astype(float) for reader in (source, result))
        assert np.abs(a - b).mean() < 3

    def test_running_again_does_nothing(self, here):
        write_clip(here / "clips/one.mp4")
        assert run() == 0
        before = times(here / "output"), contents(here / "output")
        assert run() == 0
        assert (times(here / "output"), contents(here / "output")) == before

    def test_a_second_trajectory_reuses_what_does_not_depend_on_it(self, here):
        write_clip(here / "clips/one.mp4")
        assert run() == 0
        before = times(here / "output")
        assert run("--disable_adaptive_frame", trajectory=ORBIT) == 0
        after = times(here / "output")
        assert before.items() <= after.items()
        assert (here / "output/clips/orbit_left/one.mp4").is_file()

    def test_force_makes_everything_anew_and_the_same(self, here):
        write_clip(here / "clips/one.mp4")
        assert run() == 0
        moments, files = times(here / "output"), contents(here / "output")
        assert run("--force") == 0
        made = {name: time for name, time in times(here / "output").items() if "sources" not in name}
        assert all(time > moments[name] for name, time in made.items())
        assert contents(here / "output") == files

    def test_only_what_is_out_of_date_is_made_again(self, here):
        write_clip(here / "clips/one.mp4")
        write_clip(here / "clips/two.mp4", seed=3)
        assert run() == 0
        before = times(here / "output")
        write_clip(here / "clips/two.mp4", seed=4)
        assert run() == 0
        changed = {name for name, moment in times(here / "output").items() if before[name] != moment}
        assert changed
        assert all("two" in name for name in changed)

    def test_stage_by_stage_equals_all_at_once(self, here):
        write_clip(here / "clips/one.mp4")
        assert run() == 0
        whole = contents(here / "output")
        (here / "output").rename(here / "kept")
        stage = ["--config_path", "small.yaml", "--input_dir", "clips"]
        assert main(["caption", *stage]) == 0
        assert main(["geometry", *stage]) == 0
        assert run(command="render") == 0
        assert run(command="generate") == 0
        assert contents(here / "output") == whole

    def test_a_known_video_is_not_probed_again(self, here, monkeypatch):
        write_clip(here / "clips/one.mp4", sound=True)
        assert run() == 0
        monkeypatch.setattr("inspatio.pipeline.workspace.probe_input", pytest.fail)
        assert run("--force") == 0
        assert probe(here / "output/clips/still/one.mp4").has_audio

    def test_results_recorded_by_manifest_version_1_are_kept(self, here):
        write_clip(here / "clips/one.mp4")
        assert run() == 0
        before = times(here / "output")
        shutil.rmtree(here / "output/clips/sources")
        for path in (here / "output").rglob("manifest.json"):
            data = json.loads(path.read_text()) | {"version": 1}
            for field in ("stored_height", "stored_width", "mirrored"):
                del data["clips"][0]["source"]["video"][field]
            path.write_text(json.dumps(data))
        assert run() == 0
        after = times(here / "output")
        assert {name for name in before if before[name] != after[name]} == {"clips/sources/one.npz"}

    def test_the_plan_is_printed_and_nothing_written(self, here, capsys):
        write_clip(here / "clips/one.mp4")
        assert run("--dry_run") == 0
        assert not (here / "output").exists()
        assert capsys.readouterr().err.count("1 to do (one): not made yet") == 4
        assert run() == 0
        before = times(here / "output")
        capsys.readouterr()
        assert run("--dry_run") == 0
        assert capsys.readouterr().err.count("1 of 1 clips are finished already") == 4
        assert times(here / "output") == before

    def test_a_clip_taken_from_the_input_keeps_its_result(self, here):
        write_clip(here / "clips/one.mp4")
        write_clip(here / "clips/two.mp4", seed=1)
        assert run() == 0
        (here / "clips/two.mp4").unlink()
        assert run() == 0
        assert (here / "output/clips/still/two.mp4").is_file()

    def test_clips_added_later_give_the_same_files_as_all_at_once(self, here):
        for name in ("b", "a", "c"):
            write_clip(here / f"clips/{name}.mp4", seed=ord(name))
            assert run() == 0
        grown = contents(here / "output")
        (here / "output").rename(here / "kept")
        assert run() == 0
        assert contents(here / "output") == grown

    def test_captions_come_from_the_option_then_the_file(self, here):
        write_clip(here / "clips/one.mp4")
        (here / "clips/one.txt").write_text("a  cup\n of tea")
        stage = ["caption", "--config_path", "small.yaml", "--input_dir", "clips"]

        def caption():
            (clip,) = Manifest.open(here / "output/clips", input=here / "clips").clips
            assert clip.caption
            return clip.caption.text, clip.caption.origin

        assert main(stage) == 0
        assert caption() == ("a cup of tea", "sidecar")
        assert main([*stage, "--caption", "a pot"]) == 0
        assert caption() == ("a pot", "--caption")

    def test_the_public_clip_list_is_read(self, here):
        write_clip(here / "elsewhere/one.mp4")
        entry = {"video_path": "../elsewhere/one.mp4", "text": "a cup", "radius_ratio": 2.0}
        (here / "clips/new.json").write_text(json.dumps([entry]))
        assert main(arguments("--input_dir", "clips/new.json")) == 0
        (clip,) = Manifest.open(here / "output/clips", input=here / "clips").clips
        assert clip.caption
        assert (clip.caption.text, clip.caption.origin) == ("a cup", "new.json")
        assert (here / "output/clips/still/one.mp4").is_file()


class TestSoundAndShape:
    def test_sound_stays_where_the_timing_does(self, here):
        write_clip(here / "clips/one.mp4", count=24, sound=True)
        assert run() == 0
        assert probe(here / "output/clips/still/one.mp4").has_audio
        assert run(trajectory=ORBIT) == 0
        bounced = probe(here / "output/clips/orbit_left/one.mp4")
        assert not bounced.has_audio
        assert bounced.frame_count >= 121

    @pytest.mark.parametrize(
        ("fit", "size"),
        [
            (["--fit", "crop"], (80, 48)),
            (["--fit", "pad"], (72, 48)),
            (["--fit", "pad", "--no_turn"], (48, 32)),
            (["--fit", "stretch"], (76, 50)),
        ],
    )
    def test_the_result_has_the_sources_shape(self, here, fit, size):
        write_clip(here / "clips/tall.mp4", size=(96, 64))
        assert run(*fit, "--comparison") == 0
        folder = here / "output/clips/still"
        assert probe(folder / "tall.mp4").size == size
        assert probe(folder / "tall.comparison.mp4").size == (size[0], 3 * size[1])

    def test_a_run_folder_is_of_turned_frames_or_not(self, here, capsys):
        write_clip(here / "clips/tall.mp4", size=(96, 64))
        assert run("--no_turn", "--skip_step3") == 0
        assert run("--skip_step3") == 1
        assert "--no_turn: on there, off here" in capsys.readouterr().err
        assert run("--skip_step3", "--force") == 0

    def test_a_comparison_asked_for_later_does_not_generate_again(self, here):
        write_clip(here / "clips/one.mp4")
        assert run() == 0
        before = times(here / "output")["clips/still/one.mp4"]
        assert run("--comparison") == 0
        assert (here / "output/clips/still/one.comparison.mp4").is_file()
        assert times(here / "output")["clips/still/one.mp4"] == before

    def test_freezing_shows_one_frame_longer(self, here):
        write_clip(here / "clips/one.mp4")
        assert run("--freeze_repeat", 5, "--freeze_frame", 3) == 0
        cameras = RenderedCameras.load(here / "output/clips/still/one.cameras.json")
        assert cameras.order == (0, 1, 2, *[3] * 6, *range(4, 14))
        assert probe(here / "output/clips/still/one.mp4").frame_count == 19


class TestOddClips:
    def test_all_of_these_work(self, here):
        write_clip(here / "clips/one frame.mp4", count=1)
        write_clip(here / "clips/two_frames.mp4", count=2)
        write_clip(here / "clips/tiny.mp4", size=(16, 16))
        write_clip(here / "clips/portrait.mp4", size=(128, 72))
        write_clip(here / "clips/wide.mp4", size=(32, 192))
        write_clip(here / 'clips/it\'s "ça" 猫 $HOME.mp4')
        write_clip(here / "clips/twin.mov", seed=2)
        write_clip(here / "clips/twin.mp4")
        assert run() == 0
        names = {path.name for path in (here / "output/clips/still").glob("*.mp4")}
        assert names == {
            *("one frame.mp4", "two_frames.mp4", "tiny.mp4", "portrait.mp4", "wide.mp4"),
            *('it\'s "ça" 猫 $HOME.mp4', "twin.mp4.mp4", "twin.mov.mp4"),
        }

    def test_broken_clips_are_named_and_the_good_one_is_finished(self, here):
        write_clip(here / "clips/good.mp4")
        (here / "clips/empty.mp4").touch()
        cut_short(write_clip(here / "clips/short.mp4", count=60))
        (here / "clips/text.mp4").write_text("this is no video\n" * 100)
        write_sound_only(here / "clips/sound.mp4")
        assert run() == 1
        assert (here / "output/clips/still/good.mp4").is_file()
        found = errors(here)
        assert set(found) == {"empty", "short", "text", "sound"}
        for name, message in found.items():
            assert f"{name}.mp4" in message
            assert "\n" not in message

    def test_a_mended_clip_is_finished_by_the_next_run(self, here):
        (here / "clips/one.mp4").touch()
        assert run() == 1
        write_clip(here / "clips/one.mp4")
        assert run() == 0
        assert errors(here) == {}

    def test_fail_fast_stops_and_keep_going_does_not(self, here):
        (here / "clips/a.mp4").touch()
        write_clip(here / "clips/b.mp4")
        assert run("--fail_fast") == 1
        assert not (here / "output/clips/still/b.mp4").exists()
        assert run("--keep_going") == 1
        assert (here / "output/clips/still/b.mp4").is_file()

    def test_a_clip_that_gets_worse_keeps_its_old_result(self, here):
        write_clip(here / "clips/one.mp4")
        assert run() == 0
        before = (here / "output/clips/still/one.mp4").read_bytes()
        (here / "clips/one.mp4").write_bytes(b"")
        assert run() == 1
        assert (here / "output/clips/still/one.mp4").read_bytes() == before


class TestBugs:
    def attempts(self, monkeypatch, *broken: str) -> list[str]:
        """Make rendering these clips raise an unexpected exception; returns the clips it is tried for."""
        tried = []
        process = RenderStage.process

        def fail(stage, states, progress):
            tried.append(states[0].id)
            if states[0].id in broken:
                raise AttributeError("a name that is missing")
            return process(stage, states, progress)

        monkeypatch.setattr(RenderStage, "process", fail)
        for name in "abcd":
            write_clip(Path(f"clips/{name}.mp4"), count=2)
        return tried

    def test_a_bug_in_one_clip_leaves_the_others(self, here, monkeypatch, capsys):
        assert self.attempts(monkeypatch, "b", "d") == []
        assert run() == 1
        assert set(errors(here)) == {"b", "d"}
        assert capsys.readouterr().err.count("Traceback") == 2
        assert (here / "output/clips/still/c.mp4").is_file()

    def test_a_bug_that_hits_every_clip_ends_the_run(self, here, monkeypatch, capsys):
        tried = self.attempts(monkeypatch, *"abcd")
        assert run() == 1
        assert tried == ["a", "b"]
        assert set(errors(here)) == {"a", "b"}
        assert capsys.readouterr().err.count("Traceback") == 1


class TestLog:
    def test_every_stage_counts_up_to_its_total(self, here, monkeypatch):
        counts = {}

        @contextmanager
        def record(total, description, unit="frame"):
            yield lambda done, total: counts.update({description.split(":")[0].strip(): (done, total)})

        monkeypatch.setattr("inspatio.pipeline.loop.progress_bar", record)
        for name in "ab":
            write_clip(here / f"clips/{name}.mp4", count=2)
        assert run() == 0
        assert counts == {"caption": (2, 2), "geometry": (2, 2), "render": (2, 2), "generate": (2, 2)}

    def test_a_log_file_has_whole_lines_and_every_warning_once(self, here):
        write_clip(here / "clips/one.mp4")
        geometry = ["geometry", "--config_path", "small.yaml", "--input_dir", "clips", "--force"]
        assert main(geometry) == 0
        (here / "output/clips/sources/one.npz").write_bytes(b"damaged")
        with (here / "log").open("wb") as log:
            subprocess.run([sys.executable, "-m", "inspatio", *geometry], stderr=log, check=True)
        text = (here / "log").read_bytes()
        assert b"\r" not in text
        assert text.count(b"warning: ") == text.count(b"one.npz") == 1
        assert text.count(b" one done (") == 1


class TestWrongUse:
    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("0 1\n2 3\n", "trajectory.txt"),
            ("0 one\n0\n0\n", "one"),
            ("0 nan\n0\n0\n", "nan"),
            ("0 inf\n0\n0\n", "inf"),
            ("", "no numbers"),
        ],
    )
    def test_a_bad_trajectory_is_one_line_and_exit_code_2(self, here, text, said, capsys):
        write_clip(here / "clips/one.mp4")
        (here / "trajectory.txt").write_text(text)
        assert run(trajectory=here / "trajectory.txt") == 2
        message = capsys.readouterr().err
        assert said in message
        assert message.count("\n") == 1
        assert not (here / "output").exists()

    @pytest.mark.parametrize("files", [[], ["notes.txt"]])
    def test_a_folder_without_videos(self, here, files, capsys):
        for name in files:
            (here / "clips" / name).write_text("x")
        assert run() == 2
        message = capsys.readouterr().err
        assert "clips: no video or image in it" in message
        assert message.count("\n") == 1

    def test_missing_weights_are_three_lines(self, here, capsys):
        write_clip(here / "clips/one.mp4")
        assert main(["run", "--profile", "inference_1.3b", "--input_dir", "clips", "--traj_txt_path", str(STILL)]) == 1
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 3
        assert "InSpatio-World-1.3B.safetensors" in lines[0]
        assert "scripts/download.sh" in lines[1]
        assert "--profile preview" in lines[2]

    def test_skipping_geometry_with_nothing_there(self, here, capsys):
        write_clip(here / "clips/one.mp4")
        capsys.readouterr()
        assert run("--skip_step2") == 1
        assert "--skip_step2" in errors(here)["one"]
        assert "geometry: 1 of 1 clips are finished" not in capsys.readouterr().err

    def test_skipping_geometry_trusts_what_is_there(self, here):
        write_clip(here / "clips/one.mp4")
        assert main(["geometry", "--config_path", "small.yaml", "--input_dir", "clips", "--geometry", "plane"]) == 0
        before = times(here / "output")
        assert run("--skip_step2", "--geometry", "files") == 0
        assert before.items() <= times(here / "output").items()

    @pytest.mark.parametrize("change", ["half", "newer", "field", "outside"])
    def test_a_damaged_manifest_stops_the_run_and_nothing_is_lost(self, here, change, capsys):
        write_clip(here / "clips/one.mp4")
        assert run() == 0
        path = here / "output/clips/manifest.json"
        data = json.loads(path.read_text())
        match change:
            case "half":
                path.write_text(path.read_text()[: path.stat().st_size // 2])
            case "newer":
                path.write_text(json.dumps(data | {"version": 99}))
            case "field":
                del data["clips"][0]["geometry"]["folder"]
                path.write_text(json.dumps(data))
            case "outside":
                data["clips"][0]["geometry"]["folder"] = "../../../etc"
                path.write_text(json.dumps(data))
        before = contents(here / "output")
        capsys.readouterr()
        assert run() == 1
        message = capsys.readouterr().err
        assert "manifest.json" in message
        assert message.count("\n") == 1
        assert contents(here / "output") == before

    def test_another_input_of_the_same_name_is_refused(self, here, capsys):
        write_clip(here / "clips/one.mp4")
        assert run() == 0
        before = contents(here / "output")
        write_clip(here / "other/clips/one.mp4", seed=5)
        assert run("--input_dir", "other/clips") == 1
        assert "another input" in capsys.readouterr().err
        assert contents(here / "output") == before


class TestInterruption:
    def command(self, *extra: object) -> list[str]:
        return [sys.executable, "-m", "inspatio", *arguments(*extra)]

    def recorded(self, here: Path) -> set[str]:
        """The files that the manifests know to be finished."""
        names = set()
        for folder in ("clips", "clips/still"):
            path = here / "output" / folder / "manifest.json"
            for clip in json.loads(path.read_text())["clips"] if path.is_file() else []:
                if "geometry" in clip:
                    names |= {f"{folder}/geometry/{clip['id']}/{name}" for name in ("cameras.json", "depth.npy")}
                if "render" in clip:
                    names |= {f"{folder}/render/{clip['id']}/{name}" for name in ("render.mp4", "mask.mp4")}
                if "output" in clip:
                    names.add(f"{folder}/{clip['output']['video']}")
        return names

    def test_killed_at_any_moment_and_started_again_gives_the_same_files(self, here):
        for index in range(3):
            write_clip(here / f"clips/{index}.mp4", count=24, seed=index)
        assert run() == 0
        undisturbed = contents(here / "output")
        (here / "output").rename(here / "kept")
        finished: dict[str, int] = {}
        moments = [
            "geometry/.1.*",  # while the second clip's geometry is written
            "still/render/1",  # when the second has just been rendered
            "still/.1.mp4.*",  # while the second result is written
        ]
        for moment in moments:
            with subprocess.Popen(self.command(), start_new_session=True) as process:
                while process.poll() is None and not any((here / "output/clips").glob(moment)):
                    time.sleep(0.001)
                assert process.poll() is None, f"the run ended before {moment}"
                os.killpg(process.pid, signal.SIGKILL)
            recorded = times(here / "output")
            assert all(recorded[name] == time for name, time in finished.items()), "finished work was repeated"
            finished = {name: time for name, time in recorded.items() if name in self.recorded(here)}
        assert run() == 0
        assert contents(here / "output") == undisturbed

    def test_a_second_run_in_the_same_folder_is_refused(self, here):
        write_clip(here / "clips/one.mp4")
        (here / "output/clips/still").mkdir(parents=True)
        program = (
            "import sys; from pathlib import Path; from inspatio.storage import folder_lock\n"
            "with folder_lock(Path('output/clips/still'), wait=False, notice=print):\n"
            "    print('held', flush=True); sys.stdin.read()\n"
        )
        with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
            assert first.stdout is not None
            first.stdout.readline()
            assert run() == 1
            first.kill()
        assert run() == 0

    def test_a_full_disk_is_one_line_and_what_is_finished_is_kept(self, here):
        write_clip(here / "clips/a.mp4")
        write_clip(here / "clips/b.mp4", count=400, size=(48, 80), seed=1)
        disk = here / "disk"
        disk.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=350k", "none", disk], capture_output=True).returncode:
            pytest.skip("a small file system cannot be mounted here")
        try:
            to_disk = ["--work_folder", disk / "w", "--output_folder", disk / "w/still"]
            ended = subprocess.run(self.command(*to_disk), capture_output=True, text=True, check=False)
            assert ended.returncode == 1
            assert "the disk is full" in ended.stderr
            assert "Traceback" not in ended.stderr
            before = {k: v for k, v in times(disk).items() if not k.split("/")[-1].startswith((".", "manifest."))}
            assert not [name for name in before if "b.mp4" in name]
            subprocess.run(["mount", "-o", "remount,size=50m", disk], check=True)
            assert run(*to_disk) == 0
            assert (disk / "w/still/b.mp4").is_file()
            assert before.items() <= times(disk).items()
        finally:
            subprocess.run(["umount", disk], check=False)

    def test_an_input_folder_that_cannot_be_written(self, here):
        write_clip(here / "clips/one.mp4")
        command = ["mount", "--bind", here / "clips", here / "clips"]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("nothing can be mounted here")
        try:
            subprocess.run(["mount", "-o", "remount,ro,bind", here / "clips"], check=True)
            with pytest.raises(OSError, match="Read-only"):
                (here / "clips/x").touch()
            assert run() == 0
        finally:
            subprocess.run(["umount", here / "clips"], check=False)

    @pytest.mark.slow  # the torchrun jobs of test_tiny_profile.py ask the same and more
    def test_workers_give_what_one_process_gives(self, here):
        for index in range(2):
            write_clip(here / f"clips/{index}.mp4", seed=index)
        assert run() == 0
        alone = contents(here / "output")
        (here / "output").rename(here / "kept")
        assert run("--step3_nproc", 2, "--master_port", 29613) == 0
        assert contents(here / "output") == alone
