#!/usr/bin/env bash
# setup_venv.sh FOLDER REQUIREMENTS: makes or updates a virtual environment for this checkout. Used by the Makefile.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly folder=$1 requirements=$2
readonly PYTHON="${PYTHON:-python3}"

fail() {
    echo "$*" >&2
    exit 1
}

command -v "$PYTHON" >/dev/null || fail "\`$PYTHON\` is not there. Install Python 3.11, or say which: make PYTHON=/path/to/python3.11 ..."
"$PYTHON" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' ||
    fail "Python 3.10 to 3.13 is needed. Received: $("$PYTHON" --version). Say which: make PYTHON=/path/to/python3.11 ..."
"$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$PYTHON cannot make virtual environments (no ensurepip). On Debian and Ubuntu: apt-get install python3-venv"

echo "Setting up $folder from $requirements (once; minutes on a first run: TensorFlow and Spark are large) ..."
if ! "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
    "$PYTHON" -m venv --clear "$folder"
fi
# Spark comes as source: pip builds its wheel once and keeps it in its cache.
"$folder/bin/python" -m pip install -qq -r "$requirements"
# The build tools are among the pins, so nothing is fetched for them.
"$folder/bin/python" -m pip install -qq --no-deps --no-build-isolation --editable .
touch "$folder/.installed"
