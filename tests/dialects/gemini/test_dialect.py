import json
from typing import Any

import orjson
import pytest

from gateway import __version__
from gateway.config import Secret
from gateway.dialects.base import WITHOUT_THINKING, Dialect, ListedModel, Purpose
from gateway.dialects.gemini.dialect import OUTPUTS_KEPT
from gateway.dialects.gemini.signatures import BYPASS
from gateway.messages.errors import RequestError
from gateway.messages.request import read_request
from gateway.messages.stream import StreamWriter
from gateway.routing.credentials import NO_CREDENTIAL, Credential
from gateway.routing.failures import Failure, FailureKind
from tests.dialects.gemini.support import (
    MODEL,
    body,
    chunk,
    dialect,
    encoded,
    incoming,
    message,
    read_events,
    sse,
    upstream,
    validate_request,
)
from tests.support.incoming import Incoming

HI = {"messages": [{"role": "user", "content": "hi"}]}
CONTENTS = [{"role": "user", "parts": [{"text": "hi"}]}]
VERTEX = "/v1/projects/P/locations/L/publishers/google/models/{model}:streamGenerateContent"


def test_it_is_a_dialect() -> None:
    made: Dialect = dialect()
    assert made.relays is False


TARGETS: list[tuple[str, dict[str, Any], str, str, str]] = [
    (
        "plain",
        {},
        MODEL,
        f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse",
        f"/v1beta/models/{MODEL}:countTokens",
    ),
    (
        "a base URL with a path",
        {"base_url": "https://h/a/b", "version": "v1"},
        "m",
        "/a/b/v1/models/m:streamGenerateContent?alt=sse",
        "/a/b/v1/models/m:countTokens",
    ),
    (
        "a resource name",
        {},
        "models/m",
        "/v1beta/models/m:streamGenerateContent?alt=sse",
        "/v1beta/models/m:countTokens",
    ),
    (
        "a tuned model",
        {},
        "tunedModels/m",
        "/v1beta/tunedModels/m:streamGenerateContent?alt=sse",
        "/v1beta/tunedModels/m:countTokens",
    ),
    (
        "a name that is no path",
        {},
        "m ?é",
        "/v1beta/models/m%20%3F%C3%A9:streamGenerateContent?alt=sse",
        "/v1beta/models/m%20%3F%C3%A9:countTokens",
    ),
    (
        "Vertex AI",
        {"path": VERTEX},
        "models/m x",
        "/v1/projects/P/locations/L/publishers/google/models/m%20x:streamGenerateContent?alt=sse",
        "/v1/projects/P/locations/L/publishers/google/models/m%20x:countTokens",
    ),
    ("a path with a query", {"path": "/x/{model}:go?k=v"}, "m", "/x/m:go?k=v&alt=sse", "/x/m:countTokens"),
    (
        "a path with its own alt",
        {"path": "/x/{model}:go?alt=sse"},
        "m",
        "/x/m:go?alt=sse",
        "/x/m:countTokens",
    ),
    (
        "an envelope",
        {"envelope": "code_assist", "base_url": "https://h/p"},
        "m",
        "/p/v1internal:streamGenerateContent?alt=sse",
        "/p/v1internal:countTokens",
    ),
]


@pytest.mark.parametrize(
    ("options", "model", "generate", "count"),
    [case[1:] for case in TARGETS],
    ids=[case[0] for case in TARGETS],
)
def test_targets(options: dict[str, Any], model: str, generate: str, count: str) -> None:
    to = upstream(**options)
    expectations: list[tuple[Purpose, str]] = [("messages", generate), ("count_tokens", count)]
    for purpose, expected in expectations:
        outgoing = encoded(HI, to, model=model, purpose=purpose)
        assert (outgoing.method, outgoing.target) == ("POST", expected)


AGENT = (b"user-agent", f"messages-gateway/{__version__}".encode())

CREDENTIALS = [
    (Credential("api_key", Secret("k-1")), [(b"x-goog-api-key", b"k-1")]),
    (Credential("bearer", Secret("t-1")), [(b"authorization", b"Bearer t-1")]),
    (NO_CREDENTIAL, []),
]


@pytest.mark.parametrize(("credential", "headers"), CREDENTIALS)
def test_headers(credential: Credential, headers: list[tuple[bytes, bytes]]) -> None:
    made = dialect()
    assert list(made.fields(upstream(), credential)) == [AGENT, *headers]
    theirs = [(b"anthropic-version", b"2023-06-01"), (b"x-api-key", b"theirs"), (b"user-agent", b"theirs")]
    assert list(made.forwarded(theirs)) == [(b"content-type", b"application/json")]
    listed = made.models_request(upstream())
    assert listed is not None
    assert listed.headers == ()


def test_the_envelope() -> None:
    found = body({**HI, "max_tokens": 5}, upstream(envelope="code_assist", project="p"))
    assert found == {
        "model": MODEL,
        "project": "p",
        "request": {
            "contents": CONTENTS,
            "generationConfig": {
                "maxOutputTokens": 5,
                "thinkingConfig": {"includeThoughts": False, "thinkingLevel": "low"},
            },
        },
    }


COUNTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("plain", {}, {"generateContentRequest": {"model": "models/m", "contents": CONTENTS}}),
    ("Vertex AI", {"path": VERTEX}, {"contents": CONTENTS}),
    ("an envelope", {"envelope": "code_assist"}, {"request": {"model": "models/m", "contents": CONTENTS}}),
]


@pytest.mark.parametrize(
    ("options", "expected"), [case[1:] for case in COUNTS], ids=[case[0] for case in COUNTS]
)
def test_counting(options: dict[str, Any], expected: dict[str, Any]) -> None:
    outgoing = encoded({**HI, "max_tokens": 5}, upstream(**options), model="m", purpose="count_tokens")
    assert orjson.loads(outgoing.body) == expected


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (b'{"totalTokens":31,"promptTokensDetails":[]}', 31),
        (b'{"totalTokens":0}', 0),
        (b'{"totalTokens":"31"}', None),
        (b'{"totalTokens":true}', None),
        (b'{"totalTokens":-1}', None),
        (b"{}", None),
        (b"[]", None),
        (b"<html>", None),
    ],
)
def test_count(response: bytes, expected: int | None) -> None:
    assert dialect().count(response) == expected


def test_models_request() -> None:
    outgoing = dialect().models_request(upstream(base_url="https://h/p"))
    assert outgoing is not None
    assert (outgoing.method, outgoing.target, outgoing.body) == ("GET", "/p/v1beta/models?pageSize=1000", b"")


@pytest.mark.parametrize("options", [{"path": VERTEX}, {"envelope": "code_assist", "project": "p"}])
def test_no_models_request_without_a_model_list(options: dict[str, Any]) -> None:
    assert dialect().models_request(upstream(**options)) is None


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (
            {
                "models": [
                    {
                        "name": "models/a",
                        "displayName": "A",
                        "inputTokenLimit": 1048576,
                        "outputTokenLimit": 65536,
                        "supportedGenerationMethods": ["generateContent"],
                    },
                    {"name": "models/b", "supportedGenerationMethods": ["embedContent", 5]},
                    {"name": "models/c", "displayName": "", "inputTokenLimit": "5", "outputTokenLimit": 0},
                    {"name": "tunedModels/d", "supportedGenerationMethods": ["streamGenerateContent"]},
                    {"name": 5},
                    5,
                ]
            },
            [
                ("a", "A", {"max_input_tokens": 1048576, "max_tokens": 65536}),
                ("c", "c", {}),
                ("tunedModels/d", "tunedModels/d", {}),
            ],
        ),
        ({"models": 5}, []),
        ({}, []),
        ([], []),
    ],
)
def test_models(response: Any, expected: list[tuple[str, str, dict[str, int]]]) -> None:
    assert dialect().models(orjson.dumps(response)) == [ListedModel(*model) for model in expected]


def test_limits_of_models_are_bounded() -> None:
    made = dialect()
    for start in range(0, 2 * OUTPUTS_KEPT, 1000):
        models = [{"name": f"models/m{n}", "outputTokenLimit": 10} for n in range(start, start + 1000)]
        made.models(orjson.dumps({"models": models}))

    def sent(model: str) -> Any:
        return body({**HI, "max_tokens": 99}, by=made, model=model)["generationConfig"]["maxOutputTokens"]

    assert (sent("m0"), sent(f"m{OUTPUTS_KEPT}")) == (10, 99)


def test_repairs_are_named() -> None:
    document = {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}
    assert encoded(document).repairs == ("merge_roles",)
    assert encoded(HI).repairs == ()
    assert encoded(document, upstream(repairs=frozenset())).repairs == ()


@pytest.mark.parametrize("value", ["18446744073709551617", "1e+300", "NaN", '"\\ud83d"', "null"])
def test_arguments_are_passed_as_they_are(value: str) -> None:
    raw = """{"model":"m","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[
        {"type":"tool_use","id":"t1","name":"Bash","input":{"n":VALUE}}]}]}""".replace("VALUE", value)
    request = Incoming(parsed=read_request(raw.encode()))
    sent = json.loads(dialect().encode(upstream(), MODEL, request, stream=True).body)
    args = sent["contents"][1]["parts"][0]["functionCall"]["args"]
    assert json.dumps(args["n"]) == value


def test_warnings_are_logged_once() -> None:
    warnings: list[str] = []
    made = dialect(warnings)
    odd = {"messages": [{"role": "user", "content": [{"type": "odd"}, {"type": "odd"}]}]}
    for _ in range(3):
        encoded(odd, by=made)
    assert warnings == ["content blocks of type odd are unknown: sent as their JSON"]


def test_failure() -> None:
    raw = b'{"error":{"code":404,"message":"models/x is not found","status":"NOT_FOUND"}}'
    failure = dialect().failure(
        Failure(kind=FailureKind.STATUS, status=404, body=raw), upstream(), MODEL, encoded(HI)
    )
    assert (failure.status, failure.type, failure.message) == (
        404,
        "not_found_error",
        "models/x is not found",
    )


class TestRound:
    """A response goes out, its history comes back: the signatures are where Gemini wants them."""

    RESPONSE = (
        chunk({"text": "Let me see.", "thought": True}),
        chunk(
            {"functionCall": {"name": "Bash", "args": {"type": "x"}}, "thoughtSignature": "c2lnMQ=="},
            {"functionCall": {"name": "Bash", "args": {}}},
            finish="STOP",
        ),
    )

    def history(self, **how: Any) -> tuple[list[dict[str, Any]], Any]:
        made = dialect()
        tools = [{"name": "Bash"}]
        request = incoming({**HI, "tools": tools})
        writer = StreamWriter(message_id="msg_1", model="claude")
        decoder = made.decoder(request, made.encode(upstream(), MODEL, request, stream=True), writer)
        decoder.feed(sse(*self.RESPONSE))
        decoder.end()
        response = message(read_events(writer.take()))
        results = [
            {"type": "tool_result", "tool_use_id": block["id"], "content": "ok"}
            for block in response["content"]
            if block["type"] == "tool_use"
        ]
        messages = [
            *HI["messages"],
            {"role": "assistant", "content": response["content"]},
            {"role": "user", "content": results},
        ]
        return messages, made

    def parts(self, messages: list[dict[str, Any]], made: Any, **how: Any) -> list[dict[str, Any]]:
        found = body({"messages": messages}, by=made, **how)
        validate_request(found)
        parts = found["contents"][1]["parts"]
        assert isinstance(parts, list)
        return parts

    def test_remembered(self) -> None:
        thought, first, second = self.parts(*self.history())
        assert thought == {"text": "Let me see.", "thought": True, "thoughtSignature": "c2lnMQ=="}
        assert first["thoughtSignature"] == "c2lnMQ=="
        assert first["functionCall"]["args"] == {"type": "x"}
        assert "thoughtSignature" not in second

    def test_after_a_restart(self) -> None:
        messages, _ = self.history()
        parts = self.parts(messages, dialect())
        assert [part.get("thoughtSignature") for part in parts] == ["c2lnMQ==", "c2lnMQ==", None]

    def test_after_a_refused_signature(self) -> None:
        messages, made = self.history()
        first, second = self.parts(messages, made, cures=(WITHOUT_THINKING,))
        assert first["thoughtSignature"] == second["thoughtSignature"] == BYPASS
        # The next turn is right at once: the refused signature is forgotten.
        first, second = self.parts(messages, made)
        assert (first["thoughtSignature"], "thoughtSignature" in second) == (BYPASS, False)


@pytest.mark.parametrize("options", [{}, {"path": VERTEX}], ids=["Gemini API", "Vertex AI"])
@pytest.mark.parametrize(
    "model",
    [
        "",
        "/",
        "models/",
        "..",
        ".",
        "models/..",
        "tunedModels/.",
        "../../v1/projects/OTHER/x",
        "models/../x",
        "a//b",
    ],
)
def test_names_that_lead_elsewhere_are_refused(model: str, options: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="model: ") as caught:
        encoded(HI, upstream(**options), model=model)
    assert caught.value.status == 404
    assert repr(model) in caught.value.message


@pytest.mark.parametrize(
    ("model", "generate"),
    [
        ("publishers/google/models/x", None),
        ("x/y", None),
        ("..%2f..", "/v1beta/models/..%252f..:streamGenerateContent?alt=sse"),
        ("a:countTokens", "/v1beta/models/a%3AcountTokens:streamGenerateContent?alt=sse"),
        ("a?b#c", "/v1beta/models/a%3Fb%23c:streamGenerateContent?alt=sse"),
        ("a\\..\\b\r\n", "/v1beta/models/a%5C..%5Cb%0D%0A:streamGenerateContent?alt=sse"),
    ],
)
def test_names_of_other_forms(model: str, generate: str | None) -> None:
    if generate is None:
        with pytest.raises(RequestError, match="`tunedModels/x`"):
            encoded(HI, model=model)
    else:
        assert encoded(HI, model=model).target == generate


@pytest.mark.parametrize("purpose", ["messages", "count_tokens"])
def test_a_slash_stays_inside_the_one_segment_of_a_configured_path(purpose: Purpose) -> None:
    found = encoded(HI, upstream(path="/v1/a/{model}/b:generate"), model="x/y", purpose=purpose).target
    assert found.startswith("/v1/a/x%2Fy/b:")


def test_usage_that_is_not_reported_is_estimated_so_that_clients_compact() -> None:
    by = dialect()
    asked = incoming({"messages": [{"role": "user", "content": "word " * 1000}]})
    usage = {"promptTokenCount": 10, "candidatesTokenCount": 5}
    thought, said = {"text": "hm", "thought": True}, {"text": "a" * 6}
    run = {"functionCall": {"name": "Bash", "args": {"a": 1}}}

    def count(*, reports: bool, model: str = MODEL) -> tuple[int, int, bool]:
        sent = by.encode(upstream(), model, asked, stream=True)
        writer = StreamWriter(message_id="msg_1", model="claude")
        decoder = by.decoder(asked, sent, writer)
        traffic = {"trafficType": "ON_DEMAND"}
        decoder.feed(sse(chunk(thought, usage=traffic), chunk(said), chunk(said), chunk(run)))
        decoder.feed(sse(chunk(finish="STOP", usage=usage if reports else traffic)))
        decoder.end()
        return writer.usage["input_tokens"], writer.usage["output_tokens"], writer.estimated

    careful, output, estimated = count(reports=False)
    assert 800 < careful < 1500
    assert (output, estimated) == (6, True), "21 characters"
    assert count(reports=True) == (10, 5, False)
    roughly, *_ = count(reports=False)
    assert 800 < roughly < 1500
    assert roughly != careful
    assert count(reports=False) == count(reports=False, model="gemini-4") == (careful, 6, True)
