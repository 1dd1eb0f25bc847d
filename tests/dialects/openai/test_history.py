"""The history as hosts want it: order, content, ids, pictures and files."""

# ruff: noqa: E501 - a row of a table is one line, with the hosts' own wording

from dataclasses import replace
from typing import Any

import pytest

from gateway.messages.errors import RequestError
from tests.dialects.openai.support import assistant, body, text, tool_result, tool_use, upstream, user
from tests.fakes.openai.validate import validate_history, validate_request

PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
PNG_URI = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
LINK = {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}
PDF_URI = "data:application/pdf;base64,JVBERi0="


def sent(*messages: dict[str, Any], **traits: Any) -> list[dict[str, Any]]:
    """The messages that go up, valid."""
    repairs = traits.pop("repairs", None)
    to = upstream(**traits)
    if repairs is not None:
        to = replace(to, repairs=repairs)
    found = body({"messages": list(messages)}, to)
    validate_request(found)
    made: list[dict[str, Any]] = found["messages"]
    return made


def called(id: str, name: str = "Read", arguments: str = "{}") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


CASES: list[tuple[str, list[dict[str, Any]], list[dict[str, Any]]]] = [
    ("a string", [user("hi")], [user("hi")]),
    ("texts are one string", [user([text("a"), text(" "), text("b")])], [user("a\n\nb")]),
    ("a blank message disappears", [user("hi"), assistant(text(" ")), user("b")], [user("hi\n\nb")]),
    (
        "assistant text is one string, joined by nothing",
        [user("hi"), assistant(text("a"), text("b")), user("c")],
        [user("hi"), {"role": "assistant", "content": "ab"}, user("c")],
    ),
    (
        "calls without text have content null; results stand behind them, in their order",
        [
            user("hi"),
            assistant(tool_use("c1", path="x", n=2**70), tool_use("c2")),
            user([text("and"), tool_result("c2", "two"), tool_result("c1", [text("one"), text("1")])]),
        ],
        [
            user("hi"),
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [called("c1", arguments='{"path":"x","n":1180591620717411303424}'), called("c2")],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "one\n1"},
            {"role": "tool", "tool_call_id": "c2", "content": "two"},
            user("and"),
        ],
    ),
    (
        "marked errors, unmarked errors",
        [
            user("hi"),
            assistant(*(tool_use(f"c{n}") for n in range(4))),
            user(
                [
                    tool_result("c0", "no such file", is_error=True),
                    tool_result("c1", []),
                    tool_result("c2", "", is_error=True),
                    {"type": "tool_result", "tool_use_id": "c3"},
                ]
            ),
        ],
        [
            user("hi"),
            {"role": "assistant", "content": None, "tool_calls": [called(f"c{n}") for n in range(4)]},
            {"role": "tool", "tool_call_id": "c0", "content": "Error: no such file"},
            {"role": "tool", "tool_call_id": "c1", "content": "(no output)"},
            {"role": "tool", "tool_call_id": "c2", "content": "Error: the tool failed without a message"},
            {"role": "tool", "tool_call_id": "c3", "content": "(no output)"},
        ],
    ),
    (
        "pictures of results stand first in the message behind",
        [
            user("hi"),
            assistant(text("look"), tool_use("c1", "Shot"), tool_use("c2", "Read")),
            user([tool_result("c1", [PNG]), tool_result("c2", [text("pdf:"), PNG]), text("go on")]),
        ],
        [
            user("hi"),
            {"role": "assistant", "content": "look", "tool_calls": [called("c1", "Shot"), called("c2")]},
            {"role": "tool", "tool_call_id": "c1", "content": "(see below)"},
            {"role": "tool", "tool_call_id": "c2", "content": "pdf:"},
            user(
                [
                    text("[from tool result Shot:]"),
                    PNG_URI,
                    text("[from tool result Read:]"),
                    PNG_URI,
                    text("go on"),
                ]
            ),
        ],
    ),
    ("pictures", [user([text("look"), PNG, LINK])], [user([text("look"), PNG_URI, {"type": "image_url", "image_url": {"url": "https://a/b.png"}}])]),
    (
        "a text document stands under its title",
        [user([{"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "D"}}])],
        [user("T\nD")],
    ),
    (
        "a document of blocks",
        [user([{"type": "document", "title": "T", "source": {"type": "content", "content": [text("D"), PNG, "s", 1]}},
               {"type": "document", "source": {"type": "content", "content": "E"}}])],
        [user([text("T"), text("D"), PNG_URI, text("s"), text("E")])],
    ),
    ("a file that is not taken", [user([PDF])], [user("[document left out: this upstream takes none]")]),
    (
        "text of other blocks",
        [
            user("hi"),
            assistant(
                {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
                {
                    "type": "web_search_tool_result",
                    "tool_use_id": "s",
                    "content": [{"type": "web_search_result", "title": "T", "url": "https://u", "encrypted_content": "Eq"}],
                },
                text("so"),
                {
                    "type": "web_fetch_tool_result",
                    "tool_use_id": "s",
                    "content": {"type": "web_fetch_result", "url": "https://f", "content": {"type": "document", "source": {"type": "text", "data": "page"}}},
                },
                {"type": "bash_code_execution_tool_result", "tool_use_id": "s", "content": {"stdout": "out", "stderr": ""}},
            ),
            user([{"type": "search_result", "title": "S", "source": "https://s", "content": [text("found")]}]),
        ],
        [
            user("hi"),
            {"role": "assistant", "content": "T\nhttps://u\nsohttps://f\npage\nout\n"},
            user("S\nhttps://s\nfound\n"),
        ],
    ),
    ("an unknown block", [user([{"type": "novel", "text": "x", "data": "AAAA"}])], [user("x\n")]),
    ("nothing at all", [user([])], []),
]  # fmt: skip


@pytest.mark.parametrize(("messages", "expected"), [pytest.param(*row[1:], id=row[0]) for row in CASES])
def test_messages(messages: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert sent(*messages) == expected


NO_REPAIRS: list[tuple[str, list[dict[str, Any]], list[str]]] = [
    ("a call without a result", [user("hi"), assistant(tool_use("c1")), user("b")], ["user", "assistant", "tool", "user"]),
    ("at the end", [user("hi"), assistant(tool_use("c1"))], ["user", "assistant", "tool"]),
    ("two turns of the assistant", [user("hi"), assistant(tool_use("c1")), assistant(text("x")), user([tool_result("c1")])],
        ["user", "assistant", "tool", "assistant", "user"]),
    ("a result for nothing", [user("hi"), user([tool_result("c9", [text("late"), PNG]), tool_result("c8", [])])],
        ["user", "user"]),
    ("two results for one call", [user("hi"), assistant(tool_use("c1")), user([tool_result("c1"), tool_result("c1", "2")])],
        ["user", "assistant", "tool", "user"]),
    ("one id twice", [user("hi"), assistant(tool_use("c1"), tool_use("c1")), user([tool_result("c1"), tool_result("c1", "2")])],
        ["user", "assistant", "tool", "tool"]),
    ("one id in two turns", [assistant(tool_use("c1")), user([tool_result("c1")]), assistant(tool_use("c1")), user([tool_result("c1")])],
        ["assistant", "tool", "assistant", "tool"]),
    ("no id", [assistant({"type": "tool_use", "name": "x", "input": None}), user([{"type": "tool_result", "content": "x"}])],
        ["assistant", "tool", "user"]),
    ("odd blocks", [user(["words", None, {"type": "text", "text": None}, {}])], ["user"]),
    ("a call with odd input", [assistant({"type": "tool_use", "id": "c", "name": "x", "input": [1]})], ["assistant", "tool"]),
    ("a tool reference", [assistant(tool_use("c")), user([tool_result("c", [{"type": "tool_reference", "tool_name": "X"}])])],
        ["assistant", "tool"]),
]  # fmt: skip


@pytest.mark.parametrize(("messages", "roles"), [pytest.param(*row[1:], id=row[0]) for row in NO_REPAIRS])
def test_order_holds_even_without_repairs(messages: list[dict[str, Any]], roles: list[str]) -> None:
    found = sent(*messages, repairs=frozenset())
    assert [message["role"] for message in found] == roles


IMAGES: list[tuple[dict[str, Any], dict[str, Any], Any]] = [
    ({"images": "note"}, PNG, "[image left out: this upstream takes none]"),
    ({"images": "note"}, LINK, "[image left out: this upstream takes none]"),
    ({"images": "data"}, LINK, "[image left out: this upstream takes no URLs]"),
    ({"images": "data"}, PNG, [PNG_URI]),
    (
        {},
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
        "[image left out: this upstream takes none]",
    ),
    ({}, {"type": "image"}, "[image left out: this upstream takes none]"),
    (
        {"documents": "file"},
        {**PDF, "title": "a.pdf"},
        [{"type": "file", "file": {"filename": "a.pdf", "file_data": PDF_URI}}],
    ),
    (
        {"documents": "file"},
        PDF,
        [{"type": "file", "file": {"filename": "document.pdf", "file_data": PDF_URI}}],
    ),
    (
        {"documents": "file"},
        {"type": "document", "source": {"type": "url", "url": "https://a/b.pdf"}},
        "[document left out: this upstream takes none]",
    ),
]


@pytest.mark.parametrize(("traits", "block", "expected"), IMAGES)
def test_pictures_and_files_by_traits(traits: dict[str, Any], block: dict[str, Any], expected: Any) -> None:
    assert sent(user([block]), **traits) == [user(expected)]


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        ([user("a"), assistant(text("b")), user([text("c"), PDF])], "messages.2.content.1"),
        ([user("a"), assistant(tool_use("c")), user([tool_result("c", [text("x"), PDF])])], "messages.2.content.0.content.1"),
        ([user(["odd", {"type": "document"}])], "messages"),
        ([user(["odd", text("x"), PDF])], "messages.0.content.2"),
    ],
)  # fmt: skip
def test_a_file_that_is_refused_is_named_by_its_place(messages: list[dict[str, Any]], place: str) -> None:
    with pytest.raises(RequestError) as caught:
        sent(*messages, documents="error")
    assert caught.value.status == 400
    assert caught.value.message.startswith(f"{place}: ")


def test_pictures_of_results_in_the_tool_message() -> None:
    found = body(
        {"messages": [assistant(tool_use("c"), tool_use("d")), user([tool_result("c", [PNG]), tool_result("d", [text("x"), PNG])])]},
        upstream(tool_images="tool"),
    )["messages"]  # fmt: skip
    assert found[1]["content"] == [PNG_URI]
    assert found[2]["content"] == [text("x"), PNG_URI]
    assert len(found) == 3


IDS: list[tuple[str, str, str]] = [
    ("any", "toolu_" + "x" * 60, "toolu_" + "x" * 60),
    ("64", "c1", "c1"),
    ("64", "x" * 65, r"call_[0-9a-f]{32}"),
    ("40", "toolu_" + "x" * 24, "toolu_" + "x" * 24),
    ("40", "toolu_" + "x" * 40, r"call_[0-9a-f]{32}"),
    ("alnum9", "abcDEF123", "abcDEF123"),
    ("alnum9", "toolu_1", r"[A-Za-z0-9]{9}"),
    ("kimi", "toolu_1", r"functions\.Read:0"),
]


@pytest.mark.parametrize(("style", "id", "expected"), IDS)
def test_ids_in_the_hosts_style_the_same_every_turn(style: str, id: str, expected: str) -> None:
    import re

    history = [user("a"), assistant(tool_use(id)), user([tool_result(id)])]
    first = sent(*history, tool_ids=style)
    assert re.fullmatch(expected, first[1]["tool_calls"][0]["id"])
    again = sent(
        *history, assistant(text("b"), tool_use("other")), user([tool_result("other")]), tool_ids=style
    )
    assert again[:3] == first


def test_ids_that_kimi_wants_count_over_the_history() -> None:
    history = [assistant(tool_use("a"), tool_use("b", "Run")), user([tool_result("a"), tool_result("b")])]
    found = sent(*history, assistant(tool_use("c")), user([tool_result("c")]), tool_ids="kimi")
    assert [call["id"] for message in found for call in message.get("tool_calls", ())] == [
        "functions.Read:0",
        "functions.Run:1",
        "functions.Read:2",
    ]


def test_an_assistant_message_between_results_and_the_user() -> None:
    history = [assistant(tool_use("a")), user([tool_result("a"), text("go on")])]
    assert [m["role"] for m in sent(*history, after_tool="assistant")] == [
        "assistant",
        "tool",
        "assistant",
        "user",
    ]


def test_a_last_assistant_message_is_a_beginning() -> None:
    assert sent(user("a"), assistant(text("b")), prefill="prefix")[-1]["prefix"] is True
    assert "prefix" not in sent(user("a"), assistant(text("b")), user("c"), prefill="prefix")[1]
    assert "prefix" not in sent(user("a"), assistant(text("b")))[-1]


def test_marks_are_passed_on_the_last_four() -> None:
    mark = {"cache_control": {"type": "ephemeral"}}
    messages = [user([text(str(n), **mark)]) if n % 2 == 0 else assistant(text("x")) for n in range(9)]
    messages += [assistant(tool_use("c")), user([tool_result("c", "r", **mark)])]
    document = {"system": [text("s", **mark)], "messages": messages}
    found = body(document, upstream(cache_control=True))["messages"]
    marked = [
        m["role"] for m in found if isinstance(m["content"], list) and "cache_control" in m["content"][-1]
    ]
    assert marked == ["user", "user", "user", "tool"]
    assert "cache_control" not in str(body(document)["messages"])
    validate_history(found)


def test_an_empty_turn_is_left_out_without_repairs() -> None:
    turns = (user("a"), assistant(text(" ")), user("b"))
    assert sent(*turns, repairs=frozenset()) == [user("a"), user("b")]
