"""The Wan VAE: however a clip is cut, the same latents and the same video. Numbers are held by the golden cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.networks import seeded
from support.paths import GOLDEN

from inspatio.errors import MissingWeightsError
from inspatio.models.wan.checkpoint import load_decoder, load_encoder
from inspatio.models.wan.vae import WanDecoder, WanEncoder
from inspatio.models.wan.vae_layers import Working

KEYS = json.loads((GOLDEN / "checkpoint_keys.json").read_text())["Wan2.1_VAE.pth"]
LATENTS = 7
"""Of the clip that everything here is tried on: 25 frames."""


@pytest.fixture(scope="module", autouse=True)
def no_grad():
    with torch.inference_mode():
        yield


def random_encoder() -> WanEncoder:
    return seeded(WanEncoder(width=4))


def random_decoder() -> WanDecoder:
    return seeded(WanDecoder(width=4))


def clip() -> torch.Tensor:
    return torch.rand(2, 3, 1 + 4 * (LATENTS - 1), 16, 24, generator=torch.Generator().manual_seed(2)) * 2 - 1


def some_latents() -> torch.Tensor:
    return torch.randn(2, LATENTS, 16, 2, 3, generator=torch.Generator().manual_seed(3))


cuts = st.lists(st.integers(1, 3), min_size=1, max_size=LATENTS).map(lambda sizes: [s for s in sizes if s])


workings = st.builds(
    Working, latents=st.integers(1, 3), largest_piece=st.sampled_from([1, 3000, 1 << 30]), tails_on_host=st.booleans()
)


def groups(sizes: list[int], total: int) -> list[int]:
    """Sizes in latents that add up to the total."""
    result: list[int] = []
    for size in sizes:
        result.append(min(size, total - sum(result)))
    rest = total - sum(result)
    return [size for size in [*result, rest] if size > 0]


@settings(max_examples=3, deadline=None)
@given(sizes=cuts, working=workings)
def test_encoding_in_groups_equals_the_whole(sizes: list[int], working: Working) -> None:
    encoder, video = random_encoder(), clip()
    whole = encoder.encode(video, encoder.start())
    assert whole.shape == (2, LATENTS, 16, 2, 3)
    encoder.working = working
    state = encoder.start()
    parts = []
    for size in groups(sizes, LATENTS):
        count = 4 * size - 3 * state.at_start
        parts.append(encoder.encode(video[:, :, :count], state))
        assert parts[-1].shape[1] == size
        video = video[:, :, count:]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=0, atol=5e-5)


@settings(max_examples=3, deadline=None)
@given(sizes=cuts, working=workings)
def test_decoding_in_groups_equals_the_whole(sizes: list[int], working: Working) -> None:
    decoder, latents = random_decoder(), some_latents()
    whole = decoder.decode(latents, decoder.start())
    assert whole.shape == (2, 3, 25, 16, 24)
    assert whole.std() > 0.01
    decoder.working = working
    state = decoder.start()
    parts = [decoder.decode(part, state) for part in latents.split(groups(sizes, LATENTS), dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=2), whole, rtol=0, atol=5e-5)


@pytest.mark.parametrize("latent", [1, 3, 6])
def test_the_past_never_changes(latent: int) -> None:
    encoder, decoder, video, latents = random_encoder(), random_decoder(), clip(), some_latents()
    frame = 4 * latent - 3
    other = video.clone()
    other[:, :, frame:] *= -1
    before, after = (encoder.encode(v, encoder.start()) for v in (video, other))
    assert torch.equal(before[:, :latent], after[:, :latent])
    assert not torch.equal(before[:, latent], after[:, latent])
    other = latents.clone()
    other[:, latent:] *= -1
    before, after = (decoder.decode(v, decoder.start()) for v in (latents, other))
    assert torch.equal(before[:, :, :frame], after[:, :, :frame])
    assert not torch.equal(before[:, :, frame], after[:, :, frame])


def test_the_time_convolution_of_wan_is_an_ordinary_one() -> None:
    """Where the past is Wan's own, the layer sees its input padded by two zero frames, and nothing else."""
    decoder = random_decoder()
    layer = decoder.decoder.upsamples[7].time_conv
    assert isinstance(layer, torch.nn.Conv3d)
    x = torch.randn(1, layer.in_channels, 5, 2, 3)
    state = decoder.start()
    streamed = torch.cat([layer(frame, state) for frame in x.split(1, dim=2)], dim=2)  # pyright: ignore[reportCallIssue]
    padded = torch.nn.functional.pad(x, (0, 0, 0, 0, 2, 0))
    expected = torch.nn.functional.conv3d(padded, layer.weight, layer.bias)
    torch.testing.assert_close(streamed, expected)


def test_memory_does_not_grow() -> None:
    encoder, decoder = random_encoder(), random_decoder()
    coming, going = encoder.start(), decoder.start()
    sizes = []
    for count in (1, 4, 4, 4, 4):
        latents = encoder.encode(torch.zeros(1, 3, count, 16, 16), coming)
        decoder.decode(latents, going)
        sizes.append((coming.bytes, going.bytes))
    assert sizes[1] == sizes[2] == sizes[3] == sizes[4]


def test_states_are_apart() -> None:
    encoder, video = random_encoder(), clip()
    one, two = encoder.start(), encoder.start()
    first = encoder.encode(video[:, :, :5], one)
    encoder.encode(-video[:, :, :9], two)
    second = encoder.encode(video[:, :, 5:9], one)
    whole = encoder.encode(video[:, :, :9], encoder.start())
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, rtol=0, atol=5e-5)


def test_wrong_frame_counts_are_refused() -> None:
    encoder = random_encoder()
    with pytest.raises(AssertionError, match="4 frames, expected 4 k, and one more at the start"):
        encoder.encode(torch.zeros(1, 3, 4, 16, 16), encoder.start())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_convolution_by_frames_is_the_convolution(dtype: torch.dtype) -> None:
    """The CPU's float32 path against PyTorch's 3D convolution, which all others take."""
    encoder, video = random_encoder(), clip()[:, :, :5]
    expected = encoder.double().encode(video.double(), encoder.start())
    got = encoder.to(dtype).encode(video.to(dtype), encoder.start())
    assert got.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 5e-2
    assert (got.double() - expected).abs().max() <= tolerance * expected.abs().max()


def test_published_names_and_shapes() -> None:
    with torch.device("meta"):
        models = WanEncoder(), WanDecoder()
    ours = {name: list(p.shape) for model in models for name, p in model.state_dict().items()}
    assert ours == KEYS


def save_tiny(path: Path) -> dict[str, torch.Tensor]:
    state = {**random_encoder().state_dict(), **random_decoder().state_dict()}
    torch.save(state, path)
    return state


def test_each_half_is_loaded_alone_and_knows_its_width(tmp_path: Path) -> None:
    path = tmp_path / "Wan2.1_VAE.pth"
    state = save_tiny(path)
    encoder: Any = load_encoder("wan", path, dtype=torch.bfloat16)
    decoder: Any = load_decoder("wan", path)
    names = {*encoder.state_dict(), *decoder.state_dict()}
    assert names == state.keys()
    assert not {*encoder.state_dict()} & {*decoder.state_dict()}
    assert all(p.dtype == torch.bfloat16 and not p.requires_grad for p in encoder.parameters())
    latents = some_latents()
    expected = random_decoder().decode(latents, decoder.start())
    torch.testing.assert_close(decoder.decode(latents, decoder.start()), expected, rtol=0, atol=5e-5)


def test_another_models_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "Wan2.1_VAE.pth"
    torch.save({"encoder.0.weight": torch.ones(1)}, path)
    with pytest.raises(MissingWeightsError, match=r"not a Wan 2\.1 video VAE"):
        load_encoder("wan", path)
    state = save_tiny(path)
    torch.save({**state, "decoder.extra": torch.ones(1)}, path)
    with pytest.raises(MissingWeightsError, match=r"1 unexpected \(decoder\.extra\)"):
        load_decoder("wan", path)
    load_encoder("wan", path)
    torch.save({key: value for key, value in state.items() if key != "decoder.conv1.bias"}, path)
    with pytest.raises(MissingWeightsError, match=r"1 missing \(decoder\.conv1\.bias\)"):
        load_decoder("wan", path)
