#!/bin/sh
# A real Claude Code against `gateway demo`. First `claude -p`: it must run the tool that the response calls, and end
# with words about the tool's output. Then, in tmux and with a fresh home, as a person starts it on the first day: it
# must get through its first screens, respond, stop at Esc, and show /context and /model.
# Needs node, npm and tmux; the npm registry is the only thing outside that is reached.
#
#   tests/clients/claude_code.sh [VERSION]       2.1.330 unless told otherwise
#
# PYTHON: the interpreter that can import the gateway. INTERACTIVE=no: only the first part.
# Exit code 0: it works. The installed package stays in ${TMPDIR:-/tmp} for the next run, nothing else does.
set -eu

version=${1:-2.1.330}
root=$(cd "$(dirname "$0")/../.." && pwd)
python=$root/.venv/bin/python
[ -x "$python" ] || python=python3
python=${PYTHON:-$python}
prefix=${TMPDIR:-/tmp}/gateway-clients/claude-code-$version
socket=gateway-clients-$$

scratch=$(mktemp -d)
demo=

finish() {
    status=$?
    trap - EXIT
    tmux -L "$socket" kill-server 2>/dev/null || true
    [ -z "$demo" ] || stop || true
    if [ "$status" -ne 0 ]; then
        for file in npm.log demo.out demo.log claude.out claude.err screen; do
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
    "$python" -m gateway demo --port 0 >"$scratch/demo.out" 2>"$scratch/demo.log" &
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

# clean_environment HOME TERM COMMAND...: runs it with nothing but what the demo told to set.
clean_environment() {
    home=$1 term=$2
    shift 2
    env -i PATH="$PATH" HOME="$home" TMPDIR="$scratch" TERM="$term" LANG=C.UTF-8 \
        IS_SANDBOX=1 CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 DISABLE_AUTOUPDATER=1 \
        ANTHROPIC_BASE_URL="$base_url" ANTHROPIC_AUTH_TOKEN=demo "$@"
}

# The marker shows that this run's tool was run, and not only spoken of.
ask() {
    marker="hi-$$"
    mkdir "$scratch/home" "$scratch/work"
    cd "$scratch/work"
    clean_environment "$scratch/home" dumb timeout 90 "$prefix/node_modules/.bin/claude" -p "run echo $marker | tee ran" --output-format json \
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

press() {
    tmux -L "$socket" send-keys "$@"
}

# on_screen WORDS: whether they are shown now.
on_screen() {
    tmux -L "$socket" capture-pane -p >"$scratch/screen" 2>/dev/null || fail "the interactive client has ended"
    grep -q "$1" "$scratch/screen"
}

# until_screen WORDS: waits for them.
until_screen() {
    tenths=0
    until on_screen "$1"; do
        [ "$tenths" -lt 200 ] || fail "the interactive client never showed: $1"
        tenths=$((tenths + 1))
        sleep 0.1
    done
}

# until_log WORDS: waits until a line of the gateway's log has them.
until_log() {
    tenths=0
    until grep -q "$1" "$scratch/demo.log"; do
        [ "$tenths" -lt 100 ] || fail "the log never said: $1"
        tenths=$((tenths + 1))
        sleep 0.1
    done
}

# say TEXT: once the client is idle, types it, waits until it stands in the prompt, and sends it.
say() {
    tenths=0
    while on_screen 'esc to interrupt'; do
        [ "$tenths" -lt 200 ] || fail "the interactive client is busy for ever"
        tenths=$((tenths + 1))
        sleep 0.1
    done
    press -l "$1"
    until_screen "❯.*$1"
    press Enter
}

# Whatever screens come first, in whatever order, each is left as a person would.
welcome() {
    tenths=0
    until on_screen 'shift+tab to cycle\|for shortcuts'; do
        if on_screen '❯ No, exit'; then
            press Down
        elif on_screen 'Choose the text style\|Press Enter to continue\|❯ Yes, I trust'; then
            press Enter
        elif on_screen 'API key\|Unable to connect\|Select login'; then
            fail "the interactive client does not start with what the demo told to set"
        fi
        [ "$tenths" -lt 60 ] || fail "the interactive client did not reach its prompt"
        tenths=$((tenths + 1))
        sleep 0.5
    done
}

interact() {
    mkdir "$scratch/fresh" "$scratch/project"
    cd "$scratch/project"
    clean_environment "$scratch/fresh" xterm-256color \
        tmux -L "$socket" -f /dev/null new-session -d -x 120 -y 50 "$prefix/node_modules/.bin/claude"
    cd "$root"
    welcome
    say 'say hello'
    until_screen 'You said: "say hello"'
    # Esc while the response streams: the client leaves, and may put the words back into its prompt.
    say 'say something else'
    until_screen 'esc to interrupt'
    press Escape
    until_log ' 499 canceled '
    press C-u
    # Esc while a tool runs.
    say 'run sleep 60'
    until_screen '\$ sleep 60'
    press Escape
    until_screen 'Interrupted'
    say /context
    until_screen 'Free space'
    say /model
    until_screen 'Select model'
    press Escape
    until_screen 'Kept model'
    tmux -L "$socket" kill-server
    # Each kind of counting and asking succeeded; what Esc cut off may be logged as the client's leaving.
    ! grep ' POST ' "$scratch/demo.log" | grep -v ' 200 ok \| 499 canceled ' || fail "a request failed"
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
[ "${INTERACTIVE:-yes}" = no ] || interact
stop || fail "the demo ended with exit code $?"
check_log
echo "Claude Code $version against the demo: ok"
