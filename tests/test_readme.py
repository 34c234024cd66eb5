"""What README shows works as it is written."""

import re

import numpy as np
import torch
from support.clips import write_clip
from support.paths import ROOT

from inspatio.pipeline.cli import main, make_parser

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_library_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "examples/living_room.mp4", count=10, size=(48, 80))
    (tmp_path / "traj").symlink_to(ROOT / "traj")
    (tmp_path / "configs").mkdir()
    small = (ROOT / "configs/preview.yaml").read_text() + "height: 48\nwidth: 80\n"
    (tmp_path / "configs/preview.yaml").write_text(small)
    assert main(["geometry", "--profile", "preview", "--input_dir", "examples"]) == 0
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(program, "README.md", "exec"), names)
    blocks = capsys.readouterr().out.splitlines()
    assert blocks[0] == "0 torch.Size([9, 48, 80, 3])"
    assert blocks[1] == "9 torch.Size([12, 48, 80, 3])"
    assert int(blocks[-1].split()[0]) >= 109, "the clip is adapted to at least 121 frames"
    assert isinstance(names["block"].frames, torch.Tensor | np.ndarray)  # pyright: ignore[reportAttributeAccessIssue]


def test_every_option_it_names_exists():
    flags = set(re.findall(r"(?<![\w-])--[a-z]\w+", README))
    others = {"--nnodes", "--nproc_per_node", "--rdzv_endpoint", "--golden", "--help", "--profile", "--yes", "--gif"}
    known = set()
    for action in make_parser()._subparsers._group_actions[0].choices.values():  # pyright: ignore
        known |= {option for each in action._actions for option in each.option_strings}
    assert flags - others <= known


def test_files_it_names_are_there():
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / path).is_file(), path
    for name in re.findall(r"`(?:python |bash )?(scripts/\w+\.\w+)", README):
        assert (ROOT / name).is_file(), name
