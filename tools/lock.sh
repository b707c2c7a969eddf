#!/usr/bin/env bash
# Rewrites the locked requirement files: exact versions with hashes for every platform.
#
# One set of files serves every supported Python: it is resolved with the oldest one, and `make check-locks`
# installs it with the others. The caller's extra indexes, find-links and constraints are put aside, so that
# nothing of one machine's pip configuration reaches the files. Names of sets lock those alone.
set -euo pipefail
cd "$(dirname "$0")/.."

python="${PYTHON:-python3}"
tools_venv="build/lock-venv"
if [ ! -x "$tools_venv/bin/pip-compile" ]; then
    "$python" -m venv "$tools_venv"
    "$tools_venv/bin/python" -m pip install --quiet "pip-tools==7.6.2"
fi
"$tools_venv/bin/python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    { echo "lock with Python 3.11, the oldest supported: make lock PYTHON=python3.11" >&2; exit 2; }

unset PIP_FIND_LINKS PIP_EXTRA_INDEX_URL PIP_CONSTRAINT
export PIP_CONFIG_FILE=/dev/null
export CUSTOM_COMPILE_COMMAND="make lock"

sources="build/lock"
mkdir -p "$sources"
"$python" tools/flat_requirements.py > "$sources/base.in"
"$python" tools/flat_requirements.py all > "$sources/all.in"
"$python" tools/flat_requirements.py tensorflow > "$sources/tensorflow.in"
"$python" tools/flat_requirements.py serve > "$sources/serve.in"
"$python" tools/flat_requirements.py serve postgres ann > "$sources/serve-all.in"
cp requirements/{build,dev,docs,examples,savedmodel,onnxruntime,node,browser,schemathesis,deploy}.in "$sources/"

wanted=" $* "
compile() { # compile NAME SOURCE...
    local output="requirements/$1.txt"
    [[ "$wanted" = "  " || "$wanted" = *" $1 "* ]] || return 0
    shift
    echo "locking $output" >&2
    "$tools_venv/bin/pip-compile" --quiet --generate-hashes --strip-extras --resolver=backtracking \
        --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --annotation-style=line \
        --output-file "$output" "$@" ${UPGRADE:+--upgrade}
}

# The widest set first; the narrower ones repeat its versions.
compile dev "$sources/all.in" "$sources/dev.in"
compile all --constraint requirements/dev.txt "$sources/all.in"
compile base --constraint requirements/dev.txt "$sources/base.in"
compile serve --constraint requirements/dev.txt "$sources/serve.in"
compile serve-all --constraint requirements/dev.txt "$sources/serve-all.in"
compile build --constraint requirements/dev.txt "$sources/build.in"
compile docs --constraint requirements/dev.txt "$sources/all.in" "$sources/docs.in"
compile examples --allow-unsafe --constraint requirements/dev.txt "$sources/all.in" "$sources/examples.in"
compile savedmodel --allow-unsafe --constraint requirements/dev.txt "$sources/tensorflow.in" "$sources/savedmodel.in"
compile onnxruntime --constraint requirements/dev.txt "$sources/onnxruntime.in"
compile node "$sources/node.in"
compile browser --constraint requirements/dev.txt --constraint requirements/node.txt "$sources/browser.in"
compile schemathesis --constraint requirements/dev.txt "$sources/schemathesis.in"
compile deploy "$sources/deploy.in"
