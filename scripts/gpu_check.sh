#!/usr/bin/env bash
# Everything that only a GPU can tell, in one go and under eight minutes:
#
#     bash scripts/gpu_check.sh [--quick]
#
# 1. the attention backends held to each other on the GPU
# 2. parity with the golden numbers on the GPU, in float32 and in bfloat16
# 3. the generator's speed and memory at 832x480 with random weights of the published size
# 4. the whole pipeline on the example, with tiny networks
#
# Each step says how long it took; all of them run whatever the others did, and the exit status is 1 if any failed.
# The lines of JSON that the benches end with are collected in output/gpu_check/. --quick leaves step 3 at one setting.
set -uo pipefail
cd "$(dirname "$0")/.."

quick=false
case "${1:-}" in
    "") ;;
    --quick) quick=true ;;
    *) echo "usage: bash scripts/gpu_check.sh [--quick]" >&2; exit 2 ;;
esac

if [[ -x .venv/bin/python ]]; then python=.venv/bin/python; else python=python3; fi
if ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "gpu_check: $python sees no CUDA GPU; this script measures one (bash scripts/test.sh needs none)" >&2
    exit 2
fi

out=output/gpu_check
mkdir -p "$out"
failed=()

step() { # name, seconds at most, command...
    local name=$1 limit=$2 began=$SECONDS
    shift 2
    echo
    echo "== $name"
    if timeout "$limit" "$@" 2>&1 | tee "$out/$name.log"; then
        echo "-- $name: passed in $((SECONDS - began)) s"
    else
        echo "-- $name: FAILED after $((SECONDS - began)) s (at most $limit s)"
        failed+=("$name")
    fi
}

bench() { # name, arguments...
    local name=$1
    shift
    step "$name" 150 "$python" scripts/bench.py generate --config_path configs/inference_1.3b.yaml --random_weights \
        --device cuda --blocks 2 20 "$@"
    tail -n 1 "$out/$name.log" > "$out/$name.json"
}

step attention 60 "$python" -m pytest tests/models/test_attention.py
step parity_float32 60 "$python" scripts/parity.py --golden tests/golden --device cuda
step parity_bfloat16 60 "$python" scripts/parity.py --golden tests/golden --device cuda --dtype bfloat16

bench bf16_taehv --encoder taehv --decoder taehv
if ! $quick; then
    bench bf16_taehv_compiled --encoder taehv --decoder taehv --compile_dit
    bench bf16_wan_compiled --encoder wan --decoder wan --compile_dit
    bench bf16_taehv_offload --encoder taehv --decoder taehv --offload
    if "$python" -c 'import sys, torch; from inspatio.models.wan.optimize import why_no_fp8
reason = why_no_fp8(torch.device("cuda")); print(f"fp8 is not measured: {reason}" if reason else ""); sys.exit(bool(reason))'
    then
        bench fp8_taehv_compiled --encoder taehv --decoder taehv --compile_dit --precision fp8
    fi
fi

step tiny_checkpoints 60 "$python" scripts/make_tiny_checkpoints.py
step tiny_pipeline 120 bash run_pipeline.sh --profile tiny --input_dir examples \
    --traj_txt_path traj/x_y_circle_cycle.txt --output_folder "$out/tiny" --force

echo
"$python" - "$out" <<'PYTHON'
import json, pathlib, sys
print(f"{'setting':24} {'frames/s':>9} {'peak GiB':>9} {'warm-up s':>10} {'first block s':>14}   ms a block in each part")
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
    try:
        results = json.loads(path.read_text())["results"]
    except (ValueError, KeyError):
        continue
    longest = list(results["runs"].values())[-1]
    parts = "  ".join(f"{name} {1000 * seconds:.1f}" for name, seconds in results["part_seconds_per_block"].items())
    print(f"{path.stem:24} {longest['frames_per_second']:9.1f} {longest.get('peak_gpu_gib', 0):9.2f} "
          f"{results['warm_up_seconds']:10.1f} {results['first_block_seconds']:14.2f}   {parts}")
PYTHON

echo
if ((${#failed[@]})); then
    echo "gpu_check: failed in ${SECONDS} s: ${failed[*]}"
    exit 1
fi
echo "gpu_check: all passed in ${SECONDS} s"
