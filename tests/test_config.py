"""Profiles: every one in configs/ loads; what is wrong in a file is said with its key."""

from dataclasses import replace

import pytest

from inspatio.config import CONFIG_FOLDERS, Profile, find_profile, load_profile, profile_names
from inspatio.errors import UsageError

YAMLS = sorted(path for path in CONFIG_FOLDERS[1].glob("*.yaml"))


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_every_profile_loads_and_says_what_it_is(path):
    profile = load_profile(path)
    assert profile.name == path.stem
    assert profile.description


def test_what_a_file_leaves_out_has_the_default(tmp_path):
    (tmp_path / "mine.yaml").write_text("generator: {steps: [1000, 500]}\n")
    profile = load_profile(tmp_path / "mine.yaml")
    assert profile.generator.steps == [1000, 500]
    assert replace(profile.caption, model_path="") == replace(Profile(name="mine").caption, model_path="")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour: red", "key colour"),
        ("generator: {tempo: fast}", "key generator.tempo"),
        ("height: tall", "height"),
        ("height: 100", "multiples of 16"),
        ("a: [", "not YAML"),
        ("- 1", "not a config"),
    ],
)
def test_faults_are_one_line_naming_file_and_key(tmp_path, text, said):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_profile(path)
    message = str(caught.value)
    assert "bad" in message
    assert said in message
    assert "\n" not in message


def test_an_unknown_profile_lists_those_there_are():
    with pytest.raises(UsageError, match="no such profile") as caught:
        find_profile("nonsense")
    assert all(name in str(caught.value) for name in profile_names())
    assert "preview" in profile_names()


def test_a_missing_config_file(tmp_path):
    with pytest.raises(UsageError, match=r"nothing\.yaml: no such config file"):
        load_profile(tmp_path / "nothing.yaml")
