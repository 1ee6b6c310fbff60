#!/usr/bin/env bash
# Make .venv in this checkout with the tested versions. Called by quickstart.sh and run_tests.sh; may be run by itself.
#     bash tools/setup_env.sh [run|detection|tests]     # detection adds mmdetection, tests adds what the tests need too
# Before anything is downloaded it says all that the machine lacks, with the commands that fix it. System packages are
# only installed with MMMIM_APT=1, or as root where CI=true. PYTHON=/path/to/python chooses the interpreter. pip's own
# configuration (mirrors, proxies, certificates) is respected. A second call has nothing to do and takes no time.
set -euo pipefail
unset PYTHONHOME PYTHONPATH CDPATH PIP_TARGET PIP_PREFIX PIP_ROOT
export PIP_USER=0 PIP_REQUIRE_VIRTUALENV=1 PIP_DISABLE_PIP_VERSION_CHECK=1 MMCV_WITH_OPS=0
SELF=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)/setup_env.sh
ROOT=${SELF%/tools/*} MODE=${1:-run} TEMPORARY=${TMPDIR:-/tmp} FILES='-r runtime.txt -r openmmlab.txt -r baseline.txt'
OPS_RUN='import torch, mmcv._ext as ops; ops.nms(torch.ones(1, 4), torch.ones(1), iou_threshold=0.5, offset=0)'
VENV=$ROOT/.venv STAMP=$ROOT/.venv/.mmmim-installed
case $MODE in run) ;; detection) FILES="$FILES -r detection.txt";; tests) FILES="$FILES -r detection.txt -r tests.txt";;
    *) sed -n 2,6p "$SELF" >&2; exit 2;;
esac
[[ ${PYTHON:-} != */* ]] || PYTHON=$(cd "$(dirname "$PYTHON")" && pwd)/$(basename "$PYTHON")
cd "$ROOT/requirements"

say() { echo "[setup] $*"; }
fail() { printf '[setup] %s\n' "$@" >&2; exit 1; }
free_mb() { df -Pm "$1" 2>/dev/null | awk 'NR == 2 {print $4}'; }
disk_of() { df -Pm "$1" 2>/dev/null | awk 'NR == 2 {print $NF}'; }
has_room() { ! [ "$(free_mb "$1")" -lt "$2" ] 2>/dev/null; } # FOLDER MB
can_make_venv() { "$1" -c 'import venv, ensurepip' 2>/dev/null; }
digest() { cat ./*.txt ../setup.py ../pyproject.toml "$VENV/pyvenv.cfg" 2>/dev/null | cksum; } # of all that decides
is_installed() { [[ $(cat "$STAMP" 2>/dev/null) == "$(digest) $FILES"* ]] && [ -z "$(problem_of_venv)" ]; }
problem_of_venv() { # `activate` is the last file that making an environment writes; it names the folder
    local made='' works='import pip, sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))'
    [ ! -e "$VENV/bin/activate" ] || made=$(sed -n 's/^.*VIRTUAL_ENV=\(.*\/.*\)/\1/p' "$VENV/bin/activate" | tail -n 1)
    if [ -z "$made" ]; then echo 'is incomplete'
    elif [ "${made//[\"\']/}" != "${VENV//[\"\']/}" ]; then echo 'was made in another place (was the checkout moved?)'
    elif ! "$VENV/bin/python" -c "$works" &>/dev/null; then echo 'does not run any more, or has no pip'; fi
}

find_python() { # sets BASE, its VERSION, and REJECTED; prefers one that can make environments
    local names=(python3.11 python3.12 python3.13 python3.10 python3 python) name found
    [ -z "${PYTHON:-}" ] || names=("$PYTHON")
    for name in "${names[@]}"; do # one that does not answer is a shim for a version that is not there
        found=$("$name" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
        if [[ $found == 3.1[0-3] ]]; then BASE=$name VERSION=$found; ! can_make_venv "$name" || return 0
        else REJECTED="$REJECTED${REJECTED:+, }$name is $found"; fi
    done
}

has_library() { # NAME, as the loader finds it: its cache first, then LD_LIBRARY_PATH and the like
    [ "$(uname -s)" != Linux ] || PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | grep -F "$1" >/dev/null ||
        { [ -n "$BASE" ] && "$BASE" -c "import ctypes; ctypes.CDLL('$1')" 2>/dev/null; }
}

lack() { LACKS+=("$1") PACKAGES="$PACKAGES${2:+ $2}"; [ -z "${3:-}" ] || COMMANDS+=("$3"); } # WHAT PACKAGES COMMAND
check_room() { has_room "$1" "$2" || lack "disk: $(free_mb "$1") MB are free in $1, about $2 MB are needed" '' "$3"; }
check_machine() { # fills LACKS, and what fixes them: PACKAGES (for apt-get) and COMMANDS
    LACKS=() PACKAGES='' COMMANDS=() BASE='' VERSION='' REJECTED=''
    find_python
    if [ -z "$BASE" ]; then
        lack "Python 3.10, 3.11, 3.12 or 3.13 (${REJECTED:-no Python was found}${PYTHON:+; PYTHON=$PYTHON})" \
            'python3 python3-venv' "PYTHON=/path/to/python3.11 bash tools/...    # where python3 is older or newer"
    elif ! can_make_venv "$BASE"; then
        lack "the modules venv and ensurepip of $BASE (Python $VERSION)" "python$VERSION-venv"
    fi
    has_library libGL.so.1 || lack 'libGL.so.1, for OpenCV' libgl1
    has_library libgthread-2.0.so.0 || lack 'libgthread-2.0.so.0, for OpenCV' libglib2.0-0
    # with the CUDA libraries of torch's default build; pip unpacks its downloads in the folder for temporary files
    local need=6900 unpacked=3000
    [ ! -d "$VENV" ] || need=$((need - $(du -sm "$VENV" | cut -f 1)))
    [ "$need" -gt 1000 ] || return 0 # most of it is there
    [ "$(disk_of "$ROOT")" != "$(disk_of "$TEMPORARY")" ] || need=$((need + unpacked))
    check_room "$ROOT" "$need" 'make room there, or move this checkout to a larger disk'
    check_room "$TEMPORARY" "$unpacked" 'export TMPDIR=/a/folder/with/more/space'
}

mend_machine() { # installs the packages where that is allowed; says what is lacking then, and ends
    local apt sudo=$([ "$(id -u)" = 0 ] || echo 'sudo ')
    apt="${sudo}apt-get update && ${sudo}apt-get install -y$PACKAGES"
    if [ -n "$PACKAGES" ] && { [ "${MMMIM_APT:-}" = 1 ] || [ "${CI:-}$sudo" = true ]; }; then
        DEBIAN_FRONTEND=noninteractive bash -c "$apt" || true
        check_machine
    fi
    [ -z "$PACKAGES" ] || COMMANDS+=("$apt    # or: export MMMIM_APT=1")
    [ "${#LACKS[@]}" = 0 ] ||
        fail 'this machine lacks:' "${LACKS[@]/#/  - }" 'nothing was downloaded. What helps:' "${COMMANDS[@]/#/    }"
}

pip_install() { # WHAT_IT_IS ARGUMENTS...
    local errors=$VENV/.pip-errors quiet='' mirror='or point pip to a mirror (pip config set global.index-url ...)' why
    say "$1"; [ -t 1 ] || quiet=-q # else pip's stdout stays a terminal, with its progress bars
    { "$VENV/bin/python" -m pip install --no-input $quiet "${@:2}" 2>&1 1>&3 | tee "$errors" >&2; } 3>&1 && return
    if grep -qiE 'no space left|errno 28|quota' "$errors" || ! has_room "$ROOT" 50 || ! has_room "$TEMPORARY" 50; then
        why="The disk is full: $(free_mb "$ROOT") MB free in $ROOT, $(free_mb "$TEMPORARY") MB in $TEMPORARY. Make room"
    elif grep -qiE 'connection|name resolution|timed out|proxy|certificate' "$errors"; then
        why="The package index did not answer: no network, no proxy or no certificate. Connect, $mirror"
    else why="Without network: connect, $mirror"; fi
    fail "pip could not install that; its own message stands above. $why." \
        "Then run the same command again: it continues, and finished downloads are kept in pip's cache."
}

! is_installed || exit 0
command -v flock >/dev/null && exec 9>>"$SELF" && # two at once would write into each other's files
    { flock -n 9 || { say 'another set-up is at work here: waiting for it'; flock 9; }; }
! is_installed || exit 0
check_machine; mend_machine
if problem=$(problem_of_venv) && [ -n "$problem" ]; then
    [ ! -e "$VENV" ] || say "$VENV $problem: it is made anew"
    say "making $VENV with $BASE (Python $VERSION)"
    "$BASE" -m venv --clear "$VENV"
fi
rm -f "$STAMP" # and what pip would take for whole, as it was killed in it
for folder in "$VENV"/lib/python*/site-packages/*.dist-info; do [ -e "$folder/RECORD" ] || rm -rf "$folder"; done
pip_install '1/4 torch and torchvision: about 900 MB; 3 GB with CUDA' -c constraints.txt torch torchvision
# from source, without compiled ops: a wheel in pip's cache may have them, compiled for another torch, as what is there
"$VENV/bin/python" -c "$OPS_RUN" &>/dev/null || rm -f "$VENV"/lib/python*/site-packages/mmcv/_ext.*
pip_install '2/4 mmcv: some MB' -c constraints.txt --no-cache-dir --no-deps onedl-mmcv
pip_install "3/4 the OpenMMLab toolboxes, timm, scikit-learn ...: about 400 MB" -c constraints.txt $FILES
pip_install "4/4 mmmim itself, from $ROOT" --no-deps --no-build-isolation -e "$ROOT"
echo "$(digest) $FILES" > "$STAMP"; say "$VENV is ready"
