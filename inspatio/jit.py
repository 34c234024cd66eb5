"""Compiled loops: the CPU renderers', the preview's, the synthetic rooms'.

Compiled code is kept in the user's cache folder. Where that cannot be written the loops are compiled again in each
process, which costs half a minute.

Numba compiles a function again when its own file has changed, but not when a constant or another compiled function
that it takes from another module has: after an update it would go on computing with the old ones. Each function's
folder is therefore named by what it takes from elsewhere.

The loops release the interpreter lock and are run by plain Python threads, one frame (or one part of the points) to a
thread. Numba's own parallel loops are only for work that one thread at a time asks for: one of its thread layers may
not be entered by two.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numba
import numba.core.config
from numba.core.dispatcher import Dispatcher

from inspatio.locations import cache

Item = TypeVar("Item")
Result = TypeVar("Result")

config: Any = numba.core.config
logger = logging.getLogger(__name__)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` compiled on its first call; it runs without the interpreter lock and rounds as it is written."""
    return _compile(function, nogil=True)


def compiled_parallel(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` compiled on its first call, its ``prange`` run by numba's threads; one caller at a time."""
    return _compile(function, parallel=True)


def _compile(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    chosen = config.CACHE_DIR
    try:
        config.CACHE_DIR = chosen or str(cache() / "loops" / _borrowed(function))
        return numba.njit(cache=True, error_model="numpy", **options)(function)
    except RuntimeError as error:  # no home folder, or none that numba can write to
        logger.info("%s; compiling it in every process", error)
        return numba.njit(error_model="numpy", **options)(function)
    finally:
        config.CACHE_DIR = chosen


def _borrowed(function: Callable[..., Any]) -> str:
    """A name that changes with every constant of a compiled function and every compiled function that it calls."""
    parts = []
    for name in sorted(function.__code__.co_names):
        value = function.__globals__.get(name)
        if isinstance(value, Dispatcher):
            parts.append(f"{name}: {_borrowed(value.py_func)} {inspect.getsource(value.py_func)}")
        elif not inspect.ismodule(value) and not callable(value):
            parts.append(f"{name}: {value!r}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


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
