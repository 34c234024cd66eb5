"""The command line: options follow from the declared settings, and what cannot be meant is refused in one line."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from support.paths import ROOT

from inspatio.config import Profile
from inspatio.errors import UsageError
from inspatio.pipeline import cli
from inspatio.pipeline.cli import main, make_parser
from inspatio.pipeline.job import Job, resolve
from inspatio.pipeline.options import CLIPS, GROUPS
from inspatio.pipeline.options_markdown import options_markdown
from inspatio.pipeline.records import STAGES
from inspatio.pipeline.stages import make_stage
from inspatio.pipeline.workspace import Workspace
from inspatio.settings import blocks, declared

COMMON = {"--input_dir", "--work_folder", "--profile", "--config_path", "--seed", "--force", "--dry_run"}
COMMON |= {"--keep_going", "--fail_fast", "--master_port"}
TRAJECTORY = {"--traj_txt_path", "--traj_direction", "--output_folder", "--relative_to_source", "--rotation_only"}
TRAJECTORY |= {"--disable_adaptive_frame", "--freeze_repeat", "--freeze_frame", "--fit"}
CAPTION = {"--caption", "--caption_batch_size", "--caption_frame", "--florence_model_path", "--step1_gpus"}
GEOMETRY = {"--geometry", "--da3_model_path", "--da3_metric_path", "--step2_gpus"}
GEOMETRY |= {"--geometry_window", "--pose_smoothing"}
RENDER = {"--render_backend"}
GENERATE = {"--checkpoint_path", "--use_tae", "--tae_checkpoint_path", "--compile_dit", "--step3_gpus", "--step3_nproc"}
GENERATE |= {"--comparison", "--encoder", "--decoder", "--precision", "--offload"}
SKIPS = {"--skip_step1", "--skip_step2", "--skip_step3"}

PUBLIC = {
    "caption": COMMON | CAPTION,
    "geometry": COMMON | GEOMETRY | {"--report", "--export", "--export_frames"},
    "render": COMMON | TRAJECTORY | RENDER,
    "generate": COMMON | TRAJECTORY | GENERATE,
    "run": COMMON | TRAJECTORY | CAPTION | GEOMETRY | RENDER | GENERATE | SKIPS,
    "doctor": {"--profile", "--weights"},
    "licenses": {"--profile"},
}
"""Names that people use; none of them may go."""


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    return folder


def parse(*argv):
    return resolve(make_parser().parse_args([str(argument) for argument in argv]))


def settings_of(command):
    return [each for group in GROUPS if command in group.commands for kind in group.settings for each in declared(kind)]


@pytest.mark.parametrize("command", sorted(PUBLIC))
def test_a_command_has_the_options_of_its_settings_and_no_others(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    shown = set(re.findall(r"(?<![\w-])(?:--\w+|-[a-z]\b)", text.split("\nexamples:")[0])) - {"--help", "-h"}
    assert shown == {spelling for each in settings_of(command) if each.help for spelling in each.options}
    assert shown >= PUBLIC[command]
    if command in CLIPS:
        assert all(f"\n  {code} " in text for code in (0, 1, 2, 130))


def test_every_setting_is_taken_by_some_command():
    """A field outside the groups would have an option in name only."""
    grouped = {each for group in GROUPS for kind in group.settings for each in declared(kind)}
    assert {each for kind in blocks(Profile).values() for each in declared(kind)} <= grouped
    assert set(declared(Job)) <= grouped


def test_the_document_is_up_to_date():
    assert (ROOT / "docs/options.md").read_text(encoding="utf-8") == options_markdown(), "run scripts/make_docs.py"


def test_the_defaults_of_the_folders(clips):
    job = parse("run", "--input_dir", clips, "--traj_txt_path", "traj/orbit_left.txt", "--profile", "preview")
    assert (str(job.work_folder), str(job.run_folder)) == ("output/clips", "output/clips/orbit_left")
    assert job.profile.name == "preview"
    job = parse("geometry", "--input_dir", clips, "--work_folder", "elsewhere")
    assert (str(job.work_folder), job.run_folder) == ("elsewhere", None)


def test_overrides_reach_the_profile(clips):
    job = parse(
        *("run", "--input_dir", clips, "--traj_txt_path", "traj/still.txt", "--use_tae", "--render_backend", "ply"),
        *("--checkpoint_path", "x.safetensors", "--geometry", "plane", "--step3_gpus", "0,2", "--encoder", "wan"),
    )
    generator = job.profile.generator
    assert (generator.encoder, generator.decoder, generator.checkpoint_path) == ("wan", "taehv", "x.safetensors")
    assert (job.profile.render.backend, job.profile.geometry.backend) == ("ply", "plane")
    assert job.gpus["generate"] == ["0", "2"]


def test_the_command_line_switches_off_what_the_profile_has_on(clips, tmp_path):
    (tmp_path / "fast.yaml").write_text("generator: {compile_dit: true, offload: true}\n")
    given = ("generate", "--config_path", tmp_path / "fast.yaml", "--input_dir", clips)
    given += ("--traj_txt_path", "traj/still.txt")
    for extra, expected in (
        ([], (True, True)),
        (["--no_offload"], (True, False)),
        (["--no_compile_dit"], (False, True)),
    ):
        generator = parse(*given, *extra).profile.generator
        assert (generator.compile_dit, generator.offload) == expected


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--profile", "nonsense"], "no such profile"),
        (["--profile", "preview", "--config_path", "configs/preview.yaml"], "choose one"),
        (["--freeze_repeat", "-1"], "--freeze_repeat: got '-1'"),
        (["--freeze_repeat", "2", "--freeze_frame", "soon"], "--freeze_frame: got 'soon'"),
        (["--caption_frame", "-2"], "--caption_frame: got '-2'"),
        (["--step3_gpus", "a,b"], "--step3_gpus: got 'a,b'"),
        (["--step3_nproc", "0"], "at least 1"),
        (["--caption", " "], "--caption"),
        (["--fit", "bend"], "crop, pad or stretch"),
        (["--precision", "fp4"], "bf16, fp32 or fp8"),
        (["--precision", "fp8", "--offload"], "cannot go together"),
        (["--seed", "x"], "whole number"),
        (["--keep_going", "--fail_fast"], "not allowed together"),
        # Those up to the next remark were tracebacks, a hang, or a stage that was skipped without a word.
        (["--freeze_repeat", "100000000"], "--freeze_repeat: got '100000000', expected a whole number of at least 0"),
        (["--freeze_repeat", "9" * 5000], "--freeze_repeat"),
        (["--freeze_frame", "²"], "--freeze_frame: got '²'"),
        (["--freeze_frame", "٣"], "--freeze_frame: got '٣'"),
        (["--pose_smoothing", "1_0"], "--pose_smoothing: got '1_0'"),
        (["--caption_batch_size", "0"], "--caption_batch_size: got '0'"),
        (["--caption_batch_size", "-1"], "--caption_batch_size: got '-1'"),
        (["--pose_smoothing", "nan"], "--pose_smoothing: got 'nan'"),
        (["--pose_smoothing", "1e308"], "--pose_smoothing: got '1e308'"),
        (["--caption", "\udcff"], "--caption: has bytes that are not UTF-8"),
        (["--profile", "p" * 5000], "no such profile"),
        (["--config_path", "c" * 5000], "File name too long"),
        (["--traj_txt_path", "t" * 5000], "File name too long"),
        (["--input_dir", "i" * 5000], "--input_dir"),
        (["--input_dir", "a\0b"], "--input_dir"),
        (["--input_dir", "/dev/zero"], "--input_dir /dev/zero: is a file"),
        # Options
        (["--nonsense"], "unrecognized arguments"),
        (["--prof", "preview"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(clips, extra, said, capsys, monkeypatch):
    monkeypatch.setenv("INSPATIO_LOCK_HELD", "1")  # a variable of an earlier version
    argv = ["run", "--input_dir", str(clips), "--traj_txt_path", "traj/still.txt", *extra]
    assert main(argv) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("height: 16000000", "height: got 16000000, expected a whole number of at least 16 and at most 8192"),
        ("caption: {frame: foo}", "caption.frame: got 'foo', expected a whole number of at least 0 or middle"),
        ("caption: {batch_size: 0}", "caption.batch_size: got 0"),
        ("geometry: {longest: -4}", "geometry.longest: got -4"),
        ("geometry: {pose_smoothing: .inf}", "geometry.pose_smoothing: got inf"),
    ],
)
def test_a_profile_with_impossible_values_is_refused(clips, tmp_path, text, said):
    """They were taken, and ended a run hours later or, with a batch of no clips, skipped a stage without a word."""
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UsageError) as caught:
        parse("caption", "--input_dir", clips, "--config_path", tmp_path / "mine.yaml")
    assert said in str(caught.value)


def test_a_folder_without_permission_is_refused(clips):
    """It was a PermissionError. Root may read everything, so here root becomes another user for a moment."""
    clips.chmod(0)
    is_root = os.geteuid() == 0
    try:
        if is_root:
            os.seteuid(65534)
        with pytest.raises(UsageError, match=r"cannot be read \(Permission denied\)"):
            parse("caption", "--input_dir", clips, "--profile", "preview")
    finally:
        if is_root:
            os.seteuid(0)
        clips.chmod(0o755)


def test_frames_to_export_need_an_export(clips):
    assert parse("geometry", "--input_dir", clips, "--export", "ply", "--export_frames", "0, 3").export_frames == (0, 3)
    with pytest.raises(UsageError, match="--export"):
        parse("geometry", "--input_dir", clips, "--export_frames", "0")


def test_the_input_folder_is_never_written_to(clips):
    with pytest.raises(UsageError, match="never written to"):
        parse("run", "--input_dir", clips, "--traj_txt_path", "traj/still.txt", "--output_folder", clips / "out")


def test_no_such_input(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        parse("run", "--input_dir", tmp_path / "none", "--traj_txt_path", "traj/still.txt")


def test_sigterm_is_handled_only_by_the_program_itself(monkeypatch):
    """A program that calls main(argv) keeps its own handler; the command's own one ends with the command."""
    seen = []
    monkeypatch.setattr(cli, "_dispatch", lambda *_: seen.append(signal.getsignal(signal.SIGTERM)) or 0)
    before = signal.getsignal(signal.SIGTERM)
    assert main(["doctor"]) == 0
    monkeypatch.setattr(sys, "argv", ["inspatio", "doctor"])
    assert main() == 0
    thread = threading.Thread(target=main)
    thread.start()
    thread.join()
    own, program, elsewhere = seen
    assert own == elsewhere == before
    assert program != before
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_terminated_program_ends_like_an_interrupted_one():
    script = (
        "import os, signal, sys\n"
        "from inspatio.pipeline import cli\n"
        "cli._dispatch = lambda *_: os.kill(os.getpid(), signal.SIGTERM) or 0\n"
        "sys.exit(cli.main())\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, "doctor"], capture_output=True, text=True, check=False)
    assert ended.returncode == 130
    assert ended.stderr.count("\n") == 1


NEEDS = {
    "fallback": {"geometry": {"backend": "auto"}},
    "focal": {"geometry": {"backend": "motion"}},
    "freeze_frame": ["--freeze_repeat", "1"],
}
"""What else must be said for a setting to have an effect."""


PROFILES = {"frame_noise": "worldfm_tiny"}
"""The profile that a setting has an effect in, where that is not tiny."""


def another(each):
    """A value that is not the default, as the command line or YAML spells it."""
    words = {"caption": "a pot", "steps": [1000, 500], "height": 96, "width": 96, "longest": 98, "fallback": "da3"}
    words |= dict.fromkeys(("encoder", "decoder"), "taehv")  # the linear autoencoder has no weights here
    return words.get(each.name) or next((word for word in reversed(each.choices) if word != each.default), "7")


def inputs(argv, keys, profile="tiny"):
    """What the fingerprint of each stage is made of, for the first clip."""
    OmegaConf.save(OmegaConf.merge(OmegaConf.load(ROOT / f"configs/{profile}.yaml"), keys), "changed.yaml")
    Path("path.txt").write_text("1 0 0 0  0 1 0 0  0 0 1 0\n")
    given = ("run", "--config_path", "changed.yaml", "--input_dir", "clips", "--traj_txt_path", "path.txt")
    job = parse(*given, "--traj_direction", "world_to_camera", *argv)
    workspace = Workspace.open(job)
    return {name: make_stage(name, workspace).inputs(workspace.clips[0]) for name in STAGES}


def test_a_setting_changes_the_fingerprint_of_the_stage_it_names_and_of_no_other(here):
    """A setting forgotten in a fingerprint would let an out-of-date result count as up to date."""
    cases = [("", each) for each in declared(Profile)]
    cases += [(f"{name}.", each) for name, kind in blocks(Profile).items() for each in declared(kind)]
    cases += [(None, each) for each in settings_of("run") if each.options and (each.is_switch or each.changes)]
    for block, each in cases:
        # Views are another source, and only portrait clips are turned.
        if each.by_content or each.name in ("dry_run", "views", "turn"):
            continue
        extra = NEEDS.get(each.name, [])
        argv, keys = (extra, {}) if isinstance(extra, list) else ([], extra)
        profile = PROFILES.get(each.name, "tiny")
        before = inputs(argv, keys, profile)
        if block is None:
            argv = [*argv, each.options[0], *([] if each.is_switch else [str(another(each))])]
        else:
            OmegaConf.update(keys := OmegaConf.create(keys), block + each.name, each.is_switch or another(each))
        after = inputs(argv, keys, profile)
        changed = {name for name in STAGES if after[name] != before[name]}
        assert changed == ({each.changes} if each.changes else set()), each.name
