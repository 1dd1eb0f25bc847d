import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.base import StreamFailure
from gateway.dialects.gemini.response import STOP_REASONS
from gateway.dialects.gemini.signatures import Signatures
from gateway.dialects.gemini.tools import NAMES
from gateway.dialects.gemini.usage import messages_usage
from gateway.dialects.tool_names import ToolNames
from gateway.messages.thinking import mentions_signature
from gateway.routing.failures import FailureKind
from tests.dialects.gemini.support import Translated, check_grammar, chunk, decoded, message, sse

USAGE = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}
EMPTY_USAGE = {
    "input_tokens": 0,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "output_tokens": 0,
}


def part(text: str, **more: Any) -> dict[str, Any]:
    return {"text": text, **more}


def think(text: str, **more: Any) -> dict[str, Any]:
    return {"text": text, "thought": True, **more}


def call(name: str = "Bash", signed: str = "", **args: Any) -> dict[str, Any]:
    part: dict[str, Any] = {"functionCall": {"name": name, "args": args}}
    return {**part, "thoughtSignature": signed} if signed else part


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def thinking(value: str, signature: str = "gemini:") -> dict[str, Any]:
    return {"type": "thinking", "thinking": value, "signature": signature}


def tool_use(input: dict[str, Any] | None = None, name: str = "Bash") -> dict[str, Any]:
    return {"type": "tool_use", "name": name, "input": input or {}}


RESPONSES: list[tuple[str, list[Any], list[dict[str, Any]], str]] = [
    ("text", [chunk(part("Hel")), chunk(part("lo"), finish="STOP")], [text("Hello")], "end_turn"),
    ("parts of one chunk", [chunk(part("Hel"), part("lo"), finish="STOP")], [text("Hello")], "end_turn"),
    (
        "an error that is none",
        [{**chunk(part("a")), "error": None}, {**chunk(finish="STOP"), "error": None}],
        [text("a")],
        "end_turn",
    ),
    (
        "another candidate",
        [
            chunk(part("a"), index=0),
            chunk(part("no"), index=1),
            {"candidates": [chunk(part("no"), index=1)["candidates"][0], chunk(part("b"))["candidates"][0]]},
            chunk(finish="STOP", index=0),
        ],
        [text("ab")],
        "end_turn",
    ),
    (
        "a call beside an empty text",
        [chunk({**call(a=1), "text": ""}, finish="STOP")],
        [tool_use({"a": 1})],
        "tool_use",
    ),
    ("no call", [chunk({"functionCall": {}, "text": "a"}, finish="STOP")], [text("a")], "end_turn"),
    (
        "arguments as text",
        [chunk({"functionCall": {"name": "Bash", "args": '{"a": 1}'}}, finish="STOP")],
        [tool_use({"a": 1})],
        "tool_use",
    ),
    ("nothing but an end", [chunk(finish="STOP")], [], "end_turn"),
    ("a separate end", [chunk(part("a")), chunk(part("")), chunk(finish="STOP")], [text("a")], "end_turn"),
    (
        "thinking",
        [chunk(think("hm")), chunk(think(" ok", thoughtSignature="S")), chunk(part("a"), finish="STOP")],
        [thinking("hm ok", "gemini:S"), text("a")],
        "end_turn",
    ),
    (
        "thinking signed twice",
        [chunk(think("a", thoughtSignature="S"), think("", thoughtSignature="T"), think("b"), finish="STOP")],
        [thinking("a", "gemini:S"), thinking("b")],
        "end_turn",
    ),
    (
        "a signature alone",
        [chunk(think("", thoughtSignature="S"), finish="STOP")],
        [thinking("", "gemini:S")],
        "end_turn",
    ),
    (
        "a signature after the thinking",
        [chunk(think("a")), chunk(part("", thoughtSignature="S"), finish="STOP")],
        [thinking("a", "gemini:S")],
        "end_turn",
    ),
    (
        "a signature on nothing at all",
        [chunk(think("a")), chunk({"thoughtSignature": "S"}, finish="STOP")],
        [thinking("a", "gemini:S")],
        "end_turn",
    ),
    (
        "empty texts",
        [chunk(part(""), think(""), part("", thoughtSignature="S"), finish="STOP")],
        [],
        "end_turn",
    ),
    ("a call", [chunk(call(command="ls"), finish="STOP")], [tool_use({"command": "ls"})], "tool_use"),
    (
        "a call without arguments",
        [chunk({"functionCall": {"name": "Bash"}}, finish="STOP")],
        [tool_use()],
        "tool_use",
    ),
    (
        "calls side by side",
        [chunk(part("a"), call(a=1), call("Read", b=[{}]), finish="STOP")],
        [text("a"), tool_use({"a": 1}), tool_use({"b": [{}]}, "Read")],
        "tool_use",
    ),
    (
        "a signed call after thinking",
        [chunk(think("hm")), chunk(call(signed="S"), call(), finish="STOP")],
        [thinking("hm", "gemini:S"), tool_use(), tool_use()],
        "tool_use",
    ),
    (
        "thinking keeps the signature it has",
        [chunk(think("hm", thoughtSignature="T"), call(signed="S"), finish="STOP")],
        [thinking("hm", "gemini:T"), tool_use()],
        "tool_use",
    ),
    (
        "arguments with the names of fields",
        [chunk(call(cache_control=1, thought=True, signature="s", type="x"), finish="STOP")],
        [tool_use({"cache_control": 1, "thought": True, "signature": "s", "type": "x"})],
        "tool_use",
    ),
    ("cut off after a call", [chunk(call(), finish="MAX_TOKENS")], [tool_use()], "max_tokens"),
    (
        "an image",
        [chunk(part("See: "), {"inlineData": {"mimeType": "image/png", "data": "aWs="}}, finish="STOP")],
        [text("See: ![image](data:image/png;base64,aWs=)")],
        "end_turn",
    ),
    (
        "an image of a thought",
        [
            chunk(
                {"inlineData": {"mimeType": "image/png", "data": "aWs="}, "thought": True},
                part("a"),
                finish="STOP",
            )
        ],
        [text("a")],
        "end_turn",
    ),
    (
        "a sound",
        [chunk({"inlineData": {"mimeType": "audio/wav", "data": "aWs="}}, finish="STOP")],
        [text("[audio/wav](data:audio/wav;base64,aWs=)")],
        "end_turn",
    ),
    (
        "parts that are not known",
        [
            {
                "candidates": [
                    {"content": {"parts": [5, {"executableCode": {}}, {"functionCall": 5}, {"text": 5}]}}
                ]
            },
            chunk(part("a"), finish="STOP"),
        ],
        [text("a")],
        "end_turn",
    ),
    (
        "a blocked prompt",
        [{"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": USAGE}],
        [],
        "refusal",
    ),
    (
        "feedback that blocks nothing",
        [{"promptFeedback": {}}, chunk(part("a"), finish="STOP")],
        [text("a")],
        "end_turn",
    ),
    (
        "an unspecified reason",
        [chunk(part("a"), finish="FINISH_REASON_UNSPECIFIED"), chunk(finish="STOP")],
        [text("a")],
        "end_turn",
    ),
    (
        "in an envelope",
        [{"response": chunk(part("a"), finish="STOP"), "traceId": "t"}],
        [text("a")],
        "end_turn",
    ),
    ("in a list", [[chunk(part("a")), 5, chunk(finish="STOP")]], [text("a")], "end_turn"),
    (
        "odd shapes before the response",
        [
            5,
            None,
            {},
            {"candidates": []},
            {"candidates": [5]},
            {"candidates": [{"content": 5}]},
            chunk(finish="STOP"),
        ],
        [],
        "end_turn",
    ),
    (
        "nothing after the end",
        [chunk(part("a"), finish="STOP"), chunk(part("")), {"error": {"code": 500}}],
        [text("a")],
        "end_turn",
    ),
    (
        "a reason with every event",
        [
            chunk(part("a"), finish="STOP"),
            chunk(part("b"), finish="STOP"),
            chunk(call(), finish="STOP"),
        ],
        [text("ab"), tool_use()],
        "tool_use",
    ),
    (
        "content behind a first reason",
        [chunk(finish="STOP"), chunk(think("hm")), chunk(part("a")), chunk(part("b"), finish="MAX_TOKENS")],
        [thinking("hm"), text("ab")],
        "max_tokens",
    ),
    ("a reason in front of a text", [chunk(finish="STOP"), chunk(part("a"))], [text("a")], "end_turn"),
    ("thoughts alone", [chunk(think("hm"), finish="STOP")], [thinking("hm")], "end_turn"),
]


@pytest.mark.parametrize(
    ("chunks", "content", "stop"), [case[1:] for case in RESPONSES], ids=[case[0] for case in RESPONSES]
)
def test_responses(chunks: list[Any], content: list[dict[str, Any]], stop: str) -> None:
    found = message(decoded(*chunks))
    ids = [block.pop("id") for block in found["content"] if block["type"] == "tool_use"]
    assert all(re.fullmatch("toolu_[A-Za-z0-9]{24}", id) for id in ids)
    assert len(set(ids)) == len(ids)
    assert found["content"] == content
    assert (found["stop_reason"], found["stop_sequence"], found["model"]) == (stop, None, "claude")


@pytest.mark.parametrize(
    ("chunks", "content"), [case[1:3] for case in RESPONSES], ids=[case[0] for case in RESPONSES]
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_responses_cut_anywhere(chunks: list[Any], content: list[dict[str, Any]], end: bytes) -> None:
    raw = sse(*chunks).replace(b"\r\n", end).replace(b"data: ", b"data:")
    whole = Translated().feed(raw).end()
    for at in range(1, len(raw)):
        assert Translated().feed(raw[:at], raw[at:]).end() == whole
    response = Translated()
    for byte in raw:
        response.feed(bytes([byte]))
    assert response.end() == whole


@given(st.data())
def test_any_response_keeps_the_grammar(data: st.DataObject) -> None:
    piece = st.sampled_from(
        [
            part("a"),
            part(""),
            part("b", thoughtSignature="S"),
            part("", thoughtSignature="S"),
            think("c"),
            think("d", thoughtSignature="S"),
            think("", thoughtSignature="S"),
            call(a=1),
            call(signed="S"),
            {"inlineData": {"mimeType": "image/png", "data": "aWs="}},
            {"thoughtSignature": "S"},
        ]
    )
    chunks = [chunk(*parts) for parts in data.draw(st.lists(st.lists(piece, max_size=4), max_size=6))]
    response = Translated().feed(sse(*chunks))
    events = response.events()
    check_grammar(events, broken=True)
    assert not response.decoder.complete
    reason = data.draw(st.sampled_from(sorted(STOP_REASONS)))
    response.feed(sse(chunk(finish=reason, usage=USAGE)))
    assert response.decoder.complete
    check_grammar(events + response.rest())


class TestStart:
    def test_waits_for_content(self) -> None:
        response = Translated().feed(b": hello\n\n", sse({"modelVersion": "m"}, {}))
        assert response.events() == []
        events = response.feed(sse({"usageMetadata": USAGE})).events()
        assert [event["type"] for event in events] == ["message_start"]
        assert events[0]["message"]["usage"] == {**EMPTY_USAGE, "input_tokens": 10, "output_tokens": 5}
        assert not response.writer.has_content

    def test_the_whole_usage_object_is_always_there(self) -> None:
        start, *_ = decoded(chunk(part("a"), finish="STOP"))
        assert start["message"]["usage"] == EMPTY_USAGE


class TestTolerance:
    def test_done(self) -> None:
        events = Translated().feed(sse(chunk(part("a"), finish="STOP")), b"data: [DONE]\n\n").end()
        assert message(events)["stop_reason"] == "end_turn"

    def test_no_blank_line_at_the_end(self) -> None:
        events = Translated().feed(sse(chunk(part("a"), finish="STOP")).rstrip()).end()
        assert message(events)["content"] == [text("a")]

    def test_invalid_json_before_the_response(self) -> None:
        assert Translated().feed(b"data: hello\n\n", sse(chunk(part("a"), finish="STOP"))).end()

    def test_invalid_json_after_the_response(self) -> None:
        assert Translated().feed(sse(chunk(part("a"), finish="STOP")), b"data: {\n\n").end()

    def test_invalid_json_in_the_response_is_a_failure(self) -> None:
        response = Translated().feed(sse(chunk(part("a"))))
        with pytest.raises(StreamFailure, match="an event that cannot be read") as caught:
            response.feed(b'data: {"candidates"\n\n')
        assert caught.value.type == "api_error"
        check_grammar(response.events(), broken=True)

    def test_lone_surrogates(self) -> None:
        raw = b'data: {"candidates":[{"content":{"parts":[{"text":"\\ud83d"}]},"finishReason":"STOP"}]}\n\n'
        response = Translated().feed(sse(chunk(part("a"))), raw)
        response.decoder.end()
        assert b'"text":"\\ud83d"' in response.writer.take()

    def test_big_integers(self) -> None:
        raw = sse(chunk(call(n=7777), finish="STOP")).replace(b"7777", b"123456789012345678901234567890")
        response = Translated().feed(raw)
        response.decoder.end()
        assert b"123456789012345678901234567890" in response.writer.take()

    def test_an_event_that_is_too_large(self) -> None:
        response = Translated()
        with pytest.raises(StreamFailure, match="larger than") as caught:
            response.feed(b"data: " + b"x" * (17 * 1024 * 1024))
        assert caught.value.failure.kind is FailureKind.INCOMPLETE


class TestUsage:
    @pytest.mark.parametrize(
        ("metadata", "input", "cached", "output"),
        [
            ({}, 0, 0, 0),
            ({"promptTokenCount": 10, "candidatesTokenCount": 5}, 10, 0, 5),
            ({"promptTokenCount": 10, "cachedContentTokenCount": 4}, 6, 4, 0),
            ({"promptTokenCount": 10, "toolUsePromptTokenCount": 3, "cachedContentTokenCount": 4}, 9, 4, 0),
            ({"promptTokenCount": 3, "cachedContentTokenCount": 4}, 0, 4, 0),
            # thinking on top
            (
                {
                    "promptTokenCount": 10,
                    "candidatesTokenCount": 5,
                    "thoughtsTokenCount": 7,
                    "totalTokenCount": 22,
                },
                10,
                0,
                12,
            ),
            ({"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 7}, 10, 0, 12),
            ({"promptTokenCount": 10, "thoughtsTokenCount": 7, "totalTokenCount": 17}, 10, 0, 7),
            # thinking inside
            (
                {
                    "promptTokenCount": 10,
                    "candidatesTokenCount": 12,
                    "thoughtsTokenCount": 7,
                    "totalTokenCount": 22,
                },
                10,
                0,
                12,
            ),
            (
                {
                    "promptTokenCount": 10,
                    "toolUsePromptTokenCount": 3,
                    "candidatesTokenCount": 12,
                    "thoughtsTokenCount": 7,
                    "totalTokenCount": 25,
                },
                13,
                0,
                12,
            ),
            ({"promptTokenCount": None, "candidatesTokenCount": "5"}, 0, 0, 0),
            ({"promptTokenCount": -1, "candidatesTokenCount": True}, 0, 0, 0),
        ],
    )
    def test_arithmetic(self, metadata: dict[str, Any], input: int, cached: int, output: int) -> None:
        assert messages_usage(metadata) == {
            "input_tokens": input,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached,
            "output_tokens": output,
        }

    def test_beside_the_envelope(self) -> None:
        outer = {"response": chunk(part("a"), finish="STOP"), "usageMetadata": USAGE}
        assert message(decoded(outer))["usage"] == {**EMPTY_USAGE, "input_tokens": 10, "output_tokens": 5}

    def test_the_last_word_counts(self) -> None:
        found = message(
            decoded(
                chunk(part("a"), usage={"promptTokenCount": 8, "cachedContentTokenCount": 3}),
                chunk(part("b"), usage={"promptTokenCount": 9, "cachedContentTokenCount": 4}),
                chunk(finish="STOP", usage={"promptTokenCount": 10, "candidatesTokenCount": 1}),
                {"usageMetadata": {"candidatesTokenCount": 5}},
            )
        )
        assert found["usage"] == {
            **EMPTY_USAGE,
            "input_tokens": 6,
            "cache_read_input_tokens": 4,
            "output_tokens": 5,
        }


class TestEnds:
    @pytest.mark.parametrize(("reason", "stop"), sorted(STOP_REASONS.items()))
    def test_stop_reasons(self, reason: str, stop: str) -> None:
        assert message(decoded(chunk(part("a"), finish=reason)))["stop_reason"] == stop

    @pytest.mark.parametrize(
        "reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "OTHER", "NEW_ONE"]
    )
    def test_reasons_that_are_no_ending(self, reason: str) -> None:
        response = Translated()
        with pytest.raises(StreamFailure, match=f"the upstream stopped with {reason}") as caught:
            response.feed(sse(chunk(part("a"), finish=reason)))
        assert caught.value.type == "api_error"
        assert caught.value.failure.kind is FailureKind.UNUSABLE
        assert not response.writer.has_content, "nothing of that event, so that there can be another try"

    def test_a_missing_signature_is_a_400(self) -> None:
        with pytest.raises(StreamFailure) as caught:
            decoded(chunk(finish="MISSING_THOUGHT_SIGNATURE"))
        failure = caught.value.failure
        assert (failure.kind, failure.status) == (FailureKind.STREAM_ERROR, 400)
        assert mentions_signature(failure.message)

    def test_an_account_that_may_not_be_served_is_a_403(self) -> None:
        with pytest.raises(StreamFailure, match="PUP_LIMITED_DISABLED: the account") as caught:
            decoded(chunk(finish="PUP_LIMITED_DISABLED"))
        failure = caught.value.failure
        assert (failure.kind, failure.status, failure.type) == (
            FailureKind.STREAM_ERROR,
            403,
            "permission_error",
        )
        assert caught.value.type == "permission_error"

    def test_a_reason_that_is_no_ending_counts_after_a_first_one(self) -> None:
        response = Translated().feed(sse(chunk(part("a"), finish="STOP")))
        with pytest.raises(StreamFailure, match="MALFORMED_FUNCTION_CALL"):
            response.feed(sse(chunk(finish="MALFORMED_FUNCTION_CALL")))

    @pytest.mark.parametrize(
        "chunks",
        [
            [chunk(finish="STOP")],
            [chunk(part(""), think(""), finish="STOP")],
            [chunk(part("", thoughtSignature="S")), chunk(finish="STOP", usage=USAGE)],
            [chunk({"functionCall": None}, finish="STOP")],
        ],
    )
    def test_an_empty_response_fails_once_and_then_passes(self, chunks: list[Any]) -> None:
        for streams in (True, False):
            response = Translated(streams=streams).feed(sse(*chunks))
            assert response.decoder.complete
            with pytest.raises(StreamFailure, match="empty response") as caught:
                response.decoder.end()
            assert caught.value.failure.kind is FailureKind.EMPTY
            assert not response.writer.has_content
            assert message(response.end())["content"] == []

    def test_thoughts_alone_are_empty_before_any_was_sent(self) -> None:
        stream = sse(chunk(think("hm")), chunk(finish="STOP"))
        Translated(streams=True).feed(stream).decoder.end()
        response = Translated(streams=False).feed(stream)
        with pytest.raises(StreamFailure, match="empty response"):
            response.decoder.end()
        assert message(response.end())["content"] == [thinking("hm")]

    def test_other_endings_may_be_empty(self) -> None:
        for reason in ("MAX_TOKENS", "SAFETY"):
            Translated().feed(sse(chunk(finish=reason))).decoder.end()

    def test_a_reason_with_every_event_does_not_complete_the_response(self) -> None:
        response = Translated().feed(sse(chunk(part("a"), finish="STOP")))
        assert response.decoder.complete
        response.feed(sse(chunk(part("b"), finish="STOP")))
        assert not response.decoder.complete
        with pytest.raises(StreamFailure):
            response.feed(sse({"error": {"code": 500, "message": "x", "status": "INTERNAL"}}))

    @pytest.mark.parametrize("chunks", [[], [{}], [chunk(part("a"))], [chunk(call())]])
    def test_early(self, chunks: list[Any]) -> None:
        response = Translated().feed(sse(*chunks))
        with pytest.raises(StreamFailure, match="upstream ended the stream early") as caught:
            response.decoder.end()
        assert caught.value.type == "api_error"
        assert caught.value.failure.kind is FailureKind.INCOMPLETE
        check_grammar(response.events(), broken=True)

    def test_cut_in_an_event(self) -> None:
        response = Translated().feed(sse(chunk(part("a"))), b'data: {"cand')
        with pytest.raises(StreamFailure, match="cannot be read"):
            response.decoder.end()

    def test_only_one(self) -> None:
        response = Translated().feed(sse(chunk(part("a"), finish="STOP")))
        response.end()
        response.decoder.end()
        assert response.events() == []


@pytest.mark.parametrize("nameless", [{"args": {}}, {"name": ""}, {"name": None}])
def test_a_call_without_a_name_is_a_failure(nameless: dict[str, Any]) -> None:
    with pytest.raises(StreamFailure, match="a call without a name") as caught:
        decoded(chunk({"functionCall": nameless}, finish="STOP"))
    assert caught.value.failure.kind is FailureKind.UNUSABLE


def test_arguments_that_are_no_object_are_a_failure() -> None:
    for args in ('{"a":', [1], "ls"):
        with pytest.raises(StreamFailure, match="'Bash' with arguments that are no JSON object") as caught:
            decoded(chunk({"functionCall": {"name": "Bash", "args": args}}, finish="STOP"))
        assert caught.value.failure.kind is FailureKind.UNUSABLE


class TestErrors:
    ERROR = orjson.dumps({"code": 429, "message": "Quota.", "status": "RESOURCE_EXHAUSTED"})

    @pytest.mark.parametrize("wrapped", [b'{"error":%b}', b'[{"error":%b}]', b'{"response":{"error":%b}}'])
    def test_inside_the_stream(self, wrapped: bytes) -> None:
        response = Translated()
        with pytest.raises(StreamFailure, match=r"^Quota\.$") as caught:
            response.feed(b"data: " + wrapped % self.ERROR + b"\n\n")
        failure = caught.value.failure
        assert caught.value.type == failure.type == "rate_limit_error"
        assert (failure.kind, failure.status) == (FailureKind.STREAM_ERROR, 429)
        assert orjson.loads(failure.body) == {"error": orjson.loads(self.ERROR)}

    def test_after_content(self) -> None:
        response = Translated().feed(sse(chunk(part("a"))))
        with pytest.raises(StreamFailure):
            response.feed(sse({"error": orjson.loads(self.ERROR)}))
        check_grammar(response.events(), broken=True)
        assert response.writer.has_content

    def test_of_no_known_shape(self) -> None:
        with pytest.raises(StreamFailure, match=r"^boom$") as caught:
            decoded({"error": "boom"})
        assert (caught.value.type, caught.value.failure.status) == ("api_error", 500)


class TestSignatures:
    def test_signatures_of_calls_are_remembered_by_the_clients_id(self) -> None:
        store = Signatures()
        found = message(decoded(chunk(call(signed="S"), call(), finish="STOP"), signatures=store))
        first, second = (block["id"] for block in found["content"])
        assert (store.of_call(first), store.of_call(second)) == ("S", "")

    def test_signatures_of_texts_are_remembered_by_the_whole_text(self) -> None:
        store = Signatures()
        decoded(
            chunk(part("Hel", thoughtSignature="old")),
            chunk(part("lo")),
            chunk(part("", thoughtSignature="S"), finish="STOP"),
            signatures=store,
        )
        assert (store.of_text("Hello"), store.of_text("Hel")) == ("S", "")

    def test_of_each_text(self) -> None:
        store = Signatures()
        decoded(
            chunk(
                part("a", thoughtSignature="A"),
                call(),
                part("b"),
                think("c"),
                part("d", thoughtSignature="D"),
            ),
            chunk(finish="STOP"),
            signatures=store,
        )
        assert [store.of_text(text) for text in "abd"] == ["A", "", "D"]


def test_changed_tool_names_change_back() -> None:
    names = ToolNames(NAMES, ["Bash", "my tool"])
    calls = [call(name) for name in (names.wire("my tool"), "Bash", "default_api:Bash", "other")]
    found = message(decoded(chunk(*calls, finish="STOP"), names=names))
    assert [block["name"] for block in found["content"]] == ["my tool", "Bash", "Bash", "other"]


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_json_array_in_place_of_an_event_stream(size: int) -> None:
    chunks = [chunk(part('[{"a\\')), chunk(call(a="}]"), finish="STOP", usage=USAGE)]
    body = b"[" + b"\r\n,\r\n".join(map(orjson.dumps, chunks)) + b"\r\n]\r\n"
    response = Translated().feed(*(body[at : at + size] for at in range(0, len(body), size)))
    found = message(response.end())
    assert [block["type"] for block in found["content"]] == ["text", "tool_use"]
    assert found["content"][1]["input"] == {"a": "}]"}
    assert found["usage"]["output_tokens"] == 5


GROUNDING = {
    "webSearchQueries": ["q"],
    "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}],
    "groundingSupports": [{"segment": {"text": "Sun."}, "groundingChunkIndices": [0]}],
}


class TestGrounding:
    def test_a_search(self) -> None:
        found = message(
            decoded(
                chunk(part("Sun.")), chunk(part(""), finish="STOP", groundingMetadata=GROUNDING, usage=USAGE)
            )
        )
        response, search, result = found["content"]
        assert response["citations"][0]["url"] == "https://a.example"
        assert (search["type"], search["input"]) == ("server_tool_use", {"query": "q"})
        assert re.fullmatch("srvtoolu_[A-Za-z0-9]{24}", search["id"])
        assert result["tool_use_id"] == search["id"]
        assert found["usage"]["server_tool_use"] == {"web_search_requests": 1}
        assert found["stop_reason"] == "end_turn"

    def test_in_several_events(self) -> None:
        found = message(
            decoded(
                chunk(part("a"), groundingMetadata={"webSearchQueries": ["q"]}),
                chunk(finish="STOP", groundingMetadata={"webSearchQueries": ["r"]}),
            )
        )
        assert found["content"][1]["input"] == {"query": "q; r"}

    def test_nothing_was_searched(self) -> None:
        found = message(decoded(chunk(part("a"), finish="STOP", groundingMetadata={})))
        assert len(found["content"]) == 1
        assert "server_tool_use" not in found["usage"]

    def test_no_text_to_cite(self) -> None:
        found = message(decoded(chunk(think("a"), finish="STOP", groundingMetadata=GROUNDING)))
        assert [block["type"] for block in found["content"]] == [
            "thinking",
            "server_tool_use",
            "web_search_tool_result",
        ]
