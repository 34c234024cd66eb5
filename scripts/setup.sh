#!/usr/bin/env bash
# Makes the project's virtual environment (.venv) with pinned dependencies, or brings it up to date, and does nothing
# where it is up to date already. Sourced by run_pipeline.sh and scripts/test.sh, which then use "$PYTHON"; may be run too.
#
#   EXTRAS=dev,evaluation bash scripts/setup.sh    with extras of pyproject.toml
#   INSPATIO_PYTHON=/path/to/python                use that environment as it is (it must have the dependencies)
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
EXTRAS=${EXTRAS:-}

setup_fail() { echo "setup: $1" >&2; exit 1; }

find_python() {
    local name
    for name in python3 python3.13 python3.12 python3.11 python; do
        if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    setup_fail "no Python 3.11 or newer found; install one (apt install python3 python3-venv, brew install python)"
}

# Everything but PyTorch, from the lock files (scripts/lock.py): pip refuses a download whose hash is not in them.
install_locked() {
    local extra files=(-r "$ROOT/requirements/base.txt")
    for extra in ${1//,/ }; do
        if [ -f "$ROOT/requirements/$extra.txt" ]; then files+=(-r "$ROOT/requirements/$extra.txt"); fi
    done
    "$PYTHON" -m pip install --quiet --no-deps --only-binary :all: --require-hashes "${files[@]}" ||
        setup_fail "pip could not install the dependencies (see above)"
}

# The pinned PyTorch: its CPU build where there is no NVIDIA GPU (the default build brings gigabytes of CUDA), else, and
# where that cannot be had, what plain pip gives for the same version. Its builds have hashes of their own.
install_torch() {
    local pin
    pin=$(grep -oE '^torch==[^ ;]+' "$ROOT/constraints.txt")
    if "$PYTHON" -c "from importlib.metadata import version; assert version('torch').split('+')[0] == '${pin#torch==}'" \
        2>/dev/null; then
        return
    fi
    if [ "$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null; then
        echo "setup: installing $pin (CPU build)"
        if "$PYTHON" -m pip install --quiet --no-deps --retries 0 --timeout 15 \
            --index-url https://download.pytorch.org/whl/cpu "$pin" 2>/dev/null; then
            return
        fi
        echo "setup: the CPU build cannot be had from download.pytorch.org, taking what pip has"
    fi
    "$PYTHON" -m pip install --quiet --constraint "$ROOT/constraints.txt" "$pin" ||
        setup_fail "pip could not install $pin (see above)"
}

# This checkout itself, and those extras that have no lock file since they are compiled against PyTorch.
install_project() {
    local extra unlocked=()
    for extra in ${1//,/ }; do
        [ -f "$ROOT/requirements/$extra.txt" ] || unlocked+=("$extra")
    done
    "$PYTHON" -m pip install --quiet --no-deps --no-build-isolation --editable "$ROOT" ||
        setup_fail "pip could not install this checkout (see above)"
    if [ ${#unlocked[@]} -eq 0 ]; then return; fi
    echo "setup: installing ${unlocked[*]}, whose files have no hashes to compare with"
    "$PYTHON" -m pip install --quiet --no-build-isolation --constraint "$ROOT/constraints.txt" \
        "$ROOT[$(IFS=,; echo "${unlocked[*]}")]" ||
        setup_fail "pip could not install ${unlocked[*]} (see above)"
}

setup() {
    if [ -n "${INSPATIO_PYTHON:-}" ]; then
        PYTHON=$INSPATIO_PYTHON
        "$PYTHON" -c 'import inspatio.pipeline.cli' 2>/dev/null ||
            setup_fail "INSPATIO_PYTHON=$PYTHON cannot import inspatio; run '$PYTHON -m pip install -c constraints.txt -e .'"
        return
    fi
    PYTHON=$ROOT/.venv/bin/python
    local stamp=$ROOT/.venv/.inspatio-setup wanted
    # The place counts: in a moved or copied checkout the editable install still names the old folder.
    wanted=$({ echo "$ROOT"; cat "$ROOT"/{pyproject.toml,constraints.txt,requirements/*.txt,scripts/setup.sh}; } | cksum)
    # Extras only ever add up: a run with fewer of them changes nothing.
    local had=""
    if [ -f "$stamp" ]; then
        had=$(sed -n 2p "$stamp")
        if [ "$(sed -n 1p "$stamp")" = "$wanted" ] && covers "$had" "$EXTRAS" && "$PYTHON" -c '' 2>/dev/null; then
            return
        fi
    fi
    if ! "$PYTHON" -c 'import pip' 2>/dev/null; then
        local base
        base=$(find_python)
        echo "setup: making a virtual environment in .venv with $("$base" --version)"
        "$base" -m venv --clear "$ROOT/.venv" >/dev/null ||
            setup_fail "$base cannot make virtual environments; install its venv module (apt install python3-venv)"
    fi
    local all
    all=$(printf '%s,%s' "$had" "$EXTRAS" | tr ',' '\n' | sed '/^$/d' | sort -u | paste -sd, -)
    echo "setup: installing the dependencies${all:+ (with $all)}"
    install_locked "$all"
    install_torch
    install_project "$all"
    printf '%s\n%s\n' "$wanted" "$all" >"$stamp"
}

# Whether the comma-separated list $1 has everything of $2.
covers() {
    local extra
    for extra in ${2//,/ }; do
        case ",$1," in *",$extra,"*) ;; *) return 1 ;; esac
    done
}

setup
