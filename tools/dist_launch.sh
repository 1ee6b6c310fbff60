#!/usr/bin/env bash
# Shared by dist_train.sh and dist_test.sh: SCRIPT CONFIG PROCESSES [further arguments of the script]
set -euo pipefail
script=$1 config=$2 processes=$3
shift 3
case $processes in ''|*[!0-9]*|0) echo "the number of processes must be a positive number, not '$processes'" >&2; exit 2;; esac
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python}
if [ -x "$here/../.venv/bin/python" ] && [ -z "${PYTHON:-}" ] && [ -z "${VIRTUAL_ENV:-}" ]; then
    python=$here/../.venv/bin/python
fi
# one node picks a free port by itself, so that two runs on a machine do not meet
if [ "${NNODES:-1}" = 1 ] && [ -z "${PORT:-}" ]; then
    rendezvous=(--standalone)
else
    rendezvous=(--master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" --node_rank="${NODE_RANK:-0}")
fi
exec "$python" -m torch.distributed.run --nnodes="${NNODES:-1}" --nproc_per_node="$processes" "${rendezvous[@]}" \
    "$here/$script" "$config" "$@" --launcher pytorch
