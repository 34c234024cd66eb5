"""Metrics that look through networks are the libraries' own, on networks of the published shapes with given weights."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from support.scenes import ArraySource

from inspatio.evaluation.clip import Clip, Settings, evaluate_clip
from inspatio.evaluation.distributions import Distributions, frechet_distance
from inspatio.evaluation.inception import I3d, InceptionV3
from inspatio.evaluation.networks import FILES, Dists, Lpips, Networks, features
from inspatio.evaluation.report import Report


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Networks of the published shapes with random weights, under the published names."""
    torch.manual_seed(0)
    for network, file in (("alex", "lpips_alex"), ("squeeze", "lpips_squeeze"), ("vgg", "lpips_vgg")):
        state = {f"features.{name}": value for name, value in features(network).state_dict().items()}
        torch.save(state, tmp_path / FILES[file])
    return tmp_path


@pytest.mark.parametrize("network", ["alex", "squeeze", "vgg"])
def test_lpips_is_that_of_torchmetrics(
    network: Literal["alex", "squeeze", "vgg"], weights: Path, monkeypatch: pytest.MonkeyPatch
):
    """The library's own computation on the same network, which it would otherwise take from torchvision."""
    from torchmetrics.functional.image import lpips

    path = weights / FILES[f"lpips_{network}"]
    ours = Lpips(f"lpips_{network}", path)
    monkeypatch.setattr(lpips, "_get_tv_model_features", lambda *_, **__: ours._layers)
    library = lpips._LPIPS(net=network, pnet_rand=True, use_dropout=True).eval()
    a, b = (np.random.default_rng(i).integers(0, 256, (72, 80, 3), dtype=np.uint8) for i in range(2))
    pair = (torch.from_numpy(each).permute(2, 0, 1)[None].float() / 127.5 - 1 for each in (a, b))
    assert ours(a, b) == pytest.approx(float(library(*pair)), rel=1e-4)
    assert ours(a, a) == 0


def test_dists_is_that_of_torchmetrics(weights: Path, monkeypatch: pytest.MonkeyPatch):
    from types import SimpleNamespace

    from torchmetrics.functional.image import dists

    ours = Dists(weights / FILES["dists"])
    layers = torch.nn.Sequential(*features("vgg"))
    stored = torch.load(weights / FILES["dists"], weights_only=True)
    layers.load_state_dict({name.removeprefix("features."): value for name, value in stored.items()})
    monkeypatch.setattr(dists, "_TORCHVISION_AVAILABLE", True)
    monkeypatch.setattr(dists, "VGG16_Weights", SimpleNamespace(DEFAULT=None), raising=False)
    monkeypatch.setattr(dists, "vgg16", lambda weights: SimpleNamespace(features=layers), raising=False)
    a, b = (np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8) for i in range(2))
    pair = (torch.from_numpy(each).permute(2, 0, 1)[None].float() / 255 for each in (a, b))
    assert ours(a, b) == pytest.approx(float(dists.DISTSNetwork()(*pair).detach()), rel=1e-3)
    assert ours(a, a) == pytest.approx(0, abs=1e-5)


def test_missing_networks_are_said_once_each(weights: Path, tmp_path: Path):
    assert [line.split()[0] for line in Networks(None).missing()] == ["LPIPS", "DISTS", "FID", "FVD"]
    assert [line.split()[0] for line in Networks(weights).missing()] == ["FID", "FVD"]
    (weights / FILES["lpips_alex"]).write_bytes(b"not weights")
    with pytest.raises(Exception, match="alexnet"):
        Networks(weights).collector()


INCEPTION = (0, 4.25322, 0, 0, 0, 0.164011, 0.0856911, 0.127379)
"""Every 256th feature that torch-fidelity gives for ``waves`` and ``pictures(1, 3, 90, 140)``."""
I3D = (-57.0792, 16.8642, 27.19, -65.0511, 88.7027, -93.163, 77.0445, -43.9792)
"""Every 50th logit that VideoGPT gives for ``waves`` and ``pictures(1, 3, 16, 224, 224)``."""


def waves(network: torch.nn.Module) -> torch.nn.Module:
    """Weights that any machine makes alike: waves, of the size that keeps activations near one."""
    for number, (name, value) in enumerate(network.state_dict().items()):
        if value.dtype != torch.float32:
            continue
        wave = torch.sin(torch.arange(value.numel(), dtype=torch.float64) * 0.73 + number).view(value.shape)
        if value.ndim > 1:
            wave *= (3 / value[0].numel()) ** 0.5
        elif name.endswith(("running_var", "bn.weight")):
            wave = 1 + 0.3 * wave
        value.copy_(wave if value.ndim > 1 or name.endswith(("running_var", "bn.weight")) else 0.1 * wave)
    return network.eval()


def pictures(*shape: int) -> torch.Tensor:
    count = int(np.prod(shape))
    return (127.5 + 127 * torch.sin(torch.arange(count, dtype=torch.float64) ** 1.3)).to(torch.uint8).view(shape)


def test_inception_is_that_of_torch_fidelity():
    """Its features (0.4.0) of the same weights and pictures, a few of them."""
    with torch.inference_mode():
        found = waves(InceptionV3())(pictures(1, 3, 90, 140))
    assert found.shape == (1, 2048)
    assert found[0, ::256].tolist() == pytest.approx(INCEPTION, rel=1e-3, abs=1e-5)


def test_i3d_is_that_of_videogpt():
    """The logits of its network (733d2b1) of the same weights, on frames that need no scaling."""
    with torch.inference_mode():
        found = waves(I3d())(pictures(1, 3, 16, 224, 224))
    assert found.shape == (1, 400)
    assert found[0, ::50].tolist() == pytest.approx(I3D, rel=1e-3, abs=1e-5)


def test_the_distance_of_distributions_is_that_of_torchmetrics():
    from torchmetrics.image.fid import FrechetInceptionDistance

    class Given(torch.nn.Module):
        num_features = 6

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    random = np.random.default_rng(0)
    ours, theirs = random.normal(0, 2, (40, 6)) @ random.normal(0, 1, (6, 6)), random.normal(0.5, 1, (30, 6))
    library = FrechetInceptionDistance(feature=Given()).set_dtype(torch.float64)
    library.update(torch.from_numpy(ours), real=False)
    library.update(torch.from_numpy(theirs), real=True)
    assert frechet_distance(ours, theirs) == pytest.approx(float(library.compute()), rel=1e-6)
    few = random.normal(0, 1, (4, 200))
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-9), "fewer samples than features"
    assert frechet_distance(few, few + 1) == pytest.approx(200)


class Brightness(torch.nn.Module):
    """A network that a test can follow: the mean and the spread of all that it is shown at once."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.float().flatten(1)
        return torch.stack([flat.mean(dim=1), flat.std(dim=1)], dim=1)


def test_fid_takes_measured_frames_and_fvd_all_of_them():
    """Two clips of 40 frames: 10 measured frames and 2 videos of 16 frames each; equal to the truth is no distance."""
    true = np.random.default_rng(0).integers(0, 200, (40, 24, 40, 3), dtype=np.uint8)
    sets = Distributions({"fid": Brightness(), "fvd": Brightness()})
    brighter = Distributions({"fid": Brightness(), "fvd": Brightness()})
    for _ in range(2):
        evaluate_clip(Clip("a", ArraySource(true), ArraySource(true)), Settings(stride=4), distributions=sets)
        evaluate_clip(Clip("a", ArraySource(true + 9), ArraySource(true)), Settings(stride=4), distributions=brighter)
    found = sets.figures()
    assert (found["fid_samples"], found["fvd_samples"]) == (20, 4)
    assert found["fid"] == pytest.approx(0, abs=1e-6)
    assert brighter.figures()["fid"] == pytest.approx(81, rel=1e-3)
    assert brighter.figures()["fvd"] == pytest.approx(81, rel=1e-3)
    report = Report("title", {"ours": {"a": {"psnr/whole": 20.0}}}, sets={"ours": found})
    assert "FID" in report.table()


def test_networks_for_distributions_are_read_from_their_files(tmp_path: Path):
    torch.save(InceptionV3().state_dict(), tmp_path / FILES["fid"])
    pair = [np.random.default_rng(i).integers(0, 255, (40, 60, 3), dtype=np.uint8) for i in range(2)]
    sets = Networks(tmp_path).distributions()
    for _ in range(2):
        sets.add(*pair, measured=True)
    assert sets.figures().keys() == {"fid", "fid_samples"}
    torch.save({"other": torch.zeros(1)}, tmp_path / FILES["fvd"])
    with pytest.raises(Exception, match="i3d_pretrained_400"):
        Networks(tmp_path).distributions()
