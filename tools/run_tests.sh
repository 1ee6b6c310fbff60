#!/usr/bin/env bash
# Set up what is missing (with mmcv's compiled ops), then run the whole test suite:
#     bash tools/run_tests.sh [arguments of pytest]
set -euo pipefail
unset PYTHONHOME PYTHONPATH
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
bash "$root/tools/setup_env.sh" tests
cd "$root"
cores=$(env -u OMP_NUM_THREADS nproc 2>/dev/null || echo 2) # nproc heeds that variable
# tiny models gain nothing from threads, so several test files run at once; threads that spin would starve each other
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
exec .venv/bin/python -m pytest -q -n "$((cores < 4 ? cores : 4))" --dist loadfile --timeout 900 --durations 10 "$@"
