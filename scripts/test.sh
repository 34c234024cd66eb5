#!/usr/bin/env bash
# Everything that must hold: style, types, tests. Sets itself up; further options go to pytest.
set -euo pipefail
export EXTRAS=dev,evaluation
# Tiny networks lose far more to threads that wait for each other than they gain.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$ROOT"
echo "ruff"
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
echo "basedpyright"
"$PYTHON" -m basedpyright
echo "pytest"
"$PYTHON" -m pytest "$@"
