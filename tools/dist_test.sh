#!/usr/bin/env bash
# tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]
# Without a GPU, GPUS is the number of processes on the CPU: at most one a core, or any number with --cpu.
# Several nodes: set NNODES, NODE_RANK, MASTER_ADDR, PORT.
set -euo pipefail
[ $# -ge 3 ] || { sed -n 2,4p "$0" >&2; exit 2; }
config=$1 checkpoint=$2 gpus=$3
shift 3
exec "$(dirname "$0")/dist_launch.sh" test.py "$config" "$gpus" "$checkpoint" "$@"
