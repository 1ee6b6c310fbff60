#!/usr/bin/env bash
# tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
# Without a GPU, GPUS is the number of processes on the CPU: at most one a core, or any number with --cpu.
# Several nodes: set NNODES, NODE_RANK, MASTER_ADDR, PORT.
set -euo pipefail
[ $# -ge 2 ] || { sed -n 2,4p "$0" >&2; exit 2; }
exec "$(dirname "$0")/dist_launch.sh" train.py "$@"
