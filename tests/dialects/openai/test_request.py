"""The body: each field of a Messages request, under the traits that change it."""

# ruff: noqa: E501 - a row of a table is one line, with the hosts' own wording

from typing import Any

import pytest

from gateway.config.openai_presets import PRESETS
from gateway.dialects.openai.request import limit_of
from gateway.messages.errors import RequestError
from tests.dialects.openai.support import body, encoded, text, tool, upstream, user
from tests.fakes.openai.host import traits_of
from tests.fakes.openai.validate import validate_request

HI = {"messages": [user("hi")]}
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "string", "pattern": "^x"}},
    "required": ["a"],
    "additionalProperties": False,
}
FORM = {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}


def fields(document: dict[str, Any], **traits: Any) -> dict[str, Any]:
    """The body's fields beyond those that every body has."""
    found = body({**HI, **document}, upstream(**traits))
    validate_request(found)
    return {
        key: value
        for key, value in found.items()
        if key not in ("model", "messages", "stream", "stream_options")
    }


def test_fields_of_every_body() -> None:
    assert body(HI) == {
        "model": "m-1",
        "messages": [user("hi")],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


TOOLS = {"tools": [tool("Read"), tool("Run")]}

ROWS: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("max_tokens", {"max_tokens": 100}, {}, {"max_tokens": 100}),
    ("the other field", {"max_tokens": 100}, {"max_tokens_field": "max_completion_tokens"}, {"max_completion_tokens": 100}),
    ("lowered", {"max_tokens": 32000}, {"max_output_tokens": 8192}, {"max_tokens": 8192}),
    ("not raised", {"max_tokens": 32}, {"max_output_tokens": 8192}, {"max_tokens": 32}),
    ("raised", {"max_tokens": 1}, {"least_tokens": 1024}, {"max_tokens": 1024}),
    ("by model", {"max_tokens": 32000}, {"max_output_tokens": {"m-*": 5, "*": 6}}, {"max_tokens": 5}),
    ("none", {"max_tokens": None}, {"least_tokens": 1024}, {}),
    ("sampling", {"temperature": 0.5, "top_p": 1, "top_k": 4}, {}, {"temperature": 0.5, "top_p": 1}),
    ("no sampling", {"temperature": 0.5, "top_p": 1, "top_k": 4}, {"sampling": False, "top_k": True}, {"top_k": 4}),
    ("stop", {"stop_sequences": ["a", " ", "b", "c", "d", "e"]}, {}, {"stop": ["a", "b", "c", "d"]}),
    ("no stop", {"stop_sequences": ["a"]}, {"stop": "cut"}, {}),
    ("no tools", {"tools": [], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}, {}, {}),
    ("a schema", FORM, {}, {"response_format": {"type": "json_schema", "json_schema": {"name": "output", "schema": SCHEMA, "strict": True}}}),
    ("the old place", {"output_format": FORM["output_config"]["format"]}, {"json": "object"}, {"response_format": {"type": "json_object"}}),
    ("by the prompt", FORM, {"json": "prompt"}, {}),
    ("body and strip", {"max_tokens": 5, "temperature": 1}, {"body": {"service_tier": "flex", "temperature": 0}, "strip": ("max_tokens",)},
        {"temperature": 0, "service_tier": "flex"}),
    ("fields without a counterpart", {"metadata": {"user_id": "u"}, "context_management": {}, "service_tier": "auto", "container": "c", "mcp_servers": []}, {}, {}),
    ("web search", {"tools": [SEARCH]}, {"web_search": {"plugins": [{"id": "web"}]}}, {"plugins": [{"id": "web"}]}),
    ("web search that is dropped", {"tools": [SEARCH]}, {"unsupported_tools": "drop"}, {}),
    ("a tool without a description", {"tools": [{"name": "x", "description": ""}]}, {},
        {"tools": [{"type": "function", "function": {"name": "x", "parameters": {"type": "object", "properties": {}}}}]}),
    ("effort with tools", {**TOOLS, "tools": [], "output_config": {"effort": "high"}}, {"thinking": "effort", "tool_effort": "none"}, {"reasoning_effort": "high"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("document", "traits", "expected"), [pytest.param(*row[1:], id=row[0]) for row in ROWS]
)
def test_fields(document: dict[str, Any], traits: dict[str, Any], expected: dict[str, Any]) -> None:
    assert fields(document, **traits) == expected


CHOICES: list[tuple[dict[str, Any], dict[str, Any], Any, int]] = [
    ({"type": "auto"}, {}, "auto", 2),
    ({"type": "any"}, {}, "required", 2),
    ({"type": "none"}, {}, "none", 2),
    ({"type": "tool", "name": "Run"}, {}, {"type": "function", "function": {"name": "Run"}}, 2),
    ({"type": "tool", "name": "Run"}, {"tool_choice": "words"}, "required", 1),
    ({"type": "any"}, {"tool_choice": "words"}, "required", 2),
    ({"type": "any"}, {"tool_choice": "auto"}, None, 2),
    ({"type": "novel"}, {}, None, 2),
]


@pytest.mark.parametrize(("choice", "traits", "expected", "tools"), CHOICES)
def test_tool_choice(choice: dict[str, Any], traits: dict[str, Any], expected: Any, tools: int) -> None:
    found = fields({**TOOLS, "tool_choice": choice}, **traits)
    assert found.get("tool_choice") == expected
    assert len(found["tools"]) == tools


def test_one_call_at_a_time() -> None:
    choice = {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
    assert fields({**TOOLS, **choice})["parallel_tool_calls"] is False
    assert "parallel_tool_calls" not in fields({**TOOLS, **choice}, parallel_tool_calls=False)
    assert "parallel_tool_calls" not in fields(TOOLS)


def test_effort_beside_tools() -> None:
    document = {**TOOLS, "output_config": {"effort": "high"}}
    assert fields(document, thinking="effort", tool_effort="none")["reasoning_effort"] == "none"


PROMPTS: list[tuple[str, Any, dict[str, Any], list[dict[str, Any]]]] = [
    ("a string", "S", {}, [{"role": "system", "content": "S"}, user("hi")]),
    ("blocks", [text("S"), text(" "), text("T")], {}, [{"role": "system", "content": "S\n\nT"}, user("hi")]),
    ("the developer's", "S", {"prompt_role": "developer"}, [{"role": "developer", "content": "S"}, user("hi")]),
    ("the user's, who takes turns", "S", {"prompt_role": "user"}, [user("S\n\nhi")]),
    ("none", None, {}, [user("hi")]),
    ("an attribution line", [text("x-anthropic-billing-header: 1"), text("S")], {}, [{"role": "system", "content": "S"}, user("hi")]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("system", "traits", "expected"), [pytest.param(*row[1:], id=row[0]) for row in PROMPTS]
)
def test_the_one_system_prompt(system: Any, traits: dict[str, Any], expected: list[dict[str, Any]]) -> None:
    found = body({**HI, "system": system}, upstream(**traits))
    validate_request(found)
    assert found["messages"] == expected


def test_a_prompt_of_the_users_before_pictures_and_before_nothing() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://a"}}
    to = upstream(prompt_role="user")
    found = body({"system": "S", "messages": [user([image])]}, to)["messages"]
    assert found[0]["content"][0] == text("S")
    assert body({"system": "S", "messages": []}, to)["messages"] == [user("S")]


def test_long_descriptions_continue_at_the_end_of_the_prompt() -> None:
    long = {**tool("Read"), "description": "d" * 1000 + "e" * 500}
    found = body({**HI, "system": "S", "tools": [long]}, upstream(description_limit=1000))
    assert found["tools"][0]["function"]["description"] == "d" * 1000
    assert found["messages"][0]["content"] == "S\n\nMore about the tool Read: " + "e" * 500


@pytest.mark.parametrize("style", ["object", "prompt"])
def test_an_unsupported_output_schema_becomes_an_instruction(style: str) -> None:
    prompt = body({**HI, **FORM}, upstream(json=style))["messages"][0]["content"]
    assert "JSON" in prompt
    assert '"required":["a"]' in prompt


def test_no_stream() -> None:
    found = body(HI, upstream(stream=False))
    assert found["stream"] is False
    assert "stream_options" not in found
    validate_request(found)
    assert "stream_options" not in body(HI, upstream(stream_usage=False))


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("a thread", {"thread": {"type": "create"}}, "thread"),
    ("a server tool", {"tools": [{"type": "code_execution_20250522", "name": "code"}]}, "code"),
    ("web search", {"tools": [SEARCH]}, "web_search"),
]


@pytest.mark.parametrize(("document", "words"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED])
def test_untranslatable_requests_are_refused(document: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        body({**HI, **document})
    assert caught.value.status == 400


def test_server_tools_beside_others_are_left_out() -> None:
    from tests.dialects.openai.support import dialect

    warnings: list[str] = []
    unknown = {"type": "code_execution_20250522", "name": "code"}
    tools = [tool("Read"), SEARCH, unknown]
    found = body({**HI, "tools": tools}, upstream(unsupported_tools="drop"), by=dialect(warnings))
    assert [function["function"]["name"] for function in found["tools"]] == ["Read"]
    assert len(warnings) == 2


def test_tools_that_the_client_runs_become_functions() -> None:
    found = body({**HI, "tools": [{"type": "bash_20250124", "name": "bash"}]})
    (function,) = (function["function"] for function in found["tools"])
    assert function["name"] == "bash"
    assert "command" in function["parameters"]["properties"]
    validate_request(found)


def test_a_limit_that_is_lowered_is_named() -> None:
    assert encoded({**HI, "max_tokens": 32000}, upstream(max_output_tokens=8192)).repairs == ("max_tokens",)
    assert encoded({**HI, "max_tokens": 32000}).repairs == ()


def test_names_that_the_host_would_refuse() -> None:
    names = ["mcp__server__" + "x" * 60, "mcp__server__" + "x" * 61, "a.b", "ok-1"]
    sent = encoded({**HI, "tools": [tool(name) for name in names]})
    wire = [
        function["function"]["name"] for function in body({**HI, "tools": [tool(n) for n in names]})["tools"]
    ]
    assert wire[3] == "ok-1"
    assert len(set(wire)) == 4
    state: Any = sent.state
    assert {wire: name for wire, name in zip(wire, names, strict=True) if wire != name} == state.names


def test_limits_by_wire_model() -> None:
    table = traits_of("", max_output_tokens={"a*": 1, "ab*": 2, "abc": 3})
    assert [limit_of(table, model) for model in ("abc", "abd", "ax", "z")] == [3, 2, 1, 0]


@pytest.mark.parametrize("preset", PRESETS)
def test_the_same_request_gives_the_same_bytes(preset: str) -> None:
    document = {**HI, **TOOLS, **FORM, "max_tokens": 5, "thinking": {"type": "adaptive"}, "system": "S"}
    assert len({encoded(document, upstream(preset)).body for _ in range(3)}) == 1
