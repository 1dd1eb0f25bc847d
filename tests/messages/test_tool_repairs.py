"""messages/tool_repairs.py: what each repair makes of calls and results, by tables; and that earlier turns stay."""

from typing import Any

import pytest

from gateway.messages.tool_repairs import MOVED, NO_MESSAGE
from tests.messages.samples import (
    assistant,
    call,
    check,
    found,
    history,
    missing,
    result,
    search,
    system,
    text,
    thought,
    user,
)

PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
SHEET = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a"}}

HISTORIES: dict[str, list[tuple[list[dict[str, Any]], list[dict[str, Any]] | None]]] = {
    "tool_ids": [
        (
            [user("a"), assistant(call("toolu_01-x"), call("t2")), user(result("t2"), result("toolu_01-x"))],
            None,
        ),
        (
            [assistant(call("Bash:0"), call("t2")), user(result("t2"), result("Bash:0"))],
            [assistant(call("toolu_1"), call("t2")), user(result("t2"), result("toolu_1"))],
        ),
        ([assistant(call("")), user(result(""))], [assistant(call("toolu_1")), user(result("toolu_1"))]),
        # Twice in one turn, and in two.
        (
            [assistant(call("t"), call("t")), user(result("t", "1"), result("t", "2"), result("t", "3"))],
            [
                assistant(call("t"), call("toolu_2")),
                user(result("t", "1"), result("toolu_2", "2"), result("t", "3")),
            ],
        ),
        (
            [assistant(call("t")), user(result("t")), assistant(call("t")), user(result("t"))],
            [assistant(call("t")), user(result("t")), assistant(call("toolu_2")), user(result("toolu_2"))],
        ),
        (
            [assistant(call("t")), system("s"), assistant(call("t")), user(result("t")), user(result("t"))],
            [
                assistant(call("t")),
                system("s"),
                assistant(call("toolu_2")),
                user(result("t")),
                user(result("toolu_2")),
            ],
        ),
        # A made id that is taken already, and one that is taken later.
        (
            [assistant(call("toolu_2"), call("toolu_2"), call("toolu_2_"))],
            [assistant(call("toolu_2"), call("toolu_2_"), call("toolu_3"))],
        ),
        (
            [assistant(call("é")), user(result("é")), assistant(call("toolu_1")), user(result("toolu_1"))],
            [
                assistant(call("toolu_1")),
                user(result("toolu_1")),
                assistant(call("toolu_2")),
                user(result("toolu_2")),
            ],
        ),
        # Results of other turns, or of none, and invalid ids.
        (
            [user(result("a:b")), assistant(call("x:y")), user("go"), assistant("b"), user(result("x:y"))],
            [
                user(result("a:b")),
                assistant(call("toolu_1")),
                user("go"),
                assistant("b"),
                user(result("x:y")),
            ],
        ),
        ([assistant(call(5), {"type": "tool_use"}), user(result(5), {"type": "tool_result"})], None),
        ([user(call("a:b")), assistant(result("a:b")), {"role": "odd", "content": [call("a:b")]}], None),
        ([assistant("tool_use"), {"role": "assistant"}, user("a")], None),
    ],
    "empty_results": [
        ([user(result(content=""), result("t2", [text("a")]), result("t3", []))], None),
        ([user(result(content="no", is_error=True), result(content=[text("no")], is_error=True))], None),
        ([user(result(content=[text(" "), text("a")]))], [user(result(content=[text("a")]))]),
        ([user(result(content=[text("")]))], [user(result(content=[]))]),
        *(
            (
                [user(result(content=content, is_error=True))],
                [user(result(content=NO_MESSAGE, is_error=True))],
            )
            for content in ("", " \n", [], [text("")], [text(" "), text("")], None)
        ),
        (
            [user({"type": "tool_result", "tool_use_id": "t1", "is_error": True})],
            [user({"type": "tool_result", "tool_use_id": "t1", "is_error": True, "content": NO_MESSAGE})],
        ),
        ([user(result(content=5, is_error=True), result(content={}, is_error=True))], None),
        (
            [user(result(content="", is_error="yes"), result(content=[{"type": "image"}], is_error=True))],
            None,
        ),
    ],
    "failed_results": [
        ([user("a"), user(result(content=[text("no")], is_error=True), text("b"))], None),
        ([user(result(content="no", is_error=True), result(content=5, is_error=True))], None),
        ([user(result(content=[PICTURE]), result(content=[PICTURE], is_error="yes"))], None),
        (
            [user(result(content=[text("no"), PICTURE, SHEET], is_error=True), result("t2"), text("b"))],
            [
                user(
                    result(content=[text("no"), text(MOVED)], is_error=True),
                    result("t2"),
                    PICTURE,
                    SHEET,
                    text("b"),
                )
            ],
        ),
        (
            [user(text("a"), result(content=[PICTURE], is_error=True))],
            [user(text("a"), result(content=[text(MOVED)], is_error=True), PICTURE)],
        ),
        (
            [user(result(content=[{"type": "tool_reference", "tool_name": "Fetch"}], is_error=True))],
            [user(result(content=[text("Tool loaded: Fetch")], is_error=True))],
        ),
        (
            [user(result(content=[{"type": "odd", "x": 1}, 5], is_error=True))],
            [user(result(content=[text('{"type":"odd","x":1}'), text("5")], is_error=True))],
        ),
    ],
    "server_tools": [
        ([user("a"), assistant(search(), found(), text("b"))], None),
        ([assistant(search()), system("s"), assistant(found())], None),
        ([assistant(search(), text("b")), user("c")], [assistant(text("b")), user("c")]),
        ([assistant(found(), text("b")), user("c")], [assistant(text("b")), user("c")]),
        ([user("a"), assistant(search()), user("b")], [user("a\n\nb")]),
        (
            [assistant(search("s1"), search("s2"), found("s2"), found("s3"), text("b")), user("c")],
            [assistant(search("s2"), found("s2"), text("b")), user("c")],
        ),
        (
            [assistant(search(), text("a")), user("b"), assistant(found(), text("c"))],
            [assistant(text("a")), user("b"), assistant(text("c"))],
        ),
        (
            [assistant({"type": "mcp_tool_use", "id": "m"}, {"type": "mcp_tool_result", "tool_use_id": "m"})],
            None,
        ),
        (
            [assistant({"type": "mcp_tool_use", "id": "m"}, text("a")), user("b")],
            [assistant(text("a")), user("b")],
        ),
        # The upstream paused, or waits for tools of the client.
        ([user("a"), assistant(search())], None),
        ([user("a"), assistant(search()), system("s")], None),
        (
            [
                assistant(search(), call(caller={"type": "code_execution", "tool_id": "s1"})),
                user(result()),
                assistant(found(), text("b")),
            ],
            None,
        ),
        ([assistant(search(), call()), user(result()), assistant(found(), text("b")), user("c")], None),
        (
            [assistant(search(), call()), user(result()), assistant(found("s2"), text("b"))],
            [assistant(search(), call()), user(result()), assistant(text("b"))],
        ),
        ([assistant(search(), call()), user(result()), assistant(text("b")), user("c")], None),
        # Invalid ids, and blocks that only an assistant may have.
        ([assistant(search(5), found([]), {"type": 5}, "x"), user(search(), found())], None),
        ([{"role": "assistant"}, {"role": "odd", "content": [search()]}, user("a")], None),
    ],
    "tool_results": [
        ([user("a"), assistant(call()), user(result())], None),
        ([assistant(call("t1"), call("t2")), user(result("t2"), result("t1"), text("go"))], None),
        ([assistant(call("t1")), user(text("a"), result("t1"))], None),
        # Turns of several messages, and messages that take no turn.
        ([assistant(call("t1")), assistant(call("t2")), user(result("t1")), user(result("t2"))], None),
        ([assistant(call("t1")), system("s"), user(result("t1"))], None),
        ([assistant(call()), user("stop")], [assistant(call()), user(missing(), text("stop"))]),
        ([assistant(call())], [assistant(call()), user(missing())]),
        ([assistant(call()), system("s")], [assistant(call()), user(missing()), system("s")]),
        (
            [assistant(call("t1"), call("t2"), call("t3")), user(result("t2"), text("a")), assistant("b")],
            [
                assistant(call("t1"), call("t2"), call("t3")),
                user(result("t2"), missing("t1"), missing("t3"), text("a")),
                assistant("b"),
            ],
        ),
        (
            [assistant(call()), system("s"), user("stop"), user("really")],
            [assistant(call()), system("s"), user(missing(), text("stop")), user("really")],
        ),
        (
            [assistant(call("t1")), user("x"), assistant(call("t2")), user("y")],
            [
                assistant(call("t1")),
                user(missing("t1"), text("x")),
                assistant(call("t2")),
                user(missing("t2"), text("y")),
            ],
        ),
        (
            [assistant(call()), {"role": "user", "content": None}, assistant("b")],
            [assistant(call()), user(missing()), {"role": "user", "content": None}, assistant("b")],
        ),
        # Results without their call: nowhere, too late, a second time.
        ([user(result(content="done"))], [user(text("done"))]),
        (
            [assistant("a"), user(text("b"), result("t0"), result("t9", [text("c"), {"type": "image"}]))],
            [assistant("a"), user(text("b"), text("done"), text("c"), {"type": "image"})],
        ),
        (
            [assistant(call("t1")), user(text("b"), result("t0"), result("t1"))],
            [assistant(call("t1")), user(result("t1"), text("b"), text("done"))],
        ),
        (
            [assistant(call()), user("no"), assistant("a"), user(result())],
            [assistant(call()), user(missing(), text("no")), assistant("a"), user(text("done"))],
        ),
        (
            [assistant(call()), user(result(), result(content="again"))],
            [assistant(call()), user(result(), text("again"))],
        ),
        ([user(result(content=" "))], [user(text("(an empty tool result)"))]),
        ([user(result(content=[]))], [user(text("(an empty tool result)"))]),
        ([user({"type": "tool_result", "tool_use_id": 5})], [user(text("(an empty tool result)"))]),
        (
            [user(result(content=[{"type": "tool_reference", "tool_name": "Fetch"}, text("")]))],
            [user(text("Tool loaded: Fetch"))],
        ),
        (
            [user(result(content=[thought("s"), "odd"]))],
            [user(text('{"type":"thinking","thinking":"hm","signature":"s"}'), text('"odd"'))],
        ),
        # Only an assistant calls a client's tools, and a call without a name cannot get a result.
        ([user(call()), assistant(search())], None),
        ([assistant({"type": "tool_use"}, {"type": "tool_use", "id": 5}, "tool_use")], None),
        ([assistant("tool_use"), {"role": "odd", "content": [call()]}], None),
    ],
}


@pytest.mark.parametrize(
    ("name", "before", "after"), [(name, *case) for name, cases in HISTORIES.items() for case in cases]
)
def test_histories(name: str, before: list[dict[str, Any]], after: list[dict[str, Any]] | None) -> None:
    check(name, history(*before), None if after is None else history(*after))
