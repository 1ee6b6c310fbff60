#!/usr/bin/env bash
# A first pre-training, from a bare machine to a measured encoder in one command:
#
#     bash tools/quickstart.sh [FOLDER_OF_IMAGES] [--detection] [key=value ...]
#
# Sets up .venv, measures a small MAE at its random initialisation, pre-trains it for some minutes, measures it again,
# and writes a report page. Without a folder, a small set is drawn in data/scenes, and a segmentor is trained on it from
# the random and from the pre-trained encoder; with --detection a detector too. A folder may be flat or nested, with or
# without classes, with or without train/ and val/. key=value overrides the config of pre-training, as in tools/train.py
# --cfg-options; work_dirs/quickstart/segmentation.py and detection.py are edited and run. The same command continues an
# interrupted run (Ctrl-C saves first), and shows a finished one.
set -euo pipefail
unset PYTHONHOME PYTHONPATH
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

fail() { printf 'quickstart: %s\n' "$@" >&2; exit 2; }

detection='' arguments=()
for argument in "$@"; do
    case $argument in
        -h|--help) sed -n '2,11s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0;;
        --detection) detection=1;;
        *) arguments+=("$argument");;
    esac
done
set -- ${arguments[0]+"${arguments[@]}"}
folder=''
if [ $# -gt 0 ] && { [ -e "$1" ] || [[ $1 != *=* && $1 != --* ]]; }; then
    folder=$1
    shift
    [ -n "$folder" ] || fail "the folder's name is empty (an unset variable?)"
    [ -e "$folder" ] || fail "there is no folder '$folder' (seen from $PWD)"
    [ -d "$folder" ] || fail "'$folder' is a file; a folder of images is needed (unpack an archive first)"
    [ -r "$folder" ] && [ -x "$folder" ] || fail "the folder '$folder' may not be read by $(id -un)"
    folder=$(cd "$folder" && pwd)
    kinds=(-iname '*.jpg' -o -iname '*.jpeg' -o -iname '*.png' -o -iname '*.webp' -o -iname '*.bmp' -o -iname '*.gif'
        -o -iname '*.tif' -o -iname '*.tiff' -o -iname '*.ppm' -o -iname '*.pgm' -o -iname '*.npy')
    [ -n "$(find -L "$folder" \( "${kinds[@]}" \) -print -quit 2>/dev/null)" ] ||
        fail "there are no images under '$folder' (jpg, png, webp, bmp, gif, tif, ppm, pgm, npy)"
fi
options=()
for option in "$@"; do
    case $option in
        --cfg-options) ;;
        -*) fail "unknown option $option; overrides are written key=value";;
        *=*) options+=("$option");;
        *) fail "'$option' is not key=value, and the folder comes first";;
    esac
done

stages=6 # the others are said by quickstart.py: on the drawn scenes it also trains a segmenter, and a detector
[ -n "$folder" ] || stages=$((7 + ${detection:-0}))
mode=run
[ -z "$detection" ] || mode=detection
echo "[quickstart] 1/$stages environment: $root/.venv"
bash "$root/tools/setup_env.sh" "$mode"
cd "$root"
# threads that spin while they wait starve whatever else runs on this machine, and are starved by it
export GOMP_SPINCOUNT="${GOMP_SPINCOUNT:-20000}"
exec .venv/bin/python tools/quickstart.py ${folder:+--folder="$folder"} ${detection:+--detection} \
    ${options[0]+--cfg-options} ${options[0]+"${options[@]}"}
