"""The scenarios of the soak's clients, their expected outcomes, and the configuration: tables.

An outcome is a short word: `json`, `stream` (whole, grammar right), `stream, then error` (an error
event as its last), `status NNN`, `left` (the client went away on purpose). Anything that a scenario
does not name is unexplained.
"""

from dataclasses import dataclass
from typing import Any, Literal

from tests.support.client import ask

Manner = Literal["patient", "leaves at once", "leaves in the middle", "reads slowly"]
BIG_BODY = 3_000_000
KEY = "sk-soak-client"
ACCOUNTS = 2
"""Of each upstream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One kind of request. `weight`: how often among the others."""

    name: str
    outcomes: tuple[str, ...]
    model: str = ""
    weight: int = 4
    stream: bool = False
    body: int = 0
    """Bytes of padding in the message."""
    manner: Manner = "patient"
    path: str = "/v1/messages"
    method: str = "POST"
    raw: bytes | None = None
    """This body and no other."""
    key: str = ""
    """This key in place of the right one."""
    declared: int = 0
    """Content-Length of a body that is never sent."""

    def payload(self, number: int) -> bytes | dict[str, Any]:
        """Return the request's body. `number` makes it a separate conversation."""
        if self.raw is not None or self.method != "POST":
            return self.raw or b""
        return ask(f"nonce-{number} " + "x" * self.body, model=self.model, stream=self.stream)


_SERVER_TROUBLE = ("status 500", "status 502", "status 503", "status 529")
_BROKEN = ("stream, then error", "status 502")
"""A status when content and fault were read at once: then the client had got nothing yet."""

SCENARIOS = (
    Scenario(name="json", model="soak-json", outcomes=("json",), weight=20),
    Scenario(name="stream", model="soak-stream", stream=True, outcomes=("stream",), weight=20),
    Scenario(name="slow stream", model="soak-slow", stream=True, outcomes=("stream",)),
    Scenario(name="big body", model="soak-json", body=BIG_BODY, outcomes=("json",), weight=2),
    Scenario(
        name="slow reader",
        model="soak-large",
        stream=True,
        manner="reads slowly",
        outcomes=("stream",),
        weight=1,
    ),
    Scenario(
        name="client leaves in the middle",
        model="soak-endless",
        stream=True,
        manner="leaves in the middle",
        outcomes=("left",),
    ),
    Scenario(
        name="client leaves at once",
        model="soak-endless",
        stream=True,
        manner="leaves at once",
        outcomes=("left",),
    ),
    Scenario(name="rotation", model="soak-rotate", stream=True, outcomes=("stream",), weight=8),
    Scenario(name="fallback upstream", model="soak-fallback", outcomes=("json",), weight=8),
    Scenario(
        name="a retry saves it", model="soak-failing-once", outcomes=("json", *_SERVER_TROUBLE), weight=2
    ),
    Scenario(name="limited", model="soak-limited", outcomes=("status 429",)),
    Scenario(name="failing", model="soak-failing", outcomes=_SERVER_TROUBLE),
    Scenario(name="overloaded", model="soak-overloaded", stream=True, outcomes=("status 529",)),
    Scenario(name="refused", model="soak-refused", outcomes=("status 400",)),
    Scenario(name="reset before the head", model="soak-reset", outcomes=("status 502", "status 503")),
    Scenario(name="reset in the middle", model="soak-broken", stream=True, outcomes=_BROKEN),
    Scenario(name="cut short", model="soak-cut", stream=True, outcomes=_BROKEN),
    Scenario(name="error event", model="soak-error-event", stream=True, outcomes=_BROKEN),
    Scenario(name="bad chunk", model="soak-bad-chunk", stream=True, outcomes=_BROKEN),
    Scenario(name="error event first", model="soak-error-first", stream=True, outcomes=_SERVER_TROUBLE),
    Scenario(name="empty stream", model="soak-empty", stream=True, outcomes=_SERVER_TROUBLE),
    Scenario(
        name="translated stream", model="soak-gemini-stream", stream=True, outcomes=("stream",), weight=8
    ),
    Scenario(name="translated json", model="soak-gemini-stream", outcomes=("json",)),
    Scenario(name="translated slow", model="soak-gemini-slow", stream=True, outcomes=("stream",)),
    Scenario(name="translated cut short", model="soak-gemini-cut", stream=True, outcomes=_BROKEN),
    Scenario(name="translated cut, collected", model="soak-gemini-cut", outcomes=_SERVER_TROUBLE),
    Scenario(name="translated limited", model="soak-gemini-limited", outcomes=("status 429",)),
    Scenario(
        name="translated, client leaves",
        model="soak-gemini-endless",
        stream=True,
        manner="leaves in the middle",
        outcomes=("left",),
    ),
    Scenario(
        name="count_tokens", model="soak-json", path="/v1/messages/count_tokens", outcomes=("json",), weight=8
    ),
    Scenario(name="models", method="GET", path="/v1/models", outcomes=("json",), weight=2),
    Scenario(name="health", method="GET", path="/healthz", outcomes=("json",), weight=2),
    Scenario(
        name="broken json", raw=b'{"model": "soak-json", "messages": [', outcomes=("status 400",), weight=2
    ),
    Scenario(name="wrong key", model="soak-json", key="wrong", outcomes=("status 401",), weight=2),
    Scenario(name="unknown model", model="not-served", outcomes=("status 404",), weight=2),
    Scenario(name="unknown path", path="/v1/nothing", model="soak-json", outcomes=("status 404",), weight=2),
    Scenario(name="too large", declared=200_000_000, outcomes=("status 413",), weight=1),
)

GOOD = ("json", "stream", "slow", "large", "endless", "rotate", "broken", "cut", "error-event", "bad-chunk")
ALONE = ("limited", "failing", "failing-once", "overloaded", "reset", "error-first", "empty", "refused")
"""Behaviours that make an upstream or account cool down: each has its own upstream, so that the
others' traffic goes on."""
GEMINI = ("stream", "slow", "cut", "limited", "endless")


_HEAD = f"""\
[server]
host = "127.0.0.1"

[auth]
mode = "all_except_health"
api_key = "{KEY}"

[retry]
max_wait = "2s"
"""
_UPSTREAM = """
[upstreams.{name}]
kind = "{kind}"
base_url = "http://127.0.0.1:{port}"
priority = {priority}
models = {{ {models} }}
"""
_ACCOUNT = """
[[upstreams.{name}.accounts]]
email = "{name}{number}@example.com"
api_key = "sk-{name}-{number}"
"""


def _upstream(
    name: str, port: int, models: dict[str, str], kind: str = "anthropic", priority: int = 0
) -> str:
    table = ", ".join(f'"{model}" = "{wire}"' for model, wire in models.items())
    accounts = [_ACCOUNT.format(name=name, number=number) for number in range(1, ACCOUNTS + 1)]
    text = _UPSTREAM.format(name=name, kind=kind, port=port, models=table, priority=priority)
    return text + "".join(accounts)


def config(upstream_port: int) -> str:
    """Return gateway.toml: an upstream for the good, one for each behaviour in ALONE, a fallback, one translated."""
    good = {f"soak-{name}": f"soak-{name}" for name in GOOD}
    alone = {name: {f"soak-{name}": f"soak-{name}"} for name in ALONE}
    alone["overloaded"]["soak-fallback"] = "soak-overloaded"
    translated = {f"soak-gemini-{name}": f"soak-{name}" for name in GEMINI}
    return "".join(
        (
            _HEAD,
            _upstream("good", upstream_port, good),
            *(_upstream(name, upstream_port, models) for name, models in alone.items()),
            _upstream("fallback", upstream_port, {"soak-fallback": "soak-json"}, priority=1),
            _upstream("translated", upstream_port, translated, kind="gemini"),
        )
    )
