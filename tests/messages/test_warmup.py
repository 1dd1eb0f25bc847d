"""messages/warmup.py: which requests are warm-ups, and the response that a warm-up gets."""

from typing import Any

import orjson
import pytest

from gateway.messages.collect import Collector
from gateway.messages.sse import EventDecoder
from gateway.messages.warmup import is_quota_probe, is_warmup, response_body, response_events
from tests.messages.samples import client_requests

REMINDER = "<system-reminder>\nbe kind\n</system-reminder>"


def text(text: Any, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **more}


def failed(content: Any, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": content, **more}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("Warmup", True),
        (" Warmup\n", True),
        ([text("Warmup", cache_control={"type": "ephemeral"})], True),
        ([text(REMINDER), text("Warmup ")], True),
        ([text("Warmup"), text(f" {REMINDER}\n{REMINDER} ")], True),
        ([failed("Warmup")], True),
        ([failed("Warmup: not run"), failed([text("Warmup")])], True),
        ([text(REMINDER), failed("Warmup")], True),
        ("warmup", False),
        ("Warmup exercises for runners", False),
        ("Please say Warmup", False),
        (f"{REMINDER}Warmup", False),
        ([text(f"{REMINDER} Warmup {REMINDER}")], False),
        ([text(REMINDER + "Warmup")], False),
        ([text("Warmup"), text("<system-reminder>never closed")], False),
        ([text("Warmup"), text("<system-reminder> ")], False),
        ([text("Warmup"), text("")], False),
        ([text("Warmup"), text("Warmup")], False),
        ([text("Warmup"), {"type": "image"}], False),
        ([text("Warm"), text("up")], False),
        ([text("Warmup"), failed("Warmup")], False),
        ([text(REMINDER)], False),
        ([text(5)], False),
        ([failed("Warmup", is_error=False)], False),
        ([failed("Warmup", is_error=1)], False),
        ([failed("error: Warmup")], False),
        ([failed([])], False),
        ([failed([{"type": "image"}])], False),
        ([failed(None)], False),
        ([failed("Warmup"), failed("done", is_error=False)], False),
        ([{"type": "tool_result", "content": "Warmup"}], False),
        (["Warmup"], False),
        ([], False),
        ("", False),
        (None, False),
    ],
)
def test_a_warmup_is_the_last_user_message(content: Any, expected: bool) -> None:
    """A prompt where it is the only message, failed calls where such a prompt came first."""
    message = {"role": "user", "content": content}
    begun = [WARMUP, {"role": "assistant", "content": [{"type": "tool_use"}]}]
    failed_calls = isinstance(content, list) and any(
        isinstance(block, dict) and block["type"] == "tool_result" for block in content
    )
    assert is_warmup({"messages": [message]}) is (expected and not failed_calls)
    assert is_warmup({"messages": [*begun, message]}) is (expected and failed_calls)
    assert not is_warmup({"messages": [{"role": "user", "content": "go"}, *begun[1:], message]})


WARMUP = {"role": "user", "content": "Warmup"}
SYSTEM = {"role": "system", "content": "# Environment"}
FAILED = {"role": "user", "content": [failed("Warmup")]}
ITERATION = failed("Warmup iteration 1 failed: connection refused")


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([], False),
        ([SYSTEM], False),
        ([WARMUP, SYSTEM], True),
        ([SYSTEM, WARMUP, SYSTEM, SYSTEM], True),
        ([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ok"}, WARMUP], False),
        ([{"role": "assistant", "content": "ok"}, WARMUP], False),
        ([WARMUP, dict(WARMUP)], False),
        ([SYSTEM, WARMUP, {"role": "assistant", "content": "ok"}, FAILED, SYSTEM], True),
        ([WARMUP, FAILED, {"role": "assistant", "content": "ok"}, FAILED], True),
        ([{"role": "assistant", "content": "Warmup"}, FAILED], False),
        ([{"role": "user", "content": "go"}, {"role": "assistant", "content": "ok"}, FAILED], False),
        ([WARMUP, {"role": "assistant", "content": "ok"}, {"role": "user", "content": [ITERATION]}], True),
        ([{"role": "user", "content": "test"}, {"role": "user", "content": [ITERATION]}], False),
        ([WARMUP, {"role": "assistant", "content": "Warmup"}], False),
        ([WARMUP, {"role": "assistant", "content": "ok"}, {"role": "user", "content": "hi"}], False),
        ([{"content": "Warmup"}], False),
    ],
)
def test_an_older_warmup_is_history(messages: list[Any], expected: bool) -> None:
    assert is_warmup({"messages": messages}) is expected


def test_requests_of_real_clients_that_are_warmups() -> None:
    found = [name for name, document in client_requests() if is_warmup(document)]
    assert found == ["claude_code_2_0_76_warmups.1", "claude_code_2_0_76_warmups.2"]
    assert not any(is_quota_probe(document) for _, document in client_requests())


@pytest.mark.parametrize(("length", "expected"), [(1024 * 1024, True), (1024 * 1024 + 1, False)])
def test_a_long_message_is_no_warmup(length: int, expected: bool) -> None:
    reminders = (REMINDER * (length // len(REMINDER))).ljust(length - len("Warmup"))
    assert (
        is_warmup({"messages": [{"role": "user", "content": [text(reminders), text("Warmup")]}]}) is expected
    )


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"max_tokens": 1, "messages": [{"role": "user", "content": "quota"}]}, True),
        ({"max_tokens": 1, "messages": [{"role": "user", "content": [text(" quota ")]}]}, True),
        ({"max_tokens": 2, "messages": [{"role": "user", "content": "quota"}]}, False),
        ({"messages": [{"role": "user", "content": "quota"}]}, False),
        ({"max_tokens": 1, "messages": [{"role": "user", "content": "my quota"}]}, False),
        ({"max_tokens": 1, "messages": [{"role": "assistant", "content": "quota"}]}, False),
        ({"max_tokens": 1, "messages": [{"role": "user", "content": "quota"}] * 2}, False),
        ({"max_tokens": 1, "messages": [{"role": "user", "content": [text("quota"), text("x")]}]}, False),
        ({"max_tokens": 1, "messages": [{"role": "user", "content": ["quota"]}]}, False),
        ({"max_tokens": 1, "messages": []}, False),
    ],
)
def test_a_quota_probe(document: dict[str, Any], expected: bool) -> None:
    assert is_quota_probe(document) is expected


def test_the_response() -> None:
    message = orjson.loads(response_body("claude-x", "msg_1"))
    assert message["content"] == [{"type": "text", "text": "OK"}]
    assert (message["id"], message["model"], message["stop_reason"]) == ("msg_1", "claude-x", "end_turn")
    assert (message["usage"]["input_tokens"], message["usage"]["output_tokens"]) == (1, 1)


def test_the_stream_has_six_events_and_the_same_message() -> None:
    collector = Collector()
    decoded = EventDecoder().feed(response_events("claude-x", "msg_1"))
    for event in decoded:
        collector.feed(event)
    assert [event.name for event in decoded] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert collector.message == orjson.loads(response_body("claude-x", "msg_1"))
