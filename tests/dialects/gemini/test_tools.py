from typing import Any

import pytest

from gateway.dialects.gemini.schema.clean import Schemas
from gateway.dialects.gemini.tools import NAMES, gemini_tools, tool_config
from gateway.dialects.json_schema.cache import SchemaCache
from gateway.dialects.tool_names import ToolNames, tool_names
from gateway.messages.errors import RequestError
from tests.dialects.gemini.support import upstream
from tests.fakes.gemini.rules import check_tools

OBJECT = {"type": "object", "properties": {"a": {"type": "string"}}}
PLAIN = {"name": "Read", "description": "Reads.", "input_schema": OBJECT}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
CODE = {"type": "code_execution_20250825", "name": "code_execution"}


def made(tools: Any, warnings: list[str] | None = None, **options: Any) -> list[dict[str, Any]]:
    warn = (warnings if warnings is not None else []).append
    to = upstream(**options)
    schemas = Schemas(SchemaCache(), to.options.schema, warn)
    return gemini_tools(tools, to, tool_names(NAMES, tools), schemas, warn)


TOOLS: list[tuple[str, Any, list[dict[str, Any]]]] = [
    ("none", None, []),
    ("no list", {"a": 1}, []),
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
        "a tool called cache_control, with a type and its own schema",
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


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "bash_20250124", "name": "bash"},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool", "max_characters": 10},
        {"type": "memory_20250818", "name": "memory"},
    ],
)
@pytest.mark.parametrize("form", ["json", "openapi"])
def test_typed_tools_that_the_client_runs_become_functions(tool: dict[str, Any], form: str) -> None:
    found = made([tool, PLAIN], schema=form)
    check_tools({"tools": found})
    declared = found[0]["functionDeclarations"][0]
    assert declared["name"] == tool["name"]
    parameters = declared["parametersJsonSchema" if form == "json" else "parameters"]
    assert "command" in parameters["properties"]


@pytest.mark.parametrize("form", ["json", "openapi"])
def test_a_schema_that_is_too_large(form: str) -> None:
    warnings: list[str] = []
    large = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(10_000)}}
    tool = {"name": "T", "description": "Does.", "input_schema": large}
    ((declared,),) = (one["functionDeclarations"] for one in made([tool], warnings, schema=form))
    note = "(the schema of this object is too large to be passed on)"
    if form == "json":
        assert declared["parametersJsonSchema"] == {"type": "object", "description": note}
    else:
        assert declared == {"name": "T", "description": f"Does. {note}"}
    assert len(warnings) == 1


def test_computer_use_is_refused_with_the_reason() -> None:
    computer = {
        "type": "computer_20250124",
        "name": "computer",
        "display_width_px": 1,
        "display_height_px": 1,
    }
    with pytest.raises(RequestError, match=r"'computer'.*trained to point at screenshots") as caught:
        made([computer])
    assert caught.value.status == 400


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
    config = tool_config(choice, ToolNames(NAMES))
    assert config == (expected and {"functionCallingConfig": expected})


def test_a_forced_tool_goes_by_its_wire_name() -> None:
    names = ToolNames(NAMES, ["a b"])
    config = tool_config({"type": "tool", "name": "a b"}, names)
    assert config == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": [names.wire("a b")]}}
