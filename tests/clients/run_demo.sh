#!/bin/sh
# A real Claude Code started by `gateway run --demo`: it must run the tool that the response calls, end with words
# about the tool's output, and leave no process behind. Needs node and npm; the npm registry is the only thing outside
# that is reached.
#
#   tests/clients/run_demo.sh [VERSION]       2.1.330 unless told otherwise
#
# PYTHON: the interpreter that can import the gateway. Exit code 0: it works. The installed package stays in
# ${TMPDIR:-/tmp} for the next run, and for claude_code.sh; nothing else does.
set -eu

version=${1:-2.1.330}
root=$(cd "$(dirname "$0")/../.." && pwd)
python=$root/.venv/bin/python
[ -x "$python" ] || python=python3
python=${PYTHON:-$python}
prefix=${TMPDIR:-/tmp}/gateway-clients/claude-code-$version
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

fail() {
    echo "run_demo.sh: $*" >&2
    for file in npm.log out err state/gateway/run.log; do
        [ ! -s "$scratch/$file" ] || { printf -- '--- %s\n' "$file" >&2; tail -c 4000 "$scratch/$file" >&2; }
    done
    exit 1
}

if [ ! -d "$prefix" ]; then
    mkdir -p "${prefix%/*}"
    timeout 300 npm install --prefix "$scratch/npm" --no-audit --no-fund --logs-max 0 --loglevel error \
        "@anthropic-ai/claude-code@$version" >"$scratch/npm.log" 2>&1 ||
        fail "npm could not install @anthropic-ai/claude-code $version"
    mv "$scratch/npm" "$prefix"
fi

mkdir "$scratch/home" "$scratch/work"
cd "$scratch/work"
marker="hi-$$"
env -i PATH="$prefix/node_modules/.bin:$PATH" PYTHONPATH="$root" HOME="$scratch/home" XDG_STATE_HOME="$scratch/state" \
    TMPDIR="$scratch" TERM=dumb LANG=C.UTF-8 IS_SANDBOX=1 CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 \
    DISABLE_AUTOUPDATER=1 timeout 90 "$python" -m gateway run --demo -- \
    claude -p "run echo $marker | tee ran" --dangerously-skip-permissions </dev/null >"$scratch/out" 2>"$scratch/err" ||
    fail "gateway run ended with exit code $?"

[ "$(cat ran 2>/dev/null)" = "$marker" ] || fail "the tool did not run"
grep -q "The tool says: $marker" "$scratch/out" || fail "the response does not quote the tool's output"
grep -q ' run POST /v1/messages ' "$scratch/state/gateway/run.log" || fail "the log has no line of a request"
# Every process of this run has the scratch directory in its environment.
! grep -lqs "HOME=$scratch/home" /proc/[0-9]*/environ || fail "a process was left behind"
cat "$scratch/out"
echo "Claude Code $version started by gateway run --demo: ok"
