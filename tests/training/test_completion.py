"""Training of the preview's network: views that belong to their truth, losses that mean what they say, learning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity as reference_similarity
from support.training import make_config, make_trainer, random, write_completed_views

from inspatio.errors import UsageError
from inspatio.generation.preview.inpaint import KNOWN, WANTED
from inspatio.pipeline.cli import main
from inspatio.training.data.completions import make_completions, write_completions
from inspatio.training.losses import missing_sharpness, structural_similarity
from inspatio.training.options import TrainOptions
from inspatio.training.shards import Shards

SIZE = (48, 80)


def test_completed_views_belong_to_their_truth() -> None:
    """The truth is what the view's known pixels show, and its wanted pixels are where it is needed."""
    views = list(make_completions(3, SIZE))
    assert views
    for view in views:
        state = view.completion.state
        assert state.shape == (72, 120)
        error = np.abs(view.completion.image.astype(float) - view.truth).mean(axis=-1)
        shifted = np.abs(view.completion.image.astype(float) - np.roll(view.truth, 6, axis=1)).mean(axis=-1)
        assert error[state == KNOWN].mean() < 0.7 * shifted[state == KNOWN].mean()
        assert (state[view.measured] == WANTED).all()
        assert view.measured.mean() > 0.05
    again = list(make_completions(3, SIZE))
    assert all(np.array_equal(one.truth, two.truth) for one, two in zip(views, again, strict=True))
    with pytest.raises(ValueError, match="seed of a training room"):
        next(make_completions(900_000, SIZE))


def test_written_views_are_read_as_they_were_made(tmp_path: Path) -> None:
    count = write_completions([3], SIZE, tmp_path)
    shards, views = Shards.open(tmp_path, "completions"), list(make_completions(3, SIZE))
    assert len(shards) == count == len(views)
    found, made = shards[0].tensors, views[0]
    assert np.array_equal(found["state"].numpy(), made.completion.state)
    assert np.array_equal(found["truth"].numpy(), made.truth)
    assert np.array_equal(found["measured"].numpy() > 0, made.measured)
    assert np.abs(found["guide"].numpy() - made.completion.guide).max() <= 0.5


def test_structural_similarity_is_that_of_scikit_image() -> None:
    one, other = (random(24, 32, 3, seed=seed).sigmoid() for seed in (0, 1))
    other = 0.5 * one + 0.5 * other
    expected = reference_similarity(
        one.numpy(), other.numpy(), channel_axis=-1, data_range=1.0, use_sample_covariance=False, full=True
    )[1]
    found = structural_similarity(one.permute(2, 0, 1)[None], other.permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    np.testing.assert_allclose(found[3:-3, 3:-3].numpy(), expected[3:-3, 3:-3], atol=1e-3)


def test_blurring_misses_sharpness_and_its_gradient_sharpens() -> None:
    truth = random(1, 3, 24, 24).sigmoid()
    share = torch.full((1, 1, 24, 24), 1 / 24**2)
    assert float(missing_sharpness(truth, 1.0, truth, truth, share)) == 0
    blurred = torch.nn.functional.avg_pool2d(truth, 3, stride=1, padding=1).requires_grad_()
    missing = missing_sharpness(blurred, 1.0, truth, truth, share)
    assert float(missing.detach()) > 0.3
    missing.backward()
    assert blurred.grad is not None
    better = missing_sharpness(blurred.detach() - 50 * blurred.grad, 1.0, truth, truth, share)
    assert float(better) < float(missing.detach())


def test_a_network_learns_what_the_patches_get_wrong(tmp_path: Path) -> None:
    """Patches that are too dark everywhere: within some steps the held-out error falls by a third."""
    write_completed_views(tmp_path / "views")
    config = make_config(
        tmp_path, "completion", steps=40, batch_size=1, optimizer={"learning_rate": 1e-3, "average": 0.0}
    )
    trainer = make_trainer(config, tmp_path / "run")
    before = trainer.evaluate()
    trainer.train()
    assert trainer.evaluate() < 2 / 3 * before


def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="--input_dir with --kind completions"):
        TrainOptions(action="prepare", kind="completions", clips=tmp_path, folder=tmp_path)
    config = tmp_path / "learned.yaml"
    config.write_text(f"stage: completion\nsteps: 1\ndata: {{folder: {tmp_path / 'nothing'}}}\n")
    assert main(["train", "--config_path", str(config), "--output_folder", str(tmp_path / "run")]) == 1
    assert "no training data" in capsys.readouterr().err
