#!/usr/bin/env bash
# Bundle viewer.js with three.js, and its licence, into the file that reports carry.
set -euo pipefail
cd "$(dirname "$0")"
out=../../stlatent/evaluate/viewer.min.js
npm install --no-audit --no-fund --no-package-lock --ignore-scripts
{
  echo "/* Made by tools/viewer/build.sh, with three.js:"
  cat node_modules/three/LICENSE
  echo "*/"
  npx esbuild viewer.js --bundle --minify --format=iife --legal-comments=none
} > "$out"
