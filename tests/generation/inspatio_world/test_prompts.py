"""Prompt embeddings on disk: encoded once, found again, never another encoder's, never half a file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tiny import wan

from inspatio.errors import MissingWeightsError
from inspatio.generation.inspatio_world.prompts import PromptCache
from inspatio.models.wan.text_encoder import MAX_TOKENS, WEIGHTS_FILE, TextEncoder, pad_embeddings
from inspatio.models.weights import load_state

PROMPTS = ["a street at dusk", "the sea &amp; the rocks", ""]


@pytest.fixture(scope="module")
def wan_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    wan.write(folder)
    return folder / "Wan2.1-T2V-1.3B"


def without_weights(wan_folder: Path, target: Path) -> Path:
    shutil.copytree(wan_folder, target)
    return target


def test_embeddings_are_the_encoders(wan_folder: Path, tmp_path: Path) -> None:
    cache = PromptCache(wan_folder, tmp_path)
    encoder = TextEncoder.load(wan_folder)
    for prompt in PROMPTS:
        embeddings = cache(prompt)
        assert embeddings.shape == (1, MAX_TOKENS, wan.TEXT_WIDTH)
        assert torch.equal(embeddings, pad_embeddings(encoder.embed(prompt)))


def test_prepared_prompts_need_no_encoder(wan_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PromptCache(wan_folder, tmp_path).prepare([*PROMPTS, *PROMPTS])
    assert len(list(tmp_path.iterdir())) == len(PROMPTS)

    def refuse(*_args: object, **_options: object) -> TextEncoder:
        raise AssertionError("the encoder was loaded")

    monkeypatch.setattr(TextEncoder, "load", refuse)
    later = PromptCache(wan_folder, tmp_path)
    later.prepare(PROMPTS)
    assert later("  the sea & the\nrocks").any()  # the same prompt once it is clean
    with pytest.raises(AssertionError, match="was loaded"):
        later("something new")


def test_another_encoder_finds_nothing(wan_folder: Path, tmp_path: Path) -> None:
    first = PromptCache(wan_folder, tmp_path / "cache")
    embeddings = first(PROMPTS[0])
    folder = without_weights(wan_folder, tmp_path / "Wan2.1-T2V-1.3B")
    copied = PromptCache(folder, tmp_path / "cache")
    assert copied.path(PROMPTS[0]) == first.path(PROMPTS[0])
    state = load_state(wan_folder / WEIGHTS_FILE)
    state["norm.weight"] = state["norm.weight"] * 2
    torch.save(state, folder / WEIGHTS_FILE)
    other = PromptCache(folder, tmp_path / "cache")
    assert other.path(PROMPTS[0]) != first.path(PROMPTS[0])
    assert not torch.equal(other(PROMPTS[0]), embeddings)
    assert torch.equal(first(PROMPTS[0]), embeddings)


def test_half_a_file_is_made_again(wan_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = PromptCache(wan_folder, tmp_path)
    embeddings = cache(PROMPTS[0])
    path = cache.path(PROMPTS[0])
    path.write_bytes(path.read_bytes()[:100])
    assert torch.equal(cache(PROMPTS[0]), embeddings)
    assert "cut short" in caplog.text


def test_no_encoder(wan_folder: Path, tmp_path: Path) -> None:
    folder = without_weights(wan_folder, tmp_path / "Wan2.1-T2V-1.3B")
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(MissingWeightsError, match=r"models_t5.*no such file.*scripts/download\.sh Wan2\.1-T2V-1\.3B"):
        PromptCache(folder, tmp_path / "cache")(PROMPTS[0])


def test_damaged_weights_leave_no_file(wan_folder: Path, tmp_path: Path) -> None:
    folder = without_weights(wan_folder, tmp_path / "Wan2.1-T2V-1.3B")
    state = load_state(wan_folder / WEIGHTS_FILE)
    state["norm.weight"] = torch.full_like(state["norm.weight"], float("nan"))
    torch.save(state, folder / WEIGHTS_FILE)
    with pytest.raises(MissingWeightsError, match="NaN"):
        PromptCache(folder, tmp_path / "cache")(PROMPTS[0])
    assert not list((tmp_path / "cache").glob("*"))
