# The part of setup_env.sh that concerns mmcv's compiled ops, which detection needs; sourced by it, in its folder
# requirements/. build_ops.py compiles or finds them in the user's cache, and installs them.

torch_release() { # with its local part, as 2.11.0+cu130
    sed -n "s/^__version__ = '\(.*\)'/\1/p" "$VENV"/lib/python*/site-packages/torch/version.py 2>/dev/null || true
}

compiled_ops() { # the name and the hash of mmcv's library; nothing without one
    grep -h '^mmcv/_ext\.' "$VENV"/lib/python*/site-packages/onedl_mmcv-*.dist-info/RECORD 2>/dev/null || true
}

wants_ops() { [ "$MODE" != run ] || [ -e "$VENV/.mmmim-with-ops" ] || [ -n "$(compiled_ops)" ]; }

pinned() { sed -n "s/^$1==\([^ ;]*\)$/\1/p" constraints.txt; } # DISTRIBUTION with one pin for all Pythons

must_compile() { # PYTHON: whether no ops that should do are installed, or in the user's cache
    local mmcv torch version site key wheel
    mmcv=$(pinned onedl-mmcv) torch=$(pinned torch) version=$(version_of "$1")
    case $(torch_release) in
        "$torch"|"$torch"+*)
            for site in "$VENV"/lib/python*/site-packages; do
                if grep -q '^mmcv/_ext\.' "$site/onedl_mmcv-$mmcv.dist-info/RECORD" 2>/dev/null; then return 1; fi
            done;;
    esac
    key=${XDG_CACHE_HOME:-$HOME/.cache}/mmmim/mmcv-ops/mmcv$mmcv-cpython-${version/./}-torch$torch
    for wheel in "$key-"*"-$(uname -m)"*/*.whl "$key+"*"-$(uname -m)"*/*.whl; do
        [ ! -e "$wheel" ] || return 1
    done
}

has_compiler() { echo '#include <charconv>' | "${CXX:-c++}" -std=c++17 -x c++ -fsyntax-only - 2>/dev/null; }

has_headers() { # PYTHON
    "$1" -c 'import os, sysconfig; os.stat(os.path.join(sysconfig.get_path("include"), "Python.h"))' 2>/dev/null
}

sees_gpu() {
    case ${CUDA_VISIBLE_DEVICES-all} in ''|-1) return 1;; esac
    nvidia-smi -L 2>/dev/null | grep '^GPU ' >/dev/null
}

check_compiling() {
    local python=$VENV/bin/python
    "$python" -c '' 2>/dev/null || python=$BASE
    [ -z "$python" ] || must_compile "$python" || return 0
    if ! has_compiler; then LACKS+=("a C++17 compiler, for mmcv's ops"); PACKAGES+=(g++); fi
    if [ -n "$python" ] && ! has_headers "$python"; then
        LACKS+=("Python.h, the headers of $python, for mmcv's ops"); PACKAGES+=("python$(version_of "$python")-dev")
    fi
    if sees_gpu && ! command -v nvcc >/dev/null && [ ! -x "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" ]; then
        LACKS+=("nvcc, for mmcv's ops on this machine's GPU")
        COMMANDS+=("install the CUDA toolkit of the release that torch is built with; or, for the CPU alone:"
            "CUDA_VISIBLE_DEVICES= bash tools/setup_env.sh $MODE")
    fi
}

install_ops() {
    if ! "$VENV/bin/python" "$ROOT/tools/build_ops.py"; then
        say "All but detection is installed, and works. The same command tries again." >&2
        exit 1
    fi
    touch "$VENV/.mmmim-with-ops"
}
