#!/bin/sh
# A real Claude Code through the gateway, with a strict OpenAI-compatible host behind it: parallel tools, a picture, a
# PDF, a sub-agent, and a prompt that is too long, which it must heal by compaction.
# Needs node and npm; the npm registry is the only thing outside that is reached.
#
#   tests/clients/claude_code_openai.sh [PRESET...]       deepseek-openai, openai and mistral unless told otherwise
#
# PYTHON: the interpreter that can import the gateway. VERSION: of Claude Code, 2.1.330 unless told otherwise.
# Exit code 0: it works. The installed package stays in ${TMPDIR:-/tmp} for the next run, nothing else does.
set -eu

[ $# -gt 0 ] || set -- deepseek-openai openai mistral
version=${VERSION:-2.1.330}
root=$(cd "$(dirname "$0")/../.." && pwd)
python=$root/.venv/bin/python
[ -x "$python" ] || python=python3
python=${PYTHON:-$python}
prefix=${TMPDIR:-/tmp}/gateway-clients/claude-code-$version

scratch=$(mktemp -d)
host=
gateway=

finish() {
    status=$?
    trap - EXIT
    for process in $gateway $host; do
        kill -TERM "$process" 2>/dev/null || true
    done
    if [ "$status" -ne 0 ]; then
        for file in npm.log host.out host.log gateway.log claude.out claude.err; do
            if [ -s "$scratch/$file" ]; then
                printf -- '--- %s\n' "$file" >&2
                tail -c 3000 "$scratch/$file" >&2
            fi
        done
    fi
    rm -rf "$scratch"
    exit "$status"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM

fail() {
    echo "claude_code_openai.sh: $*" >&2
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

# until_line FILE WORDS PROCESS: waits until a file has them.
until_line() {
    tenths=0
    until grep -q "$2" "$1" 2>/dev/null; do
        kill -0 "$3" 2>/dev/null || fail "it ended before it said: $2"
        [ "$tenths" -lt 300 ] || fail "it never said: $2"
        tenths=$((tenths + 1))
        sleep 0.1
    done
}

start() {
    : >"$scratch/host.out"
    : >"$scratch/gateway.out"
    cd "$root"
    PYTHONPATH=$root "$python" tests/clients/openai_agent.py "$1" >"$scratch/host.out" 2>"$scratch/host.log" &
    host=$!
    until_line "$scratch/host.out" '^http' "$host"
    cat >"$scratch/gateway.toml" <<END
[server]
port = 0
[upstreams.host]
preset = "$1"
base_url = "$(sed -n 1p "$scratch/host.out")"
models = { "*" = "m-1" }
accounts = [{ name = "me", api_key = "\${HOST_KEY}" }]
END
    HOST_KEY=sk-1 "$python" -m gateway serve --config "$scratch/gateway.toml" \
        >"$scratch/gateway.out" 2>"$scratch/gateway.log" &
    gateway=$!
    until_line "$scratch/gateway.out" 'ANTHROPIC_BASE_URL=' "$gateway"
    base_url=$(sed -n 's/^ *export ANTHROPIC_BASE_URL=//p' "$scratch/gateway.out")
}

ask() {
    rm -rf "$scratch/home" "$scratch/work"
    mkdir "$scratch/home" "$scratch/work"
    "$python" - "$scratch/work" <<'END'
import sys
from base64 import b64decode
from pathlib import Path

work = Path(sys.argv[1])
png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
(work / "pic.png").write_bytes(b64decode(png))
objects = ["<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[3 0 R]/Count 1>>", "<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>"]
pdf = b"%PDF-1.4\n"
places = []
for at, text in enumerate(objects, 1):
    places.append(len(pdf))
    pdf += f"{at} 0 obj{text}endobj\n".encode()
table = "".join(f"{place:010} 00000 n \n" for place in places)
pdf += f"xref\n0 4\n0000000000 65535 f \n{table}trailer<</Root 1 0 R/Size 4>>\nstartxref\n{len(pdf)}\n%%EOF\n".encode()
(work / "doc.pdf").write_bytes(pdf)
END
    cd "$scratch/work"
    env -i PATH="$PATH" HOME="$scratch/home" TMPDIR="$scratch" TERM=dumb LANG=C.UTF-8 \
        IS_SANDBOX=1 CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 DISABLE_AUTOUPDATER=1 NO_PROXY=127.0.0.1 \
        ANTHROPIC_BASE_URL="$base_url" ANTHROPIC_AUTH_TOKEN=any \
        timeout 120 "$prefix/node_modules/.bin/claude" -p "work through the steps" --output-format json \
        --dangerously-skip-permissions </dev/null >"$scratch/claude.out" 2>"$scratch/claude.err" ||
        fail "Claude Code $version ended with exit code $?"
    cd "$root"
}

check() {
    for file in ran1 ran2 ran3; do
        [ -s "$scratch/work/$file" ] || fail "the tool that writes $file did not run"
    done
    grep -q 'All steps are done' "$scratch/claude.out" || fail "the last words are missing"
    kill -TERM "$gateway" "$host"
    wait "$gateway" || fail "the gateway ended with exit code $?"
    wait "$host" || true
    gateway='' host=''
    grep -q '^refused: \[\]' "$scratch/host.out" || fail "the host refused a request"
    grep -q '^steps: 5 of 5, requests of sub-agents: 1$' "$scratch/host.out" || fail "not every step was asked for"
    grep -q 'prompt is too long: 9000 tokens > 8192 maximum' "$scratch/gateway.log" || fail "no overflow"
}

install
for preset in "$@"; do
    start "$preset"
    ask
    check
    echo "Claude Code $version on $preset: ok"
done
