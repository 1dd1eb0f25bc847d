"""Memory of a connection changes no bytes: warm and cold give the same, to the client and to the
upstream; and no part of one client's head is used for another."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from gateway.app import NOT_JUDGED, dialect_of
from gateway.config import KINDS, Auth, Cache, Config, Secret
from gateway.telemetry.access_log import AccessLog
from tests.fakes.messages import SSE_HEAD, Script, chunked, json_response, message, text_events
from tests.support.client import ask
from tests.support.in_memory import InMemory, WireClient, in_memory
from tests.support.running import config, upstream

ORIGIN = "https://app.example"
KEYS = {"laptop": Secret("sk-laptop"), "phone": Secret("sk-phone")}
URL = "http://up.example/api"


def settings(*accounts: str, **fields: Any) -> Config:
    """Two keys, an allowed origin, and one upstream with these accounts."""
    fields.setdefault("auth", Auth(mode="all_except_health", keys=KEYS))
    fields.setdefault("limits", {"linger_timeout": 0.001})
    fields.setdefault("server", {"allowed_origins": (ORIGIN,), "allowed_hosts": ("gw.example",)})
    # A cache reports the second request with the same prompt as a hit.
    fields.setdefault("cache", Cache(trace=False))
    return config(upstream(URL, *(accounts or ("a@x",)), models={"m": "glm"}), models={"n": "m"}, **fields)


# A session of one of the SDKs, as short as it can be.
CLIENT = (
    *("Host: localhost", "Accept: application/json", "User-Agent: cli/1.0", "X-App: cli"),
    *("anthropic-version: 2023-06-01", "anthropic-beta: a,b", "X-Stainless-OS: Linux"),
)
SESSION = "X-Claude-Code-Session-Id: s-1"


@dataclass(frozen=True)
class Request:
    """A client's request; the lines of its head without the key and the length."""

    start: str
    lines: Sequence[str] = CLIENT
    body: bytes = b""
    key: str = "X-Api-Key: sk-laptop"

    def raw(self, *, key: str | None = None, more: bytes = b"") -> bytes:
        """Its bytes; `more`: blanks behind the body."""
        body = self.body + more
        length = [f"Content-Length: {len(body)}"] if self.body else []
        lines = [self.start, *self.lines, *filter(None, [self.key if key is None else key]), *length]
        return "\r\n".join([*lines, "", ""]).encode() + body


WHOLE, STREAM = orjson.dumps(ask()), orjson.dumps(ask(stream=True))
POST = "POST /v1/messages HTTP/1.1"

REQUESTS: dict[str, Request] = {
    "message": Request(POST, body=WHOLE),
    "stream": Request(POST, body=STREAM),
    "session": Request(POST, [*CLIENT, SESSION], WHOLE),
    "query": Request("POST /v1/messages?beta=true HTTP/1.1", body=WHOLE),
    "origin": Request(POST, [*CLIENT, f"Origin: {ORIGIN}"], STREAM),
    "bearer": Request(POST, body=WHOLE, key="Authorization: Bearer sk-laptop"),
    "named by Connection": Request(POST, [*CLIENT, "Connection: keep-alive, X-App"], WHOLE),
    "ids": Request(POST, [*CLIENT, "X-Request-Id: 1", "traceparent: 00-1"], WHOLE),
    "blanks": Request(POST, [*CLIENT, "anthropic-x:  1 "], WHOLE),
    "HTTP/1.0": Request("POST /v1/messages HTTP/1.0", body=STREAM),
    "count": Request("POST /v1/messages/count_tokens HTTP/1.1", body=WHOLE),
    "models": Request("GET /v1/models HTTP/1.1"),
    "one model": Request("GET /v1/models/n HTTP/1.1"),
    "health": Request("GET /healthz HTTP/1.1", key=""),
    "HEAD": Request("HEAD / HTTP/1.1", key=""),
    "OPTIONS": Request("OPTIONS /v1/messages HTTP/1.1", [*CLIENT, f"Origin: {ORIGIN}"], key=""),
    "bad body": Request(POST, [*CLIENT, f"Origin: {ORIGIN}"], b"{"),
    "no key": Request(POST, [*CLIENT, f"Origin: {ORIGIN}"], WHOLE, key=""),
    "wrong key": Request(POST, [*CLIENT, f"Origin: {ORIGIN}"], WHOLE, key="X-Api-Key: sk-wrong"),
    "wrong host": Request(POST, ["Host: evil.example"], WHOLE),
    "wrong origin": Request(POST, [*CLIENT, "Origin: https://evil.example"], WHOLE),
    "not found": Request("GET /nowhere HTTP/1.1", [*CLIENT, f"Origin: {ORIGIN}"]),
    "wrong method": Request("GET /v1/messages HTTP/1.1", [*CLIENT, f"Origin: {ORIGIN}"]),
}

HEAD = [("request-id", "req_theirs"), ("anthropic-ratelimit-tokens-limit", "9"), ("x-should-retry", "true")]


def script_for(target: str, body: Any) -> Script:
    """How the upstream responds."""
    if "count_tokens" in target:
        return json_response(200, {"input_tokens": 12}, HEAD)
    return [SSE_HEAD + chunked(text_events())] if body.get("stream") else json_response(200, message(), HEAD)


@dataclass(frozen=True)
class Outcome:
    response: bytes
    """The client's bytes, without dates; the gateway's own ids are all the same."""
    requests: tuple[bytes, ...]
    line: str
    """The log line, without times and ids."""


async def outcome(stage: InMemory, client: WireClient, *reads: bytes) -> Outcome:
    """One request in these reads, served to its end."""
    requests, lines = len(stage.requests), len(stage.lines)
    for read in reads:
        if client.wire.state == "OPEN":
            client.write(read)
    await stage.turn()
    if len(stage.requests) > requests:
        await stage.play(script_for(stage.requests[-1].target, stage.requests[-1].document))
    (line,) = [line for line in stage.lines[lines:] if " req_" in line]
    line = re.sub(r" (first|took)=\S+", "", re.sub(r"^\S+", "", line.partition(" req_")[2]))
    response = re.sub(rb"req_[0-9a-f]{24}", b"req_ours", client.wire.written())
    response = re.sub(rb'"created(_at)?":("[^"]*"|\d+)', b'"created":0', response)
    return Outcome(response, tuple(request.raw for request in stage.requests[requests:]), line)


async def same_connection(stage: InMemory, client: WireClient, request: Request) -> WireClient:
    await outcome(stage, client, request.raw())
    return client if client.wire.state == "OPEN" else stage.connect()


async def another_length(stage: InMemory, client: WireClient, request: Request) -> WireClient:
    await outcome(stage, client, request.raw(more=b" " * 100 * bool(request.body)))
    return client if client.wire.state == "OPEN" else stage.connect()


async def another_connections_template(stage: InMemory, client: WireClient, request: Request) -> WireClient:
    await outcome(stage, client, request.raw())
    await outcome(stage, stage.connect(), request.raw())
    return stage.connect()


async def after_a_reload(stage: InMemory, client: WireClient, request: Request) -> WireClient:
    await outcome(stage, client, request.raw())
    stage.reload(settings())
    return client if client.wire.state == "OPEN" else stage.connect()


async def after_another_key(stage: InMemory, client: WireClient, request: Request) -> WireClient:
    for key in ("sk-phone", "sk-laptop", "sk-wrong", "sk-phone"):
        name, _, scheme = request.key.rpartition(" ")[0].partition(" ")
        line = f"{name} {scheme} {key}".replace("  ", " ") if request.key else ""
        await outcome(stage, client, request.raw(key=line))
        client = client if client.wire.state == "OPEN" else stage.connect()
    return client


async def after_other_heads(stage: InMemory, client: WireClient, request: Request) -> WireClient:
    for other in REQUESTS.values():
        await outcome(stage, client, other.raw())
        client = client if client.wire.state == "OPEN" else stage.connect()
    return client


WAYS = [
    same_connection,
    another_length,
    another_connections_template,
    after_a_reload,
    after_another_key,
    after_other_heads,
]
"""Earlier traffic; returns the connection that the request is sent over."""


def whole(raw: bytes) -> list[bytes]:
    return [raw]


def pieces(raw: bytes) -> list[bytes]:
    """Reads that the connection must put together."""
    return [raw[at : at + 7] for at in range(0, len(raw), 7)]


@pytest.mark.parametrize("cut", [whole, pieces])
@pytest.mark.parametrize("name", REQUESTS)
async def test_warm_and_cold_give_the_same_bytes(name: str, cut: Callable[[bytes], list[bytes]]) -> None:
    request = REQUESTS[name]
    async with in_memory(settings()) as stage:
        cold = await outcome(stage, stage.connect(), *cut(request.raw()))
    assert cold.response.startswith(b"HTTP/1.1 ")
    for way in WAYS:
        async with in_memory(settings()) as stage:
            client = await way(stage, stage.connect(), request)
            assert await outcome(stage, client, *cut(request.raw())) == cold, way.__name__


# Two clients.

FIELDS = [
    *(
        "Content-Type",
        "Accept",
        "User-Agent",
        "X-App",
        "anthropic-version",
        "anthropic-beta",
        "X-Stainless-OS",
    ),
    *("X-Claude-Code-Session-Id", "X-Claude-Code-Other", "anthropic-ratelimit-tokens-limit"),
    *(
        "Accept-Language",
        "Cookie",
        "X-Request-Id",
        "X-Client-Request-Id",
        "traceparent",
        "Referer",
        "X-Token",
    ),
]
ONE, OTHER = "canary-one", "canary-two"
VALUES = [(ONE, OTHER), (f"token={ONE}", f"token={OTHER}"), (f"Bearer {ONE}", f"Bearer {OTHER}")]
"""Values in plain sight, and such as are taken for secrets, which no template keeps."""


@pytest.mark.parametrize("same", [True, False], ids=["one connection", "two connections"])
@pytest.mark.parametrize("values", VALUES, ids=lambda values: values[0].split("c")[0])
@pytest.mark.parametrize("name", FIELDS)
async def test_a_field_of_one_client_is_never_anothers(
    name: str, values: tuple[str, str], same: bool
) -> None:
    others = [line for line in CLIENT if not line.lower().startswith(f"{name.lower()}:")]
    one, other = (Request(POST, [*others, f"{name}: {value}"], WHOLE) for value in values)
    async with in_memory(settings()) as stage:
        cold = await outcome(stage, stage.connect(), other.raw())
    async with in_memory(settings()) as stage:
        client = stage.connect()
        for _ in range(2):
            warm = await outcome(stage, client, one.raw())
        assert OTHER.encode() not in b"".join((warm.response, *warm.requests))
        for _ in range(2):
            client = client if same else stage.connect()
            assert await outcome(stage, client, other.raw()) == cold
        assert ONE.encode() not in b"".join((cold.response, *cold.requests))


@pytest.mark.parametrize("same", [True, False], ids=["one connection", "two connections"])
@pytest.mark.parametrize("field", ["X-Api-Key: {}", "Authorization: Bearer {}", "X-Goog-Api-Key: {}"])
async def test_each_request_is_logged_with_its_own_key(field: str, same: bool) -> None:
    async with in_memory(settings()) as stage:
        client = stage.connect()
        for key, status, name in [
            *(("sk-laptop", 200, "laptop"), ("sk-phone", 200, "phone"), ("sk-unknown", 401, "-")),
            *(("sk-phone", 200, "phone"), ("sk-laptop", 200, "laptop"), ("sk-lapto", 401, "-")),
        ] * 2:
            client = client if same else stage.connect()
            request = Request(POST, body=WHOLE, key=field.format(key))
            what = await outcome(stage, client, request.raw())
            assert what.response.startswith(b"HTTP/1.1 %d " % status)
            assert f" {name} POST /v1/messages " in what.line
            assert not any(key.encode() in raw for raw in what.requests)


@pytest.mark.parametrize("same", [True, False], ids=["one connection", "two connections"])
async def test_an_origin_of_one_client_is_never_anothers(same: bool) -> None:
    async with in_memory(settings()) as stage:
        client = stage.connect()
        for origin, expected in [(ORIGIN, True), ("", False), ("https://evil.example", None)] * 3:
            client = client if same else stage.connect()
            lines = [*CLIENT, f"Origin: {origin}"] if origin else CLIENT
            what = await outcome(stage, client, Request(POST, lines, WHOLE).raw())
            assert (b"403" in what.response[:12]) is (expected is None)
            assert (b"access-control-allow-origin" in what.response) is bool(expected)


async def test_a_session_of_one_client_is_never_anothers() -> None:
    """A conversation stays on its account, and is a session together with its key."""
    async with in_memory(settings("a@x", "b@x")) as stage:
        client, homes = stage.connect(), dict[tuple[str, str], str]()
        conversations = [(key, session) for session in "12" for key in ("sk-laptop", "sk-phone")]
        for key, session in conversations * 3:
            lines = [*CLIENT, f"X-Claude-Code-Session-Id: s-{session}"]
            await outcome(stage, client, Request(POST, lines, WHOLE, f"X-Api-Key: {key}").raw())
            account = stage.requests[-1].account
            assert homes.setdefault((key, session), account) == account
        # New ones go to the account that was used least recently.
        assert list(homes.values()) == ["a", "b", "a", "b"]


@pytest.mark.parametrize("kind", KINDS)
def test_varying_fields_are_not_forwarded(kind: str) -> None:
    """Such a field may differ between heads that match the same template, so that it must not be forwarded."""
    dialect = dialect_of(kind, AccessLog(print))
    without = dialect.forwarded([])
    assert dialect.forwarded([(name, b"1") for name in sorted(NOT_JUDGED)]) == without
    assert not NOT_JUDGED & {b"host", b"origin", b"connection", b"x-claude-code-session-id"}


async def test_paths_and_queries_are_kept_apart() -> None:
    targets = [
        *("/v1/messages", "/v1/messages?beta=true", "/v1/messages?beta=false", "/v1/v1/messages"),
        *("/v1/messages/count_tokens", "/v1/messages/count_tokens?beta=true"),
    ]
    async with in_memory(settings()) as stage:
        client = stage.connect()
        await outcome(stage, client, Request("GET /v1/v1/models HTTP/1.1").raw())
        for target in targets * 3:
            what = await outcome(stage, client, Request(f"POST {target} HTTP/1.1", body=WHOLE).raw())
            (raw,) = what.requests
            assert raw.startswith(f"POST /api{target.replace('/v1/v1', '/v1')} HTTP/1.1\r\n".encode())


# A reload, and the end.


@pytest.mark.parametrize(
    ("request_", "change"),
    [
        (Request(POST, ["Host: gw.example"], WHOLE), {"server": {}}),
        (REQUESTS["origin"], {"server": {}}),
        (REQUESTS["message"], {"auth": Auth(mode="strict", keys={"laptop": Secret("sk-new")})}),
    ],
    ids=["host", "origin", "key"],
)
async def test_a_reload_applies_to_warm_connections(request_: Request, change: Any) -> None:
    async with in_memory(settings()) as stage:
        client = stage.connect()
        for _ in range(2):
            before = await outcome(stage, client, request_.raw())
            assert before.response.startswith(b"HTTP/1.1 200 ")
        stage.reload(settings(**change))
        refused = await outcome(stage, client, request_.raw())
        assert refused.response[9:12] in (b"401", b"403")
        assert refused.requests == ()
        stage.reload(settings())
        assert await outcome(stage, client, request_.raw()) == before


async def test_draining_applies_to_warm_connections() -> None:
    async with in_memory(settings()) as stage:
        client = stage.connect()
        for _ in range(2):
            await outcome(stage, client, REQUESTS["message"].raw())
        stage.gateway.runtime.draining = True
        what = await outcome(stage, client, REQUESTS["message"].raw())
        assert what.response.startswith(b"HTTP/1.1 503 ")
        assert what.requests == ()


async def test_every_account_authenticates_with_its_own_key() -> None:
    """Conversations are spread over all of them, and all of their requests have one head."""
    async with in_memory(settings("one@x", "two@x", "three@x")) as stage:
        client, served = stage.connect(), set()
        for number in range(12):
            if number % 4 == 3:
                stage.reload(settings("one@x", "two@x", "three@x"))
            body = orjson.dumps(ask(f"conversation {number}"))
            what = await outcome(stage, client, Request(POST, body=body).raw())
            key = stage.requests[-1].key
            assert f"x-account-email: {str(key).removeprefix('key-of-')}\r\n".encode() in what.response
            served.add(key)
        assert len(served) == 3
