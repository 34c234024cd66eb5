"""TAEHV: however a clip is cut, the same latents and the same video. Numbers are held by the golden cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.networks import seeded
from support.paths import GOLDEN

from inspatio.errors import MissingWeightsError
from inspatio.models.wan.autoencoder import VideoDecoder, VideoEncoder
from inspatio.models.wan.checkpoint import load_decoder, load_encoder
from inspatio.models.wan.taehv import LOOKAHEAD, TaeDecoder, TaeEncoder
from inspatio.models.wan.vae import WanDecoder, WanEncoder

KEYS = json.loads((GOLDEN / "checkpoint_keys.json").read_text())["taew2_1.pth"]
Model = TypeVar("Model", TaeEncoder, TaeDecoder)
LATENTS = 6
FRAMES = 4 * LATENTS - 3


@pytest.fixture(scope="module", autouse=True)
def no_grad():
    with torch.inference_mode():
        yield


def random_encoder() -> TaeEncoder:
    return seeded(TaeEncoder(width=8))


def random_decoder() -> TaeDecoder:
    return seeded(TaeDecoder(width=8))


def clip() -> torch.Tensor:
    return torch.rand(2, 3, FRAMES, 16, 24, generator=torch.Generator().manual_seed(2)) * 2 - 1


def some_latents() -> torch.Tensor:
    return torch.randn(2, LATENTS, 16, 2, 3, generator=torch.Generator().manual_seed(3))


cuts = st.lists(st.integers(1, 3), min_size=LATENTS, max_size=LATENTS)


def groups(sizes: list[int]) -> list[int]:
    """As many of the sizes as make up all latents."""
    result: list[int] = []
    for size in sizes:
        result.append(min(size, LATENTS - sum(result)))
    return [size for size in result if size]


def encode(encoder: TaeEncoder, video: torch.Tensor, sizes: list[int], lookahead: int) -> torch.Tensor:
    """Group by group, ``sizes`` in latents."""
    state, start, parts = encoder.start(), 0, []
    for size in sizes:
        end = start + 4 * size - 3 * (start == 0)
        ahead = video[:, :, end : end + lookahead] if lookahead else None
        parts.append(encoder.encode(video[:, :, start:end], state, ahead))
        assert parts[-1].shape[1] == size
        start = end
    return torch.cat(parts, dim=1)


@settings(max_examples=8, deadline=None)
@given(sizes=cuts)
def test_encoding_in_groups_equals_the_whole(sizes: list[int]) -> None:
    """With the frames that follow, every latent; without them, all but the last of each group."""
    encoder, video = random_encoder(), clip()
    whole = encoder.encode(video, encoder.start())
    assert whole.shape == (2, LATENTS, 16, 2, 3)
    sizes = groups(sizes)
    torch.testing.assert_close(encode(encoder, video, sizes, LOOKAHEAD), whole, rtol=0, atol=5e-5)
    alone = encode(encoder, video, sizes, 0)
    stand_ins = set(torch.tensor(sizes).cumsum(0).sub(1).tolist()) - {LATENTS - 1}
    kept = [i for i in range(LATENTS) if i not in stand_ins]
    torch.testing.assert_close(alone[:, kept], whole[:, kept], rtol=0, atol=5e-5)


def test_a_stand_in_is_the_latent_of_a_clip_that_ends_there() -> None:
    encoder, video = random_encoder(), clip()
    state = encoder.start()
    first = encoder.encode(video[:, :, :9], state)
    assert torch.equal(first, encoder.encode(video[:, :, :9], encoder.start()))
    filled = torch.cat([video[:, :, :9], video[:, :, 8:9].expand(-1, -1, 3, -1, -1)], dim=2)
    torch.testing.assert_close(
        first, encoder.encode(filled[:, :, :9], encoder.start(), filled[:, :, 9:]), rtol=0, atol=5e-5
    )
    assert not torch.allclose(first[:, 2], encoder.encode(video, encoder.start())[:, 2])


@pytest.mark.parametrize("known", [1, 2])
def test_some_of_the_frames_that_follow(known: int) -> None:
    """Fewer than all leave a stand-in, and the state right."""
    encoder, video = random_encoder(), clip()
    whole = encoder.encode(video, encoder.start())
    state = encoder.start()
    encoder.encode(video[:, :, :9], state, video[:, :, 9 : 9 + known])
    rest = encoder.encode(video[:, :, 9:], state)
    torch.testing.assert_close(rest, whole[:, 3:], rtol=0, atol=5e-5)


@settings(max_examples=6, deadline=None)
@given(sizes=cuts)
def test_decoding_in_groups_equals_the_whole(sizes: list[int]) -> None:
    decoder, latents = random_decoder(), some_latents()
    whole = decoder.decode(latents, decoder.start())
    assert whole.shape == (2, 3, FRAMES, 16, 24)
    assert whole.std() > 0.01
    state = decoder.start()
    parts = [decoder.decode(part, state) for part in latents.split(groups(sizes), dim=1)]
    assert parts[0].shape[2] == 4 * groups(sizes)[0] - 3
    torch.testing.assert_close(torch.cat(parts, dim=2), whole, rtol=0, atol=5e-5)


@pytest.mark.parametrize("latent", [1, 3, 5])
def test_the_past_never_changes(latent: int) -> None:
    encoder, decoder, video, latents = random_encoder(), random_decoder(), clip(), some_latents()
    other = latents.clone()
    other[:, latent:] *= -1
    before, after = (decoder.decode(v, decoder.start()) for v in (latents, other))
    assert torch.equal(before[:, :, : 4 * latent - 3], after[:, :, : 4 * latent - 3])
    assert not torch.equal(before[:, :, 4 * latent - 3], after[:, :, 4 * latent - 3])
    other = video.clone()
    other[:, :, 4 * latent :] *= -1
    before, after = (encoder.encode(v, encoder.start()) for v in (video, other))
    assert torch.equal(before[:, :latent], after[:, :latent])
    assert not torch.equal(before[:, latent], after[:, latent])


def test_memory_does_not_grow() -> None:
    encoder, decoder = random_encoder(), random_decoder()
    coming, going = encoder.start(), decoder.start()
    sizes = []
    for count in (9, 12, 12, 12):
        latents = encoder.encode(torch.zeros(1, 3, count, 16, 16), coming)
        assert latents.shape[1] == 3
        assert decoder.decode(latents, going).shape[2] == count
        sizes.append((coming.bytes, going.bytes))
    assert sizes[1] == sizes[2] == sizes[3]


def test_wrong_frame_counts_are_refused() -> None:
    encoder = random_encoder()
    with pytest.raises(AssertionError, match="4 frames, expected 4 k, and one more at the start"):
        encoder.encode(torch.zeros(1, 3, 4, 16, 16), encoder.start())


def test_published_names_and_shapes() -> None:
    with torch.device("meta"):
        models = TaeEncoder(), TaeDecoder()
    assert {name: list(p.shape) for model in models for name, p in model.state_dict().items()} == KEYS


def test_each_half_is_loaded_alone_and_knows_its_width(tmp_path: Path) -> None:
    path = tmp_path / "taew2_1.pth"
    state = {**random_encoder().state_dict(), **random_decoder().state_dict()}
    torch.save(state, path)
    encoder: Any = load_encoder("taehv", path, dtype=torch.bfloat16)
    decoder: Any = load_decoder("taehv", path)
    assert {*encoder.state_dict(), *decoder.state_dict()} == state.keys()
    assert encoder.encode(clip()[:, :, :1].bfloat16(), encoder.start()).dtype == torch.bfloat16
    latents = some_latents()
    expected = random_decoder().decode(latents, decoder.start())
    torch.testing.assert_close(decoder.decode(latents, decoder.start()), expected, rtol=0, atol=5e-5)


def test_another_models_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "taew2_1.pth"
    torch.save({"encoder.conv1.weight": torch.ones(1)}, path)
    with pytest.raises(MissingWeightsError, match="not a TAEHV"):
        load_encoder("taehv", path)
    torch.save({**random_encoder().state_dict(), "decoder.1.weight": torch.ones(16, 16, 3, 3)}, path)
    load_encoder("taehv", path)
    with pytest.raises(MissingWeightsError, match=r"\d+ missing \(decoder\.1\.bias"):
        load_decoder("taehv", path)


@pytest.mark.parametrize("encoder", [WanEncoder(4), TaeEncoder(4)], ids=["wan", "taehv"])
@pytest.mark.parametrize("decoder", [WanDecoder(4), TaeDecoder(4)], ids=["wan", "taehv"])
def test_each_decodes_what_the_other_encodes(encoder: VideoEncoder[Any], decoder: VideoDecoder[Any]) -> None:
    coming, going = encoder.start(), decoder.start()
    for count in (9, 12):
        latents = encoder.encode(torch.zeros(1, 3, count, 16, 32), coming)
        assert decoder.decode(latents, going).shape == (1, 3, count, 16, 32)
