"""Compiling and sharing out the loops."""

from __future__ import annotations

import threading

import pytest

from inspatio.render.jit import compiled, on_threads


def test_code_that_cannot_be_cached_runs() -> None:
    """Numba refuses to cache code without a file, as it does where no folder can be written."""
    namespace: dict = {}
    exec("def double(x):\n    return 2 * x", namespace)
    assert compiled(namespace["double"])(21) == 42


def test_every_item_has_a_thread_of_its_own() -> None:
    all_running = threading.Barrier(3, timeout=20)
    done: list[int] = []

    def work(item: int) -> None:
        all_running.wait()
        done.append(item)

    on_threads(work, range(3))
    assert sorted(done) == [0, 1, 2]


def test_failures_are_raised() -> None:
    def work(item: int) -> None:
        raise ValueError(f"item {item}")

    for items in ([7], [7, 8]):
        with pytest.raises(ValueError, match="item 7"):
            on_threads(work, items)
    on_threads(work, [])
