#!/bin/sh
# A real Claude Code against the strict fake of Gemini with Vertex AI's rules, which refuses what Google refuses: it reads
# a PNG, a PDF and a GIF, runs a tool, is interrupted while a tool runs, and goes on in the same session. Nothing may be
# refused. Needs node and npm; the npm registry is the only thing outside that is reached.
#
#   tests/clients/claude_code_gemini.sh [VERSION [MODEL]]       2.1.330 and gemini-3.8-flash unless told otherwise
#
# PYTHON: the interpreter that can import the gateway and google-genai. Exit code 0: it works. The installed package stays
# in ${TMPDIR:-/tmp} for the next run, nothing else does.
set -eu

version=${1:-2.1.330}
model=${2:-gemini-3.8-flash}
root=$(cd "$(dirname "$0")/../.." && pwd)
python=$root/.venv/bin/python
[ -x "$python" ] || python=python3
python=${PYTHON:-$python}
prefix=${TMPDIR:-/tmp}/gateway-clients/claude-code-$version

scratch=$(mktemp -d)
fake=
gateway=

finish() {
    status=$?
    trap - EXIT
    for process in $gateway $fake; do
        kill -TERM "$process" 2>/dev/null || true
    done
    if [ "$status" -ne 0 ]; then
        for file in npm.log fake.out fake.err gateway.out gateway.log claude.out claude.err; do
            if [ -s "$scratch/$file" ]; then
                printf -- '--- %s\n' "$file" >&2
                tail -c 4000 "$scratch/$file" >&2
            fi
        done
    fi
    rm -rf "$scratch"
    exit "$status"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

fail() {
    echo "claude_code_gemini.sh: $*" >&2
    exit 1
}

install() {
    [ ! -d "$prefix" ] || return 0
    mkdir -p "${prefix%/*}"
    timeout 300 npm install --prefix "$scratch/npm" --no-audit --no-fund --logs-max 0 --loglevel error \
        "@anthropic-ai/claude-code@$version" >"$scratch/npm.log" 2>&1 ||
        fail "npm could not install @anthropic-ai/claude-code $version"
    mv "$scratch/npm" "$prefix"
}

# await FILE WORDS PROCESS
await() {
    tenths=0
    until grep -q "$2" "$1"; do
        kill -0 "$3" 2>/dev/null || fail "$1 has no \"$2\", and its process is gone"
        [ "$tenths" -lt 200 ] || fail "$1 has no \"$2\" after 20 s"
        tenths=$((tenths + 1))
        sleep 0.1
    done
}

start() {
    cd "$root"
    : >"$scratch/fake.out"
    "$python" -m tests.fakes.gemini --vertex --model "$model" --config "$scratch/gateway.toml" \
        >"$scratch/fake.out" 2>"$scratch/fake.err" &
    fake=$!
    await "$scratch/fake.out" "listening" "$fake"
    : >"$scratch/gateway.out"
    "$python" -m gateway serve --config "$scratch/gateway.toml" >"$scratch/gateway.out" 2>"$scratch/gateway.log" &
    gateway=$!
    await "$scratch/gateway.out" "ANTHROPIC_BASE_URL" "$gateway"
    base_url=$(sed -n 's/.*ANTHROPIC_BASE_URL=//p' "$scratch/gateway.out" | head -1)
    mkdir "$scratch/home" "$scratch/work"
    cd "$scratch/work"
    "$python" "$root/tests/clients/pictures.py" .
}

# claude WANTED ARGUMENT...: a turn, whose answer must hold WANTED.
claude() {
    wanted=$1
    shift
    env -i PATH="$PATH" HOME="$scratch/home" TMPDIR="$scratch" TERM=dumb \
        IS_SANDBOX=1 CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 DISABLE_AUTOUPDATER=1 NO_PROXY=127.0.0.1 \
        ANTHROPIC_BASE_URL="$base_url" ANTHROPIC_AUTH_TOKEN=any \
        timeout 90 "$prefix/node_modules/.bin/claude" -p --dangerously-skip-permissions "$@" \
        </dev/null >"$scratch/claude.out" 2>"$scratch/claude.err" || fail "\"$*\" ended with exit code $?"
    grep -q "$wanted" "$scratch/claude.out" || fail "\"$*\" led to no \"$wanted\""
}

# A turn whose tool runs until the client is stopped.
interrupt() {
    env -i PATH="$PATH" HOME="$scratch/home" TMPDIR="$scratch" TERM=dumb \
        IS_SANDBOX=1 CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 DISABLE_AUTOUPDATER=1 NO_PROXY=127.0.0.1 \
        ANTHROPIC_BASE_URL="$base_url" ANTHROPIC_AUTH_TOKEN=any \
        "$prefix/node_modules/.bin/claude" -p --continue --dangerously-skip-permissions \
        "run touch running; sleep 60" </dev/null >"$scratch/claude.out" 2>"$scratch/claude.err" &
    client=$!
    tenths=0
    until [ -e running ]; do
        [ "$tenths" -lt 600 ] || fail "the tool did not run for 60 s"
        tenths=$((tenths + 1))
        sleep 0.1
    done
    kill -INT "$client"
    wait "$client" || true
}

install
start
claude "I see: image/png" "read $scratch/work/dot.png"
claude "I see: application/pdf" --continue "read $scratch/work/page.pdf"
claude "The tool" --continue "read $scratch/work/dot.gif"
claude "The tool says: hi-$$" --continue "run echo hi-$$"
interrupt
claude "The tool says: on-$$" --continue "run echo on-$$"
kill -TERM "$gateway"
wait "$gateway" || fail "the gateway ended with exit code $?"
gateway=
kill -TERM "$fake"
wait "$fake" || fail "the fake refused requests"
fake=
tail -1 "$scratch/fake.out"
echo "Claude Code $version against $model with Vertex AI's rules: ok"
