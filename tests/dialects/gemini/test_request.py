from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.dialects.gemini.schema.clean import SchemaCache
from gateway.messages.errors import RequestError
from tests.dialects.gemini.support import body, dialect, encoded, upstream
from tests.dialects.gemini.validate import validate_json_schema, validate_openapi_schema, validate_request

HI = {"messages": [{"role": "user", "content": "hi"}]}
TOOL = {"name": "Read", "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "minLength": 1}}}

DOCUMENTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("no more than was asked", {}, {}),
    ("a system prompt", {"system": "Be kind."}, {"systemInstruction": {"parts": [{"text": "Be kind."}]}}),
    (
        "system blocks",
        {
            "system": [
                {"type": "text", "text": "a"},
                {"type": "text", "text": " "},
                {"type": "text", "text": "b"},
            ]
        },
        {"systemInstruction": {"parts": [{"text": "a"}, {"text": "b"}]}},
    ),
    (
        "the attribution line",
        {"system": [{"text": "x-anthropic-billing-header: cc=1"}, {"text": "b"}]},
        {"systemInstruction": {"parts": [{"text": "b"}]}},
    ),
    ("no system prompt", {"system": [], "metadata": {"user_id": "u"}}, {}),
    ("a system prompt that is none", {"system": [5, {"text": 5}]}, {}),
    (
        "settings",
        {"max_tokens": 100, "temperature": 0, "top_p": 0.5, "top_k": 3, "stop_sequences": ["a", "b"]},
        {
            "generationConfig": {
                "maxOutputTokens": 100,
                "temperature": 0,
                "topP": 0.5,
                "topK": 3,
                "stopSequences": ["a", "b"],
            }
        },
    ),
    ("settings that are null", {"temperature": None, "stop_sequences": None}, {}),
    ("no stop sequences", {"stop_sequences": []}, {}),
    (
        "thinking",
        {"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}},
        {"generationConfig": {"thinkingConfig": {"includeThoughts": True, "thinkingLevel": "medium"}}},
    ),
    (
        "an answer's form",
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        {
            "generationConfig": {
                "responseMimeType": "application/json",
                "responseJsonSchema": {
                    "type": "object",
                    "properties": {"a": {"type": "string", "description": "(minLength: 1)"}},
                },
            }
        },
    ),
    (
        "the same under its older name",
        {"output_format": {"type": "json_schema", "schema": {}}},
        {"generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": {}}},
    ),
    ("another form", {"output_config": {"format": {"type": "text"}}}, {}),
    (
        "tools and their choice",
        {"tools": [TOOL], "tool_choice": {"type": "any"}},
        {
            "tools": [
                {"functionDeclarations": [{"name": "Read", "parametersJsonSchema": TOOL["input_schema"]}]}
            ],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
        },
    ),
    (
        "a search goes without a choice",
        {"tools": [{"type": "web_search_20250305"}], "tool_choice": {"type": "tool", "name": "web_search"}},
        {"tools": [{"googleSearch": {}}]},
    ),
    ("a choice without tools", {"tool_choice": {"type": "auto"}}, {}),
    (
        "what only the Messages API knows",
        {
            "context_management": {},
            "safeguards": {},
            "service_tier": "auto",
            "container": "c",
            "stream": True,
        },
        {},
    ),
]


@pytest.mark.parametrize(
    ("document", "expected"), [case[1:] for case in DOCUMENTS], ids=[case[0] for case in DOCUMENTS]
)
@pytest.mark.parametrize("repairs", [upstream().repairs, frozenset()], ids=["repaired", "as it came"])
def test_request(document: dict[str, Any], expected: dict[str, Any], repairs: frozenset[str]) -> None:
    found = body({**HI, **document}, upstream(repairs=repairs))
    assert found == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], **expected}
    validate_request(found)


def test_the_answers_form_in_the_older_schema() -> None:
    document = {**HI, "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    found = body(document, upstream(schema="openapi"))["generationConfig"]
    assert found["responseSchema"]["type"] == "OBJECT"
    assert "responseJsonSchema" not in found


def test_too_many_stop_sequences() -> None:
    with pytest.raises(RequestError, match=r"stop_sequences: 6 given.* at most 5"):
        body({**HI, "stop_sequences": list("abcdef")})
    assert body({**HI, "stop_sequences": list("abcde")})


def test_changed_names_go_through_all_places() -> None:
    outgoing = encoded(
        {
            "tools": [{**TOOL, "name": "my tool"}],
            "tool_choice": {"type": "tool", "name": "my tool"},
            "messages": [
                {"role": "user", "content": "hi"},
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "1", "name": "my tool", "input": {}}],
                },
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "ok"}]},
            ],
        }
    )
    (wire,) = outgoing.names
    assert outgoing.names == {wire: "my tool"}
    found = orjson.loads(outgoing.body)
    validate_request(found)
    assert outgoing.body.count(f'"{wire}"'.encode()) == 4
    assert b"my tool" not in outgoing.body


def test_cache_control_goes_at_protocol_positions_only() -> None:
    mark = {"type": "ephemeral"}
    schema = {
        "type": "object",
        "properties": {"cache_control": {"type": "string"}, "thought": {"type": "string"}},
    }
    found = body(
        {
            "system": [{"type": "text", "text": "s", "cache_control": mark}],
            "tools": [{"name": "T", "input_schema": schema, "cache_control": mark}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": mark}]},
                {
                    "role": "assistant",
                    "content": [
                        {
                            "type": "tool_use",
                            "id": "1",
                            "name": "T",
                            "input": {"cache_control": mark, "signature": "s"},
                        }
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "1",
                            "content": [{"type": "new", "cache_control": mark, "data": 1}],
                            "cache_control": mark,
                        }
                    ],
                },
            ],
        }
    )
    validate_request(found)
    assert found["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"] == schema
    assert found["contents"][1]["parts"][0]["functionCall"]["args"] == {
        "cache_control": mark,
        "signature": "s",
    }
    assert str(found).count("cache_control") == 2


@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "m"}])
def test_a_conversation_that_the_upstream_should_keep(thread: dict[str, str]) -> None:
    with pytest.raises(RequestError, match="send the whole of it") as caught:
        body({**HI, "thread": thread})
    assert caught.value.status == 400
    assert caught.value.details == {"error_code": "thread_unsupported_request"}
    assert body({**HI, "thread": None}) == body(HI)


FIXTURES = sorted((Path(__file__).parents[3] / "fixtures").glob("*.json"))


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
@pytest.mark.parametrize("schema", ["json", "openapi"])
def test_what_real_clients_send(path: Path, schema: str) -> None:
    by = dialect()
    for request in orjson.loads(path.read_bytes()):
        if isinstance(request["body"], dict) and "messages" in request["body"]:
            found = body(request["body"], upstream(schema=schema), by=by)
            validate_request(found)
            assert "x-anthropic-billing-header" not in str(found.get("systemInstruction"))
            assert "DeferredToolPlaceholder" not in str(found.get("tools"))


def test_all_schemas_of_real_clients_survive() -> None:
    cache = SchemaCache()
    count = 0
    for path in FIXTURES:
        for request in orjson.loads(path.read_bytes()):
            tools = request["body"].get("tools", ()) if isinstance(request["body"], dict) else ()
            for tool in tools:
                if tool.get("input_schema", {}).get("properties"):
                    count += 1
                    validate_json_schema(cache.parameters(tool["input_schema"], "json"))
                    validate_openapi_schema(cache.parameters(tool["input_schema"], "openapi"))
    assert count > 100
    assert len(cache) < count
