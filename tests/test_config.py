"""Settings and profiles: every profile in configs/ loads; a wrong value is named with file, key, got and expected."""

from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspatio.clip_options import Controls
from inspatio.config import (
    CONFIG_FOLDERS,
    GeneratorConfig,
    Profile,
    find_profile,
    load_profile,
    profile_names,
)
from inspatio.errors import UsageError
from inspatio.settings import convert, fill, result_settings

YAMLS = sorted(path for path in CONFIG_FOLDERS[1].glob("*.yaml"))


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_every_profile_loads_and_says_what_it_is(path):
    profile = load_profile(path)
    assert profile.name == path.stem
    assert profile.description


def test_what_a_file_leaves_out_has_the_default(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "generator: {steps: [1000, 500], shift: 3}\ncaption:\ngeometry: {window: null}\n"
    )
    profile = load_profile(tmp_path / "mine.yaml")
    assert result_settings(profile.generator) == result_settings(GeneratorConfig(steps=(1000, 500), shift=3.0))
    assert isinstance(profile.generator.shift, float)
    assert result_settings(profile.caption) == result_settings(Profile().caption)
    assert hash(profile) == hash(load_profile(tmp_path / "mine.yaml"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour: red", ["colour: unknown key"]),
        ("generator: {tempo: fast}", ["generator.tempo: unknown key", "precision"]),
        ("height: tall", ["height: got 'tall'", "whole number"]),
        ("height: 100", ["multiples of 16"]),
        ("generator: {precision: fp4}", ["generator.precision: got 'fp4'", "bf16, fp32 or fp8"]),
        ("generator: {encoder: vae}", ["generator.encoder: got 'vae'", "wan, taehv or linear"]),
        ("generator: {backend: wan}", ["generator.backend", "causal, worldfm or preview"]),
        ("generator: {steps: [250, 500]}", ["generator.steps", "falling"]),
        ("generator: {steps: []}", ["generator.steps"]),
        ("generator: {offload: 1}", ["generator.offload: got 1", "true or false"]),
        ("generator: {offload: true, precision: fp8}", ["generator.precision", "cannot go together"]),
        ("generator: fast", ["generator: got 'fast'"]),
        ("geometry: {window: 2}", ["geometry.window: got 2", "at least 4"]),
        ("geometry: {pose_smoothing: .nan}", ["geometry.pose_smoothing: got nan"]),
        ("caption: {frame: last}", ["caption.frame: got 'last'", "middle"]),
        ("caption: {batch_size: true}", ["caption.batch_size: got True"]),
        ("a: [", ["not YAML"]),
        ("- 1", ["not a config"]),
        ("description: ${nowhere}", ["nowhere"]),
    ],
)
def test_faults_are_one_line_naming_file_and_key(tmp_path, text, said):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_profile(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert all(part in message for part in said)
    assert "\n" not in message


def test_an_unknown_profile_lists_those_there_are():
    with pytest.raises(UsageError, match="no such profile") as caught:
        find_profile("nonsense")
    assert all(name in str(caught.value) for name in profile_names())
    assert "preview" in profile_names()


def test_a_missing_config_file(tmp_path):
    with pytest.raises(UsageError, match=r"nothing\.yaml: no such config file"):
        load_profile(tmp_path / "nothing.yaml")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (int, st.integers()),
        (float, st.floats(allow_nan=False, allow_infinity=False)),
        (int | Literal["middle"], st.integers() | st.just("middle")),
        (tuple[int, ...], st.lists(st.integers(), min_size=1).map(tuple)),
        (Path, st.sampled_from([Path("a/b"), Path("c")])),
    ],
)
def test_text_spells_the_value_it_shows(kind, values):
    """What the command line gives as text and what YAML gives as a value are the same setting."""

    @given(values)
    def law(value):
        text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        assert convert(text, kind) == convert(value, kind) == value

    law()


def test_python_is_checked_like_yaml():
    with pytest.raises(UsageError, match="freeze_repeat: got -1"):
        Controls(freeze_repeat=-1)
    with pytest.raises(UsageError, match="freeze_frame: got 'soon'"):
        fill(Controls, {"freeze_frame": "soon"})


def test_the_settings_in_a_fingerprint_are_those_that_change_results():
    config = GeneratorConfig()
    assert result_settings(config) == {
        "backend": "causal",
        "encoder": "wan",
        "decoder": "wan",
        "precision": "bf16",
        "steps": [1000, 750, 500, 250],
        "shift": 5.0,
        "frame_noise": "points",
        "faithful": False,
    }
    assert result_settings(GeneratorConfig(offload=True, compile_dit=True, wan_path="x")) == result_settings(config)
