"""Training data: rooms that follow from their seed, videos that are their own truth, latents as inference has them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from support.clips import encode
from support.networks import seeded
from support.paths import EXAMPLES

from inspatio.evaluation.suite import SUITES
from inspatio.generation.inspatio_world.frames import to_frames, to_video
from inspatio.models.wan.linear import LinearDecoder, LinearEncoder, fit
from inspatio.models.worldfm.autoencoder import AutoencoderConfig, ImageEncoder
from inspatio.render import WarpRenderer
from inspatio.render.files import MASK_NAME, RENDER_NAME
from inspatio.training.data.clips import SOURCE_NAME, TARGET_NAME, find_views
from inspatio.training.data.prepare import ClipEncoder, FrameEncoder, prepare
from inspatio.training.data.rooms import make_views
from inspatio.training.data.views import Views, ViewsSource, whole_blocks
from inspatio.training.shards import Shards

CPU = torch.device("cpu")
SIZE, FRAMES = (48, 80), 9


@pytest.fixture(scope="module")
def views() -> Views:
    return make_views(7, FRAMES, SIZE, WarpRenderer())


def difference(one: np.ndarray, other: np.ndarray, where: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other)[where].mean())


def test_a_room_follows_from_its_seed(views: Views) -> None:
    again, other = (make_views(seed, FRAMES, SIZE, WarpRenderer()) for seed in (7, 8))
    for name in ("source", "target", "render", "masks"):
        assert np.array_equal(getattr(views, name), getattr(again, name)), name
    assert not np.array_equal(views.target, other.target)


def test_a_rooms_render_is_its_target_where_it_is_covered(views: Views) -> None:
    """Source, depth and cameras belong together: rendered with the true depth, the source is the target."""
    exact = make_views(7, FRAMES, SIZE, WarpRenderer(), true_depth=True)
    covered = exact.masks > 0
    assert 0.6 < covered.mean() < 0.99
    assert exact.source is not None
    rendered = difference(exact.render, exact.target, covered)
    assert rendered < 0.5 * difference(exact.source, exact.target, covered)
    # The estimated depth of training is worse than the true one, and still much better than no render at all.
    noisy = difference(views.render, views.target, views.masks > 0)
    assert rendered < noisy < difference(exact.source, exact.target, covered)


def test_training_never_sees_the_suites_seeds() -> None:
    for clip in SUITES["synthetic"].clips:
        with pytest.raises(ValueError, match="training room"):
            make_views(clip.seed, FRAMES, SIZE, WarpRenderer())


def test_a_video_is_its_own_truth(tmp_path: Path) -> None:
    """There and back: where the render covers the clip it shows the clip, and it has holes where the new view had
    none of it; there is no reference, which would be the answer."""
    size = (96, 160)
    (tmp_path / "room.mp4").write_bytes((EXAMPLES / "living_room.mp4").read_bytes())
    geometry = EXAMPLES / "living_room.geometry"
    if geometry.is_dir():
        (tmp_path / "room.geometry").symlink_to(geometry)
    found = find_views(tmp_path, FRAMES, size, WarpRenderer(), seed=1).clips()
    first = next(found)
    assert isinstance(first, Views)
    second = next(found)
    assert isinstance(second, Views)
    assert first.source is None
    assert (first.name, second.name) == ("room_00000", "room_00009")
    covered = first.masks > 0
    assert 0.5 < covered.mean() < 1
    assert difference(first.render, first.target, covered) < 12
    assert not np.array_equal(first.target, second.target)


def test_a_triple_is_read_as_it_is(tmp_path: Path, views: Views) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    assert views.source is not None
    pictures = {SOURCE_NAME: views.source, TARGET_NAME: views.target, RENDER_NAME: views.render}
    for name, frames in pictures.items():
        encode(folder / name, FRAMES, SIZE, picture=lambda index, size, frames=frames: frames[index])
    masks = np.repeat(views.masks[..., None], 3, axis=-1)
    encode(folder / MASK_NAME, FRAMES, SIZE, picture=lambda index, size: masks[index])
    (folder / "caption.txt").write_text("A room.\n")
    (found,) = find_views(tmp_path, FRAMES, SIZE, WarpRenderer(), seed=0).clips()
    assert isinstance(found, Views)
    assert found.prompt == "A room."
    assert found.source is not None
    everywhere = np.ones(SIZE, bool)
    for one, other in ((found.source, views.source), (found.target, views.target), (found.render, views.render)):
        assert difference(one, other, np.broadcast_to(everywhere, one.shape[:3])) < 12
    assert ((found.masks > 127) == (views.masks > 127)).mean() > 0.98


def test_prepared_latents_are_those_of_the_autoencoder(tmp_path: Path, views: Views) -> None:
    encoder = LinearEncoder()
    encoder.load_state_dict(halves(fit([to_video(views.target, CPU, torch.float32)]), "encoder."))
    source = ViewsSource(1, lambda: iter([views]))

    def embed(prompt: str) -> torch.Tensor:
        return torch.nn.functional.pad(torch.full((1, len(prompt), 4), 0.5), (0, 0, 0, 60 - len(prompt)))

    assert prepare(source, ClipEncoder(encoder, CPU), embed, tmp_path, {"kind": "clips"}, "ugly") == 1
    sample = Shards.open(tmp_path, "clips")[0]
    assert (sample.text.shape, sample.no_text.shape) == ((len(views.prompt), 4), (4, 4))
    expected = encoder.encode(to_video(views.target, CPU, torch.float32), encoder.start())[0]
    torch.testing.assert_close(sample.tensors["target"], expected.detach(), atol=2e-3, rtol=1e-3)
    assert sample.tensors["mask"].shape == (3, 4, SIZE[0] // 8, SIZE[1] // 8)
    covered = np.stack([cv2.resize(m, (10, 6), interpolation=cv2.INTER_AREA) for m in views.masks]).mean() / 127.5 - 1
    assert float(sample.tensors["mask"][1:].mean()) == pytest.approx(covered, abs=0.1)


def test_prepared_frames_have_cameras(tmp_path: Path, views: Views) -> None:
    layout = AutoencoderConfig((8, 8, 16, 16), layers_per_block=1, norm_num_groups=4)
    encode_frames = FrameEncoder(seeded(ImageEncoder(layout)), CPU)
    tensors = encode_frames(views)
    assert views.cameras is not None
    assert tensors["target"].shape == (FRAMES, 4, SIZE[0] // 8, SIZE[1] // 8)
    assert np.allclose(tensors["cameras"][1].numpy(), views.cameras[1].world_to_camera, atol=1e-6)


def halves(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if name.startswith(prefix)}


def test_the_linear_autoencoder_streams_and_keeps_the_picture(views: Views) -> None:
    state = fit(
        [to_video(make_views(seed, FRAMES, SIZE, WarpRenderer()).target, CPU, torch.float32) for seed in (1, 2)]
    )
    encoder, decoder = LinearEncoder(), LinearDecoder()
    encoder.load_state_dict(halves(state, "encoder."))
    decoder.load_state_dict(halves(state, "decoder."))
    video = to_video(views.target, CPU, torch.float32)
    with torch.inference_mode():
        whole = encoder.encode(video, encoder.start())
        states = encoder.start(), decoder.start()
        parts = [encoder.encode(part, states[0]) for part in (video[:, :, :5], video[:, :, 5:])]
        assert torch.equal(whole, torch.cat(parts, dim=1))
        shown = decoder.decode(whole, decoder.start())
        assert torch.equal(shown, torch.cat([decoder.decode(part, states[1]) for part in parts], dim=2))
    everywhere = np.ones(views.masks.shape, bool)
    small = torch.nn.functional.avg_pool3d(video, (1, 8, 8)).repeat_interleave(8, -1).repeat_interleave(8, -2)
    blocks = difference(to_frames(small).numpy(), views.target, everywhere)
    assert difference(to_frames(shown).numpy(), views.target, everywhere) < 0.9 * blocks
    assert 0.5 < float(whole.std()) < 1.5


@pytest.mark.parametrize(("frames", "whole"), [(8, 0), (9, 9), (20, 9), (21, 21), (81, 81), (100, 93)])
def test_whole_blocks(frames: int, whole: int) -> None:
    assert whole_blocks(frames) == whole
