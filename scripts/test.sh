#!/usr/bin/env bash
# Everything that must hold: style, types, tests. Sets itself up; --slow runs the long tests too (real clips, full sizes,
# more jobs of several processes); further options go to pytest.
set -euo pipefail
export EXTRAS=dev,evaluation,live,ray
# Tiny networks lose far more to threads that wait for each other than they gain.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$ROOT"
tests=()
for option in "$@"; do
    if [[ $option == --slow ]]; then tests+=(-m ""); else tests+=("$option"); fi
done
echo "ruff"
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
echo "basedpyright"
"$PYTHON" -m basedpyright
command -v chromium chromium-browser google-chrome >/dev/null ||
    echo "no Chromium found: the live page is not tested in a browser (apt install chromium)"
echo "pytest"
"$PYTHON" -m pytest "${tests[@]}"
