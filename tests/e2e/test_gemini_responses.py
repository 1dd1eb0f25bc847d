"""Responses of a Gemini upstream, through the whole gateway: good ends, bad ends, and no invented ones."""

from typing import Any

import orjson
import pytest

from gateway.config import Retry
from tests.dialects.gemini.support import check_grammar, chunk, read_events, sse
from tests.fakes.messages import Close, Received, Reset, Script, Stall, chunked
from tests.support.client import Response
from tests.support.clock import run
from tests.support.gemini import STREAM_HEAD, broken, detail, error_object, gemini, google_stream, message_of
from tests.support.stage import staged

USAGE = {"promptTokenCount": 100, "candidatesTokenCount": 20, "totalTokenCount": 120}
TEXT = {"text": "Good."}
GOOD = google_stream(chunk(TEXT, finish="STOP", usage=USAGE))
HALF = chunk({"text": "Half of it"})
CALL = {"functionCall": {"name": "Bash", "args": {"command": "ls"}}}
THOUGHT = {"text": "Hm.", "thought": True}


def text(message: dict[str, Any]) -> str:
    return "".join(block["text"] for block in message["content"] if block["type"] == "text")


def post_for(*chunks: Any, mode: str, then: Script | None = None) -> tuple[Response, int]:
    """Return a client's response when the upstream sends these chunks, and `then` or the same afterwards; and how many
    requests the upstream got."""
    scripts = [google_stream(*chunks)]

    def respond(request: Received) -> Script:
        return scripts.pop() if scripts else then or google_stream(*chunks)

    async def scenario() -> tuple[Response, int]:
        async with staged(respond, "a@x", "b@x", made=gemini, retry=Retry()) as stage:
            response = await stage.post(mode)
            return response, len(stage.requests)

    return run(scenario())


MODES = ("stream", "whole")


# Ends that are ends.


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("chunks", "stop_reason", "spoken", "calls"),
    [
        ([HALF, chunk(finish="STOP", usage=USAGE)], "end_turn", "Half of it", 0),
        ([HALF, chunk(finish="MAX_TOKENS", usage=USAGE)], "max_tokens", "Half of it", 0),
        ([chunk(CALL), chunk(finish="STOP", usage=USAGE)], "tool_use", "", 1),
        ([chunk(CALL), chunk(CALL, finish="STOP", usage=USAGE)], "tool_use", "", 2),
        ([chunk(CALL, finish="MAX_TOKENS", usage=USAGE)], "max_tokens", "", 1),
        ([HALF, chunk(finish="SAFETY", usage=USAGE)], "refusal", "Half of it", 0),
        ([chunk(finish="SAFETY", usage=USAGE)], "refusal", "", 0),
        ([chunk(finish="PROHIBITED_CONTENT", usage=USAGE)], "refusal", "", 0),
        ([HALF, chunk(finish="RECITATION", usage=USAGE)], "refusal", "Half of it", 0),
        ([{"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": USAGE}], "refusal", "", 0),
        # Some servers give a reason with every event.
        ([chunk(TEXT, finish="STOP", usage=USAGE), chunk(TEXT, finish="STOP")], "end_turn", "Good.Good.", 0),
        ([chunk(TEXT, finish="STOP"), chunk(CALL, finish="STOP", usage=USAGE)], "tool_use", "Good.", 1),
        ([chunk(TEXT, finish="STOP"), chunk(finish="SAFETY", usage=USAGE)], "refusal", "Good.", 0),
        ([chunk(TEXT, finish="STOP"), {"usageMetadata": USAGE}], "end_turn", "Good.", 0),
    ],
)
def test_an_end(chunks: list[Any], stop_reason: str, spoken: str, calls: int, mode: str) -> None:
    response, requests = post_for(*chunks, mode=mode)
    message = message_of(response)

    assert (message["stop_reason"], text(message), requests) == (stop_reason, spoken, 1)
    assert message["stop_sequence"] is None
    assert (message["usage"]["input_tokens"], message["usage"]["output_tokens"]) == (100, 20)
    called = [block for block in message["content"] if block["type"] == "tool_use"]
    assert [(call["name"], call["input"]) for call in called] == [("Bash", {"command": "ls"})] * calls
    assert len({call["id"] for call in called}) == calls


EMPTY = {
    "no part": [chunk(finish="STOP", usage=USAGE)],
    "an empty text": [chunk({"text": ""}, finish="STOP", usage=USAGE)],
    "a signature": [chunk({"text": "", "thoughtSignature": "eA=="}, finish="STOP", usage=USAGE)],
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", EMPTY)
def test_an_empty_response_is_retried_on_the_same_account(kind: str, mode: str) -> None:
    response, requests = post_for(*EMPTY[kind], mode=mode, then=GOOD)
    assert (text(message_of(response)), requests) == ("Good.", 2)
    assert response.header("x-account-email") == "a@x"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", EMPTY)
def test_a_second_empty_response_is_passed_on(kind: str, mode: str) -> None:
    response, requests = post_for(*EMPTY[kind], mode=mode)
    message = message_of(response)
    assert (message["content"], message["stop_reason"], requests) == ([], "end_turn", 2)


def test_thoughts_alone_are_retried_before_any_was_sent() -> None:
    thoughts = [chunk(THOUGHT), chunk(finish="STOP", usage=USAGE)]
    response, requests = post_for(*thoughts, mode="whole", then=GOOD)
    assert (text(message_of(response)), requests) == ("Good.", 2)
    response, requests = post_for(*thoughts, mode="stream", then=GOOD)
    (thought,) = message_of(response)["content"]
    assert (thought["thinking"], thought["signature"], requests) == ("Hm.", "gemini:", 1)


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_response_whose_body_breaks_off(mode: str) -> None:
    def respond(request: Received) -> Script:
        return [STREAM_HEAD + chunked([sse(chunk(finish="STOP", usage=USAGE))], end=False), Close()]

    async def scenario() -> None:
        async with staged(respond, "a@x", "b@x", made=gemini, retry=Retry()) as stage:
            message = message_of(await stage.post(mode))
            assert (message["content"], len(stage.requests)) == ([], 2)
            assert stage.cooling() == {}

    run(scenario())


# Ends that are none.

MALFORMED = chunk(TEXT, finish="MALFORMED_FUNCTION_CALL")
UNEXPECTED = chunk(finish="UNEXPECTED_TOOL_CALL")
OVERLOADED = {"error": error_object(503, "UNAVAILABLE", "The model is overloaded.")}
LIMITED = {
    "error": error_object(429, "RESOURCE_EXHAUSTED", "Quota.", detail("RetryInfo", retryDelay="3600s"))
}
NO_ENDS: dict[str, tuple[Any, int, str, str]] = {
    # chunk; then the client's final error: status, type, message
    "malformed call": (MALFORMED, 502, "api_error", "MALFORMED_FUNCTION_CALL"),
    "unexpected call": (UNEXPECTED, 502, "api_error", "UNEXPECTED_TOOL_CALL"),
    "unknown reason": (chunk(finish="SOMETHING_NEW"), 502, "api_error", "SOMETHING_NEW"),
    "error": (OVERLOADED, 503, "api_error", "The model is overloaded."),
    "limit": (LIMITED, 429, "rate_limit_error", "Quota."),
    "silence": ({}, 502, "api_error", "upstream ended the stream early"),
}
MODEL_STOPPED = ("malformed call", "unexpected call", "unknown reason")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", NO_ENDS)
def test_a_bad_end_before_content_is_retried(kind: str, mode: str) -> None:
    response, requests = post_for(NO_ENDS[kind][0], mode=mode, then=GOOD)

    assert (text(message_of(response)), requests) == ("Good.", 2)
    # A model that stops is no account's fault.
    assert response.header("x-account-email") == ("a@x" if kind in MODEL_STOPPED else "b@x")


@pytest.mark.parametrize("kind", NO_ENDS)
def test_a_bad_end_after_content_is_an_error_event(kind: str) -> None:
    bad, _, type, words = NO_ENDS[kind]

    def respond(request: Received) -> Script:
        # In two writes, so that the content is with the client before the end comes.
        return [STREAM_HEAD + chunked([sse(HALF)], end=False), chunked([sse(bad)])]

    async def scenario() -> None:
        async with staged(respond, "a@x", "b@x", made=gemini, retry=Retry()) as stage:
            response = await stage.post("stream")
            events, error = broken(response)
            assert (error["type"], len(stage.requests)) == (type, 1)
            assert words in error["message"]
            assert "Half of it" in str(events)
            assert "content_block_stop" not in response.names
            assert stage.cooling() == ({"up/a m": 3600.0} if kind == "limit" else {})

    run(scenario())


@pytest.mark.parametrize("kind", NO_ENDS)
def test_a_bad_end_after_content_is_retried_without_streaming(kind: str) -> None:
    response, requests = post_for(HALF, NO_ENDS[kind][0], mode="whole", then=GOOD)

    assert (text(message_of(response)), requests) == ("Good.", 2)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", NO_ENDS)
def test_repeated_bad_ends_are_an_error(kind: str, mode: str) -> None:
    bad, status, type, words = NO_ENDS[kind]
    response, requests = post_for(bad, mode=mode)

    assert (response.status, response.error_type) == (status, type)
    assert words in response.message
    assert requests == (2 if kind in MODEL_STOPPED or kind == "limit" else 3)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("body", [b"", b"data: [DONE]\n\n", b": nothing\n\n", b"\n"])
def test_an_empty_response_is_tried_again(body: bytes, mode: str) -> None:
    scripts: list[Script] = [[STREAM_HEAD + chunked([body])]]

    async def scenario() -> None:
        async with staged(lambda _: scripts.pop() if scripts else GOOD, "a@x", "b@x", made=gemini) as stage:
            response = await stage.post(mode)
            assert text(message_of(response)) == "Good."
            assert len(stage.requests) == 2
            assert stage.cooling() == {}

    run(scenario())


# Breaks.

CHUNKS = [
    chunk(THOUGHT, usage=USAGE),
    chunk({"text": " Yes.", "thought": True}),
    chunk({"text": "I run"}),
    chunk({"text": " it."}),
    chunk({**CALL, "thoughtSignature": "c2ln"}),
    chunk({"text": "", "thoughtSignature": "c2ln"}, finish="STOP", usage=USAGE),
    {"usageMetadata": USAGE},
]
PIECES = [sse(chunk) for chunk in CHUNKS]
FINISH = 6
"""With this many chunks the response is complete."""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("step", [Close(), Reset(), Stall()], ids=["close", "reset", "stall"])
def test_a_break_behind_each_event(step: Any, mode: str) -> None:
    async def scenario() -> None:
        for count in range(len(PIECES) + 1):
            scripts: list[Script] = [[STREAM_HEAD + chunked(PIECES[:count], end=False), step]]

            def respond(request: Received, scripts: list[Script] = scripts) -> Script:
                return scripts.pop() if scripts else GOOD

            async with staged(respond, "a@x", "b@x", made=gemini) as stage:
                response = await stage.post(mode)
                requests = len(stage.requests)
            if count >= FINISH:
                assert requests == 1
                assert complete(message_of(response))
            elif mode == "whole" or count == 0:
                if isinstance(step, Stall):
                    # It may still be generating, and costs money: this upstream is not tried again.
                    assert (requests, response.status, response.error_type) == (1, 504, "timeout_error")
                else:
                    assert requests == 2
                    assert text(message_of(response)) == "Good."
            else:
                assert requests == 1
                check_break(response, count)

    run(scenario(), debug=False)


def complete(message: dict[str, Any]) -> bool:
    kinds = [block["type"] for block in message["content"]]
    return kinds == ["thinking", "text", "tool_use"] and message["stop_reason"] == "tool_use"


def check_break(response: Response, count: int) -> None:
    events, error = broken(response)
    assert error["type"] in ("api_error", "timeout_error")
    stops = [event["index"] for event in events if event["type"] == "content_block_stop"]
    # A block is stopped when another one begins, or, a call, when all of it has come.
    assert stops == {1: [], 2: [], 3: [0], 4: [0], 5: [0, 1, 2]}[count]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("step", [Close(), Reset()], ids=["close", "reset"])
def test_a_break_at_any_byte_is_no_response(step: Any, mode: str) -> None:
    payload = b"".join(PIECES[4:6])
    complete_at = len(payload) - 2

    async def scenario() -> None:
        cut = 0

        def respond(request: Received) -> Script:
            if len(stage.requests) > 1:
                return GOOD
            return [STREAM_HEAD + chunked([payload[:cut]], end=False), step]

        async with staged(respond, "a@x", made=gemini) as stage:
            for cut in range(0, len(payload), 11):
                stage.requests.clear()
                response = await stage.post(mode)
                if len(stage.requests) == 2:
                    assert text(message_of(response)) == "Good."
                    assert cut < complete_at
                elif cut < complete_at:
                    events, _ = broken(response)
                    check_grammar(events, broken=True)
                else:
                    message_of(response)

    run(scenario(), debug=False)


# Signatures and usage.


@pytest.mark.parametrize("mode", MODES)
def test_a_signature_goes_to_the_client(mode: str) -> None:
    thought = {**THOUGHT, "thoughtSignature": "c2lnbmVk"}
    response, _ = post_for(chunk(THOUGHT), chunk(thought), chunk(TEXT, finish="STOP"), mode=mode)

    thinking, spoken = message_of(response)["content"]
    assert thinking == {"type": "thinking", "thinking": "Hm.Hm.", "signature": "gemini:c2lnbmVk"}
    assert spoken == {"type": "text", "text": "Good."}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            # Thinking comes on top.
            {
                "promptTokenCount": 100,
                "cachedContentTokenCount": 60,
                "candidatesTokenCount": 20,
                "thoughtsTokenCount": 30,
                "totalTokenCount": 150,
            },
            (40, 60, 50),
        ),
        (
            # Thinking is among the candidates' tokens.
            {
                "promptTokenCount": 100,
                "toolUsePromptTokenCount": 7,
                "candidatesTokenCount": 50,
                "thoughtsTokenCount": 30,
                "totalTokenCount": 157,
            },
            (107, 0, 50),
        ),
        # The output was not counted, so it is estimated.
        ({"promptTokenCount": 100}, (100, 0, -(-len(TEXT["text"]) // 4))),
    ],
)
def test_usage_adds_up(usage: dict[str, int], expected: tuple[int, int, int], mode: str) -> None:
    def respond(request: Received) -> Script:
        return google_stream(chunk(TEXT), chunk(finish="STOP", usage=usage))

    async def scenario() -> None:
        async with staged(respond, "a@x", made=gemini) as stage:
            found = message_of(await stage.post(mode))["usage"]
            keys = ("input_tokens", "cache_read_input_tokens", "output_tokens")
            assert tuple(found[key] for key in keys) == expected
            assert found["cache_creation_input_tokens"] == 0
            (line,) = (line for line in stage.running.lines if "POST /v1/messages" in line)
            assert f"input={expected[0]} output={expected[2]} cache_read={expected[1]}" in line
            assert ("usage=estimated" in line) is ("candidatesTokenCount" not in usage)

    run(scenario())


def test_the_log_knows_the_tokens_of_a_broken_stream() -> None:
    def respond(request: Received) -> Script:
        return [STREAM_HEAD + chunked([sse(chunk(TEXT, usage=USAGE))], end=False), Close()]

    async def scenario() -> None:
        async with staged(respond, "a@x", made=gemini) as stage:
            broken(await stage.post("stream"))
            (line,) = (line for line in stage.running.lines if "POST /v1/messages" in line)
            assert "upstream_error" in line
            assert "input=100 output=20" in line

    run(scenario())


def test_events_are_translated_as_they_arrive() -> None:
    """And a tool's input is in a delta, where clients look for it."""
    response, _ = post_for(*CHUNKS, mode="stream")
    events = read_events(response.body)
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]

    assert [delta["type"] for delta in deltas] == [
        "thinking_delta",
        "thinking_delta",
        "signature_delta",
        "text_delta",
        "text_delta",
        "input_json_delta",
    ]
    assert orjson.loads(deltas[-1]["partial_json"]) == CALL["functionCall"]["args"]
