#!/usr/bin/env bash
# run.sh SCRIPT [ARGUMENT ...]: runs a search under tmux, so that it goes on when the connection is lost.
#
# What it prints goes to the screen and to runs/SESSION.log; the session's name is the script's and the time.
# PYTHON says which Python runs it; the default is the checkout's own .venv.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
readonly root

fail() {
    echo "$*" >&2
    exit 1
}

[ $# -gt 0 ] || fail "Which search? $0 SCRIPT [ARGUMENT ...], for example: $0 $root/examples/digits.py"
[ -f "$1" ] || fail "There is no script $1."
command -v tmux >/dev/null || fail "tmux is not installed (on Debian and Ubuntu: apt-get install tmux)."
python=${PYTHON:-$root/.venv/bin/python}
command -v "$python" >/dev/null || fail "There is no Python at $python. Run \`make test\` once, or set PYTHON."

# A dot or a colon in a session's name would be read by tmux as part of an address.
session=$(basename "$1" .py | tr -c 'A-Za-z0-9_\n-' '_')-$(date +%Y%m%d-%H%M%S)
log="$PWD/runs/$session.log"
mkdir -p "$PWD/runs"
printf -v command '%q ' "$python" -u "$@"
printf -v quoted_log '%q' "$log"

# pipefail keeps the search's own status through tee; it is the last line of the log.
tmux new-session -d -s "$session" -c "$PWD" \
    "bash -c $(printf '%q' "set -o pipefail; $command 2>&1 | tee $quoted_log; echo \"exit status \$?\" >>$quoted_log")"
echo "Running in tmux session $session."
echo "  watch it:  tmux attach -t $session   (leave it with Ctrl-b d)"
echo "  read it:   tail -f $log"
