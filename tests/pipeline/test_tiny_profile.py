"""The whole pipeline through every network, at tiny sizes with random weights in the published layout."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from support.clips import write_clip
from support.paths import ROOT

from inspatio.media import VideoReader, probe
from inspatio.models.wan.vae import WanEncoder
from inspatio.pipeline.cli import main
from inspatio.pipeline.manifest import Manifest

STILL = ROOT / "traj" / "still.txt"


def arguments(*extra: object) -> list[str]:
    fixed = ["run", "--profile", "tiny", "--input_dir", "clips", "--traj_txt_path", STILL]
    return [str(argument) for argument in [*fixed, *extra]]


def run(*extra: object) -> int:
    return main(arguments(*extra))


def generate_again(*extra: object) -> int:
    """Generate with other options in place of the results that are there."""
    return main(["generate", *arguments(*extra, "--force")[1:]])


def clip_of(here: Path):
    (work,) = Manifest.open(here / "output/clips", input=here / "clips").clips
    (run,) = Manifest.open(here / "output/clips/still", input=here / "clips", work=here / "output/clips").clips
    return work, run


def frames(path: Path) -> np.ndarray:
    with VideoReader(path) as reader:
        return reader.read(range(len(reader))).astype(int)


def copy_weights(here: Path) -> Path:
    """The linked checkpoints as a folder of the test's own, to be damaged."""
    link = here / "checkpoints/tiny"
    source = link.resolve()
    link.unlink()
    subprocess.run(["cp", "-r", source, link], check=True)
    return link


def test_caption_geometry_render_and_result_all_come_from_networks(here):
    assert run("--comparison") == 0
    work, made = clip_of(here)
    assert work.caption
    assert work.caption.origin == "florence"
    assert work.caption.text
    assert work.geometry
    assert (work.geometry.backend, work.geometry.scale) == ("da3", "metres")
    assert list(work.geometry.weights) == ["checkpoints/tiny/DA3"]
    assert made.output
    assert made.output.generator == "causal"
    assert set(made.output.weights.values()) >= {"Apache-2.0"}
    result = probe(here / "output/clips/still/one.mp4")
    assert (result.frame_count, result.size) == (14, (64, 112))
    assert frames(here / "output/clips/still/one.mp4").std() > 1

    before = (here / "output/clips/still/one.mp4").read_bytes()
    assert run("--force") == 0
    assert (here / "output/clips/still/one.mp4").read_bytes() == before


def test_a_portrait_clip_gives_a_portrait_result_of_the_same_networks(here, capsys):
    """One job, one loading of the networks; the wide clip's result is what it is without the other."""
    assert run() == 0
    alone = (here / "output/clips/still/one.mp4").read_bytes()
    height, width = probe(here / "output/clips/still/one.mp4").size
    write_clip(here / "clips/tall.mp4", size=(72, 40), count=9)
    assert run("--force") == 0
    assert probe(here / "output/clips/still/tall.mp4").size == (width, height)
    assert (here / "output/clips/still/one.mp4").read_bytes() == alone
    known = f"{height}x{width} for a portrait source, which is outside of what the weights are known for"
    assert known in capsys.readouterr().err


def test_the_next_trajectory_encodes_no_source_and_gives_what_it_gives_without(here, monkeypatch):
    encode, calls = WanEncoder.encode, []
    monkeypatch.setattr(WanEncoder, "encode", lambda *given: calls.append(given) or encode(*given))
    assert run("--disable_adaptive_frame") == 0
    assert len(calls) == 4  # two blocks of source and render
    other = here / "other.txt"
    other.write_text("0 3\n0 2\n0 0\n")
    calls.clear()
    again = ["run", "--profile", "tiny", "--input_dir", "clips", "--disable_adaptive_frame"]
    again += ["--traj_txt_path", str(other)]
    assert main(again) == 0
    assert len(calls) == 2
    made = (here / "output/clips/other/one.mp4").read_bytes()
    calls.clear()
    assert main(["generate", *again[1:], "--force"]) == 0
    assert len(calls) == 4
    assert (here / "output/clips/other/one.mp4").read_bytes() == made


def test_a_clip_shared_by_two_processes_gives_what_one_gives(here):
    assert run() == 0
    alone = frames(here / "output/clips/still/one.mp4")
    (here / "output/clips/still").rename(here / "alone")
    assert run("--step3_nproc", 2, "--master_port", 29641) == 0
    assert np.abs(frames(here / "output/clips/still/one.mp4") - alone).max() <= 1


def test_the_seed_and_the_prompt_change_the_result_and_nothing_before_it(here):
    assert run() == 0
    first = frames(here / "output/clips/still/one.mp4")
    rendered = (here / "output/clips/still/render/one/render.mp4").stat().st_mtime_ns
    assert generate_again("--seed", 1) == 0
    second = frames(here / "output/clips/still/one.mp4")
    assert np.abs(first - second).max() > 0
    assert run("--seed", 1, "--caption", "something else entirely") == 0
    assert np.abs(second - frames(here / "output/clips/still/one.mp4")).max() > 0
    assert (here / "output/clips/still/render/one/render.mp4").stat().st_mtime_ns == rendered


def test_taehv_for_one_side_or_both(here):
    results = []
    assert run("--skip_step3") == 0
    for options in ([], ["--decoder", "taehv"], ["--use_tae"]):
        assert generate_again(*options) == 0
        _, made = clip_of(here)
        assert made.output
        assert ("checkpoints/tiny/taehv/taew2_1.pth" in made.output.weights) == bool(options)
        results.append(frames(here / "output/clips/still/one.mp4"))
    assert len(results[0]) == 14
    for one, other in itertools.combinations(results, 2):
        assert np.abs(one - other).max() > 1


@pytest.mark.parametrize("missing", ["generator", "vae", "text", "taehv", "florence", "da3"])
def test_a_missing_checkpoint_is_named_before_anything_runs(here, missing, capsys):
    folder = copy_weights(here)
    path, extra = {
        "generator": ("InSpatio-World-1.3B/InSpatio-World-1.3B.safetensors", []),
        "vae": ("Wan2.1-T2V-1.3B/Wan2.1_VAE.pth", []),
        "text": ("Wan2.1-T2V-1.3B/models_t5_umt5-xxl-enc-bf16.pth", []),
        "taehv": ("taehv/taew2_1.pth", ["--use_tae"]),
        "florence": ("Florence-2-large/model.safetensors", []),
        "da3": ("DA3/config.json", []),
    }[missing]
    (folder / path).unlink()
    assert run(*extra) == 1
    message = capsys.readouterr().err
    assert path in message
    assert "make_tiny_checkpoints.py" in message
    assert not (here / "output").exists()


def test_wrong_checkpoints_stop_the_run_in_one_line_and_keep_what_is_finished(here, capsys):
    folder = copy_weights(here)
    path = folder / "InSpatio-World-1.3B/InSpatio-World-1.3B.safetensors"
    state = {key: value.clone() for key, value in load_file(path).items()}  # not mapped: the file is about to change
    whole = path.read_bytes()

    def stops_with(said: str) -> None:
        capsys.readouterr()
        assert run() == 1
        message = capsys.readouterr().err
        assert said in message
        assert "Traceback" not in message
        assert (here / "output/clips/still/render/one/render.mp4").is_file()

    path.write_bytes(whole[: len(whole) // 2])
    stops_with(path.name)
    save_file({key: value for key, value in state.items() if "blocks.0.ffn.0.bias" not in key}, path)
    stops_with("blocks.0.ffn.0.bias")
    save_file({**state, "model.surprise": state["model.patch_embedding.bias"].clone()}, path)
    stops_with("surprise")
    config = folder / "Wan2.1-T2V-1.3B/config.json"
    right = config.read_text()
    path.write_bytes(whole)
    config.write_text(json.dumps(json.loads(right) | {"ffn_dim": 8}))
    stops_with("ffn")
    config.write_text(right)
    assert run() == 0


def test_a_render_that_does_not_fit_is_refused(here):
    assert run("--skip_step3") == 0
    path = here / "output/clips/still/render/one/cameras.json"
    cameras = json.loads(path.read_text())
    cameras["frame_count"] += 1
    cameras["timeline"].append(13)
    cameras["world_to_camera"].append(cameras["world_to_camera"][-1])
    path.write_text(json.dumps(cameras))
    argv = arguments()
    assert main(["generate", *argv[1:]]) == 1
    _, made = clip_of(here)
    assert made.error
    assert "14 frames" in made.error.message
    assert "expected 15" in made.error.message


def test_a_job_that_the_user_starts_with_torchrun_gives_what_one_process_gives(here):
    write_clip(here / "clips/two.mp4", count=9, seed=2)

    def described() -> dict[str, tuple[str, bytes]]:
        """Caption and depth of every clip, which must be equal to the bit."""
        found = {}
        for clip in Manifest.open(here / "output/clips", input=here / "clips").clips:
            assert clip.caption
            assert clip.geometry
            depth = (here / "output/clips" / clip.geometry.folder / "depth.npy").read_bytes()
            found[clip.id] = (clip.caption.text, depth)
        return found

    assert run() == 0
    alone = {path.name: frames(path) for path in (here / "output/clips/still").glob("*.mp4")}
    texts_and_depth = described()
    (here / "output").rename(here / "alone")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29643"]
    subprocess.run([*command, "-m", "inspatio", *arguments()], check=True)
    assert described() == texts_and_depth
    assert {path.name for path in (here / "output/clips/still").glob("*.mp4")} == set(alone)
    for name, expected in alone.items():
        assert np.abs(frames(here / "output/clips/still" / name) - expected).max() <= 1
    assert not list((here / "output").rglob("manifest.part-*"))
    assert run("--dry_run") == 0


@pytest.mark.slow  # test_tiny_caption_geometry.py lets a worker of another stage die
def test_a_worker_that_dies_takes_the_job_down_and_a_rerun_goes_on(here):
    write_clip(here / "clips/two.mp4", count=9, seed=2)
    (here / "clips/three.mp4").touch()
    program = (
        "import os, sys\n"
        "from inspatio.pipeline import generate\n"
        "whole = generate.GenerateStage.process\n"
        "def process(self, states, report):\n"
        "    if states[0].id == 'two': os._exit(7)\n"
        "    return whole(self, states, report)\n"
        "generate.GenerateStage.process = process\n"
        "from inspatio.pipeline.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    (here / "dying.py").write_text(program)
    assert run("--skip_step3") == 1  # three.mp4 is empty
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29642", "dying.py"]
    argv = arguments()
    ended = subprocess.run([*command, "generate", *argv[1:]], capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert run() == 1
    assert (here / "output/clips/still/one.mp4").is_file()
    assert (here / "output/clips/still/two.mp4").is_file()
