"""Compiling and sharing out the loops."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from inspatio.jit import compiled, on_threads


def test_code_that_cannot_be_cached_runs() -> None:
    """Numba refuses to cache code without a file, as it does where no folder can be written."""
    namespace: dict = {}
    exec("def double(x):\n    return 2 * x", namespace)
    assert compiled(namespace["double"])(21) == 42


LOOP = """
from inspatio.jit import compiled
from {module} import STEP, twice

@compiled
def run(x):
    return twice(x) + STEP

print(run(20))
"""


@pytest.mark.parametrize("change", [("STEP = 2", "STEP = 1"), ("2 * x", "3 * x")])
def test_what_a_loop_takes_from_another_module_is_compiled_in_anew(tmp_path: Path, change: tuple[str, str]) -> None:
    """Numba looks at the time and size of the loop's own file only."""
    other = tmp_path / "other.py"
    (tmp_path / "loop.py").write_text(LOOP.format(module="other"), encoding="utf-8")
    answers = []
    text = "from inspatio.jit import compiled\nSTEP = 2\n@compiled\ndef twice(x):\n    return 2 * x\n"
    for each in (text, text, text.replace(*change)):
        other.write_text(each, encoding="utf-8")
        os.utime(other, ns=(0, 0))  # a copied or unpacked tree keeps old times
        environment = {**os.environ, "INSPATIO_HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        ran = subprocess.run(
            [sys.executable, "loop.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        answers.append(int(ran.stdout))
    assert answers[0] == answers[1] == 42
    assert answers[2] == (41 if change[0].startswith("STEP") else 62)


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
