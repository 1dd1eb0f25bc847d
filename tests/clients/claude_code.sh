#!/bin/sh
# A real Claude Code against `gateway demo`: it must run the tool that the answer calls, and end with words about
# the tool's output. Needs node and npm; the npm registry is the only thing outside that is reached.
#
#   tests/clients/claude_code.sh [VERSION]       2.1.330 unless told otherwise
#
# UPSTREAM: the demo's upstream, anthropic (if not said) or gemini. PYTHON: the interpreter that can import the gateway.
# Exit code 0: it works. The installed package stays in ${TMPDIR:-/tmp} for the next run, nothing else does.
set -eu

version=${1:-2.1.330}
upstream=${UPSTREAM:-anthropic}
root=$(cd "$(dirname "$0")/../.." && pwd)
python=$root/.venv/bin/python
[ -x "$python" ] || python=python3
python=${PYTHON:-$python}
prefix=${TMPDIR:-/tmp}/gateway-clients/claude-code-$version

scratch=$(mktemp -d)
demo=

finish() {
    status=$?
    trap - EXIT
    [ -z "$demo" ] || stop || true
    if [ "$status" -ne 0 ]; then
        for file in npm.log demo.out demo.log claude.out claude.err; do
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
    echo "claude_code.sh: $*" >&2
    exit 1
}

# Ends the demo; its exit code is the result.
stop() {
    process=$demo
    demo=
    kill -TERM "$process" 2>/dev/null || true
    wait "$process"
}

install() {
    [ ! -d "$prefix" ] || return 0
    mkdir -p "${prefix%/*}"
    timeout 300 npm install --prefix "$scratch/npm" --no-audit --no-fund --logs-max 0 --loglevel error \
        "@anthropic-ai/claude-code@$version" >"$scratch/npm.log" 2>&1 ||
        fail "npm could not install @anthropic-ai/claude-code $version"
    # Moved when it is whole, so that an interrupted installation leaves nothing that looks like one.
    mv "$scratch/npm" "$prefix"
}

start() {
    : >"$scratch/demo.out"
    cd "$root"
    "$python" -m gateway demo --port 0 --upstream "$upstream" >"$scratch/demo.out" 2>"$scratch/demo.log" &
    demo=$!
    cd "$OLDPWD"
    tenths=0
    until grep -q 'Ctrl-C' "$scratch/demo.out"; do
        kill -0 "$demo" 2>/dev/null || fail "the demo did not start"
        [ "$tenths" -lt 100 ] || fail "the demo said nothing for 10 s"
        tenths=$((tenths + 1))
        sleep 0.1
    done
    base_url=$(sed -n 's/^ *export ANTHROPIC_BASE_URL=//p' "$scratch/demo.out")
}

# The marker shows that this run's tool was run, and not only spoken of.
ask() {
    marker="hi-$$"
    mkdir "$scratch/home" "$scratch/work"
    cd "$scratch/work"
    env -i PATH="$PATH" HOME="$scratch/home" TMPDIR="$scratch" TERM=dumb \
        IS_SANDBOX=1 CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 DISABLE_AUTOUPDATER=1 \
        ANTHROPIC_BASE_URL="$base_url" ANTHROPIC_API_KEY=demo \
        timeout 90 "$prefix/node_modules/.bin/claude" -p "run echo $marker | tee ran" --output-format json \
        --dangerously-skip-permissions </dev/null >"$scratch/claude.out" 2>"$scratch/claude.err" ||
        fail "Claude Code $version ended with exit code $?"
    cd "$root"
}

check_answer() {
    [ "$(cat "$scratch/work/ran" 2>/dev/null)" = "$marker" ] || fail "the tool did not run"
    node -e '
        const [file, marker] = process.argv.slice(1);
        const answer = JSON.parse(require("fs").readFileSync(file, "utf8"));
        const wanted = "The tool says: " + marker;
        if (answer.is_error || !String(answer.result).includes(wanted)) process.exit(1);
    ' "$scratch/claude.out" "$marker" || fail "the answer does not quote the tool's output"
}

# What the log says reached the upstream must be what the upstream itself counted.
check_log() {
    sent=$(awk '/ demo\// { n = 1; for (i = 1; i <= NF; i++) if (sub(/^attempts=/, "", $i)) n = $i; sum += n }
        END { print sum + 0 }' "$scratch/demo.log")
    grep -q "requests that reached the embedded upstream: $sent\$" "$scratch/demo.log" ||
        fail "the log tells of $sent requests to the upstream, which counted others"
    # This version starts two sub-agents with a warm-up each, which the gateway answers by itself.
    if [ "$version" = 2.0.76 ]; then
        warmups=$(grep ' warmup ' "$scratch/demo.log" | grep -vc ' demo/' || true)
        [ "$warmups" -eq 2 ] || fail "$warmups warm-ups were answered by the gateway, not 2"
    fi
}

install
start
ask
check_answer
stop || fail "the demo ended with exit code $?"
check_log
echo "Claude Code $version against the demo's $upstream upstream: ok"
