"""The fused kernel against PyTorch's own: on a GPU where there is one, else by Triton's interpreter."""

from __future__ import annotations

import importlib.util
import logging
import os
from types import ModuleType

import pytest
import torch

from inspatio.models.wan import norm

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def norm_kernel() -> ModuleType:
    if DEVICE == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("no GPU; with Triton installed, TRITON_INTERPRET=1 in the environment runs it by the interpreter")
    from inspatio.models.wan import norm_kernel

    return norm_kernel


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 2**-6)])
@pytest.mark.parametrize(("frames", "past", "channels"), [(1, 2, 6), (2, 2, 24), (4, 2, 96), (3, 1, 384)])
def test_the_kernel_is_norm_activation_and_padding(
    norm_kernel: ModuleType, frames: int, past: int, channels: int, dtype: torch.dtype, tolerance: float
) -> None:
    """On bands, as the residual blocks use it: some pixels of longer frames, whose neighbours must stay as they are."""
    random = torch.Generator().manual_seed(frames)
    whole = [
        torch.randn(count, 50, channels, generator=random).to(DEVICE, dtype) for count in (frames, past, past + frames)
    ]
    gamma = torch.randn(channels, generator=random).to(DEVICE, dtype)
    wanted, got = ([tensor.float().clone() for tensor in whole], [tensor.clone() for tensor in whole])
    x, tail, padded = (tensor[:, 7:44] for tensor in got)
    norm_kernel.launch(x, gamma, tail, padded, norm.EPS)

    x, tail, padded = (tensor[:, 7:44] for tensor in wanted)
    before = tail.clone()
    normed = norm.rms_norm(x, gamma.float()).to(dtype).float()
    padded[:] = torch.cat([before, normed * normed.sigmoid()])
    tail[:] = padded[-past:]
    for ours, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours.float(), theirs, rtol=tolerance, atol=tolerance / 4)


@pytest.mark.skipif(importlib.util.find_spec("triton") is not None, reason="Triton is installed")
def test_without_what_triton_needs_the_norms_run_unfused_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    norm.kernel.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert norm.kernel() is norm.plain
    assert "unfused" in caplog.text
    norm.kernel.cache_clear()
