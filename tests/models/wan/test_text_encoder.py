"""The text encoder: cleaning, tokens, names, and that running without padding changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.paths import GOLDEN
from tiny import wan
from tokenizers import Tokenizer
from transformers import UMT5Config, UMT5EncoderModel

from inspatio.errors import MissingWeightsError
from inspatio.models.wan.text_encoder import (
    MAX_TOKENS,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    TextEncoder,
    _config,
    _transformers_name,
    clean_prompt,
    load_tokenizer,
    make_network,
    pad_embeddings,
)
from inspatio.models.weights import load_state

KEYS = json.loads((GOLDEN / "checkpoint_keys.json").read_text())[WEIGHTS_FILE]


@pytest.fixture(scope="module")
def wan_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    wan.write(folder)
    return folder / "Wan2.1-T2V-1.3B"


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("  a\n street \t at   dusk ", "a street at dusk"),
        ("caf\u00c3\u00a9 &amp;amp; bar", "café & bar"),
        ("\u201ccurly\u201d &lt;b&gt;", '"curly" <b>'),
        ("", ""),
    ],
)
def test_cleaning(raw: str, clean: str) -> None:
    assert clean_prompt(raw) == clean


@given(st.text(alphabet="abc é\u2019\t\n", max_size=30))
def test_clean_prompts_stay_as_they_are(raw: str) -> None:
    assert clean_prompt(clean_prompt(raw)) == clean_prompt(raw)


def test_every_prompt_ends_with_the_end_token(wan_folder: Path) -> None:
    tokenizer = load_tokenizer(wan_folder)
    for prompt in ("", "a street at dusk", "the sea " * 1000):
        ids = tokenizer.encode(prompt).ids
        assert len(ids) <= MAX_TOKENS
        assert ids[-1] == tokenizer.token_to_id("</s>") == 1
        assert 1 not in ids[:-1]
    assert len(tokenizer.encode("the sea " * 1000).ids) == MAX_TOKENS


def test_running_without_padding_changes_nothing(wan_folder: Path) -> None:
    encoder = TextEncoder.load(wan_folder, dtype=torch.float32)
    alone = encoder.embed("two dogs run across a meadow")
    count = len(alone)
    ids = torch.zeros(1, MAX_TOKENS, dtype=torch.long)
    ids[0, :count] = torch.tensor(encoder.tokenizer.encode("two dogs run across a meadow").ids)
    mask = (torch.arange(MAX_TOKENS) < count)[None]
    with torch.inference_mode():
        padded = encoder.network(input_ids=ids, attention_mask=mask).last_hidden_state * mask[..., None]
    torch.testing.assert_close(pad_embeddings(alone), padded, rtol=0, atol=1e-5)
    assert not torch.allclose(alone[0], encoder.embed("two dogs sleep")[0], atol=1e-3)


def test_the_file_is_used_as_it_is(wan_folder: Path) -> None:
    """On the CPU in the file's own precision the parameters lie in the file."""
    network = TextEncoder.load(wan_folder).network
    assert {p.dtype for p in network.parameters()} == {torch.bfloat16}
    assert network.get_input_embeddings().weight.data_ptr() == network.shared.weight.data_ptr()


def test_published_names_and_shapes() -> None:
    """Each published name becomes a name of transformers' with the same shape, and none is left over."""
    config = UMT5Config(
        vocab_size=256384, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, use_cache=False
    )
    with torch.device("meta"):
        expected = {name: list(p.shape) for name, p in UMT5EncoderModel(config).state_dict().items()}
        made = _config({key: torch.empty(shape) for key, shape in KEYS.items()}, Path("x"))
    del expected["encoder.embed_tokens.weight"]
    assert {_transformers_name(key): shape for key, shape in KEYS.items()} == expected
    assert made.to_dict() == config.to_dict()


def test_another_models_file_is_refused(wan_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match="not a umT5 encoder"):
        make_network({"encoder.conv1.weight": torch.ones(1)}, Path("Wan2.1_VAE.pth"))
    state = load_state(wan_folder / WEIGHTS_FILE)
    with pytest.raises(MissingWeightsError, match=r"1 unexpected \(blocks\.0\.attn\.extra\.weight\)"):
        make_network({**state, "blocks.0.attn.extra.weight": torch.ones(1)}, Path("t5.pth"))
    del state["blocks.1.norm2.weight"]
    with pytest.raises(MissingWeightsError, match=r"1 missing \(encoder\.block\.1\.layer\.1\.layer_norm\.weight\)"):
        make_network(state, Path("t5.pth"))


def with_tokenizer(wan_folder: Path, folder: Path, text: str) -> Path:
    (folder / TOKENIZER_FILE).parent.mkdir(parents=True)
    (folder / TOKENIZER_FILE).write_text(text)
    (folder / WEIGHTS_FILE).symlink_to(wan_folder / WEIGHTS_FILE)
    return folder


def test_missing_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match=r"tokenizer\.json: no such file.*download\.sh"):
        load_tokenizer(tmp_path)


def test_damaged_tokenizer(wan_folder: Path, tmp_path: Path) -> None:
    folder = with_tokenizer(wan_folder, tmp_path, (wan_folder / TOKENIZER_FILE).read_text()[:500])
    with pytest.raises(MissingWeightsError, match="not a tokenizer"):
        load_tokenizer(folder)


def test_tokenizer_of_another_model(wan_folder: Path, tmp_path: Path) -> None:
    other = Tokenizer.from_file(str(wan_folder / TOKENIZER_FILE))
    other.add_tokens([f"<extra_{i}>" for i in range(1000)])
    folder = with_tokenizer(wan_folder, tmp_path / "large", other.to_str())
    with pytest.raises(MissingWeightsError, match=r"has \d+ tokens, .* only \d+"):
        TextEncoder.load(folder)
    settings = json.loads((wan_folder / TOKENIZER_FILE).read_text())
    settings["post_processor"] = None
    folder = with_tokenizer(wan_folder, tmp_path / "endless", json.dumps(settings))
    with pytest.raises(MissingWeightsError, match="another model's tokenizer"):
        load_tokenizer(folder)
