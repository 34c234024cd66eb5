"""Every golden case through the tool that the project keeps for it, and the tool itself: it must be able to fail."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import parity
import pytest
import torch
from parity_cases import wan
from safetensors.torch import save_file
from support import plain_worldfm
from support.panoramas import box_panorama
from support.paths import GOLDEN

from inspatio.evaluation.golden import TOLERANCES, GoldenCase, Measured, compare, judge, noise, read_set, uniform

CASES = {case.name: case for case in read_set(GOLDEN)}


WHOLE = [pytest.param(name, marks=pytest.mark.slow) if name == "block_loop" else name for name in CASES]


@pytest.mark.parametrize("name", WHOLE)
def test_case(name: str) -> None:
    result = parity.run_case(CASES[name], parity.CASES.get(name), torch.device("cpu"), torch.float32)
    assert result.passed, parity.format_row(result)


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("worldfm")])
def test_worldfm_in_half_precision(name: str) -> None:
    result = parity.run_case(CASES[name], parity.CASES[name], torch.device("cpu"), torch.bfloat16)
    assert result.passed, parity.format_row(result)


@torch.inference_mode()
def test_loop_to_its_second_block() -> None:
    """The second block is the first with a generated block in its context; all later ones are made as it is."""
    case = CASES["block_loop"]
    blocks = list(islice(wan.loop_blocks(case, torch.device("cpu"), torch.float32), 2))
    assert len(blocks) == 2
    for name, got in wan.loop_figures(torch.cat(blocks, dim=1)).items():
        expected = case.expected[name]
        expected = expected[:6] if expected.ndim == 1 else expected[:, :6]
        measured = compare(got, expected, TOLERANCES[torch.float32])
        assert measured.passed, f"{name}: {measured}"


def tiny_set(folder: Path, values: torch.Tensor, case: str = "sum") -> Path:
    (folder / "manifest.json").write_text(json.dumps({"tag": "mine", "cases": {case: {}}}))
    save_file({"x": torch.arange(4.0), "total": values}, folder / f"{case}.safetensors")
    return folder


def total(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {"total": case.stored_input("x").sum(dim=0, keepdim=True)}


@pytest.mark.parametrize(("stored", "status"), [(6.0, 0), (6.1, 1), (float("nan"), 1)])
def test_exit_status(
    stored: float, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(parity, "CASES", {"sum": total})
    assert parity.main(["--golden", str(tiny_set(tmp_path, torch.tensor([stored])))]) == status
    assert ("pass" if status == 0 else "FAIL") in capsys.readouterr().out


def test_case_without_code_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert parity.main(["--golden", str(tiny_set(tmp_path, torch.ones(1), case="nobody_knows"))]) == 1
    assert "no code for this case" in capsys.readouterr().out


def test_case_that_breaks_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(case: GoldenCase, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(parity, "CASES", {"sum": broken})
    assert parity.main(["--golden", str(tiny_set(tmp_path, torch.ones(1)))]) == 1


def test_output_left_out_fails(tmp_path: Path) -> None:
    case = read_set(tiny_set(tmp_path, torch.ones(1)))[0]
    assert "not computed: total, x" in (judge(case, {}, torch.float32).problem or "")
    case.stored_input("x")
    assert parity.format_row(judge(case, {"total": Measured(0.0, 0.0)}, torch.float32)).endswith("pass")
    assert not judge(case, {"total": Measured(1.0, 0.0)}, torch.float32).passed
    assert judge(case, {"total": torch.ones(2)}, torch.float32).measured["total"].error == float("inf")


def test_no_golden_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert parity.main(["--golden", str(tmp_path)]) == 2
    assert "manifest.json" in capsys.readouterr().err


def test_the_past_of_a_name_never_changes() -> None:
    """Values depend on name and place alone: a longer tensor begins with the shorter one."""
    assert (uniform("a", (7,))[:3] == uniform("a", (3,))).all()
    assert (uniform("a", (3,)) != uniform("b", (3,))).all()
    assert compare(torch.ones(2), torch.tensor([1.0, 2.0]), 0.4).error == 0.5


def test_a_set_of_other_sizes_and_shifts(tmp_path: Path) -> None:
    """Tag, widths, depths and shifts come from the set: the generator's cases answer for one they have never seen.

    Schedule and masks are compared with formulas of this test. The network and the loop are compared with themselves:
    of them this shows only that sizes and names are read from the set; the published numbers are those of test_case.
    """
    sizes = {"dim": 40, "ffn_dim": 48, "freq_dim": 16, "num_heads": 2, "num_layers": 2, "text_dim": 12, "text_len": 5}
    flows = [f"context{frames}.t{time}.flow" for frames in (3, 6) for time in ("800", "312.5")]
    caches = [f"context{frames}.{kind}{layer}" for frames in (3, 6) for kind in "kv" for layer in range(2)]
    shift = ["sigmas", "timesteps", "warped", *(f"noisy{step}" for step in range(4))]
    names = {
        "scheduler": [f"shift3.{name}" for name in shift] + [f"shift2.5.{name}" for name in shift],
        "dit": [*caches, *flows],
        "block_loop": ["latents.every4th", "per_frame_mean", "per_frame_std"],
        "mask_pack": ["pack5", "pack10"],
    }
    entries = {
        "scheduler": {"tensors": {key: [] for key in names["scheduler"]}},
        "dit": {"config": sizes, "latent_hw": [4, 8]},
        "block_loop": {"config": sizes, "blocks": 2, "renoise_shapes": [[3, 16, 4, 8]] * 6},
        "mask_pack": {},
    }
    (tmp_path / "manifest.json").write_text(json.dumps({"tag": "other", "cases": entries}))
    for name, tensors in names.items():
        save_file({tensor: torch.zeros(1) for tensor in tensors}, tmp_path / f"{name}.safetensors")
    arguments = ["--golden", str(tmp_path)]
    assert parity.main(arguments) == 1
    for case in read_set(tmp_path):
        if case.name in ("dit", "block_loop"):
            with torch.inference_mode():
                outputs = parity.CASES[case.name](case, torch.device("cpu"), torch.float32)
            made = {
                key: value.contiguous().clone() for key, value in outputs.items() if isinstance(value, torch.Tensor)
            }
            assert set(made) == set(names[case.name])
            save_file(made, tmp_path / f"{case.name}.safetensors")
    sigmas = torch.arange(1000, 0, -1) / 1000
    stored: dict[str, torch.Tensor] = {}
    clean, fresh = (noise(f"other.sch.{name}", (3, 16, 4, 6)) for name in ("x0", "noise"))
    for value in (3, 2.5):
        shifted = value * sigmas / (1 + (value - 1) * sigmas)
        warped = shifted[[0, 250, 500, 750]]
        stored |= {f"shift{value}.sigmas": shifted, f"shift{value}.timesteps": 1000 * shifted}
        stored[f"shift{value}.warped"] = 1000 * warped
        stored |= {f"shift{value}.noisy{i}": (1 - s) * clean + s * fresh for i, s in enumerate(warped)}
    save_file(stored, tmp_path / "scheduler.safetensors")
    masks = {count: noise(f"other.mask.{count}", (1, 1, count, 48, 64)) for count in (5, 10)}
    packed = {f"pack{count}": torch.zeros(1, 1 + (count - 1) // 4, 4, 6, 8) for count in masks}
    for count, mask in masks.items():
        # Half-pixel centres and a factor of eight: the mean of the four pixels in the middle of each square of eight.
        middle = torch.where(mask > 0, 1.0, -1.0).unflatten(3, (6, 8)).unflatten(5, (8, 8))[0, 0, :, :, 3:5, :, 3:5]
        for frame, small in enumerate(middle.mean(dim=(2, 4))):
            latent, channel = divmod(frame + 3, 4)
            if latent < packed[f"pack{count}"].shape[1]:
                packed[f"pack{count}"][0, latent, channel] = small
        packed[f"pack{count}"][0, 0, :3] = packed[f"pack{count}"][0, 0, 3]
    save_file(packed, tmp_path / "mask_pack.safetensors")
    assert parity.main(arguments) == 0


def plain_worldfm_set(folder: Path, tag: str) -> Path:
    """Other widths, depths, positions, feed-forwards, picture sizes, steps and another room than the kept set's."""
    network = {"hidden_size": 80, "depth": 1, "num_heads": 5, "input_size": 24, "pe_interpolation": 0.75}
    small = {"hidden_size": 48, "depth": 2, "num_heads": 3, "input_size": 6, "pe_interpolation": 0.2}
    autoencoder = {"layers_per_block": 1, "norm_num_groups": 4, "scaling_factor": 0.2}
    cases = {
        "worldfm_dit": plain_worldfm.network_case(tag, network | {"mlp_ratio": 3.0}, (6, 4)),
        "worldfm_vae": plain_worldfm.autoencoder_case(
            tag, autoencoder | {"block_out_channels": [8, 8, 12, 16]}, (48, 32)
        ),
        "worldfm_sample": plain_worldfm.sample_case(
            tag,
            small | {"mlp_ratio": 2.0},
            autoencoder | {"block_out_channels": [8, 12, 12, 16]},
            side=48,
            steps=(900, 350),
        ),
        "worldfm_conditions": plain_worldfm.conditions_case(*box_panorama(48), side=28, view_side=22),
    }
    plain_worldfm.write_set(folder, tag, cases)
    return folder


def test_worldfm_against_its_formulas_at_other_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A set of the published layout that a second, plain implementation makes, which the next test holds."""
    assert parity.main(["--golden", str(plain_worldfm_set(tmp_path, "other"))]) == 0, capsys.readouterr().out


def test_the_formulas_of_worldfm_are_the_published_ones() -> None:
    """The plain implementation gives the kept set's numbers, which public code computed."""
    case = CASES["worldfm_dit"]
    cameras = (case.stored["prope.viewmats"][0].numpy(), case.stored["prope.Ks"][0].numpy())
    made = plain_worldfm.network_case("public", case.manifest["config"], tuple(case.manifest["latent_hw"]), cameras)[1]
    vae = CASES["worldfm_vae"]
    made |= plain_worldfm.autoencoder_case("public", vae.manifest["config"], (64, 96))[1]
    expected = case.stored | vae.stored
    assert expected.keys() <= made.keys()
    for name, value in expected.items():
        measured = compare(torch.as_tensor(made[name]), value, 1e-5)
        assert measured.passed, f"{name}: {measured}"
    room = CASES["worldfm_conditions"].stored
    sizes = CASES["worldfm_conditions"].manifest
    image, distance = room["pano_rgb"].numpy(), room["depth"].numpy()
    seen = plain_worldfm.conditions_case(image, distance, sizes["render_size"], sizes["condition_size"])[1]
    for name in ("xyz", "condition_c2w", "condition_K", "condition_P"):
        assert compare(torch.as_tensor(seen[name]), room[name], 1e-6).passed, name
    views = seen["condition_images"].astype(int) - room["condition_images"].numpy()
    assert (abs(views) <= 1).mean() > 0.999
    assert (abs(seen["condition_depth"] - room["condition_depth"].numpy()) < 1e-4).mean() > 0.995
