"""Every attention backend that this machine has, held to the one that is written out in float32."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

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
    choose,
    cudnn_attention,
    load_package,
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
    if backend != "auto" and (reason := why_not(backend, query.device, dtype, query.shape[-1])):
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
    for read in (backend_from_environment, attend_from_environment):
        with pytest.raises(UsageError, match="flash9"):
            read()


@pytest.fixture
def a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A machine that says it has an H100, so that the choice can be asked for; nothing can run there."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.backends.cudnn, "is_available", lambda: True)
    packages = ("flash_attn_interface", "flash_attn")

    def forget() -> None:
        choose.cache_clear()
        load_package.cache_clear()
        for name in packages:
            sys.modules.pop(name, None)

    forget()
    yield monkeypatch
    forget()


GPU = torch.device("cuda:0")


@pytest.mark.parametrize(
    ("packages", "generation", "expected"),
    [
        (["flash_attn_interface", "flash_attn"], 9, "flash3"),
        (["flash_attn"], 9, "cudnn"),  # FlashAttention-2 is slower there
        (["flash_attn_interface", "flash_attn"], 8, "flash2"),
        ([], 8, "sdpa"),
        (["flash_attn"], 10, "cudnn"),
    ],
)
def test_order_on_gpus(
    a_gpu: pytest.MonkeyPatch, tmp_path: Path, packages: list[str], generation: int, expected: str
) -> None:
    for name in packages:
        (tmp_path / f"{name}.py").write_text("")
    a_gpu.syspath_prepend(str(tmp_path))
    a_gpu.setattr(torch.cuda, "get_device_capability", lambda device: (generation, 0))
    assert choose("auto", GPU, torch.bfloat16, 128) == expected
    assert choose("auto", GPU, torch.float32, 128) == "sdpa"
    assert choose("auto", GPU, torch.bfloat16, 12) == "sdpa"  # a head size that no fused kernel takes


def test_a_package_that_does_not_load_is_explained_and_passed_over(
    a_gpu: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "flash_attn_interface.py").write_text("raise ImportError('undefined symbol: _ZN3c104cuda')")
    a_gpu.syspath_prepend(str(tmp_path))
    assert choose("auto", GPU, torch.bfloat16, 128) == "cudnn"
    assert "undefined symbol" in caplog.text
    with pytest.raises(UsageError, match="undefined symbol"):
        choose("flash3", GPU, torch.bfloat16, 128)


def test_cudnn_gives_the_layout_that_the_layers_expect() -> None:
    """Heads beside each other in memory, so that joining them is a view; told by PyTorch's own shape function."""
    query, key, value = (x.to("meta", torch.bfloat16) for x in tensors("cpu", torch.float32))
    result = cudnn_attention(query, key, value)
    assert result.shape == query.shape
    assert result.is_contiguous()
