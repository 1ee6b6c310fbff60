#!/usr/bin/env bash
# Make .venv in this checkout with the tested versions. Called by quickstart.sh and run_tests.sh; may be run by itself.
#
#     bash tools/setup_env.sh [run|detection|tests]
#
# detection adds mmdetection and mmcv's compiled ops (build_ops.py), tests adds both and what the tests need. An
# environment that has the ops keeps them: every mode then sets them up anew when torch or mmcv change.
#
# Before anything is downloaded it says all that the machine lacks, with the commands that mend it. System packages are
# only installed with MMMIM_APT=1, or as root where CI=true. PYTHON=/path/to/python chooses the interpreter. pip's own
# configuration (mirrors, proxies, certificates) is respected. A second call has nothing to do and takes no time.
set -euo pipefail
unset PYTHONHOME PYTHONPATH

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV=$ROOT/.venv
MODE=${1:-run}
case $MODE in
    run) MODES=(run);;
    detection) MODES=(run detection);;
    tests) MODES=(run detection tests);;
    *) sed -n 2,7p "${BASH_SOURCE[0]}" >&2; exit 2;;
esac

NEEDED_MB=6200 # of .venv, with the CUDA libraries that torch's default build brings
DOWNLOAD_MB=3000 # pip unpacks its downloads in the folder for temporary files
DETECTION_MB=700 # mmdetection with what it needs, and the ops

say() { echo "[setup] $*"; }

# shellcheck source=tools/setup_ops.sh
. "$ROOT/tools/setup_ops.sh"

hash_of() { # MODE: a number for everything that decides what gets installed, and for the ops that are
    local files=(runtime openmmlab constraints)
    [ "$1" = run ] || files+=(detection)
    [ "$1" != tests ] || files+=(optional tests)
    {
        cat "${files[@]/%/.txt}"
        [ "$1" = run ] || { torch_release; compiled_ops; }
        cat "$ROOT/setup.py" "$ROOT/pyproject.toml" 2>/dev/null || true
        grep '^version' "$VENV/pyvenv.cfg" 2>/dev/null || true
    } | cksum | tr ' ' '-'
}

stamp_of() { echo "$VENV/.mmmim-installed-$1-$(hash_of "$1")"; } # MODE

venv_state() { # missing, half-made, moved, broken or good
    if [ ! -d "$VENV" ]; then echo missing; return; fi
    if [ ! -e "$VENV/pyvenv.cfg" ] && [ ! -e "$VENV/bin/python" ] && [ ! -L "$VENV/bin/python" ]; then
        echo half-made; return
    fi
    if ! "$VENV/bin/python" -c '' 2>/dev/null; then echo broken; return; fi
    if [ ! -e "$VENV/bin/activate" ]; then echo half-made; return; fi
    local made_in # scripts in .venv/bin and the editable installation hold the path
    local pattern="s/^ *\(export  *\)\{0,1\}VIRTUAL_ENV=[\"']\{0,1\}\(\/[^\"']*\).*/\2/p"
    made_in=$(sed -n "$pattern" "$VENV/bin/activate" | tail -n 1)
    if [ -n "$made_in" ] && ! [ "$made_in" -ef "$VENV" ]; then echo moved; return; fi
    echo good
}

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

find_python() { # sets BASE, its VERSION, and REJECTED; prefers one that can make environments
    local names=(python3.11 python3.12 python3.10 python3 python) name version first='' first_version=''
    [ -z "${PYTHON:-}" ] || names=("$PYTHON")
    BASE='' VERSION='' REJECTED=''
    for name in "${names[@]}"; do
        version=$(version_of "$name") || continue # absent, or a shim for a version that is not there
        case $version in
            3.10|3.11|3.12)
                if "$name" -c 'import venv, ensurepip' 2>/dev/null; then BASE=$name VERSION=$version; return; fi
                [ -n "$first" ] || first=$name first_version=$version;;
            *) REJECTED="$REJECTED${REJECTED:+, }$name is $version";;
        esac
    done
    BASE=$first VERSION=$first_version
}

has_library() { # NAME, as the loader finds it; the cache first, then LD_LIBRARY_PATH and the like
    if PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null | grep -F "$1" >/dev/null; then return 0; fi
    [ -n "$BASE" ] && "$BASE" -c "import ctypes; ctypes.CDLL('$1')" 2>/dev/null
}

free_mb() { df -Pm "$1" 2>/dev/null | awk 'NR == 2 {print $4}'; }
disk_of() { df -Pm "$1" 2>/dev/null | awk 'NR == 2 {print $NF}'; }

check_disk() {
    local have=0 need temporary=${TMPDIR:-/tmp}
    [ ! -d "$VENV" ] || have=$(du -sm "$VENV" 2>/dev/null | awk '{print $1}')
    need=$((NEEDED_MB - have))
    if wants_ops; then need=$((need + DETECTION_MB)); fi
    [ "$need" -gt 500 ] || return 0 # most of it is there
    local here there
    here=$(free_mb "$ROOT") there=$(free_mb "$temporary")
    if [ "$(disk_of "$ROOT")" = "$(disk_of "$temporary")" ]; then
        need=$((need + DOWNLOAD_MB))
    elif [ -n "$there" ] && [ "$there" -lt "$DOWNLOAD_MB" ]; then
        LACKS+=("disk: $there MB are free for temporary files in $temporary, about $DOWNLOAD_MB MB are needed")
        COMMANDS+=("export TMPDIR=/a/folder/with/more/space")
    fi
    if [ -n "$here" ] && [ "$here" -lt "$need" ]; then
        LACKS+=("disk: $here MB are free in $ROOT, about $need MB are needed")
        COMMANDS+=("make room there, or move this checkout to a larger disk")
    fi
}

check_machine() { # fills LACKS, PACKAGES (for apt-get) and COMMANDS
    LACKS=() PACKAGES=() COMMANDS=()
    find_python
    if [ -z "$BASE" ]; then
        LACKS+=("Python 3.10, 3.11 or 3.12 (${REJECTED:-no Python was found}${PYTHON:+; PYTHON=$PYTHON})")
        PACKAGES+=(python3 python3-venv)
        COMMANDS+=("PYTHON=/path/to/python3.11 bash tools/...    # where the system's own python3 is older or newer")
    elif ! "$BASE" -c 'import venv, ensurepip' 2>/dev/null; then
        LACKS+=("the modules venv and ensurepip of $BASE (Python $VERSION)")
        PACKAGES+=("python$VERSION-venv")
    fi
    if [ "$(uname -s)" = Linux ]; then
        if ! has_library libGL.so.1; then LACKS+=("libGL.so.1, for OpenCV"); PACKAGES+=(libgl1); fi
        if ! has_library libgthread-2.0.so.0; then
            LACKS+=("libgthread-2.0.so.0, for OpenCV"); PACKAGES+=(libglib2.0-0)
        fi
    fi
    if wants_ops; then check_compiling; fi
    check_disk
}

install_packages() { # what is missing, where that was allowed
    [ "${#PACKAGES[@]}" -gt 0 ] && command -v apt-get >/dev/null || return 0
    [ "${MMMIM_APT:-}" = 1 ] || { [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ]; } || return 0
    local sudo=()
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    say "installing system packages: ${PACKAGES[*]}"
    "${sudo[@]}" apt-get update -qq || true
    DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${PACKAGES[@]}" || true
    hash -r
    check_machine
}

report_lacks() {
    [ "${#LACKS[@]}" -gt 0 ] || return 0
    {
        say "this machine lacks:"
        printf '[setup]   - %s\n' "${LACKS[@]}"
        say "nothing was downloaded. What helps:"
        local sudo=''
        [ "$(id -u)" = 0 ] || sudo='sudo '
        if [ "${#PACKAGES[@]}" -gt 0 ]; then
            echo "[setup]     ${sudo}apt-get update && ${sudo}apt-get install -y ${PACKAGES[*]}"
        fi
        [ "${#COMMANDS[@]}" -eq 0 ] || printf '[setup]     %s\n' "${COMMANDS[@]}"
        [ "${#PACKAGES[@]}" -eq 0 ] || say "(MMMIM_APT=1 lets this script run apt-get itself)"
    } >&2
    exit 1
}

lock() { # two setups at once would write into each other's files
    mkdir -p "$VENV"
    command -v flock >/dev/null || return 0
    exec 9>"$VENV/.lock"
    flock -n 9 || { say "another setup is at work in $VENV: waiting for it"; flock 9; }
}

make_venv() { # STATE
    case $1 in
        broken) say "$VENV does not run any more (was its Python removed?): it is made anew";;
        moved) say "$VENV was made in another place (was the checkout moved or copied?): it is made anew";;
        half-made) say "$VENV is incomplete: it is completed";;
    esac
    case $1 in
        missing|half-made)
            say "making $VENV with $BASE (Python $VERSION)"
            "$BASE" -m venv "$VENV";;
        broken|moved) "$BASE" -m venv --clear "$VENV";;
        good) # made by an interrupted call, perhaps before pip was in it
            "$VENV/bin/python" -m pip --version >/dev/null 2>&1 ||
                "$VENV/bin/python" -m ensurepip --upgrade >/dev/null;;
    esac
}

drop_torn_packages() { # an interrupted pip leaves packages that it would take for whole and could not remove
    local folder
    for folder in "$VENV"/lib/python*/site-packages/*.dist-info; do
        if [ -d "$folder" ] && [ ! -e "$folder/RECORD" ]; then rm -rf "$folder"; fi
    done
}

pip_install() { # WHAT_IT_IS ARGUMENTS...
    say "$1"
    shift
    local quiet=()
    [ -t 1 ] || quiet=(-q)
    export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1
    local errors=$VENV/.pip-errors # pip's stdout stays a terminal, with its progress bars
    if ! { "$VENV/bin/python" -m pip install --no-input ${quiet[0]+"${quiet[@]}"} "$@" 2>&1 1>&3 | tee "$errors" >&2; } 3>&1
    then
        explain_failure "$errors" >&2
        exit 1
    fi
    rm -f "$errors"
}

explain_failure() { # FILE_OF_ERRORS; pip's last line is often about something else than the cause
    local temporary=${TMPDIR:-/tmp} here there
    here=$(free_mb "$ROOT") there=$(free_mb "$temporary")
    say "pip could not install that; its own message stands above."
    if grep -q -i -E 'no space left|errno 28|disk quota' "$1" || [ "${here:-999}" -lt 50 ] || [ "${there:-999}" -lt 50 ]; then
        say "The disk is full: $here MB are free in $ROOT, $there MB in $temporary."
        say "Make room, move this checkout to a larger disk, or export TMPDIR=/a/folder/with/more/space. Then run the"
    elif grep -q -i -E 'connection|name resolution|timed out|proxy|certificate' "$1"; then
        say "The package index did not answer: there is no network, or a proxy or a certificate is missing. Connect, or"
        say "point pip to a mirror (pip config set global.index-url ...). Then run the"
    else
        say "Without network: connect, or point pip to a mirror (pip config set global.index-url ...). Then run the"
    fi
    say "same command again: it continues, and downloads that are complete are kept in pip's cache."
}

drop_stamps() { # of what is installed now, and all that do not hold any more
    local stamp mode
    for stamp in "$VENV"/.mmmim-installed-*; do
        mode=${stamp#*/.mmmim-installed-} mode=${mode%%-*}
        case " ${MODES[*]} " in
            *" $mode "*) rm -f "$stamp";;
            *) [ "$stamp" = "$(stamp_of "$mode")" ] || rm -f "$stamp";;
        esac
    done
}

install() {
    local pinned=(-c constraints.txt)
    pip_install "1/4 torch and torchvision: about 900 MB, and 2 GB of CUDA libraries with the default build" \
        "${pinned[@]}" torch torchvision
    # from source, without compiled ops; a wheel in pip's cache may be one with ops, built for another torch. It leaves
    # this release with ops as it is
    pip_install "2/4 mmcv: some MB" "${pinned[@]}" --no-cache-dir --no-deps onedl-mmcv
    pip_install "3/4 the OpenMMLab toolboxes, timm, scikit-learn ...: about 200 MB" \
        "${pinned[@]}" -r runtime.txt -r openmmlab.txt
    if [ "$MODE" != run ]; then pip_install "mmdetection: about 150 MB" "${pinned[@]}" -r detection.txt; fi
    if [ "$MODE" = tests ]; then
        pip_install "what the tests need besides: about 50 MB" "${pinned[@]}" -r tests.txt
    fi
    pip_install "4/4 mmmim itself, from $ROOT" --no-deps --no-build-isolation -e "$ROOT"
}

main() {
    cd "$ROOT/requirements"
    local state
    state=$(venv_state)
    if [ "$state" = good ] && [ -e "$(stamp_of "$MODE")" ]; then return; fi
    check_machine
    install_packages
    report_lacks
    lock
    [ "$state" = missing ] || state=$(venv_state) # another setup may have finished meanwhile
    if [ "$state" = good ] && [ -e "$(stamp_of "$MODE")" ]; then return; fi
    make_venv "$state"
    drop_stamps
    drop_torn_packages
    install
    if wants_ops; then
        touch "$(stamp_of run)"
        install_ops
    fi
    local mode
    for mode in "${MODES[@]}"; do touch "$(stamp_of "$mode")"; done
    say "$VENV is ready ($(du -sh "$VENV" 2>/dev/null | awk '{print $1}'))"
}

main
