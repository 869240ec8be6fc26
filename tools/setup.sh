#!/usr/bin/env bash
# Sets up .venv in the repository and installs stlatent into it, editable:
#   bash tools/setup.sh [EXTRAS]       EXTRAS: names of extras, as in "test" or "perceptual,xformers"
# An environment that is up to date is re-used. PYTHON=/path/to/python names another interpreter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

extras=${1:-}
python=${PYTHON:-python3}
venv=$PWD/.venv
stamp=$venv/stlatent-${extras:-core}.stamp
cpu_index=https://download.pytorch.org/whl/cpu

say() { echo "setup: $*"; }
has_nvidia() { command -v nvidia-smi >/dev/null || [ -e /proc/driver/nvidia ]; }
die() { echo "setup: error: $*" >&2; exit 2; }

wanted=$( (echo "$venv"; cat pyproject.toml) | cksum)
if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && "$venv/bin/python" -c '' 2>/dev/null; then
    say ".venv is up to date"
    exit 0
fi

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
        die "$python is missing or older than Python 3.10; set PYTHON=/path/to/a/newer/python3"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        die "$python has no venv module; install it first (Debian, Ubuntu: apt-get install python3-venv)"
    say "creating .venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
fi
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

# Without an NVIDIA GPU the CPU build of torch does, a tenth of the size; PyPI has it for macOS and
# Windows, PyTorch's own index for Linux. Where that is out of reach, pip's own sources decide.
options=()
if [ "$(uname)" = Linux ] && ! has_nvidia; then
    reach="import urllib.request as u; u.urlopen('$cpu_index/torch/', timeout=5)"
    if "$venv/bin/python" -c "$reach" 2>/dev/null; then
        say "no NVIDIA GPU: taking CPU builds from $cpu_index"
        options+=(--extra-index-url "$cpu_index")
    else
        say "no NVIDIA GPU, and $cpu_index is out of reach: taking torch from pip's own sources"
    fi
fi

# A torch that is already here stays, whatever an extra would like better.
version="import importlib.metadata as m; print('torch==' + m.version('torch'))"
if "$venv/bin/python" -c "$version" >"$venv/constraints.txt" 2>/dev/null; then
    say "keeping $(cat "$venv/constraints.txt")"
    options+=(--constraint "$venv/constraints.txt")
fi

say "installing stlatent${extras:+[$extras]} into .venv (the first time takes minutes)"
pip install -qq 'pip>=23.1' # older ones cannot install editable packages
pip install -qq ${options[@]+"${options[@]}"} --editable ".${extras:+[$extras]}" ||
    die "the installation failed, see above; if .venv is at fault, remove it and try again"

read -r torch gpu < <("$venv/bin/python" -c \
    'import torch; print(torch.__version__, torch.cuda.is_available())') || die "torch does not import"
say "torch $torch, GPU: $gpu"
if has_nvidia && [ "$gpu" = False ]; then
    say "note: this torch sees no GPU here; if its CUDA is too new for the driver, install another"
    say "      torch into .venv (see https://pytorch.org/get-started), it will be kept"
fi
# Where only a CUDA build of torchvision was to be had, it breaks diffusers and transformers beside a
# CPU torch; nothing here needs it.
vision='import importlib.util as u; u.find_spec("torchvision") and __import__("torchvision")'
if ! "$venv/bin/python" -c "$vision" 2>/dev/null; then
    say "removing a torchvision that does not fit torch $torch; see https://pytorch.org/get-started"
    pip uninstall -qqy torchvision
fi
echo "$wanted" | tee "$stamp" >"$venv/stlatent-core.stamp" # extras come on top of the core
say "done: source .venv/bin/activate, or call .venv/bin/stlatent"
