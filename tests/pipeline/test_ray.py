"""Runs on a local Ray cluster of two workers: results are those of one process, also where workers are killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.clips import write_clip
from support.runs import ORBIT, PROFILE, arguments, contents, run

from inspatio.locations import HOME_VARIABLE
from inspatio.pipeline.cli import main
from inspatio.pipeline.engines.ray_cluster import MAX_DEATHS
from inspatio.pipeline.manifest import Manifest
from inspatio.storage import PART_SUFFIX

pytest.importorskip("ray")
from ray.cluster_utils import Cluster

PLANE = ("--geometry", "plane", "--disable_adaptive_frame", "--caption", "a room")
CLIPS = ("one", "two", "three")
LONG_TIME = 120.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster with room for two workers."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    assert made.address is not None
    yield made.address
    made.shutdown()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(PROFILE)
    for seed, name in enumerate(CLIPS):
        # Large, so that writing its depth takes long enough to be killed at.
        write_clip(tmp_path / f"clips/{name}.mp4", count=4, size=(900, 1600), seed=seed, sound=seed == 1)
    return tmp_path


@contextmanager
def killing(folder: Path, clip: str, times: int) -> Iterator[list[int]]:
    """Kill the process that makes a clip's geometry, so many times; yields the ids of those that were killed."""
    killed: list[int] = []
    ended = threading.Event()

    def kill() -> None:
        while not ended.is_set() and len(killed) < times:
            for path in folder.glob(f"geometry/.{clip}.*{PART_SUFFIX}"):
                found = re.search(r"\.(\d+)\.inspatio", path.name)
                if found and int(found[1]) not in killed:
                    killed.append(int(found[1]))
                    os.kill(killed[-1], signal.SIGKILL)
            time.sleep(0.0001)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        ended.set()
        thread.join()


def test_results_are_those_of_one_process_though_workers_die(here: Path, cluster: str, capfd) -> None:
    """One clip's worker is killed once, and the clip given to another; a second one's each time, until it fails."""
    assert run(*PLANE) == 0
    alone = contents(here / "output")
    (here / "output").rename(here / "alone")
    ray = (*PLANE, "--engine", "ray", "--ray_address", cluster, "--log_json", here / "log.json")
    capfd.readouterr()

    work = here / "output/clips"
    with killing(work, "one", 1) as once, killing(work, "two", MAX_DEATHS) as always:
        assert run(*ray) == 1
    assert len(once) == 1
    assert len(always) == MAX_DEATHS
    by_id = {clip.id: clip for clip in Manifest.read_clips(work)}
    assert by_id["one"].error is by_id["three"].error is None
    assert by_id["two"].error
    assert by_id["two"].error.stage == "geometry"
    assert f"its worker ended {MAX_DEATHS} of {MAX_DEATHS} times" in by_id["two"].error.message
    lines = [json.loads(line) for line in (here / "log.json").read_text().splitlines()]
    retried = [line["clip"] for line in lines if line["event"] == "retried"]
    assert sorted(retried) == ["one", *["two"] * (MAX_DEATHS - 1)]
    assert {line["clip"] for line in lines if line["event"] == "done" and line["stage"] == "generate"} == {
        "one",
        "three",
    }
    assert not list((here / "output").rglob(f"*{PART_SUFFIX}"))
    made = contents(here / "output")
    same = [name for name in alone if "two" not in name and not name.endswith("manifest.json")]
    assert {name: made.get(name) for name in same} == {name: alone[name] for name in same}

    assert run(*ray) == 0
    assert contents(here / "output") == alone
    said = capfd.readouterr()
    assert "Traceback" not in said.err
    assert "raylet" not in said.out + said.err


@pytest.mark.slow
def test_networks_make_the_same_results(
    tmp_path: Path, checkpoints: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All four networks at a tiny size, with captions in batches and prompts that the first worker encodes for all."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/tiny").symlink_to(checkpoints)
    for seed in range(3):
        write_clip(tmp_path / f"clips/{seed}.mp4", count=10, seed=seed)
    command = ["run", "--profile", "tiny", "--input_dir", "clips", "--traj_txt_path", str(ORBIT)]
    command += ["--disable_adaptive_frame", "--work_folder"]
    assert main([*command, "alone"]) == 0
    assert main([*command, "shared", "--engine", "ray", "--ray_address", cluster]) == 0
    assert contents(tmp_path / "shared") == contents(tmp_path / "alone")


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder with a path that is short enough for Ray's sockets."""
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def test_a_run_that_is_interrupted_ends_its_own_cluster(here: Path, temporary: Path) -> None:
    """Without an address: the cluster and its files are gone after Ctrl-C, and so are temporary files."""
    environment = os.environ | {"TMPDIR": str(temporary)}
    command = [sys.executable, "-m", "inspatio", *arguments(*PLANE, "--engine", "ray")]
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # tests in the background inherit that it is ignored
    try:
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if "caption: one done" in line:  # geometry begins
                os.killpg(process.pid, signal.SIGINT)
        assert process.wait(LONG_TIME) == 130, said
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("inspatio: interrupted")
    assert list(temporary.iterdir()) == []
    assert not list((here / "output").rglob(f"*{PART_SUFFIX}"))
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(temporary) in _read(path)]


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # it has just ended
        return ""


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--engine", "ray", "--step3_gpus", "0,1"), "Leave out --step1_gpus"),
        (("--ray_address", "auto"), "got no --engine ray"),
    ],
)
def test_options_that_do_not_go_together_are_refused(here: Path, options, told: str, capsys) -> None:
    assert run(*PLANE, *options) == 2
    assert told in capsys.readouterr().err


def test_an_address_without_a_cluster_is_one_line(here: Path, capsys) -> None:
    assert run(*PLANE, "--engine", "ray", "--ray_address", "127.0.0.1:1") == 1
    said = capsys.readouterr().err
    assert "no cluster at 127.0.0.1:1" in said
    assert "Traceback" not in said
    shutil.rmtree(here / "output")
