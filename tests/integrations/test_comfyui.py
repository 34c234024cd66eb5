"""The ComfyUI node pack: it loads where nothing is installed, and its results are those of `inspatio run`."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comfyui_workflow import PACK, WORKFLOW, prompt_of, read_workflow, workflow_text
from support.clips import write_clip
from support.comfyui import ComfyUI, InterruptProcessingException, comfyui
from support.paths import ROOT
from support.runs import PROFILE

from inspatio.errors import UsageError
from inspatio.media import VideoReader, VideoWriter, probe
from inspatio.pipeline.cli import main
from inspatio.render.files import RenderFiles


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ComfyUI]:
    """ComfyUI with the pack, a clip in its input folder, and a small profile."""
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path("configs/small.yaml").write_text(PROFILE)
    write_clip(Path("clips/one.mp4"), 6, (48, 80))
    with comfyui(PACK, tmp_path / "clips") as program:
        yield program


def prompt(trajectory: str = "dolly(0.1)", **generate: Any) -> dict[str, dict[str, Any]]:
    """Both ways from a clip to pictures."""
    both = {"scene": ["scene", 0], "trajectory": ["path", 0]}
    return {
        "generate": {"class_type": "InspatioGenerate", "inputs": {**both, "seed": 0, **generate}},
        "render": {"class_type": "InspatioRender", "inputs": both},
        "scene": {
            "class_type": "InspatioLoadScene",
            "inputs": {"generator": ["profile", 0], "file": "one.mp4", "fit": "crop"},
        },
        "path": {
            "class_type": "InspatioTrajectory",
            "inputs": {"trajectory": trajectory, "frames": 0, "adaptive_frames": True},
        },
        "profile": {"class_type": "InspatioLoadGenerator", "inputs": {"profile": "small"}},
    }


def test_the_result_is_that_of_a_run(program: ComfyUI) -> None:
    """Encoded as a run encodes it, the clip is the same to the last bit; so are the holes; the render is near."""
    done = program.run(prompt())
    images = np.rint(255 * done["generate"][0].numpy()).astype(np.uint8)
    assert main(["run", "--profile", "small", "--input_dir", "clips", "--traj", "dolly(0.1)"]) == 0
    folder = next(path.parent for path in Path("output/clips").glob("*/one.mp4"))
    with VideoWriter(Path("again.mp4"), (48, 80), probe(folder / "one.mp4").frame_rate, quality="view") as writer:
        writer.write(images)
    with VideoReader(folder / "one.mp4") as expected, VideoReader(Path("again.mp4")) as again:
        assert len(expected) == len(images) == 6
        assert np.array_equal(expected.read(range(6)), again.read(range(6)))
        assert done["generate"][1] == done["render"][2] == float(expected.info.frame_rate)
    with RenderFiles(folder / "render/one") as files:
        render = files.read(0, files.targets)
    assert np.array_equal(done["render"][1].numpy() > 0.5, render.masks == 0)
    shown = 255 * done["render"][0].numpy()[render.masks > 0]
    assert np.abs(shown - render.frames[render.masks > 0]).mean() < 2


def test_progress_is_told_and_a_cancelled_node_ends(program: ComfyUI) -> None:
    given = prompt("orbit_left")
    given["path"]["inputs"]["frames"] = 30
    program.run(given)
    assert program.progress[-1] == (30, 30)
    whole = len(program.progress)
    program.progress.clear()
    program.cancel_at = whole - 2
    with pytest.raises(InterruptProcessingException):
        program.run(given)
    assert len(program.progress) == whole - 2
    assert program.run(prompt())["generate"][0].shape == (6, 48, 80, 3), "nothing is left behind"


def test_a_picture_is_a_scene_and_the_number_of_frames_can_be_given(program: ComfyUI) -> None:
    from support.pictures import write_picture

    write_picture(Path("clips/photo.png"))
    given = prompt("orbit_left")
    given["scene"]["inputs"]["file"] = "photo.png"
    given["path"]["inputs"]["frames"] = 7
    assert program.run(given)["render"][0].shape == (7, 48, 80, 3)


@pytest.mark.parametrize(
    ("node", "name", "value", "message"),
    [
        ("scene", "file", "none.mp4", "'none.mp4' not in"),
        ("profile", "profile", "inference_99b", "'inference_99b' not in"),
        ("generate", "seed", -1, "smaller than 0"),
        ("render", "scene", ["path", 0], "got INSPATIO_TRAJECTORY, expected INSPATIO_SCENE"),
    ],
)
def test_a_wrong_graph_is_refused_before_it_runs(
    program: ComfyUI, node: str, name: str, value: Any, message: str
) -> None:
    given = prompt()
    given[node]["inputs"][name] = value
    with pytest.raises(ValueError, match=re.escape(message)):
        program.run(given)


def test_a_wrong_trajectory_is_one_line(program: ComfyUI) -> None:
    with pytest.raises(UsageError, match="none of that name") as raised:
        program.run(prompt("orbit_lfet"))
    assert "\n" not in str(raised.value)


def test_nodes_run_again_when_their_files_change(program: ComfyUI) -> None:
    def scene() -> str:
        return program.fingerprint("InspatioLoadScene", generator=None, file="one.mp4", fit="crop")

    def path() -> str:
        text = f"path({Path('walk.txt').resolve()},scale=2)+zoom(1,2)"
        return program.fingerprint("InspatioTrajectory", trajectory=text, frames=0, adaptive_frames=True)

    before = scene(), path()
    assert (scene(), path()) == before
    Path("clips/one.txt").write_text("a caption")
    Path("walk.txt").write_text("0 0 0 0 0 0 0 1\n")
    assert scene() != before[0]
    assert path() != before[1]


def test_the_pack_loads_without_inspatio_and_says_what_is_missing() -> None:
    script = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests")!r})
for name in ("inspatio", "torch", "numpy"):
    sys.modules[name] = None
from pathlib import Path
from support.comfyui import comfyui
with comfyui(Path({str(PACK)!r}), Path({str(PACK)!r})) as program:
    print(sorted(program.nodes), [program.schema(n).inputs[0].options for n in program.nodes if "Generator" in n])
    program.run({{"1": {{"class_type": "InspatioLoadGenerator", "inputs": {{"profile": "preview"}}}}}})
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "InspatioGenerate" in done.stdout
    assert "['preview']" in done.stdout
    assert "RuntimeError: inspatio is not installed" in done.stderr.splitlines()[-1]


def test_the_example_workflow_is_what_its_script_writes_and_runs(program: ComfyUI) -> None:
    assert WORKFLOW.read_text(encoding="utf-8") == workflow_text(), "run python scripts/comfyui_workflow.py"
    assert WORKFLOW.with_suffix(".jpg").is_file()
    given = prompt_of(read_workflow(WORKFLOW), {name: program.schema(name) for name in program.nodes})
    ours = {node["class_type"] for node in given.values()}
    assert ours >= {name for name in program.nodes if name.startswith("Inspatio")}, "every node is shown"
    for node in given.values():
        if node["class_type"] == "InspatioLoadGenerator":
            node["inputs"]["profile"] = "small"
        if node["class_type"] == "InspatioLoadScene":
            node["inputs"]["file"] = "one.mp4"
    done = program.run(given)
    assert sum(len(outputs) == 0 for outputs in done.values()) == 2, "the render and the result are saved"


def test_the_registry_finds_what_it_wants() -> None:
    """Names, versions and fields as https://docs.comfy.org/registry/specifications has them."""
    declared = tomllib.loads((PACK / "pyproject.toml").read_text(encoding="utf-8"))
    project, comfy = declared["project"], declared["tool"]["comfy"]
    assert re.fullmatch(r"[a-z](?:[-_.]?[a-z0-9])*", project["name"])
    assert "comfyui" not in project["name"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    own = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == own["version"]
    assert project["license"] == {"text": own["license"]}
    assert "Repository" in project["urls"]
    assert {"PublisherId", "DisplayName"} <= set(comfy)
    assert project["dependencies"] == [], "the library is not on PyPI, where another could take its name"
