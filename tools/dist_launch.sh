#!/usr/bin/env bash
# Shared by dist_train.sh and dist_test.sh: SCRIPT CONFIG PROCESSES [further arguments of the script]
set -euo pipefail
script=$1 config=$2 processes=$3
shift 3

fail() { echo "dist_launch: $*" >&2; exit 2; }

case $processes in ''|*[!0-9]*|0) echo "the number of processes must be a positive number, not '$processes'" >&2; exit 2;; esac
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python}
if [ -x "$here/../.venv/bin/python" ] && [ -z "${PYTHON:-}" ] && [ -z "${VIRTUAL_ENV:-}" ]; then
    python=$here/../.venv/bin/python
fi
command -v "$python" >/dev/null || fail "there is no '$python': bash tools/setup_env.sh makes .venv; or set PYTHON=/path/to/python"
port=${PORT:-29500}
if ! [[ $port =~ ^[0-9]{1,5}$ ]] || ((10#$port < 1 || 10#$port > 65535)); then
    fail "PORT='$port' must be a number from 1 to 65535"
fi

# ends with 3 where torch is missing, with 4 and a free port where another process listens on the one that is asked for
preflight='
import importlib.util, socket, sys
if importlib.util.find_spec("torch") is None:
    sys.exit(3)
both = socket.has_dualstack_ipv6()
def listen(port):
    return socket.create_server(("", port), family=socket.AF_INET6 if both else socket.AF_INET, dualstack_ipv6=both)
try:
    listen(int(sys.argv[1])).close()
except OSError:
    print(listen(0).getsockname()[1])
    sys.exit(4)
'
status=0
free=$("$python" -c "$preflight" "$port") || status=$?
[ "$status" != 3 ] || fail "torch is not installed in $python: $python $here/doctor.py says what to do"

# more processes than this machine has devices for are refused before any is started; --cpu is for the script, too
"$python" "$here/../mmmim/engine/devices.py" "$processes" "$@" || exit $?

# one node picks a free port by itself, so that two runs on a machine do not meet
if [ "${NNODES:-1}" = 1 ] && [ -z "${PORT:-}" ]; then
    [ "$status" != 4 ] || echo "dist_launch: port $port is in use, by another run perhaps; this one takes a free port" >&2
    rendezvous=(--standalone)
else
    if [ "$status" = 4 ] && [ "${NODE_RANK:-0}" = 0 ]; then # the others only connect to this node
        [ "${NNODES:-1}" = 1 ] && remedy="leave PORT out, or use PORT=$free" || remedy="use PORT=$free on every node"
        fail "port $port cannot be used here, another run may listen on it: $remedy"
    fi
    rendezvous=(--master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="$port" --node_rank="${NODE_RANK:-0}")
fi
exec "$python" -m torch.distributed.run --nnodes="${NNODES:-1}" --nproc_per_node="$processes" "${rendezvous[@]}" \
    "$here/$script" "$config" "$@" --launcher pytorch
