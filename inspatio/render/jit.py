"""Compiled loops for the CPU renderers.

Numba keeps compiled code in the package folder or, where that is read-only, in the user's cache folder. Where neither
can be written it refuses to cache at all; then the loops are compiled again in each process, which costs a few seconds.

The loops release the interpreter lock and are run by plain Python threads, one frame (or one part of the points) to a
thread. Numba's own parallel loops are not used: one of its thread layers may not be entered by two threads at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numba

Item = TypeVar("Item")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` compiled on its first call; it runs without the interpreter lock and rounds as it is written."""
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError as error:  # numba found no folder to cache in
        logger.info("%s; compiling it in every process", error)
        return numba.njit(**options)(function)


def on_threads(work: Callable[[Item], None], items: Sequence[Item]) -> None:
    """``work`` on every item, each on a thread of its own."""
    if len(items) == 1:
        work(items[0])
        return
    with ThreadPoolExecutor(max_workers=max(len(items), 1)) as pool:
        list(pool.map(work, items))


def on_pool(work: Callable[[int], Result], count: int, threads: int) -> list[Result]:
    """The results of ``work(0)`` .. ``work(count - 1)``, on at most so many threads."""
    if threads == 1:
        return [work(i) for i in range(count)]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, range(count)))
