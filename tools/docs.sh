#!/usr/bin/env bash
# Sets up .venv with the tools of the documentation and builds it into site/; warnings are errors:
#   bash tools/docs.sh [serve]       serve: show it on this machine, and build again what changes
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash tools/setup.sh docs
export NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true
exec .venv/bin/python -m mkdocs "${1:-build}" --strict
