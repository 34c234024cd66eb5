"""Every attention backend that this machine has, held to the one that is written out in float32."""

from __future__ import annotations

import pytest
import torch

from inspatio.errors import UsageError
from inspatio.models.attention import (
    BACKENDS,
    ENVIRONMENT_VARIABLE,
    Backend,
    attend_from_environment,
    attention,
    backend_from_environment,
    why_not,
)

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()
TOLERANCES = {torch.float32: 2e-6, torch.bfloat16: 1e-2, torch.float16: 2e-3}


def tensors(device: str, dtype: torch.dtype, heads: int = 3, size: int = 64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 37, heads, size), (2, 53, heads, size), (2, 53, heads, size)]
    return [torch.randn(shape, generator=generator).to(device, dtype) for shape in shapes]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("backend", [*BACKENDS, "auto"])
def test_backends_agree(backend: Backend, dtype: torch.dtype, device: str) -> None:
    query, key, value = tensors(device, dtype)
    if backend != "auto" and (reason := why_not(backend, query)):
        with pytest.raises(UsageError, match="cannot run here"):
            attention(query, key, value, backend)
        pytest.skip(f"{backend}: {reason}")
    exact = attention(query.double(), key.double(), value.double(), "sdpa")
    result = attention(query, key, value, backend)
    assert result.shape == query.shape
    assert result.dtype == dtype
    assert (result - exact).abs().max() <= TOLERANCES[dtype] * exact.abs().max()


def test_order_of_keys_does_not_matter() -> None:
    query, key, value = tensors("cpu", torch.float32)
    order = torch.randperm(key.shape[1], generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(attention(query, key, value), attention(query, key[:, order], value[:, order]))


def test_heads_are_independent() -> None:
    query, key, value = tensors("cpu", torch.float32)
    whole = attention(query, key, value)
    one = attention(query[:, :, 1:2], key[:, :, 1:2], value[:, :, 1:2])
    torch.testing.assert_close(whole[:, :, 1:2], one)


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    assert backend_from_environment() == "auto"
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "math")
    assert backend_from_environment() == "math"
    query, key, value = tensors("cpu", torch.bfloat16)
    assert torch.equal(attend_from_environment()(query, key, value), attention(query, key, value, "math"))
    assert not torch.equal(attend_from_environment()(query, key, value), attention(query, key, value, "sdpa"))
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "flash9")
    for choose in (backend_from_environment, attend_from_environment):
        with pytest.raises(UsageError, match="flash9"):
            choose()
