#!/usr/bin/env bash
# Set up what is missing, then run the tests:
#     bash tools/run_tests.sh [--fast | --slow] [arguments of pytest]
# Without an option all but those marked `slow`; --fast leaves out those that train, prepare data or start programs (two
# minutes on two cores); --slow runs those marked `slow` alone.
set -euo pipefail
unset PYTHONHOME PYTHONPATH
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
which='not slow'
case ${1:-} in
    --fast) which='not slow and not runs'; shift;;
    --slow) which=slow; shift;;
esac
bash "$root/tools/setup_env.sh" tests
cd "$root"
cores=$(env -u OMP_NUM_THREADS nproc 2>/dev/null || echo 2) # nproc heeds that variable
# tiny models gain nothing from threads, so several tests run at once; threads that spin would starve each other
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
exec .venv/bin/python -m pytest -q -m "$which" -n "$((cores < 4 ? cores : 4))" --dist loadfile \
    --no-loadscope-reorder --timeout 900 --durations 10 "$@"
