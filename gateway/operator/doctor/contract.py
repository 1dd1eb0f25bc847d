"""Checks of what any gateway promises its clients, over real sockets.

Checks that need to see what reached the upstream, or to choose its response, are in `behind`.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import NamedTuple

import orjson

from gateway.messages.json_values import as_dict, as_text, json_in
from gateway.operator.doctor.client import Response, open_response
from gateway.operator.doctor.findings import Fault, Finding, skip, warn
from gateway.operator.doctor.scripted import ScriptedUpstream
from gateway.operator.peer import GatewayAddress

LIST_PATIENCE = 3.0
"""Seconds in which Claude Code expects the list of models."""

HELLO_PATIENCE = 1.0
"""Seconds after which a person notices that a client's start is slow."""

LARGE = 32_000_000
"""Bytes of the largest request that the API takes."""

PLAIN, BEARER = {"x-api-key": "{}"}, {"authorization": "Bearer {}"}
"""Header fields in which clients send their key; `{}` is its place."""

NO_KEY = "no key is known: say it with --key"

OWN_KEY = "is the key one of that gateway's? Name another with --key"

REDIRECTS = (301, 302, 303, 307, 308)


class Stage(NamedTuple):
    """A gateway under examination, and the upstream behind it, if that is a scripted one."""

    target: GatewayAddress
    key: str
    """"" if unknown."""
    upstream: ScriptedUpstream | None = None
    ping_after: float = 0.0
    """Seconds of silence after which the gateway must send a ping."""

    def headers(self) -> dict[str, str]:
        """Return the header fields of an ordinary request."""
        fields = {"anthropic-version": "2023-06-01", "accept": "application/json"}
        return {**fields, "x-api-key": self.key} if self.key else fields


class StageCheck(NamedTuple):
    """A check of a gateway."""

    name: str
    run: Callable[[Stage], Awaitable[Finding | str]]
    heavy: bool = False
    """Whether it blocks the loop for so long that it runs alone, after the others, which measure times."""


async def ask(
    stage: Stage, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> tuple[Response, bytes]:
    """Send a request; return the response and its body. `headers`: None for those of an ordinary client, whose key must
    be accepted. Raises Fault."""
    fields = stage.headers() if headers is None else headers
    async with open_response(stage.target, method, path, body, fields) as response:
        content = await response.body()
    if headers is None and response.status in (401, 403):
        if not stage.key:
            raise Fault(NO_KEY, state="skip")
        raise Fault(f"{path} gets {response.status}: {_words(content)}", OWN_KEY)
    return response, content


async def key(fields: Mapping[str, str], stage: Stage) -> Finding | str:
    """Check that the gateway accepts a key in these fields; `{}` is its place."""
    if not stage.key:
        return skip(NO_KEY)
    headers = {name: value.format(stage.key) for name, value in fields.items()}
    response, _ = await ask(stage, "GET", "/v1/models", headers=headers)
    if response.status in (401, 403):
        raise Fault(f"the key is refused with {response.status}", OWN_KEY)
    return f"taken ({response.status})"


async def wrong_key(stage: Stage) -> Finding | str:
    """Check that a wrong key is refused with an error that clients do not retry."""
    response, body = await ask(stage, "GET", "/v1/models", headers={"x-api-key": "wrong-key-of-doctor"})
    if response.status == 200:
        if stage.key and stage.upstream is not None:
            raise Fault("a wrong key comes in", "check [auth]")
        return warn("no key is asked for", "right on loopback only: else set auth.api_key")
    if response.status != 401:
        raise Fault(
            f"a wrong key gets {response.status} instead of 401",
            "clients would retry, or show something else",
        )
    _error_of(response, body, "authentication_error")
    if response.headers.get("x-should-retry") != "false":
        return warn("401 without x-should-retry: false", "Claude Code tries again for three minutes")
    return "refused with 401"


async def hello(stage: Stage) -> Finding | str:
    """Check that the request with which clients open a connection gets a fast response."""
    began = time.monotonic()
    response, _ = await ask(stage, "HEAD", "/api/hello", headers={})
    took = time.monotonic() - began
    if response.status == 401:
        return warn("HEAD /api/hello gets 401", "clients go on all the same; auth.mode strict does this")
    if response.status != 200:
        raise Fault(
            f"HEAD /api/hello gets {response.status}",
            "a client opens its connection with it: 200 without a key",
        )
    if took > HELLO_PATIENCE:
        return warn(f"HEAD /api/hello took {took:.1f} s", "each start of a client waits so long")
    return "200"


async def models(stage: Stage) -> Finding | str:
    """Check that the list of models arrives in time, in the form that clients read."""
    began = time.monotonic()
    names = await _names(stage)
    took = time.monotonic() - began
    if took > LIST_PATIENCE:
        raise Fault(
            f"the list took {took:.1f} s", "Claude Code gives up after 3 s: it must not wait for upstreams"
        )
    if not names:
        return warn(
            "the list is empty", "clients cannot offer a model; those that know its name can ask for it"
        )
    shown = [name for name in names if "claude" in name or "anthropic" in name]
    if not shown:
        return warn(
            f"{len(names)} models, none with claude or anthropic in its name",
            "Claude Code's /model shows only such: name one in [models]",
        )
    return f"{len(names)} models, {len(shown)} shown by Claude Code"


async def _names(stage: Stage) -> list[str]:
    response, body = await ask(stage, "GET", "/v1/models?limit=1000")
    if response.status in REDIRECTS:
        raise Fault(
            f"the list is redirected ({response.status})", "for clients that is a failure: serve it in place"
        )
    if response.status != 200:
        raise Fault(f"the list gets {response.status}: {_words(body)}")
    try:
        return [str(entry["id"]) for entry in orjson.loads(body)["data"]]
    except (ValueError, KeyError, TypeError):
        raise Fault("the list has no data[] with an id each", "clients cannot read it") from None


async def counting(stage: Stage) -> Finding | str:
    """Check that tokens are counted, which costs none."""
    names = await _names(stage)
    name = next((name for name in names if "claude" in name), names[0] if names else "claude-sonnet-5-5")
    body = orjson.dumps({"model": name, "messages": [{"role": "user", "content": "hi"}]})
    response, payload = await ask(stage, "POST", "/v1/messages/count_tokens?beta=true", body)
    if response.status != 200:
        raise Fault(f"count_tokens gets {response.status}: {_words(payload)}")
    count = as_dict(json_in(payload)).get("input_tokens")
    if type(count) is not int:
        raise Fault("count_tokens brings no input_tokens", "clients compact by it")
    return f"{count} tokens for {name}"


async def error_shape(stage: Stage) -> Finding | str:
    """Check that the gateway's own errors have the protocol's form, on the path that Claude Code uses."""
    body = b'{"model": "claude-doctor", "messages": ['
    response, payload = await ask(stage, "POST", "/v1/messages?beta=true", body)
    if response.status != 400:
        raise Fault(f"a broken body gets {response.status} instead of 400: {_words(payload)}")
    _error_of(response, payload, "invalid_request_error")
    return "a broken body gets 400 in the protocol's form"


async def unknown_path(stage: Stage) -> Finding | str:
    """Check that an unknown path is 404."""
    response, body = await ask(stage, "GET", "/v1/doctor-asks-for-nothing")
    if response.status != 404:
        raise Fault(
            f"an unknown path gets {response.status} instead of 404", "clients take it for something else"
        )
    _error_of(response, body, "not_found_error")
    return "404"


async def large_body(stage: Stage) -> Finding | str:
    """Check that the largest request is read. Its JSON is broken at the end, so that it costs nothing."""
    start = b'{"model": "claude-doctor", "messages": [{"role": "user", "content": "'
    body = start + b"x" * (LARGE - len(start))
    response, payload = await ask(stage, "POST", "/v1/messages", body)
    if response.status != 400:
        raise Fault(f"a body of 32 MB gets {response.status}: {_words(payload)}", LARGE_REMEDY)
    return "32 MB are read"


LARGE_REMEDY = "long sessions and /compact need it: raise server.max_body, or the limit of a proxy in front"


OUTSIDE = (
    StageCheck("key in x-api-key", partial(key, PLAIN)),
    StageCheck("key as a bearer token", partial(key, BEARER)),
    StageCheck("both headers at once", partial(key, PLAIN | BEARER)),
    StageCheck("a wrong key", wrong_key),
    StageCheck("HEAD /api/hello", hello),
    StageCheck("/v1/models?limit=1000", models),
    StageCheck("count_tokens", counting),
    StageCheck("form of errors", error_shape),
    StageCheck("unknown path", unknown_path),
    StageCheck("32 MB body", large_body, heavy=True),
)
"""Checks that work with any gateway and cost no tokens."""


def _error_of(response: Response, body: bytes, type: str) -> None:
    """Check that a body is the protocol's error of this type. Raises Fault."""
    document = as_dict(json_in(body))
    error = as_dict(document.get("error"))
    if document.get("type") != "error" or error.get("type") != type:
        raise Fault(
            f"{response.status} is not an error of type {type}: {_words(body)}", "clients act by the type"
        )
    if not as_text(error.get("message")):
        raise Fault(f"{response.status} has no message", "clients show it, and recover by its words")
    if "request-id" not in response.headers:
        raise Fault(
            f"{response.status} has no request-id", "clients show it; without it no log line can be found"
        )


def _words(body: bytes) -> str:
    """Return the message of an error, or the beginning of its body."""
    error = as_dict(json_in(body)).get("error")
    message = error.get("message") if isinstance(error, dict) else error
    return str(message or body[:80].decode("utf-8", "replace") or "nothing")
