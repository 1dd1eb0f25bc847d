from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.dialects.gemini.schema.clean import Form, Schemas
from gateway.dialects.json_schema.cache import SchemaCache
from gateway.messages.errors import RequestError
from tests.dialects.gemini.support import MODEL, body, dialect, encoded, upstream, validate_request
from tests.fakes.gemini.schemas import validate_json_schema, validate_openapi_schema

HI = {"messages": [{"role": "user", "content": "hi"}]}
TOOL = {"name": "Read", "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "minLength": 1}}}

LEAST = {"includeThoughts": False, "thinkingLevel": "low"}
"""The thinkingConfig that turns thinking off."""

DOCUMENTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("no more than requested", {}, {}),
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
    ("a system prompt of nothing", {"system": [{"text": None}, {"type": "later"}, None]}, {}),
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
        "a response's form",
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
    settings = {"thinkingConfig": LEAST, **expected.get("generationConfig", {})}
    contents = [{"role": "user", "parts": [{"text": "hi"}]}]
    assert found == {"contents": contents, **expected, "generationConfig": settings}
    validate_request(found)


def test_max_tokens_are_lowered_to_the_models_limit() -> None:
    def sent(given: Any, model: str = MODEL, **options: Any) -> tuple[Any, bool]:
        outgoing = encoded({**HI, "max_tokens": given}, upstream(**options), model=model)
        settings = orjson.loads(outgoing.body)["generationConfig"]
        return settings.get("maxOutputTokens"), "max_tokens" in outgoing.repairs

    assert sent(128_000) == (65_536, True)
    assert sent(65_536) == (65_536, False)
    assert sent(65_537.0) == (65_536, True)
    assert sent(None) == (None, False)
    assert sent(32_000, "gemini-2.0-flash") == (8_192, True)
    assert sent(128_000, max_output_tokens=100_000) == (100_000, True)
    assert sent(64_000, max_output_tokens=1000) == (1000, True)


def test_max_tokens_follow_the_upstreams_list() -> None:
    made = dialect()
    model = {"name": "models/gemini-9", "outputTokenLimit": 300_000}
    odd = [{"name": "models/gemini-8", "outputTokenLimit": limit} for limit in ("5", 0, True, None)]
    made.models(orjson.dumps({"models": [model, *odd]}))
    for name, limit in (("gemini-9", 300_000), ("models/gemini-9", 300_000), ("gemini-8", 65_536)):
        found = body({**HI, "max_tokens": 1_000_000}, by=made, model=name)
        assert found["generationConfig"]["maxOutputTokens"] == limit


@pytest.mark.parametrize("model", ["gemini-2.5-pro", "gemma-4-31b-it"])
def test_json_schema_beside_tools_goes_into_the_system_instruction_of_older_models(model: str) -> None:
    document = {
        **HI,
        "system": "Be kind.",
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    }
    found = body({**document, "tools": [TOOL]}, model=model)
    validate_request(found, model)
    assert "responseMimeType" not in found["generationConfig"]
    first, second = (part["text"] for part in found["systemInstruction"]["parts"])
    assert first == "Be kind."
    assert orjson.loads(second.partition("\n")[2]) == SCHEMA
    alone = body(document, model=model)
    validate_request(alone, model)
    assert "responseJsonSchema" in alone["generationConfig"]
    assert len(alone["systemInstruction"]["parts"]) == 1


def test_a_form_beside_tools_stays_one_for_newer_models() -> None:
    document = {**HI, "tools": [TOOL], "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    found = body(document)
    validate_request(found)
    assert "responseJsonSchema" in found["generationConfig"]


def test_output_schema_too_large() -> None:
    large = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(10_000)}}
    document = {**HI, "output_config": {"format": {"type": "json_schema", "schema": large}}}
    assert body(document)["generationConfig"]["responseJsonSchema"]["type"] == "object"
    older = body(document, upstream(schema="openapi"))["generationConfig"]
    assert older["responseMimeType"] == "application/json"
    assert "responseSchema" not in older


def test_wrong_values_are_refused_by_name() -> None:
    with pytest.raises(RequestError, match="max_tokens: must be an integer") as caught:
        body({**HI, "max_tokens": "10"})
    assert caught.value.status == 400


def test_the_responses_form_in_the_older_schema() -> None:
    document = {**HI, "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    found = body(document, upstream(schema="openapi"))["generationConfig"]
    assert found["responseSchema"]["type"] == "OBJECT"
    assert "responseJsonSchema" not in found


def test_no_thinking_config_for_models_without_thinking() -> None:
    assert body(HI, model="gemini-2.0-flash").keys() == {"contents"}


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
    found = orjson.loads(outgoing.body)
    validate_request(found)
    wire = found["tools"][0]["functionDeclarations"][0]["name"]
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
def test_requests_of_real_clients(path: Path, schema: str) -> None:
    by = dialect()
    for request in orjson.loads(path.read_bytes()):
        if isinstance(request["body"], dict) and "messages" in request["body"]:
            found = body(request["body"], upstream(schema=schema), by=by)
            validate_request(found)
            assert "x-anthropic-billing-header" not in str(found.get("systemInstruction"))
            assert "DeferredToolPlaceholder" not in str(found.get("tools"))


FORMS: tuple[Form, ...] = ("json", "openapi")


def test_all_schemas_of_real_clients_survive() -> None:
    warnings: list[str] = []
    cache = SchemaCache()
    count = 0
    for path in FIXTURES:
        for request in orjson.loads(path.read_bytes()):
            tools = request["body"].get("tools", ()) if isinstance(request["body"], dict) else ()
            plain, older = (Schemas(cache, form, warnings.append) for form in FORMS)
            for tool in tools:
                if tool.get("input_schema", {}).get("properties"):
                    count += 1
                    validate_json_schema(plain.parameters(tool["input_schema"]))
                    validate_openapi_schema(older.parameters(tool["input_schema"]))
    assert count > 100
    assert len(cache) < 2 * count
    assert warnings == []
