from typing import Any

import pytest

from gateway.dialects.gemini.schema.clean import SchemaCache
from gateway.dialects.gemini.tools import LEGAL_NAME, ToolNames, gemini_tools, tool_config, tool_names
from gateway.messages.errors import RequestError
from tests.dialects.gemini.support import upstream

OBJECT = {"type": "object", "properties": {"a": {"type": "string"}}}
PLAIN = {"name": "Read", "description": "Reads.", "input_schema": OBJECT}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
CODE = {"type": "code_execution_20250825", "name": "code_execution"}


class TestNames:
    @pytest.mark.parametrize("name", ["Read", "mcp__a__b", "a.b:c-d", "_x", "x" * 64])
    def test_legal_ones_stay(self, name: str) -> None:
        names = ToolNames()
        assert names.wire(name) == name
        assert names.changed == {}

    @pytest.mark.parametrize("name", ["my tool", "a/b", "ümlaut", "x" * 65, "1st", "", "-", "日本", "\ud800"])
    def test_others_are_changed_the_same_way_each_time(self, name: str) -> None:
        names = ToolNames()
        wire = names.wire(name)
        assert LEGAL_NAME.fullmatch(wire)
        assert names.wire(name) == wire
        assert ToolNames(["Read", name]).wire(name) == wire
        assert names.changed == {wire: name}

    def test_they_stay_different(self) -> None:
        names = ToolNames()
        given = ["a b", "a/b", "a_b", "x" * 65, "x" * 66]
        assert len({names.wire(name) for name in given}) == 5

    def test_a_tool_may_have_the_name_that_another_would_get(self) -> None:
        first = ToolNames().wire("a b")
        names = ToolNames(["a b", first])
        assert names.wire(first) == first
        assert names.wire("a b") not in ("a b", first)

    def test_a_name_from_the_history_may_be_taken(self) -> None:
        names = ToolNames(["a b"])
        taken = names.wire("a b")
        other = names.wire(taken)
        assert other != taken
        assert names.changed == {taken: "a b", other: taken}

    @pytest.mark.parametrize("tools", [None, 5, [], [5, {}, {"name": 5}]])
    def test_no_tools(self, tools: Any) -> None:
        assert tool_names(tools).changed == {}

    def test_of_a_request(self) -> None:
        assert tool_names([{"name": "Read"}]).wire("Read") == "Read"


def made(tools: Any, warnings: list[str] | None = None, **options: Any) -> list[dict[str, Any]]:
    warn = (warnings if warnings is not None else []).append
    return gemini_tools(tools, upstream(**options), tool_names(tools), SchemaCache(), warn)


TOOLS: list[tuple[str, Any, list[dict[str, Any]]]] = [
    ("none", None, []),
    ("no list", {"a": 1}, []),
    ("no tool", [5], []),
    (
        "functions in one list",
        [
            PLAIN,
            {"type": "custom", "name": "Now", "input_schema": {"type": "object"}},
            {"name": "Later", "description": ""},
        ],
        [
            {
                "functionDeclarations": [
                    {"name": "Read", "description": "Reads.", "parametersJsonSchema": OBJECT},
                    {"name": "Now"},
                    {"name": "Later"},
                ]
            }
        ],
    ),
    ("search alone", [SEARCH, SEARCH], [{"googleSearch": {}}]),
    (
        "a tool called cache_control, with a type and a schema of its own",
        [{"type": "text_editor_20250728", "name": "cache_control", "input_schema": OBJECT}],
        [{"functionDeclarations": [{"name": "cache_control", "parametersJsonSchema": OBJECT}]}],
    ),
]


@pytest.mark.parametrize(("tools", "expected"), [case[1:] for case in TOOLS], ids=[case[0] for case in TOOLS])
def test_gemini_tools(tools: Any, expected: list[dict[str, Any]]) -> None:
    assert made(tools) == expected


def test_the_older_form() -> None:
    assert made([PLAIN], schema="openapi") == [
        {
            "functionDeclarations": [
                {
                    "name": "Read",
                    "description": "Reads.",
                    "parameters": {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}},
                }
            ]
        }
    ]


def test_search_beside_others_is_left_out() -> None:
    warnings: list[str] = []
    assert "googleSearch" not in str(made([SEARCH, PLAIN], warnings))
    assert warnings == ["web search cannot stand beside other tools at the upstream g: left out"]


@pytest.mark.parametrize(("tool", "named"), [(CODE, "code_execution"), ({"type": "x_1"}, "x_1")])
def test_other_server_tools_are_refused(tool: dict[str, Any], named: str) -> None:
    with pytest.raises(RequestError, match=f"tools: '{named}'.*unsupported_tools") as caught:
        made([PLAIN, tool])
    assert caught.value.status == 400


def test_other_server_tools_can_be_dropped() -> None:
    warnings: list[str] = []
    assert made([CODE, SEARCH], warnings, unsupported_tools="drop") == [{"googleSearch": {}}]
    assert warnings == ["the tool type code_execution_20250825 is unknown to the upstream g: left out"]


CHOICES: list[tuple[Any, dict[str, Any] | None]] = [
    ({"type": "auto"}, {"mode": "AUTO"}),
    ({"type": "any", "disable_parallel_tool_use": True}, {"mode": "ANY"}),
    ({"type": "tool", "name": "Read"}, {"mode": "ANY", "allowedFunctionNames": ["Read"]}),
    ({"type": "tool"}, {"mode": "ANY"}),
    ({"type": "none"}, {"mode": "NONE"}),
    ({"type": "other"}, None),
    ({"type": []}, None),
    ("auto", None),
    (None, None),
]


@pytest.mark.parametrize(("choice", "expected"), CHOICES)
def test_tool_config(choice: Any, expected: dict[str, Any] | None) -> None:
    config = tool_config(choice, ToolNames())
    assert config == (expected and {"functionCallingConfig": expected})


def test_a_forced_tool_goes_by_its_wire_name() -> None:
    names = ToolNames(["a b"])
    config = tool_config({"type": "tool", "name": "a b"}, names)
    assert config == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [names.wire("a b")]}}
