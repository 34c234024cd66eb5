"""The table of checkpoints agrees with the profiles, the networks, the shipped page and the downloader."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import pytest
from make_docs import table_rows
from support.paths import ROOT

from inspatio.config import Profile, find_profile, load_profile, profile_names
from inspatio.errors import MissingWeightsError
from inspatio.models.checkpoints import (
    CHECKPOINTS,
    NON_COMMERCIAL,
    TINY_PROFILES,
    checkpoint_of,
    how_to_get,
    needs,
    require,
    weights_in_use,
)
from inspatio.models.depth_anything3.checkpoint import MODELS
from inspatio.models.wan.checkpoint import PUBLISHED


@pytest.mark.parametrize("profile", sorted({name for row in CHECKPOINTS.values() for name in row.profiles}))
def test_a_profile_is_downloaded_whole(profile: str) -> None:
    """Every file that a profile reads is a file of a row that is downloaded for it, in the folder it is read from."""
    rows = {name for name, row in CHECKPOINTS.items() if profile in row.profiles}
    with_taehv = load_profile(find_profile(profile))
    with_taehv = replace(with_taehv, generator=replace(with_taehv.generator, encoder="taehv"))
    wanted = needs(with_taehv)
    assert {need.checkpoint.name for need in wanted if need.checkpoint} == rows
    for need in wanted:
        assert need.checkpoint
        patterns = [file.name for file in need.checkpoint.files]
        for group in need.names or ((need.path.name,),):
            found = [p for p in patterns for name in group if fnmatch(name, p) or p.startswith(f"{name}/")]
            assert found, f"{need.checkpoint.name} lacks {group}"


def test_every_profile_with_networks_is_in_the_table() -> None:
    downloaded = {name for row in CHECKPOINTS.values() for name in row.profiles}
    for name in profile_names():
        assert (name in downloaded) == (name not in TINY_PROFILES and bool(needs(load_profile(find_profile(name)))))


def test_rows_lead_to_networks() -> None:
    """Each row's architecture key is known where the network is, and every published network has a row."""
    names = {row.model_name for row in CHECKPOINTS.values() if row.family == "da3"}
    assert names == {name for name in MODELS if not name.endswith("-tiny")}
    assert {row.width for row in CHECKPOINTS.values() if row.family == "inspatio-world"} == PUBLISHED.keys()


def test_the_page_shows_the_table() -> None:
    page = (ROOT / "checkpoints/README.md").read_text(encoding="utf-8")
    assert "\n".join(table_rows()) in page, "checkpoints/README.md is out of date: run scripts/make_docs.py"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("checkpoints/tiny/DA3/model.safetensors", "DA3"),
        ("checkpoints/InSpatio-World-1.5/InSpatio-World-1.5-1.3B.safetensors", "InSpatio-World-1.5"),
        ("elsewhere/weights.pth", None),
    ],
)
def test_a_path_is_told_by_its_folder(path: str, name: str | None) -> None:
    row = checkpoint_of(Path(path))
    assert (row and row.name) == name
    assert (f"download.sh {name}" if name else "--help") in how_to_get(Path(path))


def test_what_was_never_published_is_not_advised() -> None:
    advice = how_to_get(Path("checkpoints/InSpatio-World-14B/InSpatio-World-14B.safetensors"))
    assert "download.sh" not in advice
    assert "no public source" in advice


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_name": "da3nested-giant-large"}, f"{NON_COMMERCIAL}: da3nested-giant-large"),
        ({"model_name": "da3-base"}, "Apache-2.0: da3-base"),
        ({"model_name": "mine"}, "cannot be told: mine"),
        ([], "cannot be told"),
    ],
)
def test_the_terms_of_depth_anything_follow_its_config(tmp_path: Path, config: object, said: str) -> None:
    """Any model may lie in a folder called DA3."""
    folder = tmp_path / "DA3"
    folder.mkdir()
    profile = Profile(name="mine")
    profile = replace(profile, geometry=replace(profile.geometry, model_path=str(folder)))
    assert weights_in_use(profile, "geometry") == {str(folder): str(NON_COMMERCIAL)}
    (folder / "config.json").write_text(json.dumps(config))
    assert weights_in_use(profile, "geometry")[str(folder)].startswith(said)


def test_missing_weights_stop_a_run_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match=r"(?s)Florence-2: .*download\.sh --profile inference_1\.3b"):
        require(load_profile(find_profile("inference_1.3b")), {"caption"})
    require(load_profile(find_profile("preview")), {"caption", "geometry", "generate"})


def test_the_advice_fits_a_config_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It named a profile that did not exist, and a download that put nothing where the config looks."""
    path = tmp_path / "mine.yaml"
    path.write_text(f"caption: {{model_path: {tmp_path}/my weights}}\ngenerator: {{backend: preview}}\n")
    with pytest.raises(MissingWeightsError) as caught:
        require(load_profile(path), {"caption", "geometry"})
    lines = str(caught.value).splitlines()
    assert "--profile mine" not in lines[1]
    assert "download.sh DA3" in lines[1]
    assert f"put your own at {tmp_path}/my weights/config.json" in lines[1]
    assert "in place of" in lines[2]


def test_the_advice_for_tiny_weights_works_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingWeightsError) as caught:
        require(load_profile(find_profile("tiny")), {"geometry"})
    command = shlex.split(str(caught.value).splitlines()[1].partition(":")[2])
    subprocess.run([sys.executable, *command[1:], "--only", "da3"], check=True, capture_output=True)
    require(load_profile(find_profile("tiny")), {"geometry"})


def test_the_downloader_runs_on_bare_python(tmp_path: Path) -> None:
    """Without site-packages: nothing but the standard library is imported."""
    run = [sys.executable, "-S", "-m", "inspatio.pipeline.download", "--profile", "inference_1.5", "--dry_run"]
    done = subprocess.run(run, env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "InSpatio-World-1.5-1.3B.safetensors" in done.stdout
