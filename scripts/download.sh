#!/usr/bin/env bash
# Downloads published weights into checkpoints/: sizes and licences first, then a question, then resumable downloads with
# their checksums. Needs Python 3.11 and nothing else. The same as `inspatio download` where that is installed.
#
#   bash scripts/download.sh --profile inference_1.3b     what a profile needs
#   bash scripts/download.sh taehv Wan2.1-T2V-1.3B        by name
#   bash scripts/download.sh --help                       names, profiles, options
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
for python in "${INSPATIO_PYTHON:-}" "$ROOT/.venv/bin/python" python3 python; do
    if [ -n "$python" ] && command -v "$python" >/dev/null &&
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m inspatio.pipeline.download "$@"
    fi
done
echo "download: no Python 3.11 or newer found; install one (apt install python3)" >&2
exit 1
