#!/usr/bin/env bash
# Sets up .venv and runs the main job on the clips that come along: videos to multi-level latents,
# every prefix of the levels back to video, and a report. All of it goes to quickstart/.
#   bash tools/quickstart.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash tools/setup.sh

stlatent=.venv/bin/stlatent
out=quickstart
run() { echo; echo "$ $*"; "$@"; }
levels=$(.venv/bin/python -c 'import stlatent; print(len(stlatent.load("video").levels))')

# Only what a former run of this script made is replaced.
rm -rf "$out"/latents "$out"/decoded "$out"/report

run "$stlatent" encode assets/clips --model video --out "$out/latents"
for ((n = 1; n <= levels; n++)); do
    name=levels_0-$((n - 1))
    [ "$n" = 1 ] && name=level_0
    [ "$n" = "$levels" ] && name=all
    run "$stlatent" decode "$out/latents" --levels "$n" --out "$out/decoded/$name" --format mp4
done
run "$stlatent" inspect video --data assets/clips --out "$out/report"

clip=$(find assets/clips -type f -name '*.mp4' | sort | sed -n 1p)
cat <<END

All of it lies in $PWD/$out:
  latents/     one set of files per level
  decoded/     the videos, from the coarsest level alone to all of them
  report/      what each level holds: open the HTML page

Next, from $PWD:
  $stlatent train video/base data.root=YOUR_VIDEOS out=runs/mine
  $stlatent encode YOUR_VIDEOS --model video --out latents/
  $stlatent sample video --frames 33 --size 128x128 --keep-level 0 --from $clip -n 8
END
