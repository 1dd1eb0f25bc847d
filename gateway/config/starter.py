"""The file that `gateway init` writes: a small configuration that works, and every other key as a comment.

A line that begins with `#` and a letter, `[` or `"` is a setting with its default or an example; one with `# ` is
prose. A test removes the comment signs and loads the result.
"""

from textwrap import fill

from gateway.config.kinds import CURES, KINDS, REPAIRS
from gateway.config.presets import LOCAL, PRESETS

_MAIN = """\
# The gateway's configuration. `gateway check` reads it and says what is wrong, without the network.
#
# A secret is written as a reference: "${NAME}" takes it from the environment,
# "${file:/path}" from a file. Durations: "500ms", "10s", "5m", "1h". Sizes: 65536, "64MiB".
# Lines that are commented out show the default, or an example where there is none.

# How tokens are counted: "auto" asks an upstream that can, "estimate" counts here, "zero" says 0.
#count_tokens = "auto"

[server]
#host = "127.0.0.1"
#port = 8045
# Processes that share the port; what they tell each other is in [sharing].
#workers = 1
# Both PEM files; a relative name starts beside this file.
#tls = { certificate = "cert.pem", private_key = "key.pem" }
# How much of an account's name clients see in X-Account-Email: "full", "masked" or "none".
#expose = "full"
# Names under which clients reach this server, besides loopback; pages that may call it.
#allowed_hosts = ["gateway.lan"]
#allowed_origins = []
# The edge: sizes and times of one connection. The defaults suit agents.
#max_request_line = "8KiB"
#max_head = "32KiB"
#max_body = "64MiB"
#header_timeout = "10s"
#body_timeout = "30s"
#keep_alive_timeout = "75s"
#max_connections = 1024
#write_timeout = "60s"
#linger_timeout = "2s"
#linger_bytes = "8MiB"
#connect_timeout = "10s"
#first_byte_timeout = "300s"
#first_byte_timeout_complete = "600s"
#idle_timeout = "300s"
#pool_idle_timeout = "60s"
#pool_max_idle = 32
#drain_timeout = "30s"
#high_water = "64KiB"

# Who may come in: "auto" asks for a key unless the server listens on loopback only;
# "strict" always, "all_except_health" for all but the health routes, "off" never.
[auth]
#mode = "auto"
#api_key = "${GATEWAY_API_KEY}"
# Several keys; the name of the one that was used appears in the log.
#api_keys = { laptop = "${LAPTOP_KEY}", ci = "${file:/run/secrets/ci}" }

# What one request may cost: tries on different accounts, and waiting between them.
[retry]
#max_attempts = 3
#max_wait = "20s"

# How long a client of a stream may hear nothing before it gets a ping.
[stream]
#ping_after = "15s"

# Requests of Claude Code that need no upstream: the gateway responds by itself.
[intercept]
#warmup = true
#quota_probe = false

# Find out why prompt caches are lost: the log line says it. Hashes of prompts are kept for that.
[cache]
#trace = true

# Who may look in at /status: "loopback" is this machine, and others with a key; true is everyone who may send requests.
[status]
#enabled = "loopback"

# Several processes: whether workers tell each other what they learn, and whether each takes its part of
# `max_concurrent`, instead of all of it.
[sharing]
#workers = true
#share_limits = false
# Gateways on several machines share over Valkey or Redis; this needs pip install 'messages-gateway[sharing]'.
#url = "valkey://10.0.0.20:6379/0"
# Seals what lies there: openssl rand -hex 32, the same on all machines.
#secret = "${file:/run/secrets/store}"
#prefix = "gateway:"
# Trusted instead of the system's certificates, for valkeys://.
#ca_file = "ca.pem"

# Requested name, or pattern with `*`, to a model; "upstream/model" sends it to that upstream only.
[models]
#"claude-3-5-haiku-*" = "claude-haiku-4-5"
#"fast" = "gemini/gemini-3.8-flash"

PRESETS
[upstreams.anthropic]
preset = "anthropic"
# 0 is used first; upstreams with equal numbers share the load; a higher number is a fallback.
#priority = 0
# Requests in flight per account; 0 sets no limit. An account may have its own number.
#max_concurrent = 0
# An upstream with this table serves only what it names; "*" names the rest. `context` tells clients how
# many tokens the model's window has, where its host does not.
#models = { "claude-*" = "claude-sonnet-5-5", "*" = { model = "claude-haiku-4-5", context = 200000 } }
# Instead of a preset: how it speaks (SPOKEN) and where it is.
#kind = "anthropic"
#base_url = "https://api.anthropic.com"
# Allow http:// beyond loopback and private hosts: nobody else can listen on the way.
#plain_http = false
# The credential's header: "x-api-key" or "authorization".
#auth_header = "x-api-key"
REPAIRS
#repair = ["deferred_tools"]
#no_repair = ["merge_roles"]
# For hosts that refuse cache_control, or the role system ("fold" or "keep").
#strip_cache_control = false
#system_role = "keep"
# Ask for a stream also when the client wants one JSON response.
#stream_internally = false
# Whether it keeps message threads; else SDKs are told to send the whole history.
#threads = true
CURES
#cures = ["user_id"]
#no_cures = ["adaptive_thinking"]
#drop_betas = ["fast-mode-*"]
#drop_fields = ["context_management"]
#proxy = "http://user:password@proxy.lan:3128"
# PEM certificates trusted instead of the system's.
#ca_file = "ca.pem"

[[upstreams.anthropic.accounts]]
email = "me@example.com"
api_key = "${ANTHROPIC_KEY_1}"
#max_concurrent = 0

# One more account: requests move on to it when the first is out of quota.
#[[upstreams.anthropic.accounts]]
#email = "also-me@example.com"
#api_key = "${ANTHROPIC_KEY_2}"
"""


def _prose(text: str) -> str:
    return fill(text, 98, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


_PRESETS = ", ".join(name for name in PRESETS if name not in LOCAL)
_LOCAL = ", ".join(name for name in PRESETS if name in LOCAL)

_WORDS = {
    "PRESETS": _prose(f"The upstreams. Presets: {_PRESETS}; on this machine, without a key: {_LOCAL}."),
    "REPAIRS": _prose(f"Repairs of the history, on or off by name: {', '.join(REPAIRS)}."),
    "CURES": _prose(
        "What is changed of requests that it refuses, from the start or never: "
        f"{', '.join(CURES)}. Betas and fields that it never gets."
    ),
    "SPOKEN": ", ".join(f'"{name}"' for name in KINDS),
}
"""Replacements for words of the text above: lists that are kept elsewhere."""


def _fill_in(text: str) -> str:
    for word, words in _WORDS.items():
        text = text.replace(word, words)
    return text


STARTER = "\n".join([_fill_in(_MAIN), *(kind.starter for kind in KINDS.values() if kind.starter)])
"""The whole file."""
