"""Which tool is called, and with which input."""

import math
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.demo.tools import Call, call_for, fill, forced, offered, wish_of

FIXTURES = Path(__file__).parents[2] / "fixtures"


def tool(name: str, required: tuple[str, ...] = (), **properties: str) -> dict[str, Any]:
    return {
        "name": name,
        "input_schema": {
            "type": "object",
            "properties": {key: {"type": kind} for key, kind in properties.items()},
            "required": list(required),
        },
    }


BASH = tool("Bash", ("command", "description"), command="string", timeout="number", description="string")
READ = tool("Read", ("file_path",), offset="integer", file_path="string")
AGENT = tool("Agent", ("prompt",), prompt="string")
KILL = tool("KillShell", ("shell_id",), shell_id="string")


@pytest.mark.parametrize(
    ("prompt", "wish"),
    [
        ("run echo hi", "run `echo hi`"),
        ("Run: ls -l", "run `ls -l`"),
        ("please execute  ls", "run `ls`"),
        ("Can you please run `ls -l` for me?", "run `ls -l`"),
        ('run "ls"', "run `ls`"),
        ('run "ls', 'run `"ls`'),
        ("run echo `date`", "run `echo `date``"),
        ("run ls\nand tell me", "run `ls`"),
        ("read README.md", "read `README.md`"),
        ("read the file src/a.py, please.", "read `src/a.py`"),
        ("Read @docs/a.md.", "read `docs/a.md`"),
        ('read "my file.txt"', "read `my file.txt`"),
        ("read `a b`", "read `a b`"),
        ("read C:\\a.txt", "read `C:\\a.txt`"),
        ("read ..", "read `.`"),
    ],
)
def test_a_prompt_that_asks_for_a_tool(prompt: str, wish: str) -> None:
    assert str(wish_of(prompt)) == wish


@pytest.mark.parametrize(
    "prompt", ["", "hello", "run", "run\nls", "runner up", "do not run ls", "reading X", "Read"]
)
def test_a_prompt_that_does_not(prompt: str) -> None:
    assert wish_of(prompt) is None


@pytest.mark.parametrize(
    ("prompt", "tools", "call"),
    [
        ("run ls", [AGENT, KILL, BASH], Call("Bash", {"command": "ls", "description": "Run ls"})),
        ("run ls", [tool("my_shell", cmd="string")], Call("my_shell", {"cmd": "ls"})),
        ("run ls", [tool("exec", script="string", cmd="string")], Call("exec", {"cmd": "ls"})),
        ("run ls", [READ, AGENT], Call("Read", {"file_path": "ls"})),
        ("run ls", [tool("bash", command="number"), AGENT], Call("Agent", {"prompt": "ls"})),
        ("read a.txt", [BASH, READ], Call("Read", {"file_path": "a.txt"})),
        ("read a.txt", [tool("view_file", path="string")], Call("view_file", {"path": "a.txt"})),
        (
            "read a.txt",
            [tool("w", ("n", "city"), n="number", city="string")],
            Call("w", {"n": 1, "city": "a.txt"}),
        ),
        ("run ls", [tool("noop"), tool("maybe", city="string")], None),
        ("run ls", [], None),
    ],
)
def test_which_tool_is_called(prompt: str, tools: list[dict[str, Any]], call: Call | None) -> None:
    wish = wish_of(prompt)
    assert wish is not None

    assert call_for(wish, tools) == call


@pytest.mark.parametrize("name", ["claude_code_say_hi.json", "claude_code_2_0_76_warmups.json"])
def test_a_real_clients_tools(name: str) -> None:
    requests = orjson.loads((FIXTURES / name).read_bytes())
    bodies = [
        r["body"] if isinstance(r["body"], dict) else orjson.loads(r["body"]) for r in requests if r["body"]
    ]
    document = max(bodies, key=lambda body: len(body.get("tools", ())))
    run, read = wish_of("run echo hi"), wish_of("read /a")
    assert run is not None
    assert read is not None
    tools = offered(document)

    called, opened = call_for(run, tools), call_for(read, tools)

    assert called is not None
    assert (called.name, called.input["command"]) == ("Bash", "echo hi")
    assert opened == Call("Read", {"file_path": "/a"})


@pytest.mark.parametrize(
    "left_out",
    [
        {"type": "web_search_20250305", "name": "web_search"},
        {**BASH, "defer_loading": True},
        {**BASH, "name": "DeferredToolPlaceholder"},
        {**BASH, "name": 5},
        {"name": "x", "input_schema": "none"},
        "no tool",
    ],
)
def test_what_cannot_be_called_is_not_offered(left_out: object) -> None:
    assert offered({"tools": [left_out, READ]}) == (READ,)


@pytest.mark.parametrize(
    "document", [{}, {"tools": None}, {"tools": [READ], "tool_choice": {"type": "none"}}]
)
def test_no_tools_are_offered(document: dict[str, Any]) -> None:
    assert offered(document) == ()


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "tool", "name": "Read"}, READ),
        ({"type": "tool", "name": "Nothing"}, None),
        ({"type": "any"}, BASH),
        ({"type": "auto"}, None),
        ("any", None),
        (None, None),
    ],
)
def test_a_forced_tool(choice: object, expected: dict[str, Any] | None) -> None:
    assert forced({"tool_choice": choice}, (BASH, READ)) == expected


def test_nothing_can_be_forced_without_tools() -> None:
    assert forced({"tool_choice": {"type": "any"}}, ()) is None


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "string"}, "words"),
        ({"type": "string", "maxLength": 3}, "wor"),
        ({"const": 7}, 7),
        ({"enum": ["a", "b"]}, "a"),
        ({"enum": [], "type": "null"}, None),
        ({"anyOf": [{"type": "boolean"}, {"type": "string"}]}, False),
        ({"oneOf": [{"type": "null"}]}, None),
        ({"allOf": [{"type": "integer"}]}, 1),
        ({"type": ["string", "null"]}, "words"),
        ({"type": []}, "words"),
        ({"type": {}}, "words"),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "number", "minimum": 2.5}, 3),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "number", "exclusiveMinimum": 2.5}, 3),
        ({"type": "integer", "minimum": -5}, 1),
        ({"type": "number", "minimum": math.nan, "exclusiveMinimum": math.inf}, 1),
        ({"type": "number", "minimum": 10**400}, 10**400),
        ({"type": "array", "items": {"type": "string"}}, []),
        ({"type": "array", "items": {"type": "string"}, "minItems": 1}, ["words"]),
        ({"type": "array", "minItems": 2}, ["words"]),
        ({"type": "object"}, {}),
        ({"type": "object", "required": ["a", 5], "properties": {"a": True}}, {"a": "words"}),
        ({"type": "object", "required": "a", "properties": 5}, {}),
        (
            {
                "properties": {"a": {"type": "object", "properties": {}, "required": ["b"]}, "c": {}},
                "required": ["a"],
            },
            {"a": {"b": "words"}},
        ),
        (True, "words"),
        ({}, "words"),
    ],
)
def test_filling_a_schema(schema: object, value: object) -> None:
    assert fill(schema, "words") == value


def test_a_schema_as_deep_as_a_request_may_be() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(190):
        schema = {"type": "array", "minItems": 1, "items": schema}

    filled = fill(schema, "words")

    assert orjson.dumps(filled).count(b"[") == 190
