#!/usr/bin/env bash
# tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of tools/train.py]
# Environment: GPUS (8), GPUS_PER_NODE (8), CPUS_PER_TASK (10), SRUN_ARGS (empty), PORT (by the job's number).
# SIGTERM before the time limit saves and ends with 75: add SRUN_ARGS="--signal=TERM@120", and start again with --resume.
set -euo pipefail
[ $# -ge 3 ] || { sed -n 2,4p "$0" >&2; exit 2; }
partition=$1 job=$2 config=$3
shift 3
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
[ "$gpus" -ge "$per_node" ] || per_node=$gpus
gres=()
[ "$per_node" = 0 ] || gres=(--gres="gpu:$per_node")
[ -z "${PORT:-}" ] || export MASTER_PORT=$PORT
# shellcheck disable=SC2086  # SRUN_ARGS is a list of arguments
exec srun -p "$partition" --job-name="$job" "${gres[@]}" --ntasks="$gpus" --ntasks-per-node="$per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-10}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u "$(dirname "$0")/train.py" "$config" --launcher slurm "$@"
