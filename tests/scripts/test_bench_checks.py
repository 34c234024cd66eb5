"""The checks and breakdowns that a GPU runs, tiny on the CPU: they measure something, and what is wrong fails."""

from __future__ import annotations

import json
from typing import Any

import bench
import pytest
import torch
from benches import agreement
from benches.breakdown import class_of

from inspatio.generation.inspatio_world.block_loop import BlockLoop
from inspatio.models.wan.dit import CausalDiT

TINY = ["--model", "tiny", "--size", "32x32", "--device", "cpu"]


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out.splitlines()[-1])["results"]


def test_agreement_passes_and_says_what_it_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["agreement", *TINY, "--ways", "again", "graphs", "fp8"]) == 0
    results = last_line(capsys)
    assert results["measured"]["block again"] == {"relative": 0.0, "limit": 0.0}
    assert {"attention sdpa 12x36", "attention sdpa 24x24"} <= results["measured"].keys()
    skipped = " ".join(results["skipped"])
    assert all(what in skipped for what in ("block graphs", "block fp8", "overlap", "renderers", "cudnn"))


def test_agreement_fails_where_blocks_differ(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, calls = agreement.blocks, []

    def wrong_the_second_time(dit: CausalDiT, size: tuple[int, int], make_loop: type[BlockLoop]) -> torch.Tensor:
        calls.append(1)
        return plain(dit, size, make_loop) * (1 if len(calls) == 1 else float("nan"))

    monkeypatch.setattr(agreement, "blocks", wrong_the_second_time)
    assert bench.main(["agreement", *TINY, "--checks", "block", "--ways", "again"]) == 1
    assert last_line(capsys)["passed"] is False


def test_breakdown(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["breakdown", "--random_weights", "--use_tae", "--precision", "fp32", *TINY]) == 0
    results = last_line(capsys)
    assert {"attention", "convolution", "product"} <= results["ms_per_block"].keys()
    # A block is five passes of three layers, each with two attentions.
    assert results["launched_per_block"]["attention"] >= 30


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("void cudnn::fusion::flash_fprop_sm90_knob_7", "attention"),
        ("sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32", "convolution"),
        ("nvjet_tst_128x256_64x4_1x2_h_bz_coopA_TNT", "product"),
        ("triton_red_fused_native_layer_norm_3", "compiled"),
        ("Memcpy DtoH (Device -> Pinned)", "transfer"),
        ("void at::native::vectorized_elementwise_kernel<4>", "other"),
    ],
)
def test_classes_of_kernels(name: str, expected: str) -> None:
    assert class_of(name) == expected
