#!/usr/bin/env bash
# What only a GPU can show, in ten minutes, without data or network; --cpu makes a dry run, --help says the rest.
# Python is $PYTHON, else that of .venv.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
python=${PYTHON:-python}
if [ -x "$root/.venv/bin/python" ] && [ -z "${PYTHON:-}" ] && [ -z "${VIRTUAL_ENV:-}" ]; then
    python=$root/.venv/bin/python
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" # mmmim need not be installed
exec "$python" "$root/tools/benchmarks/gpu_check.py" "$@"
