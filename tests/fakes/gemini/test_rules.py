"""The fake refuses what Google refuses, and takes what Google takes."""

from typing import Any

import pytest

from tests.fakes.gemini.refusals import Refusal
from tests.fakes.gemini.rules import check_request
from tests.fakes.gemini.signatures import BYPASS, signed, signed_text

NEW, OLD, GEMMA = "gemini-3.8-flash", "gemini-2.5-pro", "gemma-3-27b-it"
VERTEX, API = True, False


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "parts": list(parts)}


def model(*parts: Any) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


def call(signature: str = BYPASS, **fields: Any) -> dict[str, Any]:
    part = {"functionCall": {"name": "Bash", "args": {}, **fields}}
    return {**part, "thoughtSignature": signature} if signature else part


def function_response(**fields: Any) -> dict[str, Any]:
    return {"functionResponse": {"name": "Bash", "response": {"result": "x"}, **fields}}


HI = {"text": "hi"}
GIF = {"inlineData": {"mimeType": "image/gif", "data": "aWs="}}
PNG = {"inlineData": {"mimeType": "image/png", "data": "aWs="}}
ROUND = [user(HI), model(call()), user(function_response())]


def settings(**config: Any) -> dict[str, Any]:
    return {"generationConfig": config}


def tool(parameters: Any, name: str = "Bash", form: str = "parameters") -> dict[str, Any]:
    return {"tools": [{"functionDeclarations": [{"name": name, form: parameters}]}]}


def older(**schema: Any) -> dict[str, Any]:
    return tool({"type": "OBJECT", "properties": {"a": schema}})


JSON = {"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}}
TOOL = tool({"type": "object", "properties": {"a": {}}}, form="parametersJsonSchema")

REFUSED: list[tuple[str, str, bool, dict[str, Any]]] = [
    # Google's message; model; on Vertex AI; body
    ("contents is not specified", NEW, API, {"contents": None}),
    ("begin with a user turn", NEW, API, {"contents": [model(HI), user(HI)]}),
    ("must include at least one parts", NEW, API, {"contents": [user()]}),
    ("Model input cannot be empty", NEW, API, {"contents": [user({"text": ""})]}),
    ("valid role", NEW, API, {"contents": [user(HI), {"role": "system", "parts": [HI]}]}),
    ("Unknown name", NEW, API, {"messages": []}),
    ("Invalid JSON payload", NEW, API, {"contents": [user({"texts": "a"})]}),
    (
        "Invalid JSON payload",
        NEW,
        API,
        {"contents": [user({"inline_data": {"mimeType": "x", "data": "aWs="}})]},
    ),
    ("ending with a model turn", NEW, VERTEX, {"contents": [user(HI), model(HI)]}),
    ("ending with a model turn", NEW, VERTEX, {"contents": [*ROUND[:2], user(function_response(), HI)]}),
    ("number of function response parts", NEW, API, {"contents": [user(HI), model(call()), user(HI)]}),
    ("number of function response parts", NEW, API, {"contents": [user(HI), user(function_response())]}),
    ("without a response", NEW, API, {"contents": ROUND[:2]}),
    ("in the order of", NEW, API, {"contents": [*ROUND[:2], user(function_response(name="Read"))]}),
    (
        "in the order of",
        NEW,
        API,
        {"contents": [user(HI), model(call(id="1")), user(function_response(id="2"))]},
    ),
    (
        "missing a thought_signature",
        NEW,
        API,
        {"contents": [user(HI), model(call("")), user(function_response())]},
    ),
    (
        "Corrupted thought signature",
        NEW,
        API,
        {"contents": [user(HI), model(call("eA==")), user(function_response())]},
    ),
    ("thought without", NEW, API, {"contents": [user(HI), model({"text": "a", "thought": True}), user(HI)]}),
    ("thoughtSignature", OLD, API, {"contents": ROUND}),
    ("thoughtSignature", GEMMA, API, {"contents": ROUND}),
    ('"id"', OLD, VERTEX, {"contents": [user(HI), model(call("", id="1")), user(function_response(id="1"))]}),
    ("Unsupported MIME type: image/gif", NEW, API, {"contents": [user(GIF)]}),
    ("Unsupported MIME type", NEW, API, {"contents": [*ROUND[:2], user(function_response(parts=[GIF]))]}),
    (
        "function_response.parts",
        OLD,
        API,
        {"contents": [user(HI), model(call("")), user(function_response(parts=[PNG]))]},
    ),
    ("65537 (exclusive)", NEW, VERTEX, settings(maxOutputTokens=128_000)),
    ("must be positive", NEW, API, settings(maxOutputTokens=0)),
    ("stop_sequences", NEW, API, settings(stopSequences=list("abcdef"))),
    ("budget is not supported", NEW, API, settings(thinkingConfig={"thinkingBudget": 1000})),
    ("thinking_level MINIMAL", NEW, API, settings(thinkingConfig={"thinkingLevel": "minimal"})),
    (
        "thinking_level MEDIUM",
        "gemini-3-pro-preview",
        API,
        settings(thinkingConfig={"thinkingLevel": "medium"}),
    ),
    ("Thinking level", OLD, API, settings(thinkingConfig={"thinkingLevel": "low"})),
    ("between 128 and 32768", OLD, API, settings(thinkingConfig={"thinkingBudget": 5})),
    ("thinking_config", GEMMA, API, settings(thinkingConfig={"thinkingBudget": -1})),
    ("exclude each other", NEW, API, settings(thinkingConfig={"thinkingLevel": "low", "thinkingBudget": 1})),
    ("'application/json' is unsupported", OLD, API, {**settings(**JSON), **TOOL}),
    ("Invalid function name", NEW, API, tool({"type": "object"}, "a b", "parametersJsonSchema")),
    ("Duplicate function", NEW, API, {"tools": TOOL["tools"] * 2}),
    ("Tool use with function calling", NEW, API, {"tools": [*TOOL["tools"], {"googleSearch": {}}]}),
    ("without function_declarations", NEW, API, {"toolConfig": {"functionCallingConfig": {"mode": "ANY"}}}),
    (
        "allowed_function_names",
        NEW,
        API,
        {**TOOL, "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["x"]}}},
    ),
    ("cannot be empty", NEW, API, older(type="STRING", enum=["", "a"])),
    ("only allowed for STRING", NEW, API, older(type="INTEGER", enum=["1"])),
    ("only field set", NEW, API, older(anyOf=[{"type": "STRING"}, {"type": "INTEGER"}], description="x")),
    ("should be non-empty", NEW, API, older(type="OBJECT", properties={})),
    (
        "should be non-empty",
        NEW,
        API,
        settings(responseMimeType="application/json", responseSchema={"type": "OBJECT"}),
    ),
    ("items: missing", NEW, API, older(type="ARRAY")),
    (
        "required: property",
        NEW,
        API,
        tool({"type": "OBJECT", "properties": {"a": {"type": "STRING"}}, "required": ["b"]}),
    ),
    ("unknown keywords", NEW, API, tool({"type": "object", "pattern": "x"}, form="parametersJsonSchema")),
    (
        "beside a $ref",
        NEW,
        API,
        settings(**{**JSON, "responseJsonSchema": {"$ref": "#/$defs/a", "title": "x"}}),
    ),
    ("no definition", NEW, API, settings(**{**JSON, "responseJsonSchema": {"items": {"$ref": "#/$defs/a"}}})),
]


@pytest.mark.parametrize(
    ("words", "name", "vertex", "body"),
    REFUSED,
    ids=[f"{index}: {case[0]}" for index, case in enumerate(REFUSED)],
)
def test_refused_requests(words: str, name: str, vertex: bool, body: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        check_request({"contents": [user(HI)], **body}, name, vertex=vertex, known_signatures=True)
    assert words in caught.value.message
    assert caught.value.document()["error"]["code"] == 400


KNOWN = {"name": "Bash", "args": {"a": 1}}

TAKEN: list[tuple[str, bool, dict[str, Any]]] = [
    (NEW, VERTEX, {"contents": ROUND}),
    (NEW, VERTEX, {"contents": [*ROUND, user(HI)]}),
    (NEW, API, {"contents": [*ROUND[:2], user(function_response(), HI)]}),
    (OLD, VERTEX, {"contents": [user(HI), model(call("")), user(function_response(), PNG)]}),
    (NEW, API, {"contents": [user(HI), model(HI)]}),
    (
        NEW,
        API,
        {
            "contents": [
                user(HI),
                model(call(signed(KNOWN), **KNOWN), call("")),
                user(function_response(), function_response()),
            ]
        },
    ),
    (
        NEW,
        API,
        {"contents": [user(HI), model({"text": "a", "thoughtSignature": signed_text("a")}), user(HI)]},
    ),
    (NEW, API, {"contents": [user(HI), model(call("")), user(function_response()), model(HI), user(HI)]}),
    (NEW, API, {"contents": [*ROUND[:2], user(function_response(parts=[PNG]))]}),
    (NEW, API, settings(maxOutputTokens=128_000)),
    (NEW, VERTEX, {**settings(**JSON), **TOOL}),
    (OLD, API, settings(**JSON)),
    (OLD, API, settings(thinkingConfig={"thinkingBudget": -1})),
]


@pytest.mark.parametrize(("name", "vertex", "body"), TAKEN)
def test_accepted_requests(name: str, vertex: bool, body: dict[str, Any]) -> None:
    check_request({"contents": [user(HI)], **body}, name, vertex=vertex, known_signatures=True)
