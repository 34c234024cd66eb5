"""WorldFM's network: what it depends on and what it must not. Its numbers are held by the golden set (test_parity)."""

from __future__ import annotations

import pytest
import torch
from support.networks import seeded

from inspatio.errors import UsageError
from inspatio.models.attention import attention
from inspatio.models.worldfm.camera_encoding import ViewCameras
from inspatio.models.worldfm.dit import CameraEncoding, WorldFM, WorldFMConfig, positions

ROWS, COLUMNS = 6, 8


def network(encoding: CameraEncoding = "none", **given) -> WorldFM:
    config = WorldFMConfig(hidden_size=64, depth=2, num_heads=2, camera_encoding=encoding)
    return seeded(WorldFM(config, **given))


def latents(seed: int, count: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, 4, ROWS, COLUMNS, generator=generator) for _ in range(3)]


def cameras(turn: torch.Tensor | None = None) -> ViewCameras:
    """Three views at different poses, in a world moved by ``turn``."""
    poses = torch.eye(4).repeat(1, 3, 1, 1)
    poses[0, 1, :3, 3] = torch.tensor([0.3, -0.2, 0.5])
    poses[0, 2, :3, 3] = torch.tensor([-0.6, 0.1, 0.2])
    lens = torch.tensor([[40.0, 0, 32], [0, 40, 24], [0, 0, 1]]).repeat(1, 3, 1, 1)
    return ViewCameras(poses if turn is None else poses @ turn, lens, (48, 64))


def predict(model: WorldFM, given: list[torch.Tensor], step: int = 999, views: ViewCameras | None = None):
    with torch.inference_mode():
        return model(*given, model.time_modulation(torch.tensor([step])), views)


def test_frames_of_a_batch_are_independent() -> None:
    model, both = network(), latents(0, count=2)
    batch = predict(model, both)
    for index in range(2):
        alone = predict(model, [each[index : index + 1] for each in both])
        torch.testing.assert_close(batch[index : index + 1], alone)


def test_every_picture_and_the_step_count() -> None:
    """Also: render and reference do not stand for each other, though both are clean latents of one shape."""
    model, given = network(), latents(0)
    noisy, render, reference = given
    plain = predict(model, given)
    for changed in ([noisy, reference, render], [noisy, render, render], [render, render, reference]):
        assert (predict(model, changed) - plain).abs().max() > 1e-3
    assert (predict(model, given, step=200) - plain).abs().max() > 1e-3


def test_the_last_layer_answers_for_the_target_alone() -> None:
    """A third of the queries in the last layer, all of them before, and the same result as without the saving."""
    asked: list[tuple[int, int]] = []

    def counted(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        asked.append((q.shape[1], k.shape[1]))
        return attention(q, k, v)

    model, given = network(attend=counted), latents(1)
    saved = predict(model, given)
    tokens = 3 * ROWS * COLUMNS // 4
    assert asked == [(tokens, tokens), (tokens // 3, tokens)]
    # The third layer's inputs are the second's outputs: all of them are computed there.
    longer = WorldFMConfig(hidden_size=64, depth=3, num_heads=2)
    whole = seeded(WorldFM(longer))
    whole.load_state_dict(model.state_dict(), strict=False)
    with torch.inference_mode():
        modulation = whole.time_modulation(torch.tensor([999]))
        x = whole.x_embedder(torch.cat(given, dim=3)) + positions(whole.config, ROWS // 2, 3 * COLUMNS // 2)
        for layer in range(2):
            x = whole.blocks[layer](x, modulation.layers[layer])
        x = x.unflatten(1, (ROWS // 2, -1))[:, :, : COLUMNS // 2].flatten(1, 2)
        expected = whole.final_layer(x, modulation.head)
    assert torch.allclose(saved.flatten().sort().values, expected.flatten().sort().values, atol=1e-5)


@pytest.mark.parametrize("encoding", ["prope", "plucker"])
def test_camera_encodings_see_cameras(encoding: CameraEncoding) -> None:
    """PRoPE sees relative poses only: another world changes nothing. Plücker rays are of the world."""
    model, given = network(encoding), latents(2)
    turn = torch.eye(4)
    turn[:3, :3] = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    turn[:3, 3] = torch.tensor([1.0, 2.0, -0.5])
    plain, moved = predict(model, given, views=cameras()), predict(model, given, views=cameras(turn))
    same = torch.allclose(plain, moved, atol=1e-4)
    assert same == (encoding == "prope")
    still = ViewCameras(torch.eye(4).repeat(1, 3, 1, 1), cameras().intrinsics, (48, 64))
    assert (predict(model, given, views=still) - plain).abs().max() > 1e-3


def test_cameras_that_a_network_cannot_use_are_refused() -> None:
    for model, views in ((network(), cameras()), (network("prope"), None)):
        with pytest.raises(UsageError, match="cameras"):
            predict(model, latents(0), views=views)


def test_latents_that_cannot_be_cut_are_refused() -> None:
    with pytest.raises(UsageError, match="multiples of 16"):
        predict(network(), [torch.zeros(1, 4, 5, 8)] * 3)


def test_the_step_keeps_its_precision_in_bfloat16() -> None:
    """999 and 1000 are one number in bfloat16."""
    model = network().place(torch.device("cpu"), torch.bfloat16)
    near, far = (model.time_modulation(torch.tensor([step])).layers for step in (999, 1000))
    assert near.dtype == torch.bfloat16
    assert not torch.equal(near, far)
