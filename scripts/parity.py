"""Hold the networks against a golden set.

    python scripts/parity.py --golden tests/golden [--device cuda] [--dtype bfloat16] [--cases dit da3]

Runs every case of the set and prints a table: case, tensors compared, largest relative error, tolerance, pass or
fail. Where tensors of one case have different tolerances, the row shows the one that comes nearest to failing.
A case that fails, breaks or has no code here fails the run (exit status 1).
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch
from parity_cases import geometry, render, wan, worldfm

from inspatio.errors import UsageError
from inspatio.evaluation.golden import CaseFunction, CaseResult, GoldenCase, judge, read_set

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


CASES: dict[str, CaseFunction] = {
    "dit": wan.dit,
    "block_loop": wan.block_loop,
    "scheduler": wan.scheduler,
    "mask_pack": wan.mask_pack,
    "wan_vae": wan.wan_vae,
    "taehv": wan.taehv,
    "umt5": wan.umt5,
    "da3": geometry.da3,
    "render": render.render,
    "worldfm_dit": worldfm.dit,
    "worldfm_vae": worldfm.vae,
    "worldfm_sample": worldfm.sample,
    "worldfm_conditions": worldfm.conditions,
}


@torch.inference_mode()
def run_case(case: GoldenCase, run: CaseFunction | None, device: torch.device, dtype: torch.dtype) -> CaseResult:
    """One case; whatever goes wrong in it is its own failure, so that the table shows all the others."""
    if run is None:
        return CaseResult(case.name, {}, "no code for this case")
    try:
        return judge(case, run(case, device, dtype), dtype)
    except Exception as error:  # noqa: BLE001 - the traceback is shown, and the run fails
        traceback.print_exc()
        return CaseResult(case.name, {}, f"{type(error).__name__}: {error}")


def format_row(result: CaseResult) -> str:
    """One line of the table, and one more for each tensor that failed."""
    verdict = "pass" if result.passed else "FAIL"
    worst = result.worst
    figures = f"{worst[1].error:12.3e} {worst[1].tolerance:12.1e}" if worst else f"{'-':>12} {'-':>12}"
    lines = [f"{result.name:<14} {len(result.measured):>8} {figures}  {verdict}  {result.problem or ''}".rstrip()]
    for name, measured in result.measured.items():
        if not measured.passed:
            lines.append(f"    {name}: {measured.error:.3e} > {measured.tolerance:.1e}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Hold the networks against a golden set.")
    parser.add_argument("--golden", type=Path, required=True, metavar="DIR", help="folder with manifest.json")
    parser.add_argument("--device", default="cpu", help="where to compute: cpu, cuda, cuda:1 [cpu]")
    parser.add_argument("--dtype", choices=list(DTYPES), default="float32", help="precision of the networks [float32]")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), metavar="CASE", help="only these [all of the set]")
    options = parser.parse_args(arguments)
    # Convolutions on a GPU would otherwise round float32 inputs to TF32, which no float32 tolerance allows for.
    torch.backends.cudnn.allow_tf32 = False

    try:
        cases = read_set(options.golden)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{'case':<14} {'compared':>8} {'max error':>12} {'tolerance':>12}")
    passed = True
    for case in cases:
        if options.cases and case.name not in options.cases:
            continue
        result = run_case(case, CASES.get(case.name), torch.device(options.device), DTYPES[options.dtype])
        print(format_row(result), flush=True)
        passed = passed and result.passed
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
