"""The client's own dialect: which bytes and fields go upstream, and how responses are read."""

import json
from typing import Any

import orjson
import pytest

from gateway import __version__
from gateway.config import Account, Secret, Upstream
from gateway.dialects.anthropic import AnthropicDialect, base_path, new_dialect
from gateway.dialects.base import WITHOUT_THINKING, Cure, Outgoing, Purpose
from gateway.messages.request import read_request
from gateway.messages.stream import StreamWriter
from gateway.routing.credentials import NO_CREDENTIAL, Credential
from gateway.routing.failures import Failure, FailureKind
from tests.support.incoming import Incoming

DIALECT = AnthropicDialect()
KEY = Credential("api_key", Secret("sk-1"))
BODY = b'{ "model":"m", "max_tokens": 1.50, "messages": [{"role":"user","content":"caf\\u00e9"}], "stream":true }'


def upstream(**fields: Any) -> Upstream:
    chosen = {"base_url": "https://api.example.com", "accounts": (Account(name="a"),), **fields}
    return Upstream(name="up", kind="anthropic", **chosen)


def incoming(body: bytes = BODY, *, purpose: Purpose = "messages", query: str = "") -> Incoming:
    return Incoming(parsed=read_request(body), purpose=purpose, query=query)


def encode(
    request: Incoming, *, model: str = "m", stream: bool = True, cures: tuple[Cure, ...] = (), **fields: Any
) -> Outgoing:
    return DIALECT.encode(upstream(**fields), model, request, stream=stream, cures=cures)


# Where it goes.


@pytest.mark.parametrize(
    ("base_url", "purpose", "query", "target"),
    [
        ("https://h", "messages", "", "/v1/messages"),
        ("https://h", "messages", "beta=true", "/v1/messages?beta=true"),
        ("https://h/api/anthropic", "messages", "", "/api/anthropic/v1/messages"),
        ("http://127.0.0.1:8080", "count_tokens", "beta=true", "/v1/messages/count_tokens?beta=true"),
        ("https://h/api", "count_tokens", "", "/api/v1/messages/count_tokens"),
    ],
)
def test_the_target(base_url: str, purpose: Purpose, query: str, target: str) -> None:
    outgoing = encode(incoming(purpose=purpose, query=query), base_url=base_url)
    assert (outgoing.method, outgoing.target) == ("POST", target)


def test_the_path_of_a_base_url() -> None:
    assert [base_path(url) for url in ("https://h", "https://h/a/b")] == ["", "/a/b"]


# Its head.


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        (b"anthropic-version", True),
        (b"anthropic-beta", True),
        (b"anthropic-dangerous-direct-browser-access", True),
        (b"content-type", True),
        (b"accept", True),
        (b"user-agent", True),
        (b"x-app", True),
        (b"x-stainless-timeout", True),
        (b"x-claude-code-session-id", True),
        (b"authorization", False),
        (b"x-api-key", False),
        (b"x-goog-api-key", False),
        (b"proxy-authorization", False),
        (b"cookie", False),
        (b"host", False),
        (b"origin", False),
        (b"referer", False),
        (b"forwarded", False),
        (b"x-forwarded-for", False),
        (b"x-real-ip", False),
        (b"via", False),
        (b"connection", False),
        (b"keep-alive", False),
        (b"te", False),
        (b"trailer", False),
        (b"upgrade", False),
        (b"expect", False),
        (b"transfer-encoding", False),
        (b"content-length", False),
        (b"content-encoding", False),
        (b"accept-encoding", False),
    ],
)
def test_which_fields_go_upstream(name: bytes, passes: bool) -> None:
    assert ((name, b"theirs") in DIALECT.forwarded([(name, b"theirs")])) is passes


def test_headers_added_if_absent() -> None:
    assert DIALECT.forwarded([]) == [
        (b"anthropic-version", b"2023-06-01"),
        (b"user-agent", f"messages-gateway/{__version__}".encode()),
        (b"content-type", b"application/json"),
    ]
    given = [
        (b"content-type", b"application/json; charset=utf-8"),
        (b"anthropic-version", b"2026-10-21"),
        (b"user-agent", b"claude-cli"),
        (b"anthropic-beta", b"a"),
        (b"accept-encoding", b"gzip"),
        (b"anthropic-beta", b"b"),
    ]
    assert DIALECT.forwarded(given) == [field for field in given if field[0] != b"accept-encoding"]


def test_fields_that_connection_names_stay_here() -> None:
    head = [
        (b"connection", b"keep-alive, X-App"),
        (b"x-app", b"cli"),
        (b"connection", b"anthropic-beta"),
        (b"anthropic-beta", b"a"),
        (b"accept", b"*/*"),
    ]
    names = [name for name, _ in DIALECT.forwarded(head)]
    assert names == [b"accept", b"anthropic-version", b"user-agent", b"content-type"]


@pytest.mark.parametrize(
    ("auth_header", "credential", "expected"),
    [
        ("x-api-key", KEY, [(b"x-api-key", b"sk-1")]),
        ("authorization", KEY, [(b"authorization", b"Bearer sk-1")]),
        ("x-api-key", Credential("bearer", Secret("t")), [(b"authorization", b"Bearer t")]),
        ("x-api-key", NO_CREDENTIAL, []),
        ("authorization", NO_CREDENTIAL, []),
    ],
)
def test_the_fields_that_every_request_carries(
    auth_header: Any, credential: Credential, expected: list[tuple[bytes, bytes]]
) -> None:
    fields = DIALECT.fields(upstream(auth_header=auth_header), credential)
    assert fields == [(b"accept-encoding", b"identity"), *expected]


# Its body.


def test_a_request_without_repairs_is_forwarded_unchanged() -> None:
    request = incoming()
    outgoing = encode(request)
    assert outgoing.body is request.parsed.raw
    assert outgoing.repairs == ()


def test_a_mapped_model_is_spliced_in_place() -> None:
    assert encode(incoming(), model="glm-4.7").body == BODY.replace(b'"m"', b'"glm-4.7"')


def test_only_a_repair_rewrites_the_body() -> None:
    body = BODY.replace(b"caf\\u00e9", b" ")
    outgoing = encode(incoming(body), model="x")
    assert outgoing.repairs == ("empty_text",)
    assert orjson.loads(outgoing.body) == {"model": "x", "max_tokens": 1.5, "messages": [], "stream": True}
    assert encode(incoming(body), repairs=frozenset()).body == body


@pytest.mark.parametrize(
    "value",
    [b"18446744073709551617", b"-9223372036854775809", b"1e+300", b"0.1", b"NaN", b'"\\ud83d"', b"null"],
)
def test_a_rewritten_body_has_the_same_values(value: bytes) -> None:
    body = BODY.replace(b"caf\\u00e9", b" ").replace(b"1.50", value)
    outgoing = encode(incoming(body))
    assert outgoing.repairs == ("empty_text",)
    expected = {**json.loads(body), "messages": []}
    assert json.dumps(json.loads(outgoing.body)) == json.dumps(expected)


@pytest.mark.parametrize(
    ("streams", "wanted", "body"),
    [
        (True, True, BODY),
        (False, False, BODY.replace(b"true", b"false")),
        (True, False, {"stream": False}),
        (False, True, {"stream": True}),
    ],
)
def test_a_stream_of_the_gateways_own(streams: bool, wanted: bool, body: bytes | dict[str, Any]) -> None:
    raw = BODY if streams else BODY.replace(b"true", b"false")
    outgoing = encode(incoming(raw), stream=wanted)
    expected = body if isinstance(body, bytes) else orjson.dumps({**orjson.loads(BODY), **body})
    assert outgoing.body == expected
    assert outgoing.repairs == ()


def test_counting_never_streams() -> None:
    assert encode(incoming(purpose="count_tokens"), stream=False).body == BODY


def test_without_thinking() -> None:
    document = orjson.loads(BODY)
    thinking = {"type": "thinking", "thinking": "hm", "signature": "s"}
    document["messages"].append({"role": "assistant", "content": [thinking, {"type": "text", "text": "yes"}]})
    request = incoming(orjson.dumps(document))
    assert encode(request).body == request.parsed.raw
    outgoing = encode(request, cures=(WITHOUT_THINKING,))
    assert outgoing.repairs == ()
    assert orjson.loads(outgoing.body)["messages"][1]["content"] == [{"type": "text", "text": "yes"}]
    assert orjson.loads(request.parsed.raw) == document


@pytest.mark.parametrize(
    ("detail", "betas"),
    [("b", [b"a", b"c"]), ("a,b", [b"c"]), ("a,b,c", []), ("", []), ("*", []), ("[ab]*", [b"c"])],
)
def test_betas_that_were_refused_are_left_out(detail: str, betas: list[bytes]) -> None:
    headers = ((b"anthropic-beta", b"a, b"), (b"x-app", b"cli"), (b"anthropic-beta", b"c"))
    request = Incoming(parsed=read_request(BODY), headers=headers)
    outgoing = encode(request, cures=(Cure("betas", detail),))
    assert outgoing.headers is not None
    assert [value for name, value in outgoing.headers if name == b"anthropic-beta"] == betas
    assert (b"x-app", b"cli") in outgoing.headers
    assert list(outgoing.cured or ()) == ["betas"]


@pytest.mark.parametrize("cure", [Cure("without_thinking"), Cure("betas", "other"), Cure("betas")])
def test_a_cure_of_an_absent_field_changes_nothing(cure: Cure) -> None:
    outgoing = encode(incoming(), cures=(cure,))
    assert (outgoing.headers, outgoing.body, outgoing.cured) == (None, BODY, {})


LIMIT = b"prompt exceeds max length"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"type":"error","error":{"type":"x","message":"%b"},"request_id":"r"}' % LIMIT, True),
        (b'{"error":{"message":"%b"}}' % LIMIT, True),
        (b'{"message":"%b"}' % LIMIT, True),
        (LIMIT, True),
        (b'{"error":{"type":"x","message":"prompt is too long"}}', False),
        (b'{"error":{"type":"x","message":"other"}}', False),
    ],
)
def test_other_context_limit_messages_become_the_apis(body: bytes, expected: bool) -> None:
    failure = Failure(kind=FailureKind.STATUS, status=400, body=body)
    shown = DIALECT.failure(failure, upstream(), "m", encode(incoming()))
    healed = "prompt is too long: prompt exceeds max length"
    assert (shown.message == healed) == expected
    assert (shown.body != body) == expected
    assert not expected or orjson.loads(shown.body)["error"]["message"] == healed


def test_a_cure_without_betas_leaves_the_fields_alone() -> None:
    assert encode(incoming(), cures=(Cure("without_thinking"),)).headers is None
    request = Incoming(parsed=read_request(BODY), headers=((b"anthropic-beta", b"a, b"),))
    assert encode(request, cures=(Cure("betas", "other"),)).headers is None


def test_a_cure_of_another_dialect_changes_nothing() -> None:
    assert encode(incoming(), cures=(Cure("unknown"),)).body == BODY


# Responses.


def test_there_is_nothing_to_decode() -> None:
    request = incoming()
    with pytest.raises(TypeError, match="relayed"):
        DIALECT.decoder(request, encode(request), StreamWriter(message_id="x", model="m"))


ERROR = b'{"type":"error","error":{"type":"overloaded_error","message":"too much"}}'


@pytest.mark.parametrize(
    ("fields", "type", "message"),
    [
        ({"body": ERROR}, "overloaded_error", "too much"),
        ({"body": ERROR, "message": "given"}, "overloaded_error", "given"),
        ({"body": ERROR, "type": "api_error"}, "api_error", ""),
        ({"body": b""}, "", ""),
        ({"body": b"<html>"}, "", "<html>"),
        ({"body": b'{"error":"words"}'}, "", "words"),
    ],
)
def test_a_failure_gets_the_words_of_its_body(fields: dict[str, Any], type: str, message: str) -> None:
    failure = Failure(kind=FailureKind.STATUS, status=529, headers=((b"a", b"b"),), **fields)
    shown = DIALECT.failure(failure, upstream(), "m", Outgoing(target="/"))
    assert (shown.type, shown.message) == (type, message)
    assert (shown.status, shown.headers, shown.body) == (failure.status, failure.headers, failure.body)


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (b'{"input_tokens":12}', 12),
        (b'{"input_tokens":0,"context_management":{}}', 0),
        (b'{"input_tokens":-1}', None),
        (b'{"input_tokens":true}', None),
        (b'{"input_tokens":"12"}', None),
        (b'{"input_tokens":1.5}', None),
        (b"{}", None),
        (b"[]", None),
        (b"3", None),
        (b"null", None),
        (b"", None),
        (b"<html>", None),
    ],
)
def test_a_count(body: bytes, count: int | None) -> None:
    assert (DIALECT.count(body), type(DIALECT.count(body))) == (count, type(count))


def test_the_request_for_a_model_list() -> None:
    outgoing = DIALECT.models_request(upstream(base_url="https://h/api"))
    assert (outgoing.method, outgoing.target, outgoing.body) == ("GET", "/api/v1/models?limit=1000", b"")
    assert outgoing.headers == [
        (b"accept", b"application/json"),
        (b"anthropic-version", b"2023-06-01"),
        (b"user-agent", f"messages-gateway/{__version__}".encode()),
    ]


@pytest.mark.parametrize(
    ("body", "models"),
    [
        (
            b'{"data":[{"id":"a","display_name":"A","max_tokens":7,"type":"model"},{"id":"b"}]}',
            [("a", "A", {"max_tokens": 7}), ("b", "b", {})],
        ),
        (b'{"object":"list","data":[{"id":"a","object":"model"}]}', [("a", "a", {})]),
        (b'{"data":[{"id":"a","display_name":null},{"id":""},{"id":1},{}]}', [("a", "a", {})]),
        (b'{"data":[{"id":"a","display_name":7}]}', [("a", "a", {})]),
        (b'{"data":[{"id":"a"},"b"]}', [("a", "a", {})]),
        (b'{"data":[]}', []),
        (b'{"data":null}', []),
        (b'{"data":3}', []),
        (b'{"models":[]}', []),
        (b"[]", []),
        (b"", []),
        (b"<html>", []),
    ],
)
def test_a_model_list(body: bytes, models: list[tuple[str, str, dict[str, Any]]]) -> None:
    assert [tuple(model) for model in DIALECT.models(body)] == models


def test_the_dialect_of_this_kind() -> None:
    assert isinstance(new_dialect(lambda: 0.5, print), AnthropicDialect)
