"""The command line: every flag is listed here, and what cannot be meant is refused in one line."""

import re

import pytest

from inspatio.errors import UsageError
from inspatio.pipeline.cli import main, make_parser
from inspatio.pipeline.job import resolve
from inspatio.pipeline.options import STAGE_OPTIONS

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

FLAGS = {
    "caption": COMMON | CAPTION,
    "geometry": COMMON | GEOMETRY | {"--report", "--export", "--export_frames"},
    "render": COMMON | TRAJECTORY | RENDER,
    "generate": COMMON | TRAJECTORY | GENERATE,
    "run": COMMON | TRAJECTORY | CAPTION | GEOMETRY | RENDER | GENERATE | SKIPS,
}


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    return folder


def parse(*argv):
    return resolve(make_parser().parse_args([str(argument) for argument in argv]))


@pytest.mark.parametrize("command", sorted(STAGE_OPTIONS))
def test_a_command_has_these_flags_and_help_for_each(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert set(re.findall(r"(?<![\w-])--\w+", text)) - {"--help"} == FLAGS[command]


def test_the_defaults_of_the_folders(clips):
    job = parse("run", "--input_dir", clips, "--traj_txt_path", "traj/orbit_left.txt", "--profile", "preview")
    assert (str(job.work_folder), str(job.run_folder)) == ("output/clips", "output/clips/orbit_left")
    assert job.profile.name == "preview"


def test_overrides_reach_the_profile(clips):
    job = parse(
        *("run", "--input_dir", clips, "--traj_txt_path", "traj/still.txt", "--use_tae", "--render_backend", "ply"),
        *("--checkpoint_path", "x.safetensors", "--geometry", "plane", "--step3_gpus", "0,2"),
    )
    generator = job.profile.generator
    assert (generator.encoder, generator.decoder, generator.checkpoint_path) == ("taehv", "taehv", "x.safetensors")
    assert (job.profile.render.backend, job.profile.geometry.backend) == ("ply", "plane")
    assert job.gpus["generate"] == ["0", "2"]


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--profile", "nonsense"], "no such profile"),
        (["--profile", "preview", "--config_path", "configs/preview.yaml"], "choose one"),
        (["--freeze_repeat", "-1"], "0 or more"),
        (["--freeze_repeat", "2", "--freeze_frame", "soon"], "middle or a frame number"),
        (["--step3_gpus", "a,b"], "GPU numbers"),
        (["--step3_nproc", "0"], "1 or more"),
        (["--caption", " "], "--caption"),
        (["--fit", "bend"], "invalid choice"),
        (["--seed", "x"], "invalid int"),
        (["--keep_going", "--fail_fast"], "not allowed with"),
        (["--nonsense"], "unrecognized arguments"),
        (["--prof", "preview"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(clips, extra, said, capsys):
    argv = ["run", "--input_dir", str(clips), "--traj_txt_path", "traj/still.txt", *extra]
    assert main(argv) == 2
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1


def test_the_input_folder_is_never_written_to(clips):
    with pytest.raises(UsageError, match="never written to"):
        parse("run", "--input_dir", clips, "--traj_txt_path", "traj/still.txt", "--output_folder", clips / "out")


def test_no_such_input(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        parse("run", "--input_dir", tmp_path / "none", "--traj_txt_path", "traj/still.txt")
