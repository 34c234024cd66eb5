"""8-bit attention: its arithmetic against plain attention, its kernel against its arithmetic, and the gate."""

from __future__ import annotations

import logging
import os

import pytest
import torch
from support.networks import embed, make_dit

from inspatio.generation.inspatio_world.block_loop import BlockLoop, Schedule
from inspatio.models import attention_8bit
from inspatio.models.attention import attention
from inspatio.models.attention_8bit import attend_in_8bit, plain
from inspatio.models.wan.optimize import round_attention

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def inputs(n: int, m: int, heads: int = 2, d: int = 64, seed: int = 0) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randn(2, count, heads, d, generator=random) for count in (n, m, m)]


def error(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got.float() - expected.float()).norm() / expected.float().norm())


@pytest.mark.parametrize(("n", "m"), [(5, 7), (40, 300)])
@pytest.mark.parametrize("sharpness", [1.0, 6.0])
def test_it_is_attention(n: int, m: int, sharpness: float) -> None:
    query, key, value = inputs(n, m)
    assert error(plain(sharpness * query, key, value), attention(sharpness * query, key, value, "math")) < 0.04


def test_what_all_keys_have_in_common_does_not_matter() -> None:
    query, key, value = inputs(30, 200)
    offset = 50 * torch.randn(key.shape[-1], generator=torch.Generator().manual_seed(1))
    assert error(plain(query, key + offset, value), plain(query, key, value)) < 1e-3


def test_tokens_and_channels_of_different_size_keep_their_precision() -> None:
    """A scale for each: with one for all, the small ones would be zero."""
    query, key, value = inputs(30, 200)
    query[:, ::2] *= 1e-4
    value[..., ::2] *= 1e-4
    got, expected = plain(query, key, value), attention(query, key, value, "math")
    for part in (got[..., ::2], expected[..., ::2]):
        assert part.abs().max() > 0
    assert error(got[..., ::2], expected[..., ::2]) < 0.04
    assert error(got[:, ::2], expected[:, ::2]) < 0.04


def test_weights_add_up_to_one() -> None:
    query, key, value = inputs(20, 100)
    got = plain(query, key, torch.ones_like(value))
    torch.testing.assert_close(got, torch.ones_like(got), rtol=0.02, atol=0)


def test_where_it_cannot_be_used_one_line_says_why(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert attend_in_8bit(torch.device("cpu"), attention) is attention
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    gpu = torch.device("cuda")
    for wrong in (0.06, float("nan")):
        monkeypatch.setattr(attention_8bit, "measured_error", lambda _, wrong=wrong: wrong)
        assert attend_in_8bit(gpu, attention) is attention

    class CompilationError(Exception):
        """As Triton's, which is no RuntimeError."""

    def refuse(_: torch.device) -> float:
        raise CompilationError("no such instruction\n  more of it")

    monkeypatch.setattr(attention_8bit, "measured_error", refuse)
    with caplog.at_level(logging.WARNING):
        assert attend_in_8bit(gpu, attention) is attention
    assert [record.message.count("\n") for record in caplog.records] == [0] * 4
    assert "no such instruction" in caplog.records[-1].message
    monkeypatch.setattr(attention_8bit, "measured_error", lambda _: 0.03)
    assert attend_in_8bit(gpu, attention) is attention_8bit.attention_8bit


def test_the_gate_measures_what_the_operator_does() -> None:
    assert 0.001 < attention_8bit.measured_error(torch.device("cpu")) < attention_8bit.GATE


def test_compiled_code_calls_it_without_a_break() -> None:
    query, key, value = inputs(20, 100)

    def layer(query: torch.Tensor) -> torch.Tensor:
        return attention_8bit.attention_8bit(2 * query, key, value) + 1

    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    with torch.inference_mode():
        assert torch.equal(compiled(query), layer(query))


def test_its_result_lies_in_memory_as_compilers_are_told() -> None:
    """Also of a query that is a view: compiled code reads the result by the strides that it was promised."""
    query, key, value = inputs(20, 100)
    query = query.transpose(1, 2).contiguous().transpose(1, 2)
    assert not query.is_contiguous()
    operator = torch.ops.inspatio.attention_8bit.default
    torch.library.opcheck(operator, (query, key, value), test_utils=("test_schema", "test_faketensor"))


def test_a_network_takes_it_for_its_own_attention_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    dit = make_dit()
    monkeypatch.setattr(attention_8bit, "why_not", lambda _: None)
    round_attention(dit, torch.device("cpu"))
    for block in dit.blocks.children():
        assert block.cached_attention.attend is attention_8bit.attention_8bit
        assert block.attend is attention
    random = torch.Generator().manual_seed(0)
    source, condition = (torch.randn(1, 3, channels, 4, 8, generator=random) for channels in (16, 20))
    noise = torch.randn(2, 1, 3, 16, 4, 8, generator=random)
    made = []
    with torch.inference_mode():
        for network in (make_dit(), dit):
            loop = BlockLoop(network, Schedule.make(network, (1000, 500), 5.0), network.encode_text(embed("a room")))
            made.append(torch.cat([loop.step(source, condition, noise) for _ in range(2)]))
    assert 0 < error(made[1], made[0]) < 0.03


@pytest.fixture
def true_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's rounding to e4m3: Triton 3.9's interpreter loses the carry, so that 0.97 becomes 0.5."""
    if os.environ.get("TRITON_INTERPRET") != "1":
        return
    from triton.runtime import interpreter  # pyright: ignore[reportMissingImports]

    theirs = interpreter._convert_float

    def convert(values, given, wanted, mode):
        if wanted.name != "fp8e4nv":
            return theirs(values, given, wanted, mode)
        return torch.from_numpy(values).to(torch.float8_e4m3fn).view(torch.uint8).numpy()

    monkeypatch.setattr(interpreter, "_convert_float", convert)


@pytest.mark.usefixtures("true_rounding")
@pytest.mark.parametrize(("n", "m", "d"), [(5, 7, 32), (130, 100, 64), (70, 200, 128)])
def test_the_kernel_does_the_same(n: int, m: int, d: int) -> None:
    if DEVICE == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("no GPU; with Triton installed, TRITON_INTERPRET=1 in the environment runs it by the interpreter")
    query, key, value = (each.to(DEVICE, torch.bfloat16) for each in inputs(n, 2 * m, d=d))
    key, value = (key + 3)[:, :m], value[:, :m]  # as the cache gives them: a part of a larger tensor
    got = attention_8bit.by_kernel(query, key, value)
    stated, exact = plain(query, key, value), attention(query, key, value, "math")
    assert error(got, stated) < (0.015 if m <= 64 else 0.03)  # of several tiles, each rounds by its own maximum
    assert error(got, exact) < 1.2 * error(stated, exact) < attention_8bit.GATE
