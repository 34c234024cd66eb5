#!/usr/bin/env bash
# What only a GPU can tell, in pieces of less than ten minutes:
#
#     bash scripts/gpu_check.sh [--rehearse] [correctness] [breakdown] [ab] [tuning] [models]       [all, in this order]
#
#     correctness   attention backends, compiled and replayed blocks, streams and renderers held to each other at the
#                   published size; parity with the golden numbers in float32 and bfloat16; the pipeline with tiny networks
#     breakdown     single kernels at the shapes of a block; where the time of a block goes, eager and compiled
#     ab            this code and the public code side by side (PUBLIC_CODE names a checkout of it, PUBLIC_DEPTH_CODE one of
#                   Depth Anything 3), eager and compiled; frames per second and memory end to end
#     tuning        the same with CUDA graphs, 8-bit products and attention, the Wan VAE, offload and each attention backend
#     models        Depth Anything 3 and Florence-2
#
# Nothing is installed and no network is used: it runs with the Python that is there (INSPATIO_PYTHON, else .venv, else
# python3), and says what it skips and why. Each step has a time limit and leaves NAME.log and, where it measures,
# NAME.json in GPU_CHECK_OUT [output/gpu_check] as soon as it is done; a step that fails stops no other. summary.txt
# there has one line for each. The exit status is 1 if a step failed. --rehearse runs the same steps tiny on the CPU, with
# five times the limits.
set -uo pipefail
cd "$(dirname "$0")/.."

pieces=()
rehearse=false
for word in "$@"; do
    case "$word" in
        --rehearse) rehearse=true ;;
        correctness | breakdown | ab | tuning | models) pieces+=("$word") ;;
        *) echo "usage: bash scripts/gpu_check.sh [--rehearse] [correctness|breakdown|ab|tuning|models] ..." >&2; exit 2 ;;
    esac
done
((${#pieces[@]})) || pieces=(correctness breakdown ab tuning models)

python=${INSPATIO_PYTHON:-}
if [[ -z $python ]]; then if [[ -x .venv/bin/python ]]; then python=.venv/bin/python; else python=python3; fi; fi
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
export TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-$PWD/output/inductor}
if ! $rehearse && ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "gpu_check: $python sees no CUDA GPU, which this script measures; --rehearse runs it tiny on the CPU" >&2
    exit 2
fi

has() { # packages... : whether all of them can be imported; says which cannot
    "$python" - "$@" <<'PYTHON'
import importlib.util, sys
missing = [name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]
print("not installed: " + ", ".join(missing) if missing else "")
sys.exit(bool(missing))
PYTHON
}

if ! missing=$(has torch numpy scipy numba einops safetensors cv2); then
    echo "gpu_check: $python has not what every step needs ($missing); set INSPATIO_PYTHON to one that has" >&2
    exit 2
fi

out=${GPU_CHECK_OUT:-output/gpu_check}
mkdir -p "$out"
failed=()
if $rehearse; then
    device=cpu small=(--model tiny --size 64x32) blocks=(2 3) ab=(--size 64x32 --layers 1 --pairs 1) kernels=(--tokens 8 --repeats 1 --no_convolutions)
    geometry=(--model da3-small --frames 5 --size 112x64) captions=(--model base --tokens 1 --repeats 1 --batches 1) ways=(again graphs fp8)
else
    device=cuda small=() blocks=(2 30) ab=() kernels=() geometry=() captions=() ways=(again compiled graphs "compiled graphs" fp8)
fi

note() { echo "$*" | tee -a "$out/summary.txt"; }

step() { # name, seconds at most, command...
    local name=$1 limit=$2 began=$SECONDS status
    shift 2
    if $rehearse; then limit=$((5 * limit)); fi  # any machine may be used for it
    echo
    echo "== $name: $*"
    timeout --kill-after=5 "$limit" "$@" 2>&1 | tee "$out/$name.log"
    status=${PIPESTATUS[0]}
    if tail -n 1 "$out/$name.log" | grep -q '^{'; then tail -n 1 "$out/$name.log" > "$out/$name.json"; fi
    if ((status == 0)); then
        note "$name: passed in $((SECONDS - began)) s"
    else
        local why="exit status $status"
        ((status == 124 || status == 137)) && why="stopped at its limit of $limit s"
        note "$name: FAILED after $((SECONDS - began)) s ($why)"
        failed+=("$name")
    fi
}

bench() { # name, seconds at most, bench, arguments...
    local name=$1 limit=$2 which=$3
    shift 3
    step "$name" "$limit" "$python" scripts/bench.py "$which" "$@" --device "$device"
}

speed() { # name, seconds at most, arguments...
    local name=$1 limit=$2
    shift 2
    bench "$name" "$limit" generate --random_weights "${small[@]}" --blocks "${blocks[@]}" "$@"
}

correctness() {
    step environment 30 "$python" - <<'PYTHON'
import importlib.util, subprocess, torch
print("torch", torch.__version__, "CUDA", torch.version.cuda, "cuDNN", torch.backends.cudnn.version())
from inspatio.models.cudnn import fault_in_half
print("3D convolutions in half precision:", fault_in_half(torch.__version__, torch.backends.cudnn.version()) or "no known fault")
for name in ("triton", "flash_attn", "flash_attn_interface", "transformers", "numba", "av", "omegaconf", "ftfy", "pydantic", "cv2"):
    print(f"{name}:", "there" if importlib.util.find_spec(name) else "not installed")
if torch.cuda.is_available():
    print(subprocess.run(["nvidia-smi"], capture_output=True, text=True).stdout)
PYTHON
    bench agreement_attention 60 agreement --checks attention "${small[@]}"
    bench agreement_block 180 agreement --checks block --ways "${ways[@]}" "${small[@]}"
    bench agreement_streams 60 agreement --checks overlap renderers "${small[@]}"
    local missing
    if missing=$(has tokenizers); then
        step parity_float32 75 "$python" scripts/parity.py --golden tests/golden --device "$device"
        step parity_bfloat16 75 "$python" scripts/parity.py --golden tests/golden --device "$device" --dtype bfloat16
    else
        note "parity: skipped ($missing)"
    fi
    if missing=$(has av omegaconf ftfy pydantic); then
        step tiny_checkpoints 30 "$python" scripts/make_tiny_checkpoints.py
        step tiny_pipeline 80 "$python" -m inspatio run --profile tiny --input_dir examples \
            --traj_txt_path traj/x_y_circle_cycle.txt --work_folder "$out/tiny_work" --output_folder "$out/tiny" --force
    else
        note "tiny_pipeline: skipped ($missing)"
    fi
}

breakdown() {
    bench kernels 150 kernels "${kernels[@]}"
    bench breakdown_eager 90 breakdown --random_weights --use_tae "${small[@]}"
    if $rehearse; then return; fi
    bench breakdown_compiled 200 breakdown --random_weights --use_tae --compile_dit
    bench breakdown_wan 120 breakdown --random_weights
}

ab() {
    if [[ -n ${PUBLIC_CODE:-} ]]; then
        step ab_public_eager 150 "$python" scripts/ab_public.py "$PUBLIC_CODE" ${PUBLIC_DEPTH_CODE:+--depth "$PUBLIC_DEPTH_CODE"} --device "$device" --output "$out/ab_eager" "${ab[@]}"
        if ! $rehearse; then
            step ab_public_compiled 230 "$python" scripts/ab_public.py "$PUBLIC_CODE" --cases dit --device "$device" \
                --compile --output "$out/ab_compiled"
        fi
    else
        note "ab_public: skipped (PUBLIC_CODE names no checkout of the public code)"
    fi
    speed bf16_taehv 80 --use_tae
    if ! $rehearse; then speed bf16_taehv_compiled 120 --use_tae --compile_dit; fi
}

tuning() {
    speed bf16_taehv_graphs 80 --use_tae --cuda_graphs
    speed bf16_taehv_offload 80 --use_tae --offload
    if $rehearse; then return; fi
    speed bf16_taehv_compiled_graphs 120 --use_tae --compile_dit --cuda_graphs
    local reason
    if reason=$("$python" -c 'import torch; from inspatio.models.wan.optimize import why_no_fp8
print(why_no_fp8(torch.device("cuda")) or "")') && [[ -z $reason ]]; then
        speed fp8_taehv_compiled 120 --use_tae --precision fp8 --compile_dit
        INSPATIO_ATTENTION=cudnn speed fp8_taehv_compiled_attention_16bit 120 --use_tae --precision fp8 --compile_dit
    else
        note "fp8: skipped ($reason)"
    fi
    speed bf16_wan_compiled 110 --compile_dit
    local backend
    for backend in cudnn sdpa; do
        INSPATIO_ATTENTION=$backend speed "bf16_taehv_attention_$backend" 60 --use_tae
    done
}

models() {
    bench depth_anything3 300 geometry "${geometry[@]}"
    local missing
    if missing=$(has transformers); then
        bench florence2 200 caption "${captions[@]}"
    else
        note "florence2: skipped ($missing)"
    fi
}

for piece in "${pieces[@]}"; do "$piece"; done

"$python" - "$out" <<'PYTHON' | tee "$out/table.txt"
import json, pathlib, sys
rows = []
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
    made = json.loads(path.read_text())
    if made.get("bench") == "generate":
        results = made["results"]
        longest = list(results["runs"].values())[-1]
        rows.append(f"{path.stem:28} {results.get('steady_frames_per_second', 0):9.1f} {longest.get('peak_gpu_gib', 0):9.2f} "
                    f"{results['warm_up_seconds']:10.1f} {results['first_block_seconds']:14.2f}   "
                    + "  ".join(f"{name} {1000 * seconds:.1f}" for name, seconds in results["part_seconds_per_block"].items()))
if rows:
    print(f"\n{'setting':28} {'frames/s':>9} {'peak GiB':>9} {'warm-up s':>10} {'first block s':>14}   ms a block in each part")
    print("\n".join(rows))
PYTHON

echo
if ((${#failed[@]})); then
    echo "gpu_check: failed in ${SECONDS} s: ${failed[*]}"
    exit 1
fi
echo "gpu_check: all passed in ${SECONDS} s; results in $out"
