"""The client's own dialect: which bytes and fields go upstream, and how answers are read."""

import json
from dataclasses import replace
from typing import Any

import orjson
import pytest

from gateway import __version__
from gateway.config import Account, Secret, Upstream
from gateway.dialects.anthropic import AnthropicDialect, base_path, forwarded_headers
from gateway.dialects.base import Headers, Incoming, Outgoing, Purpose
from gateway.http1 import lines
from gateway.http1.forms import MAX_FORMS
from gateway.http1.heads import parse_request_head
from gateway.messages.request import read_request
from gateway.messages.stream import StreamWriter
from gateway.routing.credentials import NO_CREDENTIAL, Credential
from gateway.routing.failures import Failure, FailureKind
from tests.http1.readings import head

DIALECT = AnthropicDialect()
KEY = Credential("api_key", Secret("sk-1"))
BODY = b'{ "model":"m", "max_tokens": 1.50, "messages": [{"role":"user","content":"caf\\u00e9"}], "stream":true }'


def upstream(**fields: Any) -> Upstream:
    chosen = {"base_url": "https://api.example.com", "accounts": (Account(name="a"),), **fields}
    return Upstream(name="up", kind="anthropic", **chosen)


def incoming(
    body: bytes = BODY,
    *,
    purpose: Purpose = "messages",
    query: str = "",
    headers: Headers = (),
    stream: bool | None = None,
) -> Incoming:
    request = read_request(body)
    chosen = request.stream if stream is None else stream
    return Incoming(request=request, purpose=purpose, query=query, headers=headers, stream=chosen)


def encode(asked: Incoming, *, model: str = "m", credential: Credential = KEY, **fields: Any) -> Outgoing:
    return DIALECT.encode(upstream(**fields), credential, model, asked)


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
    assert ((name, b"theirs") in forwarded_headers([(name, b"theirs")])) is passes


def test_what_is_added_where_it_is_absent() -> None:
    assert forwarded_headers([]) == [
        (b"anthropic-version", b"2023-06-01"),
        (b"user-agent", f"messages-gateway/{__version__}".encode()),
        (b"content-type", b"application/json"),
        (b"accept-encoding", b"identity"),
    ]
    given = [
        (b"content-type", b"application/json; charset=utf-8"),
        (b"anthropic-version", b"2026-10-21"),
        (b"user-agent", b"claude-cli"),
        (b"anthropic-beta", b"a"),
        (b"accept-encoding", b"gzip"),
        (b"anthropic-beta", b"b"),
    ]
    assert forwarded_headers(given) == [
        *(field for field in given if field[0] != b"accept-encoding"),
        (b"accept-encoding", b"identity"),
    ]


def test_fields_that_connection_names_stay_here() -> None:
    head = [
        (b"connection", b"keep-alive, X-App"),
        (b"x-app", b"cli"),
        (b"connection", b"anthropic-beta"),
        (b"anthropic-beta", b"a"),
        (b"accept", b"*/*"),
    ]
    names = [name for name, _ in forwarded_headers(head)]
    assert names == [b"accept", b"anthropic-version", b"user-agent", b"content-type", b"accept-encoding"]


@pytest.mark.parametrize(
    ("auth_header", "credential", "paying"),
    [
        ("x-api-key", KEY, [(b"x-api-key", b"sk-1")]),
        ("authorization", KEY, [(b"authorization", b"Bearer sk-1")]),
        ("x-api-key", Credential("bearer", Secret("t")), [(b"authorization", b"Bearer t")]),
        ("x-api-key", NO_CREDENTIAL, []),
        ("authorization", NO_CREDENTIAL, []),
    ],
)
def test_who_pays(auth_header: Any, credential: Credential, paying: list[tuple[bytes, bytes]]) -> None:
    theirs = [(b"authorization", b"Bearer client"), (b"x-api-key", b"client"), (b"x-app", b"cli")]
    at = upstream(auth_header=auth_header)
    for outgoing in (
        DIALECT.encode(at, credential, "m", incoming(headers=theirs)),
        DIALECT.models_request(at, credential),
    ):
        known = [field for field in outgoing.headers if field[0] in {b"x-api-key", b"authorization"}]
        assert known == paying


# Its form.


def of_form(*text: bytes, start: bytes = b"POST /v1/messages HTTP/1.1") -> Incoming:
    """A request whose head has a form that is known."""
    for _ in range(3):
        asked = parse_request_head(head(start, b"Host: localhost", *text, b"Content-Length: 2"))
    assert asked.form is not None
    query = asked.target.partition("?")[2]
    purpose: Purpose = "count_tokens" if "count_tokens" in asked.target else "messages"
    return replace(incoming(query=query, headers=asked.headers, purpose=purpose), form=asked.form)


CLIENT = (b"X-App: cli", b"X-Api-Key: client-1", b"X-Request-Id: 1", b"anthropic-beta: a", b"X-Other: b")


def test_requests_of_one_form_have_the_same_fields() -> None:
    dialect, at = AnthropicDialect(), upstream()
    first = dialect.encode(at, KEY, "m", of_form(*CLIENT))
    again = of_form(CLIENT[0], b"X-Api-Key: client-2", b"X-Request-Id: 2", *CLIENT[3:])
    assert isinstance(first.headers, tuple)
    assert dialect.encode(at, KEY, "m", again).headers is first.headers
    plain = AnthropicDialect().encode(at, KEY, "m", replace(again, form=None))
    assert (list(plain.headers), plain.target) == (list(first.headers), first.target)
    assert not any(b"client" in value for _, value in first.headers)


def test_fields_of_no_known_form_are_not_to_be_kept() -> None:
    """Whoever keeps what a tuple looks like would keep it for nothing."""
    dialect = AnthropicDialect()
    assert isinstance(dialect.encode(upstream(), KEY, "m", incoming()).headers, list)
    assert dialect._known == {}


def test_forms_upstreams_and_credentials_never_mix() -> None:
    dialect = AnthropicDialect()
    asked = [
        of_form(*CLIENT),
        of_form(*CLIENT, start=b"POST /v1/messages?beta=true HTTP/1.1"),
        of_form(*CLIENT, start=b"POST /v1/messages/count_tokens HTTP/1.1"),
        of_form(b"X-App: other", *CLIENT[1:]),
    ]
    # Two of each are equal, and yet are not the same.
    places = [upstream(base_url=url) for url in ("https://h/a", "https://h/a", "https://h/b")]
    places.append(upstream(base_url="https://h/a", auth_header="authorization"))
    paying = [KEY, Credential("api_key", Secret("sk-1")), Credential("bearer", Secret("sk-2")), NO_CREDENTIAL]
    for _ in range(2):
        for each in asked:
            for place in places:
                for credential in paying:
                    outgoing = dialect.encode(place, credential, "m", each)
                    fresh = AnthropicDialect().encode(place, credential, "m", replace(each, form=None))
                    assert (outgoing.target, list(outgoing.headers)) == (fresh.target, list(fresh.headers))


@pytest.mark.parametrize("name", sorted(name for name in lines.VARYING if name.startswith(b"anthropic-")))
def test_a_field_that_goes_upstream_is_this_requests_own(name: bytes) -> None:
    dialect, at = AnthropicDialect(), upstream()
    for value in (b"1", b"2", b"3"):
        outgoing = dialect.encode(at, KEY, "m", of_form(name + b": " + value))
        assert [theirs for known, theirs in outgoing.headers if known == name] == [value]


def test_what_is_known_of_forms_is_bounded() -> None:
    dialect = AnthropicDialect()
    for number in range(3 * MAX_FORMS):
        outgoing = dialect.encode(upstream(), KEY, "m", of_form(b"X-App: %d" % (number % 7)))
        assert outgoing.headers[0] == (b"x-app", b"%d" % (number % 7))
        assert len(dialect._known) <= MAX_FORMS


# Its body.


def test_a_request_that_needs_nothing_goes_as_it_came() -> None:
    asked = incoming()
    outgoing = encode(asked)
    assert outgoing.body is asked.request.raw
    assert outgoing.repairs == ()


def test_a_mapped_model_is_spliced_in_place() -> None:
    assert encode(incoming(), model="glm-4.7").body == BODY.replace(b'"m"', b'"glm-4.7"')


def test_a_repair_is_named_and_only_then_the_body_is_written_anew() -> None:
    body = BODY.replace(b"caf\\u00e9", b" ")
    outgoing = encode(incoming(body), model="x")
    assert outgoing.repairs == ("empty_text",)
    assert orjson.loads(outgoing.body) == {"model": "x", "max_tokens": 1.5, "messages": [], "stream": True}
    assert encode(incoming(body), repairs=frozenset()).body == body


@pytest.mark.parametrize(
    "value",
    [b"18446744073709551617", b"-9223372036854775809", b"1e+300", b"0.1", b"NaN", b'"\\ud83d"', b"null"],
)
def test_a_body_that_is_written_anew_says_the_same(value: bytes) -> None:
    body = BODY.replace(b"caf\\u00e9", b" ").replace(b"1.50", value)
    outgoing = encode(incoming(body))
    assert outgoing.repairs == ("empty_text",)
    expected = {**json.loads(body), "messages": []}
    assert json.dumps(json.loads(outgoing.body)) == json.dumps(expected)


@pytest.mark.parametrize(
    ("asked", "wanted", "body"),
    [
        (True, True, BODY),
        (False, False, BODY.replace(b"true", b"false")),
        (True, False, {"stream": False}),
        (False, True, {"stream": True}),
    ],
)
def test_a_stream_of_the_gateways_own(asked: bool, wanted: bool, body: bytes | dict[str, Any]) -> None:
    raw = BODY if asked else BODY.replace(b"true", b"false")
    outgoing = encode(incoming(raw, stream=wanted))
    expected = body if isinstance(body, bytes) else orjson.dumps({**orjson.loads(BODY), **body})
    assert outgoing.body == expected
    assert outgoing.repairs == ()


def test_counting_never_streams() -> None:
    assert encode(incoming(purpose="count_tokens", stream=False)).body == BODY


def test_without_thinking() -> None:
    document = orjson.loads(BODY)
    thinking = {"type": "thinking", "thinking": "hm", "signature": "s"}
    document["messages"].append({"role": "assistant", "content": [thinking, {"type": "text", "text": "yes"}]})
    asked = incoming(orjson.dumps(document))
    assert encode(asked).body == asked.request.raw
    outgoing = encode(replace(asked, without_thinking=True))
    assert outgoing.repairs == ("without_thinking",)
    assert orjson.loads(outgoing.body)["messages"][1]["content"] == [{"type": "text", "text": "yes"}]
    assert orjson.loads(asked.request.raw) == document


# Answers.


def test_there_is_nothing_to_decode() -> None:
    asked = incoming()
    with pytest.raises(TypeError, match="relayed"):
        DIALECT.decoder(asked, encode(asked), StreamWriter(message_id="x", model="m"))


ERROR = b'{"type":"error","error":{"type":"overloaded_error","message":"too much"}}'


@pytest.mark.parametrize(
    ("fields", "type", "message"),
    [
        ({"body": ERROR}, "overloaded_error", "too much"),
        ({"body": ERROR, "message": "said before"}, "overloaded_error", "said before"),
        ({"body": ERROR, "type": "api_error"}, "api_error", ""),
        ({"body": b""}, "", ""),
        ({"body": b"<html>"}, "", ""),
        ({"body": b'{"error":"words"}'}, "", "words"),
    ],
)
def test_a_failure_gets_the_words_of_its_body(fields: dict[str, Any], type: str, message: str) -> None:
    failure = Failure(kind=FailureKind.STATUS, status=529, headers=((b"a", b"b"),), **fields)
    told = DIALECT.failure(failure)
    assert (told.type, told.message) == (type, message)
    assert (told.status, told.headers, told.body) == (failure.status, failure.headers, failure.body)


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
    outgoing = DIALECT.models_request(upstream(base_url="https://h/api"), KEY)
    assert (outgoing.method, outgoing.target, outgoing.body) == ("GET", "/api/v1/models?limit=1000", b"")
    assert outgoing.headers == [
        (b"accept", b"application/json"),
        (b"anthropic-version", b"2023-06-01"),
        (b"user-agent", f"messages-gateway/{__version__}".encode()),
        (b"accept-encoding", b"identity"),
        (b"x-api-key", b"sk-1"),
    ]


@pytest.mark.parametrize(
    ("body", "models"),
    [
        (b'{"data":[{"id":"a","display_name":"A"},{"id":"b"}]}', [("a", "A"), ("b", "b")]),
        (b'{"object":"list","data":[{"id":"a","object":"model"}]}', [("a", "a")]),
        (b'{"data":[{"id":"a","display_name":null},{"id":""},{"id":1},{}]}', [("a", "a")]),
        (b'{"data":[{"id":"a","display_name":7}]}', [("a", "a")]),
        (b'{"data":[{"id":"a"},"b"]}', []),
        (b'{"data":[]}', []),
        (b'{"data":null}', []),
        (b'{"data":3}', []),
        (b'{"models":[]}', []),
        (b"[]", []),
        (b"", []),
        (b"<html>", []),
    ],
)
def test_a_model_list(body: bytes, models: list[tuple[str, str]]) -> None:
    assert DIALECT.models(body) == models
