#!/usr/bin/env bash
# Sets up .venv with the test tools and runs all tests and checks:
#   bash tools/test.sh [ARGUMENTS OF PYTEST]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash tools/setup.sh test

# The report is tested in a real browser.
has_browser() {
    command -v chromium || command -v chromium-browser || command -v google-chrome ||
        command -v google-chrome-stable
}
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
if ! has_browser >/dev/null; then
    if command -v apt-get >/dev/null && as_root true 2>/dev/null; then
        echo "test: installing chromium"
        { as_root apt-get -qq update &&
            as_root env DEBIAN_FRONTEND=noninteractive \
                apt-get -qq install --yes --no-install-recommends chromium >/dev/null; } ||
            echo "test: chromium could not be installed; the browser test will be skipped"
    else
        echo "test: no chromium here and no right to install it; the browser test will be skipped"
    fi
fi

# One process per core, up to four, since each may take some GiB; each with one thread.
export OMP_NUM_THREADS=1
python=.venv/bin/python
status=0
"$python" -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal "$@" || status=$?
"$python" -m ruff check . || status=1
"$python" -m ruff format --check . || status=1
exit "$status"
