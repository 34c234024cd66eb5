#!/usr/bin/env bash
# What only a GPU can tell, in pieces:
#
#     bash scripts/gpu_check.sh [--out DIR] [--seconds N] [--rehearse] [PIECE ...]       [all, in this order]
#
#     correctness   this project's Triton kernels first; attention backends, streams, renderers, WorldFM, compiled and
#                   replayed blocks held to each other at the published size; parity with the golden numbers in float32
#                   and bfloat16; the pipeline with tiny networks
#     ab            frames per second and memory end to end; this code and the public code side by side (PUBLIC_CODE
#                   names a checkout of it, PUBLIC_DEPTH_CODE one of Depth Anything 3), eager and compiled
#     breakdown     where the time of a block goes, eager and compiled; single kernels at the shapes of a block
#     tuning        end to end with 8-bit products and attention, the Wan VAE, CUDA graphs, offload and each attention
#                   backend
#     worldfm       WorldFM's frames per second, each part's time and share of the roofline, eager and compiled
#     models        Depth Anything 3 and Florence-2
#
# Nothing is installed and no network is used: it runs with the Python that is there (INSPATIO_PYTHON, else .venv, else
# python3), and says what it skips and why. Each step has a time limit; a step that fails or hangs stops no other. With
# --seconds the whole run ends by then: steps get what is left, and those that nothing is left for are said. DIR
# [output/gpu_check] gets, as soon as a step is done, a line in summary.txt and, where it measures, one in
# results.jsonl; log.txt has everything that steps print. The exit status is 1 if a step failed. --rehearse runs the same steps
# tiny on the CPU, with five times the limits.
set -uo pipefail
cd "$(dirname "$0")/.."

all=(correctness ab breakdown tuning worldfm models)
pieces=()
rehearse=false
out=output/gpu_check
seconds=1000000
usage() {
    echo "usage: bash scripts/gpu_check.sh [--out DIR] [--seconds N] [--rehearse] [PIECE ...], pieces: ${all[*]}" >&2
    exit 2
}
while (($#)); do
    case "$1" in
        --rehearse) rehearse=true ;;
        --out) out=${2:-} && shift ;;
        --seconds) seconds=${2:-} && shift ;;
        correctness | ab | breakdown | tuning | worldfm | models) pieces+=("$1") ;;
        *) usage ;;
    esac
    shift || usage
done
[[ -n $out && $seconds =~ ^[0-9]+$ ]] || usage
((${#pieces[@]})) || pieces=("${all[@]}")

python=${INSPATIO_PYTHON:-}
if [[ -z $python ]]; then if [[ -x .venv/bin/python ]]; then python=.venv/bin/python; else python=python3; fi; fi
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
export TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-$PWD/output/inductor}
if ! $rehearse && ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    echo "gpu_check: $python sees no CUDA GPU, which this script measures; --rehearse runs it tiny on the CPU" >&2
    exit 2
fi

missing() { # packages...: those that cannot be imported; nothing where all can
    "$python" - "$@" <<'PYTHON'
import importlib.util, sys
print(", ".join(name for name in sys.argv[1:] if importlib.util.find_spec(name) is None))
PYTHON
}

lacking=$(missing torch numpy scipy numba einops safetensors cv2)
if [[ -n $lacking ]]; then
    echo "gpu_check: $python has not what every step needs (not installed: $lacking); set INSPATIO_PYTHON to one that has" >&2
    exit 2
fi

mkdir -p "$out"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=()
if $rehearse; then
    device=cpu small=(--model tiny --size 64x32) blocks=(2 3) ab=(--size 64x32 --layers 1 --pairs 1)
    kernels=(--tokens 8 --repeats 1 --no_convolutions) ways=(again compiled graphs fp8)
    worldfm=(--height 64 --size 64x64 --frame_layers 1 --repeats 1)
    geometry=(--model da3-small --frames 5 --size 112x64) captions=(--model tiny --tokens 1 --repeats 1 --batches 1)
else
    device=cuda small=() blocks=(2 30) ab=() kernels=() ways=(again compiled graphs "compiled graphs" fp8)
    worldfm=(--repeats 20) geometry=() captions=()
fi

note() { echo "$*" | tee -a "$out/summary.txt"; }

has() { # step, packages...: whether all can be imported; else the step is skipped, which is said
    local lacking
    lacking=$(missing "${@:2}")
    [[ -z $lacking ]] || note "$1: skipped (not installed: $lacking)"
    [[ -z $lacking ]]
}

step() { # name, seconds at most, command...
    local name=$1 limit=$2 began=$SECONDS left=$((seconds - SECONDS)) status before result
    shift 2
    if $rehearse; then limit=$((5 * limit)); fi  # any machine may be used for it
    if ((left < 15)); then
        note "$name: left out (no time left)"
        return
    fi
    ((limit <= left)) || limit=$left
    printf '\n== %s: %s\n' "$name" "$*" >> "$out/log.txt"
    before=$(wc -l < "$out/log.txt")
    # To a file, not through a pipe: what a compiler leaves running would hold a pipe open.
    timeout --kill-after=5 "$limit" "$@" >> "$out/log.txt" 2>&1 < /dev/null
    status=$?
    result=$(tail -n "+$((before + 1))" "$out/log.txt" | grep '^{.*}$' | tail -n 1)
    if [[ -n $result ]]; then printf '{"step": "%s", %s\n' "$name" "${result#\{}" >> "$out/results.jsonl"; fi
    if ((status == 0)); then
        note "$name: passed in $((SECONDS - began)) s"
    else
        local why="exit status $status"
        ((status == 124 || status == 137)) && why="stopped at its limit of $limit s"
        tail -n "+$((before + 1))" "$out/log.txt" | tail -n 15 | cut -c1-300
        note "$name: FAILED after $((SECONDS - began)) s ($why)"
        failed+=("$name")
    fi
}

bench() { # name, seconds at most, bench, arguments...
    local name=$1 limit=$2 which=$3
    shift 3
    step "$name" "$limit" "$python" scripts/bench.py "$which" "$@" --device "$device"
}

agreement() { # name, seconds at most, checks...
    local name=$1 limit=$2
    shift 2
    bench "$name" "$limit" agreement --checks "$@" --ways "${ways[@]}" "${small[@]}"
}

speed() { # name, seconds at most, arguments...
    local name=$1 limit=$2
    shift 2
    bench "$name" "$limit" generate --random_weights "${small[@]}" --blocks "${blocks[@]}" "$@"
}

environment='
import importlib.util, subprocess, torch
print("torch", torch.__version__, "CUDA", torch.version.cuda, "cuDNN", torch.backends.cudnn.version())
from inspatio.models.cudnn import fault_in_half
print("3D convolutions in half precision:", fault_in_half(torch.__version__, torch.backends.cudnn.version()) or "no known fault")
for name in ("triton", "flash_attn", "flash_attn_interface", "transformers", "tqdm", "av", "omegaconf", "ftfy", "pydantic"):
    print(f"{name}:", "there" if importlib.util.find_spec(name) else "not installed")
if torch.cuda.is_available():
    print(subprocess.run(["nvidia-smi"], capture_output=True, text=True).stdout)
'

correctness() {
    step environment 60 "$python" -c "$environment"
    agreement kernels 60 kernels
    agreement attention 60 attention
    agreement streams 60 overlap renderers
    if has parity tokenizers; then
        step parity_float32 75 "$python" scripts/parity.py --golden tests/golden --device "$device"
        step parity_bfloat16 75 "$python" scripts/parity.py --golden tests/golden --device "$device" --dtype bfloat16
    fi
    if has tiny_pipeline av omegaconf ftfy pydantic tqdm; then
        step tiny_checkpoints 30 "$python" scripts/make_tiny_checkpoints.py
        step tiny_pipeline 80 "$python" -m inspatio run --profile tiny --input_dir examples \
            --traj_txt_path traj/x_y_circle_cycle.txt --work_folder "$scratch/work" --output_folder "$scratch/run" --force
    fi
    agreement worldfm_ways 120 worldfm
    agreement block_ways 240 block
}

ab() {
    speed bf16_taehv 80 --use_tae
    if ! $rehearse; then speed bf16_taehv_compiled 120 --use_tae --compile_dit; fi
    if [[ -z ${PUBLIC_CODE:-} ]]; then
        note "ab_public: skipped (PUBLIC_CODE names no checkout of the public code)"
    elif has ab_public tqdm; then
        local depth=()
        if [[ -n ${PUBLIC_DEPTH_CODE:-} ]] && has ab_public_depth omegaconf; then depth=(--depth "$PUBLIC_DEPTH_CODE"); fi
        step ab_public_eager 150 "$python" scripts/ab_public.py "$PUBLIC_CODE" "${depth[@]}" --device "$device" \
            --output "$out/ab_eager" "${ab[@]}"
        if ! $rehearse; then
            step ab_public_compiled 230 "$python" scripts/ab_public.py "$PUBLIC_CODE" --cases dit --device "$device" \
                --compile --output "$out/ab_compiled"
        fi
    fi
}

breakdown() {
    bench breakdown_eager 90 breakdown --random_weights --use_tae "${small[@]}"
    bench kernel_times 150 kernels "${kernels[@]}"
    if $rehearse; then return; fi
    bench breakdown_compiled 200 breakdown --random_weights --use_tae --compile_dit
    bench breakdown_wan 120 breakdown --random_weights
}

tuning() {
    if ! $rehearse; then
        local reason
        reason=$("$python" -c 'import torch; from inspatio.models.wan.optimize import why_no_fp8
print(why_no_fp8(torch.device("cuda")) or "")' 2>&1)
        if [[ -z $reason ]]; then
            speed fp8_taehv_compiled 120 --use_tae --precision fp8 --compile_dit
            INSPATIO_ATTENTION=cudnn speed fp8_taehv_compiled_attention_16bit 120 --use_tae --precision fp8 --compile_dit
        else
            note "fp8: skipped (${reason##*$'\n'})"
        fi
        speed bf16_wan_compiled 110 --compile_dit
        speed bf16_taehv_compiled_graphs 120 --use_tae --compile_dit --cuda_graphs
    fi
    speed bf16_taehv_graphs 80 --use_tae --cuda_graphs
    speed bf16_taehv_offload 80 --use_tae --offload
    if $rehearse; then return; fi
    local backend
    for backend in cudnn sdpa; do
        INSPATIO_ATTENTION=$backend speed "bf16_taehv_attention_$backend" 60 --use_tae
    done
}

worldfm() {
    bench worldfm_eager 120 worldfm --parts frames "${worldfm[@]}"
    bench worldfm_compiled 180 worldfm --parts frames "${worldfm[@]}" --compiled
}

models() {
    bench depth_anything3 300 geometry "${geometry[@]}"
    if has florence2 transformers; then bench florence2 200 caption "${captions[@]}"; fi
}

for piece in "${pieces[@]}"; do "$piece"; done

"$python" - "$out" <<'PYTHON' | tee "$out/table.txt"
import json, pathlib, sys
rows, path = [], pathlib.Path(sys.argv[1]) / "results.jsonl"
for made in map(json.loads, path.read_text().splitlines() if path.is_file() else ()):
    if made.get("bench") == "generate":
        results = made["results"]
        longest = list(results["runs"].values())[-1]
        rows.append(f"{made['step']:36} {results.get('steady_frames_per_second', 0):9.1f} {longest.get('peak_gpu_gib', 0):9.2f} "
                    f"{results['warm_up_seconds']:10.1f} {results['first_block_seconds']:14.2f}   "
                    + "  ".join(f"{name} {1000 * seconds:.1f}" for name, seconds in results["part_seconds_per_block"].items()))
if rows:
    print(f"\n{'setting':36} {'frames/s':>9} {'peak GiB':>9} {'warm-up s':>10} {'first block s':>14}   ms a block in each part")
    print("\n".join(rows))
PYTHON

echo
if ((${#failed[@]})); then
    echo "gpu_check: failed in ${SECONDS} s: ${failed[*]}; $out/log.txt says why"
    exit 1
fi
echo "gpu_check: all that ran passed in ${SECONDS} s; results in $out"
