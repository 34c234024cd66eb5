#!/usr/bin/env bash
# The whole pipeline over a folder of videos: sets itself up on the first run, then `inspatio run` with the same options.
# With `live` first: fly through a video in the browser (`inspatio live`), with the packages that this needs.
#   bash run_pipeline.sh --profile preview --input_dir examples --traj_txt_path traj/x_y_circle_cycle.txt
#   bash run_pipeline.sh live examples/living_room.mp4
#   bash run_pipeline.sh --help
set -euo pipefail
command=run
if [ "${1:-}" = live ]; then
    command=live EXTRAS=${EXTRAS:+$EXTRAS,}live
    shift
fi
# shellcheck source=scripts/setup.sh
source "$(dirname "${BASH_SOURCE[0]}")/scripts/setup.sh"
# This checkout's code, whatever the environment (INSPATIO_PYTHON) or the current folder offers under the same name.
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}" PYTHONSAFEPATH=1
exec "$PYTHON" -m inspatio "$command" "$@"
