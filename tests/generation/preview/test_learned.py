"""The learned finish: what is known stays, an untrained network changes nothing, and its pictures stay put."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.networks import seeded
from support.scenes import ROOM_FRAMES, ROOM_SIZE, frames_of, orbit, room, targets

from inspatio import factory
from inspatio.config import GeneratorConfig, Profile
from inspatio.errors import MissingWeightsError
from inspatio.generation.preview.inpaint import IGNORED, KNOWN, WANTED, Completion, complete_picture
from inspatio.generation.preview.learned import LearnedFinish
from inspatio.generation.preview.session import PreviewGenerator
from inspatio.models.checkpoints import needs
from inspatio.models.completion import CompletionConfig, CompletionNetwork
from inspatio.render import WarpRenderer


def completion(height: int = 96, width: int = 144) -> Completion:
    """A striped picture of which the right third is to be made up, but for a strip that is ignored."""
    columns = np.arange(width)[None, :, None]
    picture = np.broadcast_to(128 + 90 * np.sin(columns / [2, 3, 5]), (height, width, 3)).astype(np.uint8)
    state = np.full((height, width), KNOWN, np.uint8)
    state[:, 2 * width // 3 :], state[:, -5:] = WANTED, IGNORED
    return complete_picture(
        picture, np.linspace(0.1, 1, height * width, dtype=np.float32).reshape(height, width), state
    )


@pytest.mark.parametrize("size", [(96, 144), (121, 251), (150, 630)])
def test_an_untrained_network_changes_nothing(size: tuple[int, int]) -> None:
    """At every size of cells, also where the view is no multiple of them; but for rounding."""
    found = completion(*size)
    torch.manual_seed(0)
    made = LearnedFinish(CompletionNetwork(CompletionConfig()))(found)
    assert made.shape == found.image.shape
    assert np.abs(made.astype(int) - found.softened()).max() <= 1


def test_a_network_changes_what_is_wanted_alone() -> None:
    found = completion()
    made = LearnedFinish(seeded(CompletionNetwork(CompletionConfig())).requires_grad_(False))(found)
    changed = np.abs(made.astype(int) - found.softened()).max(axis=-1)
    assert changed[found.state != WANTED].max() <= 1
    assert np.array_equal(made[found.state == KNOWN], found.image[found.state == KNOWN])
    assert (changed[found.state == WANTED] > 1).mean() > 0.5


def test_threads_change_nothing() -> None:
    finish, found = LearnedFinish(seeded(CompletionNetwork(CompletionConfig()))), completion(150, 630)
    before = torch.get_num_threads()
    try:
        pictures = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            pictures.append(finish(found))
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*pictures)


def test_a_profile_names_its_weights(tmp_path: Path) -> None:
    """Named weights are loaded and are part of what results depend on; without them it is the preview as it was."""
    path = tmp_path / "model.safetensors"
    config = GeneratorConfig(backend="preview", completion_path=str(path))
    with pytest.raises(MissingWeightsError):
        factory.make_generator(config, ROOM_SIZE, "cpu", tmp_path, renderer=WarpRenderer())
    assert [need.path for need in needs(Profile(generator=config)) if need.stage == "generate"] == [path]
    network = seeded(CompletionNetwork(CompletionConfig()))
    save_file(network.state_dict(), path)
    generator = factory.make_generator(config, ROOM_SIZE, "cpu", tmp_path, renderer=WarpRenderer())
    assert isinstance(generator, PreviewGenerator)
    found = completion()
    assert np.array_equal(generator.finish(found), LearnedFinish(network)(found))
    described = factory.describe_generator(config, ROOM_SIZE)
    plain = factory.describe_generator(GeneratorConfig(backend="preview"), ROOM_SIZE)
    assert described == {**plain, "completion": described["completion"]}
    save_file(seeded(CompletionNetwork(CompletionConfig()), 1).state_dict(), path)
    assert factory.describe_generator(config, ROOM_SIZE) != described


@pytest.mark.parametrize("live", [False, True])
def test_a_finish_reaches_the_holes_and_stays_there(live: bool) -> None:
    """A finish that paints everything green: its green is in the frames, in holes alone, and in later blocks too."""

    def green(found: Completion) -> np.ndarray:
        return np.where((found.state == KNOWN)[..., None], found.image, np.array([0, 255, 0], np.uint8))

    path = targets(room(), orbit(ROOM_FRAMES, 14.0))
    plain = PreviewGenerator(ROOM_SIZE, live=live).start(room(), seed=0)
    painted = PreviewGenerator(ROOM_SIZE, live=live, finish=green).start(room(), seed=0)
    before, after = (frames_of(each, path).astype(int) for each in (plain, painted))
    changed = np.abs(before - after).max(axis=-1) > 8
    # Greener where it is made up: seams spread the difference to the render into it.
    assert changed[-1].mean() > 0.005
    assert (after[-1] - before[-1])[changed[-1]][:, 1].mean() > 20
    again = frames_of(PreviewGenerator(ROOM_SIZE, live=live, finish=green).start(room(), seed=1), path)
    assert np.array_equal(after, again)
