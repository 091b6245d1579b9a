#!/usr/bin/env bash
# Resolves pyproject.toml's ranges into the three pinned files. Run it with `make lock`; nothing else writes them.
# With --upgrade, the newest versions inside the ranges are taken; without, the pins that still fit are kept.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly UV_VERSION=0.13.8
readonly PYTHON="${PYTHON:-python3}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$PYTHON" -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet "uv==$UV_VERSION"
export UV_CACHE_DIR="$scratch/cache" UV_CUSTOM_COMPILE_COMMAND="make lock"

resolve() {  # file for the pins, then what to resolve
    local out=$1
    shift
    "$scratch/venv/bin/uv" pip compile --quiet --no-config --universal --python-version 3.10 --annotation-style line \
        --output-file "$out" "$@" >/dev/null
}

# The first argument's [project.optional-dependencies] entry, one requirement a line (no TOML reader before Python 3.11).
extra() {
    sed -n "/^$1 = \[/,/^\]/s/^ *\"\(.*\)\",\$/\1/p" pyproject.toml
}

resolve requirements.txt pyproject.toml --extra cpu --extra java --extra tensorboard "$@"

extra dev >"$scratch/dev.in"
if [ -e requirements-dev.txt ]; then grep -v '^-r ' requirements-dev.txt >"$scratch/dev.txt"; fi
resolve "$scratch/dev.txt" "$scratch/dev.in" --constraint requirements.txt "$@"
# Its notes name the scratch folder; the packages they speak of are those of [dev].
sed -e "s|-r $scratch/dev.in|cerebro-nas[dev] (pyproject.toml)|" -e 's|, -c requirements.txt||' -e 's|-c requirements.txt, ||' \
    "$scratch/dev.txt" | awk 'NR == 3 { print "-r requirements.txt" } { print }' >requirements-dev.txt

# This lane is only ever installed to test against it, so it takes along what the tests need. There is no Python 3.13 for it,
# which cannot be said to the resolver: what it pins for that is dropped.
trap 'rm -rf "$scratch" requirements-test.in' EXIT
grep -E '^(cryptography|hypothesis|optuna|pytest|pytest-timeout|safetensors)>' "$scratch/dev.in" >requirements-test.in
resolve requirements-petastorm.txt pyproject.toml requirements-test.in \
    --extra petastorm --extra cpu --extra java --extra tensorboard "$@"
sed -i.bak -e 's|-r requirements-test.in|cerebro-nas[dev] (pyproject.toml)|' -e "/python_full_version >= '3.13'/d" \
    -e "s/ ; python_full_version < '3.13'//; s/ and python_full_version < '3.13'//" -e 's/, tensorflow-intel//' \
    requirements-petastorm.txt
rm requirements-petastorm.txt.bak
