#!/usr/bin/env bash
# Installs each locked set into a new environment of $PYTHON, and the package upon it without an index: whatever
# the lock misses on that Python is named.
set -euo pipefail
cd "$(dirname "$0")/.."

python="${PYTHON:-python3}"
place="$(mktemp -d)"
trap 'rm -rf "$place"' EXIT

for set in base serve serve-all all dev; do
    "$python" -m venv --clear "$place/$set"
    pip=("$place/$set/bin/python" -m pip)
    "${pip[@]}" install --quiet --require-hashes -r "requirements/$set.txt"
    if [ "$set" = dev ]; then
        "${pip[@]}" install --quiet --no-index --no-build-isolation -e ".[all]"
    fi
    "${pip[@]}" check
    echo "$("$python" --version): requirements/$set.txt installs"
done
