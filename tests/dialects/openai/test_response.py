"""Responses as Messages events: every host's manner, nothing made up."""

# ruff: noqa: E501 - a row of a table is one line, with the hosts' own wording

from typing import Any

import orjson
import pytest

from gateway.dialects.openai.encoded_request import encoded_request_of
from gateway.messages.sse import EVENT_LIMIT
from gateway.routing.failures import FailureKind
from tests.dialects.openai.support import (
    FINISH,
    USAGE,
    Response,
    blocks,
    call,
    chunk,
    decoded,
    dialect,
    encoded,
    failure_of,
    message,
    message_of,
    sse,
    text,
    upstream,
    user,
)

HELLO = [chunk({"role": "assistant", "content": ""}), chunk({"content": "Hel"}), chunk({"content": "lo"})]
TEXT = [text("Hello")]


def whole(document_message: dict[str, Any], finish: str | None = "stop", **fields: Any) -> bytes:
    choice = {"index": 0, "message": document_message, "finish_reason": finish}
    return orjson.dumps({"object": "chat.completion", "choices": [choice], **fields})


FORMS: list[tuple[str, bytes]] = [
    ("a stream", sse(*HELLO, FINISH)),
    ("no [DONE]", sse(*HELLO, FINISH, done=False)),
    ("no last blank line", sse(*HELLO, FINISH, done=False)[:-2]),
    ("no space behind data:", sse(*HELLO, FINISH).replace(b"data: ", b"data:")),
    ("CRLF", sse(*HELLO, FINISH).replace(b"\n", b"\r\n")),
    ("comments", sse(*HELLO, FINISH).replace(b"data: ", b": OPENROUTER PROCESSING\n\ndata: ")),
    ("blank lines first", b"\n\n\n\n" + sse(*HELLO, FINISH)),
    ("a byte order mark", b"\xef\xbb\xbf" + sse(*HELLO, FINISH)),
    ("empty data", sse(*HELLO, FINISH).replace(b"data: ", b"data: \n\ndata:\n\ndata: ")),
    ("ids", sse(*HELLO, FINISH).replace(b"data: ", b"id: 1\ndata: ")),
    ("JSON", whole({"content": "Hello"})),
    ("JSON behind blanks", b" \r\n" + whole({"content": "Hello"})),
    ("JSON behind a byte order mark", b"\xef\xbb\xbf" + whole({"content": "Hello"})),
    ("an array of chunks", orjson.dumps([*HELLO, FINISH])),
    ("message for delta", sse({"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]})),
    (
        "the whole message again at the end",
        sse(*HELLO, done=False) + b"data: " + whole({"content": "Hello"}) + b"\n\n",
    ),
    (
        "a message in pieces",
        sse(*({"choices": [{"message": c["choices"][0]["delta"]}]} for c in HELLO), FINISH),
    ),
    (
        "the message so far beside each delta",
        sse(
            {"choices": [{"delta": {"content": "Hel"}, "message": {"content": "Hel"}}]},
            {"choices": [{"delta": {"content": "lo"}, "message": {"content": "Hello"}}]},
            {"choices": [{"delta": {}, "message": {"content": "Hello"}, "finish_reason": "stop"}]},
        ),
    ),
    (
        "a message beside an empty delta",
        sse({"choices": [{"delta": {}, "message": {"content": "Hello"}, "finish_reason": "stop"}]}),
    ),
    (
        "calls of which nothing is said",
        sse(
            *HELLO, chunk({"tool_calls": [{}], "function_call": {"name": None}}), call(0, "", "", ""), FINISH
        ),
    ),
    ("finish with the content", sse(chunk({"content": "Hello"}, "stop"))),
    ("a second finish", sse(*HELLO, FINISH, chunk(finish="length"))),
    ("finish null and empty before", sse(*(chunk(c["choices"][0]["delta"], "") for c in HELLO), FINISH)),
    ("usage null in each", sse(*({**c, "usage": None} for c in HELLO), FINISH)),
    ("no choices first", sse({"choices": [], "prompt_filter_results": []}, *HELLO, FINISH)),
    ("a choice without delta", sse({"choices": [{"index": 0}]}, *HELLO, FINISH)),
    ("no choices in the middle", sse(HELLO[0], HELLO[1], {"choices": []}, HELLO[2], FINISH)),
    ("a greeting that is no JSON", sse("hello", *HELLO, FINISH)),
    ("content as parts", sse(chunk({"content": [{"type": "text", "text": "Hello"}, {"type": "x"}]}), FINISH)),
    (
        "other choices",
        sse(*({**c, "choices": [*c["choices"], {"delta": {"content": "no"}}]} for c in HELLO), FINISH),
    ),
    ("something behind [DONE]", sse(*HELLO, FINISH) + sse(chunk({"content": "!"}))),
]


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in FORMS])
def test_one_response_in_every_form(data: bytes) -> None:
    for pieces in ([data], [bytes([byte]) for byte in data]):
        found = message(Response().feed(*pieces).end())
        assert (found["content"], found["stop_reason"]) == (TEXT, "end_turn")


@pytest.mark.parametrize("open_end", [True, False])
def test_nothing_waits_for_a_body_that_stays_open(open_end: bool) -> None:
    response = Response().feed(sse(*HELLO, FINISH, done=open_end))
    assert response.decoder.complete
    assert response.writer.finished is open_end
    response.decoder.end()
    assert response.writer.finished


REASONS: list[tuple[str, str]] = [
    *(
        (word, "end_turn")
        for word in ("stop", "eos", "end", "end_turn", "stop_sequence", "tool_calls", "STOP")
    ),
    ("length", "max_tokens"),
    ("max_tokens", "max_tokens"),
    ("eos_token", "end_turn"),
    ("model_length", "max_tokens"),
    ("sensitive", "refusal"),
    ("content_filter: PROHIBITED_CONTENT", "refusal"),
    ("content_filter", "refusal"),
    ("safety", "refusal"),
]


@pytest.mark.parametrize(("word", "stop"), REASONS)
def test_stop_reasons(word: str, stop: str) -> None:
    assert message_of(*HELLO, chunk(finish=word))["stop_reason"] == stop


@pytest.mark.parametrize("word", ["error", "abort", "network_error", "whatever", "function_call_filter: X"])
def test_an_unknown_finish_reason_is_a_failure(word: str) -> None:
    failure, _ = failure_of([sse(*HELLO, chunk(finish=word))])
    assert word in failure.message
    assert failure.failure.kind is FailureKind.INCOMPLETE


def test_a_full_window_has_the_words_by_which_clients_compact() -> None:
    failure, _ = failure_of([sse(chunk(finish="model_context_window_exceeded"))])
    assert failure.message.startswith("prompt is too long")
    assert failure.failure.status == 400


EARLY: list[tuple[str, bytes]] = [
    ("nothing", b""),
    ("blanks", b"\n \n"),
    ("comments", b": hi\n\n: hi\n\n"),
    ("only [DONE]", sse()),
    ("no finish", sse(*HELLO, done=False)),
    ("[DONE] without a finish", sse(*HELLO)),
    ("an empty array", b"[]"),
    ("a page", b"<html>busy</html>"),
    ("JSON without an end", whole({"content": "Hello"}, None)),
]


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in EARLY])
def test_an_early_end_is_never_an_end(data: bytes) -> None:
    failure, _ = failure_of([data])
    assert failure.failure.kind is FailureKind.INCOMPLETE
    assert "ended the stream early" in failure.message


def test_hosts_that_give_no_reason_may_end_with_done() -> None:
    sent = encoded({"messages": [user("hi")]}, upstream(finish=False))
    assert message(Response(sent).feed(sse(*HELLO)).end())["stop_reason"] == "end_turn"
    failure_of([sse()], outgoing=encoded({"messages": [user("hi")]}, upstream(finish=False)))
    failure_of(
        [sse(*HELLO, done=False)], outgoing=encoded({"messages": [user("hi")]}, upstream(finish=False))
    )


def test_an_empty_response_that_is_finished_is_passed_on_empty() -> None:
    assert message_of(chunk({"role": "assistant"}), FINISH)["content"] == []
    assert message_of(chunk({"content": "\n"}), FINISH)["content"] == []


ERRORS: list[tuple[str, bytes, int, str]] = [
    ("an object", sse({"error": {"message": "no", "code": 503}}), 503, "no"),
    ("a text", sse({"error": "no"}), 500, "no"),
    ("a type", sse({"error": {"message": "no", "type": "rate_limit_exceeded"}}), 429, "no"),
    ("SGLang's", sse({"object": "error", "message": "no", "code": 400}), 400, "no"),
    ("MiniMax's", sse({"base_resp": {"status_code": 1004, "status_msg": "login fail"}}), 401, "login fail"),
    ("behind a finish", sse(*HELLO, FINISH, {"error": {"message": "no", "code": 502}}), 502, "no"),
    ("with a finish", sse({**chunk(finish="error"), "error": {"message": "no", "code": 429}}), 429, "no"),
    ("in the choice", sse({"choices": [{"error": {"message": "no", "code": 402}}]}), 402, "no"),
    ("LM Studio's event", b'event: error\ndata: {"error":{"message":"no"}}\n\n', 500, "no"),
    ("a text event", b"event: error\ndata: it broke\n\n", 500, "it broke"),
    ("llama.cpp's line", sse(*HELLO, done=False) + b'error: {"code":500,"message":"no"}\n\ndata: [DONE]\n\n', 500, "no"),
    ("that line first", b'error: {"code":503,"message":"no"}\n\n', 503, "no"),
    ("JSON", orjson.dumps({"error": {"message": "no", "code": 404}}), 404, "no"),
    ("a list of one", orjson.dumps([{"error": {"message": "no", "code": 404}}]), 404, "no"),
    ("FastAPI's", orjson.dumps({"detail": "no"}), 500, "no"),
    ("code and message", orjson.dumps({"code": 401, "message": "no"}), 401, "no"),
    ("success false", orjson.dumps({"success": False, "msg": "no"}), 500, "no"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "status", "words"), [pytest.param(*row[1:], id=row[0]) for row in ERRORS])
def test_an_error_inside_a_200_is_judged_like_the_status_it_names(
    data: bytes, status: int, words: str
) -> None:
    for pieces in ([data], [bytes([byte]) for byte in data]):
        failure, _ = failure_of(pieces)
        assert failure.failure.status == status
        assert words in failure.message


def test_a_line_of_text_that_begins_like_an_error_is_text() -> None:
    data = sse(*HELLO, FINISH) + b"errors\n\nerr"
    for pieces in ([data], [bytes([byte]) for byte in data]):
        assert message(Response().feed(*pieces).end())["content"] == TEXT


def test_an_event_that_cannot_be_read_is_a_failure_once_the_response_began() -> None:
    failure, _ = failure_of([sse(*HELLO, '{"choices": [')])
    assert "cannot be read" in failure.message


def test_a_response_has_a_bound() -> None:
    failure, _ = failure_of([b"{", *[b" " * 2**20] * 17])
    assert str(EVENT_LIMIT) in failure.message
    failure_of([b"data: ", *[b" " * 2**20] * 17])


def test_a_refusal_is_text_with_its_stop_reason() -> None:
    found = message_of(chunk({"refusal": "I can"}), chunk({"refusal": "not."}), FINISH)
    assert (found["content"], found["stop_reason"]) == ([text("I cannot.")], "refusal")


def test_pictures_are_markdown() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    assert blocks(chunk({"images": [image, {}, 1]}), FINISH) == [text("![image](data:image/png;base64,AA)")]


def test_citations() -> None:
    cited = {"url": "https://a", "title": "A", "content": "words"}
    found = message_of(
        chunk({"content": "So."}),
        chunk({"annotations": [{"type": "url_citation", "url_citation": cited}, {"type": "file"}, 1]}),
        chunk({"annotations": [{"url": "https://b"}]}),
        FINISH,
    )
    spoken, search, result = found["content"]
    assert [(c["url"], c["title"], c["cited_text"]) for c in spoken["citations"]] == [
        ("https://a", "A", "words"),
        ("https://b", "https://b", ""),
    ]
    assert (search["type"], search["name"]) == ("server_tool_use", "web_search")
    assert [page["url"] for page in result["content"]] == ["https://a", "https://b"]
    assert found["usage"]["server_tool_use"] == {"web_search_requests": 1}
    behind_a_call = blocks(call(0, "c", "Run"), chunk({"annotations": [{"url": "https://b"}]}), FINISH)
    assert [block["type"] for block in behind_a_call] == [
        "tool_use",
        "server_tool_use",
        "web_search_tool_result",
    ]


# Stop sequences.

CUTS: list[tuple[str, list[str], list[str], str, str]] = [
    ("in one piece", ["a STOP b"], ["STOP"], "a ", "STOP"),
    ("cut anywhere", list("a STOP b"), ["STOP"], "a ", "STOP"),
    ("only its beginning", ["a ST", "ART"], ["STOP"], "a START", ""),
    ("its beginning at the end", ["a ST"], ["STOP"], "a ST", ""),
    ("the first of two", ["x END y STOP"], ["STOP", "END"], "x ", "END"),
    ("blank", ["a\n\nb"], ["\n\n"], "a", "\n\n"),
]


@pytest.mark.parametrize(
    ("pieces", "stops", "spoken", "sequence"), [pytest.param(*row[1:], id=row[0]) for row in CUTS]
)
def test_stop_sequences_that_the_host_does_not_know_are_cut(
    pieces: list[str], stops: list[str], spoken: str, sequence: str
) -> None:
    chunks = [*(chunk({"content": piece}) for piece in pieces), call(0, "c", "Run") if sequence else chunk()]
    data = [*chunks, chunk(finish="length" if sequence else "stop"), {"choices": [], "usage": USAGE}]
    document = {"messages": [user("hi")], "stop_sequences": stops}
    found = message_of(*data, outgoing=encoded(document, upstream(stop="cut")))
    assert found["content"] == [text(spoken)]
    assert found["stop_sequence"] == (sequence or None)
    assert found["stop_reason"] == ("stop_sequence" if sequence else "end_turn")
    assert found["usage"]["output_tokens"] == 5


def test_a_text_that_was_cut_needs_no_proper_end() -> None:
    response = Response(stops=("STOP",)).feed(sse(chunk({"content": "a STOP"}), done=False))
    assert response.decoder.complete
    response.end()
    after_an_error = Response(stops=("STOP",)).feed(sse(chunk({"content": "a STOP"}), {"error": "late"}))
    assert message(after_an_error.end())["stop_reason"] == "stop_sequence"


@pytest.mark.parametrize("key", ["stop_reason", "matched_stop"])
def test_hosts_that_name_the_stop_sequence(key: str) -> None:
    choice: dict[str, Any] = {"delta": {}, "finish_reason": "stop", key: "END"}
    finish = {"choices": [choice]}
    found = message_of(*HELLO, finish, stop_sequences=("END",))
    assert (found["stop_reason"], found["stop_sequence"]) == ("stop_sequence", "END")
    choice[key] = 128009
    assert message_of(*HELLO, finish, stop_sequences=("END",))["stop_reason"] == "end_turn"


# Usage.

USAGES: list[tuple[str, dict[str, Any], tuple[int, int, int, int]]] = [
    ("plain", {"usage": USAGE}, (10, 0, 0, 5)),
    (
        "cached",
        {"usage": {**USAGE, "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3}}},
        (3, 3, 4, 5),
    ),
    ("DeepSeek's", {"usage": {**USAGE, "prompt_cache_hit_tokens": 6}}, (4, 0, 6, 5)),
    ("Moonshot's", {"choices": [{"usage": {**USAGE, "cached_tokens": 2}}]}, (8, 0, 2, 5)),
    ("Groq's", {"x_groq": {"usage": USAGE}}, (10, 0, 0, 5)),
    (
        "xAI's: reasoning on top",
        {"usage": {**USAGE, "total_tokens": 22, "completion_tokens_details": {"reasoning_tokens": 7}}},
        (10, 0, 0, 12),
    ),
    (
        "reasoning inside",
        {"usage": {**USAGE, "completion_tokens_details": {"reasoning_tokens": 4}}},
        (10, 0, 0, 5),
    ),
    ("more cached than there is", {"usage": {**USAGE, "cached_tokens": 99}}, (0, 0, 99, 5)),
    (
        "nonsense",
        {"usage": {"prompt_tokens": None, "completion_tokens": "x", "cached_tokens": -1}},
        (8, 0, 0, 2),
    ),
    ("a prompt that was not counted", {"usage": {"completion_tokens": 5}}, (8, 0, 0, 5)),
    ("a response that was not counted", {"usage": {"prompt_tokens": 10}}, (10, 0, 0, 2)),
]


@pytest.mark.parametrize(("last", "expected"), [pytest.param(*row[1:], id=row[0]) for row in USAGES])
def test_usage_wherever_it_is(last: dict[str, Any], expected: tuple[int, ...]) -> None:
    first = {**chunk({"content": "x"}), "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    usage = message_of(first, *HELLO, FINISH, last)["usage"]
    assert (
        usage["input_tokens"],
        usage["cache_creation_input_tokens"],
        usage["cache_read_input_tokens"],
        usage["output_tokens"],
    ) == expected


def test_without_usage_it_is_estimated_so_that_clients_compact() -> None:
    sent = encoded({"messages": [user("word " * 1000)]})
    usage = message(Response(sent).feed(sse(*HELLO, FINISH)).end())["usage"]
    assert 800 < usage["input_tokens"] < 1500
    assert usage["output_tokens"] == 2


def test_hosts_that_report_usage_are_estimated_roughly_until_they_do_not() -> None:
    by, counted = dialect(), {"choices": [], "usage": USAGE}

    def estimates(*more: dict[str, Any], model: str = "m") -> int:
        """The decoder's state while the request is under way."""
        sent = encoded({"messages": [user([text("word " * 1000), *pictures])]}, by=by, model=model)
        response = Response(sent, by=by)
        usage = message(response.feed(sse(*HELLO, FINISH, *more)).end())["usage"]["input_tokens"]
        assert usage == (10 if more else encoded_request_of(sent).input_tokens)
        assert response.writer.estimated is not bool(more)
        return encoded_request_of(sent).input_tokens

    pictures: list[dict[str, Any]] = []
    careful = estimates(counted)
    assert 800 < careful < 1500
    assert careful != estimates(counted)
    assert 800 < estimates() < 1500
    assert estimates(counted) == careful, "it is not relied on again"
    assert estimates(counted, model="m-2") == careful
    source = {"type": "base64", "media_type": "image/png", "data": "A" * 90_000}
    pictures.append({"type": "image", "source": source})
    assert estimates() < 5000, "a picture is not counted by its bytes"


def test_what_is_known_of_hosts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.dialects.usage.PLACES_KEPT", 0)
    by = dialect()
    for _ in range(2):
        sent = encoded({"messages": [user("word " * 1000)]}, by=by)
        Response(sent, by=by).feed(sse(*HELLO, FINISH, {"choices": [], "usage": USAGE})).end()
    assert message(Response(sent, by=by).feed(sse(*HELLO, FINISH)).end())["usage"]["input_tokens"] > 800


def test_the_events_of_a_plain_response() -> None:
    events = decoded(*HELLO, FINISH, {"choices": [], "usage": USAGE})
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0]["message"]["model"] == "claude"
