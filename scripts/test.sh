#!/usr/bin/env bash
# Everything that must hold: style, types, tests. Sets itself up; further options go to pytest.
set -euo pipefail
export EXTRAS=dev,evaluation
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
