"""Tool calls out of deltas, in every manner in which hosts stream them."""

import json
import time
from typing import Any

import orjson
import pytest

from tests.dialects.openai.support import (
    FINISH,
    USAGE,
    Response,
    blocks,
    call,
    chunk,
    decoded,
    encoded,
    failure_of,
    message_of,
    sse,
    tool_result,
    tool_use,
    user,
)

READ_1 = {"type": "tool_use", "name": "Read", "input": {"a": 1}}
READ_2 = {"type": "tool_use", "name": "Read", "input": {"b": 2}}
RUN = {"type": "tool_use", "name": "Run", "input": {}}


def without_ids(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in block.items() if key != "id"} for block in content]


MANNERS: list[tuple[str, list[Any], list[dict[str, Any]]]] = [
    (
        "pieces",
        [call(0, "c1", "Read", ""), call(0, arguments='{"a"'), call(0, arguments=": 1}")],
        [READ_1],
    ),
    ("at once", [call(0, "c1", "Read", '{"a":1}')], [READ_1]),
    (
        "one after the other",
        [
            call(0, "c1", "Read", ""),
            call(0, arguments='{"a":1}'),
            call(1, "c2", "Read", ""),
            call(1, arguments='{"b":2}'),
        ],
        [READ_1, READ_2],
    ),
    (
        "interleaved",
        [
            call(0, "c1", "Read", ""),
            call(1, "c2", "Read", ""),
            call(1, arguments='{"b"'),
            call(0, arguments='{"a"'),
            call(1, arguments=":2}"),
            call(0, arguments=":1}"),
        ],
        [READ_1, READ_2],
    ),
    ("no index", [call(None, "c1", "Read", '{"a"'), call(None, arguments=":1}")], [READ_1]),
    (
        "no index, id once",
        [
            call(None, "c1", "Read"),
            call(None, arguments='{"a":1}'),
            call(None, "c2", "Read"),
            call(None, arguments='{"b":2}'),
        ],
        [READ_1, READ_2],
    ),
    (
        "neither id nor index",
        [
            call(None, None, "Read", '{"a"'),
            call(None, None, None, ":1}"),
            call(None, None, "Read", '{"b":2}'),
        ],
        [READ_1, READ_2],
    ),
    (
        "a name in every chunk, no id",
        [call(0, None, "Read", '{"a"'), call(0, None, "Read", ":1}"), call(1, None, "Read", '{"b":2}')],
        [READ_1, READ_2],
    ),
    (
        "index 0 for all, arguments as objects",
        [call(0, "c1", "Read", {"a": 1}), call(0, "c2", "Read", {"b": 2})],
        [READ_1, READ_2],
    ),
    (
        "index 0 for all, no ids",
        [call(0, None, "Read", '{"a":1}'), call(0, None, "Read", '{"b":2}')],
        [READ_1, READ_2],
    ),
    (
        "indexes that jump",
        [call(3, "c1", "Read", '{"a":1}'), call(7, "c2", "Read", '{"b":2}')],
        [READ_1, READ_2],
    ),
    (
        "id and name in every chunk, the whole again at the end",
        [
            call(0, "c1", "Read", '{"a"'),
            call(0, "c1", "Read", ":1}"),
            call(0, "c1", "Read", orjson.dumps('{"a":1}').decode()),
        ],
        [READ_1],
    ),
    (
        "the whole call again, unchanged",
        [call(0, "c1", "Read", '{"a":'), call(0, None, None, "1}"), call(0, None, None, '{"a":1}')],
        [READ_1],
    ),
    (
        "the whole again in another spelling, and as an object",
        [call(0, "c1", "Read", '{"a": 1}'), call(0, None, None, '{"a":1}'), call(0, None, None, {"a": 1})],
        [READ_1],
    ),
    (
        "the whole message again at the end",
        [
            call(0, "c1", "Read", '{"a":1}'),
            {"choices": [{"message": call(None, "c2", "Read", '{"a": 1}')["choices"][0]["delta"]}]},
        ],
        [READ_1],
    ),
    (
        "an id that changes",
        [call(0, "c1", "Read", ""), call(0, "toolcall0", None, '{"a"'), call(0, "toolcall0", None, ":1}")],
        [READ_1],
    ),
    ("an id later", [call(0, None, "Read", '{"a"'), call(0, "c1", None, ":1}")], [READ_1]),
    ("a first {}", [call(0, "c1", "Read", "{}"), call(0, arguments='{"a":1}')], [READ_1]),
    ("a first {}, with the name again", [call(0, None, "Read", "{}"), call(0, None, "Read", '{"a":1}')], [READ_1]),
    ("only {}", [call(0, "c1", "Run", "{}")], [RUN]),
    ("{} twice", [call(0, "c1", "Run", "{}"), call(0, None, None, "{}")], [RUN]),
    ("no arguments", [call(0, "c1", "Run")], [RUN]),
    ("null and blank", [call(0, "c1", "Run", " "), call(0, "c1", None, None)], [RUN]),
    ("a list", [call(0, "c1", "Run", [])], [RUN]),
    ("a list as text", [call(0, "c1", "Run", "[]")], [RUN]),
    ("null as text", [call(0, "c1", "Run", "null"), call(0, None, None, "")], [RUN]),
    ("a first null", [call(0, "c1", "Read", "null"), call(0, arguments='{"a":1}')], [READ_1]),
    ("encoded twice", [call(0, "c1", "Read", '"{\\"a\\"'), call(0, None, None, ':1}"')], [READ_1]),
    ("a name in pieces", [call(0, "c1", "Re"), call(0, None, "ad"), call(0, None, None, '{"a":1}')], [READ_1]),
    ("a name that grows", [call(0, "c1", "Re"), call(0, None, "Read"), call(0, None, None, '{"a":1}')], [READ_1]),
    ("arguments before the name", [call(0, "c1", None, '{"a":1}'), call(0, None, "Read")], [READ_1]),
    ("blanks behind the end", [call(0, "c1", "Read", '{"a":1}'), call(0, None, None, "\n")], [READ_1]),
    (
        "none of the first, then a second",
        [call(0, "c1", "Run"), call(1, "c2", "Read", '{"a":1}')],
        [RUN, READ_1],
    ),
    (
        "three, the first whole, the others interleaved",
        [
            call(0, "c1", "Read", '{"a":1}'),
            call(1, "c2", "Read", '{"b"'),
            call(2, "c3", "Run", ""),
            call(1, None, None, ":2}"),
            call(2, None, None, "{}"),
        ],
        [READ_1, READ_2, RUN],
    ),
    ("the legacy function_call", [chunk({"function_call": {"name": "Read", "arguments": '{"a"'}}),
        chunk({"function_call": {"arguments": ":1}"}})], [READ_1]),
    (
        "text between",
        [
            chunk({"content": "so:"}),
            call(0, "c1", "Read", '{"a":1}'),
            chunk({"content": "\n"}),
            call(1, "c2", "Read", '{"b":2}'),
            chunk({"content": "done"}),
        ],
        [{"type": "text", "text": "so:"}, READ_1, READ_2, {"type": "text", "text": "done"}],
    ),
    (
        "blanks behind the end, and behind text",
        [call(0, "c1", "Read", '{"a":1}'), chunk({"content": "x"}), call(0, None, None, "\n"), chunk({"content": "y"})],
        [READ_1, {"type": "text", "text": "xy"}],
    ),
    (
        "text in the middle of a call waits",
        [
            call(0, "c1", "Read", '{"a"'),
            chunk({"content": "o"}),
            chunk({"content": "h"}),
            call(0, None, None, ":1}"),
        ],
        [READ_1, {"type": "text", "text": "oh"}],
    ),
    (
        "reasoning in the middle of a call waits",
        [
            call(0, "c1", "Read", '{"a"'),
            chunk({"reasoning": "hm"}),
            call(1, "c2", "Read", '{"b":2}'),
            call(0, None, None, ":1}"),
        ],
        [
            READ_1,
            {"type": "thinking", "thinking": "hm", "signature": 'openai:{"f":"text","k":"reasoning"}'},
            READ_2,
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("chunks", "expected"), [pytest.param(c, e, id=i) for i, c, e in MANNERS])
def test_calls_in_every_manner(chunks: list[Any], expected: list[dict[str, Any]]) -> None:
    """Also byte by byte, and with each word for the end that hosts use."""
    for finish in ("tool_calls", "stop", "function_call"):
        message = message_of(*chunks, chunk(finish=finish))
        assert without_ids(message["content"]) == expected
        assert message["stop_reason"] == "tool_use"
    singly = Response().feed(*(bytes([byte]) for byte in sse(*chunks, FINISH))).end()
    assert [event for event in singly if event["type"] == "content_block_start"] == [
        event for event in decoded(*chunks, FINISH) if event["type"] == "content_block_start"
    ]


def test_a_call_streams_as_it_comes() -> None:
    response = Response()
    response.feed(sse(call(0, "c1", "Read", '{"path":'), done=False))
    assert [event["type"] for event in response.events()] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
    ]
    response.feed(sse(call(0, None, None, '"x"'), done=False))
    (event,) = response.events()
    assert event["delta"] == {"type": "input_json_delta", "partial_json": '"x"'}


def test_a_call_that_waits_begins_as_soon_as_the_one_before_it_is_complete() -> None:
    response = Response()
    response.feed(sse(call(0, "c1", "Read", '{"a"'), call(1, "c2", "Read", '{"b"'), done=False))
    assert [event["type"] for event in response.events()][-1] == "content_block_delta"
    response.feed(sse(call(0, None, None, ":1}"), done=False))
    assert [event["type"] for event in response.events()] == [
        "content_block_delta",
        "content_block_stop",
        "content_block_start",
        "content_block_delta",
    ]


BROKEN: list[tuple[str, list[Any], str]] = [
    ("cut off", [call(0, "c1", "Read", '{"a"')], "no JSON object"),
    ("no object", [call(0, "c1", "Read", "[1]")], "no JSON object"),
    ("a number behind", [call(0, "c1", "Read", '{"a":1}2')], "no JSON object"),
    ("no number", [call(0, "c1", "Read", '{"a":NaN}')], "no JSON object"),
    ("no string", [call(0, "c1", "Read", '"{')], "no JSON object"),
    ("no name", [call(0, "c1", None, '{"a":1}')], "without a name"),
    (
        "the second cut off",
        [call(0, "c1", "Read", '{"a":1}'), call(1, "c2", "Read", '{"b')],
        "no JSON object",
    ),
    (
        "more behind the end",
        [call(0, "c1", "Read", '{"a":1}'), chunk({"content": "x"}), call(0, None, None, '{"b":2}')],
        "after the end",
    ),
    (
        "more behind the end of none",
        [call(0, "c1", "Read", "{}"), chunk({"content": "x"}), call(0, None, None, '{"b":2}')],
        "after the end",
    ),
]


@pytest.mark.parametrize(("chunks", "words"), [pytest.param(c, w, id=i) for i, c, w in BROKEN])
def test_an_invalid_call_is_a_failure(chunks: list[Any], words: str) -> None:
    failure, events = failure_of([sse(*chunks, FINISH)])
    assert words in failure.message
    stopped = {event["index"] for event in events if event["type"] == "content_block_stop"}
    pieces: dict[int, str] = {}
    for event in events:
        if event["type"] == "content_block_delta" and event["index"] in stopped:
            pieces[event["index"]] = pieces.get(event["index"], "") + event["delta"]["partial_json"]
    assert all(isinstance(orjson.loads(piece), dict) for piece in pieces.values())


@pytest.mark.parametrize("finish", ["length", "max_tokens", "stop"])
def test_a_call_cut_by_the_limit_keeps_the_received_part(finish: str) -> None:
    """Also where the host reports a normal end, and only the token count shows the limit."""
    usage = {"prompt_tokens": 1, "completion_tokens": 64}
    events = decoded(
        call(0, "c1", "Read", '{"path": "a'),
        call(1, "c2", "Run", '{"x'),
        call(2, "c3", "Run", '{"y":1}'),
        chunk(finish=finish, usage=usage),
        max_tokens=64,
    )
    pieces = [event["delta"]["partial_json"] for event in events if event["type"] == "content_block_delta"]
    assert pieces == ['{"path": "a', '{"y":1}']
    assert events[-2]["delta"]["stop_reason"] == "max_tokens"


def test_a_limit_reached_with_whole_calls_is_no_cut() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 64}
    assert message_of(call(0, "c", "Read", '{"a":1}'), chunk(finish="stop", usage=usage), max_tokens=64)[
        "stop_reason"
    ] == "tool_use"  # fmt: skip


def test_nothing_of_a_nameless_or_empty_call_is_left_at_the_limit() -> None:
    assert blocks(call(0, "c1", None, '{"a'), chunk(finish="length")) == []
    assert blocks(call(0, "c1", "Read"), chunk(finish="length")) == []


@pytest.mark.parametrize(
    ("id", "kept"),
    [("call_1", True), ("toolu_x-9", True), ("functions.Read:0", False), ("", False), ("x" * 65, False)],
)
def test_ids_of_the_host_are_kept_where_they_are_legal(id: str, kept: bool) -> None:
    (block,) = blocks(call(0, id, "Read", "{}"), FINISH)
    assert (block["id"] == id) is kept
    assert block["id"].startswith("toolu_") or kept


def test_an_id_is_given_once() -> None:
    """An id is used neither in the history, nor twice in the response."""
    history = [user("hi"), {"role": "assistant", "content": [tool_use("c1")]}, user([tool_result("c1")])]
    first, second = blocks(
        call(0, "c1", "Read", "{}"),
        call(1, "c2", "Read", "{}"),
        FINISH,
        outgoing=encoded({"messages": history}),
    )
    assert first["id"] != "c1"
    assert second["id"] == "c2"


def test_arguments_that_only_some_readers_take() -> None:
    (block,) = blocks(call(0, "c", "Read", '{"a":"\\ud800"}'), FINISH)
    assert block["input"] == {"a": "\ud800"}


def test_names_that_were_changed_come_back() -> None:
    (block,) = blocks(call(0, "c", "a_b_1", "{}"), FINISH, names={"a_b_1": "a/b"})
    assert block["name"] == "a/b"


def test_all_calls_of_a_whole_message() -> None:
    """Calls may have any index or id, or none."""
    calls = [
        {"function": {"name": "Read", "arguments": {"a": 2**70}}},
        {"index": 0, "function": {"name": "Run"}},
    ]
    document = {"choices": [{"message": {"content": None, "tool_calls": calls}, "finish_reason": "stop"}]}
    events = Response().feed(json.dumps(document).encode()).end()
    inputs = [event["delta"]["partial_json"] for event in events if event["type"] == "content_block_delta"]
    assert inputs == ['{"a":1180591620717411303424}', "{}"]


def _time(pieces: int) -> float:
    response = Response()
    data = [sse(call(0, "c", "Write", '{"text": "'), done=False)]
    data += [sse(call(0, None, None, "word }" if at % 2 else '\\"a'), done=False) for at in range(pieces)]
    # Text between any two deltas would make each of them check whether the call is complete.
    data[100:100] = [sse(chunk({"content": "x"}), call(0, None, None, "}"), done=False)] * 200
    start = time.thread_time()
    for piece in data:
        response.feed(piece)
        response.writer.take()
    response.feed(sse(call(0, None, None, '"}'), done=False))
    response.feed(sse(FINISH))
    assert response.writer.finished
    return time.thread_time() - start


def test_very_many_deltas_take_linear_time() -> None:
    small = min(_time(1_500) for _ in range(2))
    large = _time(30_000)
    assert large < 20 * small * 3


def test_usage_comes_with_calls() -> None:
    message = message_of(
        call(0, "c", "Run", "{}"), chunk(finish="tool_calls"), {"choices": [], "usage": USAGE}
    )
    assert message["usage"]["output_tokens"] == 5


def test_a_call_of_which_nothing_is_said_does_not_end_the_thinking() -> None:
    nothing = {"tool_calls": [{}], "function_call": {"name": None, "arguments": None}}
    thinking, said = blocks(
        chunk({"reasoning": "h", **nothing}),
        chunk({"reasoning": "m", **nothing}),
        chunk({"content": "x"}),
        FINISH,
    )
    assert (thinking["thinking"], said["text"]) == ("hm", "x")
