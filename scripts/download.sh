#!/usr/bin/env bash
# Gets published weights into checkpoints/: sizes and licences first, then a question, then resumable downloads with
# their checksums. Needs Python 3.10 and nothing else.
#
#   bash scripts/download.sh --profile inference_1.3b     what a profile needs
#   bash scripts/download.sh taehv Wan2.1-T2V-1.3B        by name
#   bash scripts/download.sh --help                       names, profiles, options
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
for python in "${INSPATIO_PYTHON:-}" "$ROOT/.venv/bin/python" python3 python; do
    if [ -n "$python" ] && command -v "$python" >/dev/null &&
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
        exec "$python" "$ROOT/scripts/download.py" "$@"
    fi
done
echo "download: no Python 3.10 or newer found; install one (apt install python3)" >&2
exit 1
