from typing import Any

import orjson
import pytest
from google.genai import types

from gateway.demo.gemini import MODELS, Answer, answer, messages_document
from gateway.demo.gemini_rules import signed, signed_text

GENERATE = "/v1beta/models/gemini-3-pro-preview:streamGenerateContent?alt=sse"
COUNT = "/v1beta/models/gemini-3-pro-preview:countTokens"
HI = {"role": "user", "parts": [{"text": "hi"}]}
BASH = {
    "name": "Bash",
    "parametersJsonSchema": {
        "type": "object",
        "properties": {"command": {"type": "string"}, "description": {"type": "string"}},
        "required": ["command", "description"],
    },
}
READ = {
    "name": "Read",
    "parameters": {
        "type": "OBJECT",
        "properties": {"file_path": {"type": "STRING"}},
        "required": ["file_path"],
    },
}
TOOLS = [{"functionDeclarations": [BASH, READ]}]


def post(request: Any, target: str = GENERATE) -> Answer:
    return answer("POST", target, orjson.dumps(request))


def asked(prompt: str, **more: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": prompt}]}], **more}


def settings(**generation: Any) -> dict[str, Any]:
    return {"generationConfig": generation}


def parts(found: Answer) -> list[dict[str, Any]]:
    """All parts of a stream, whose events are Google's."""
    assert (found.status, found.document) == (200, None)
    for event in found.events:
        types.GenerateContentResponse.model_validate(event)
    finishes = [event["candidates"][0].get("finishReason") for event in found.events]
    assert [reason for reason in finishes if reason] == finishes[-1:]
    return [part for event in found.events for part in event["candidates"][0]["content"]["parts"]]


def said(found: Answer) -> str:
    return "".join(part["text"] for part in parts(found) if "text" in part and "thought" not in part)


def test_words_come_one_by_one_and_are_signed() -> None:
    found = post(asked("hello there"))
    pieces = parts(found)
    assert len(pieces) > 10
    assert 'You said: "hello there".' in said(found)
    assert pieces[-1] == {"text": "", "thoughtSignature": signed_text(said(found))}
    assert found.events[-1]["candidates"][0]["finishReason"] == "STOP"


def test_usage_adds_up() -> None:
    found = post(asked("hello", **settings(thinkingConfig={"includeThoughts": True})))
    usage = found.events[-1]["usageMetadata"]
    assert usage["thoughtsTokenCount"] > 0
    assert usage["candidatesTokenCount"] > 0
    assert usage["totalTokenCount"] == sum(value for key, value in usage.items() if key != "totalTokenCount")


@pytest.mark.parametrize(
    ("prompt", "name", "args"),
    [
        ("run ls -l", "Bash", {"command": "ls -l", "description": "Run ls -l"}),
        ("read README.md", "Read", {"file_path": "README.md"}),
    ],
)
def test_it_calls_the_tool_that_fits(prompt: str, name: str, args: dict[str, Any]) -> None:
    call = parts(post(asked(prompt, tools=TOOLS)))[-1]
    assert call == {
        "functionCall": {"name": name, "args": args},
        "thoughtSignature": signed({"name": name, "args": args}),
    }


def test_it_thinks_when_told_to() -> None:
    thinking = settings(thinkingConfig={"includeThoughts": True, "thinkingLevel": "low"})
    first, *rest = parts(post(asked("run ls", tools=TOOLS, **thinking)))
    assert first["thought"] is True
    assert "functionCall" in rest[-1]
    assert not any("thought" in part for part in parts(post(asked("run ls", tools=TOOLS))))


@pytest.mark.parametrize("key", ["result", "error"])
def test_it_tells_what_the_tool_said(key: str) -> None:
    call = parts(post(asked("run ls", tools=TOOLS)))[-1]
    request = {
        "contents": [
            *asked("run ls")["contents"],
            {"role": "model", "parts": [call]},
            {
                "role": "user",
                "parts": [
                    {"functionResponse": {"name": "Bash", "id": "1", "response": {key: "README.md"}}},
                    {"inlineData": {"mimeType": "image/png", "data": "aWs="}},
                    {"inlineData": {"mimeType": "application/pdf", "data": "aWs="}},
                ],
            },
        ],
        "tools": TOOLS,
    }
    assert ("says" if key == "result" else "failed") + ": README.md" in said(post(request))
    del call["thoughtSignature"]
    refused = post(request)
    assert refused.status == 400
    assert "thought_signature" in str(refused.document)
    call["thoughtSignature"] = "skip_thought_signature_validator"
    assert post(request).status == 200


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"mode": "ANY", "allowedFunctionNames": ["Read"]}, "Read"),
        ({"mode": "ANY"}, "Bash"),
        ({"mode": "NONE"}, None),
        ({"mode": "AUTO"}, None),
        ({}, None),
    ],
)
def test_the_calling_mode(config: dict[str, Any], name: str | None) -> None:
    request = asked("hi", tools=TOOLS, toolConfig={"functionCallingConfig": config})
    calls = [part["functionCall"]["name"] for part in parts(post(request)) if "functionCall" in part]
    assert calls == ([name] if name else [])


@pytest.mark.parametrize(
    "form",
    [
        {
            "responseJsonSchema": {
                "type": "object",
                "properties": {"t": {"type": "string"}},
                "required": ["t"],
            }
        },
        {"responseSchema": {"type": "OBJECT", "properties": {"t": {"type": "STRING"}}, "required": ["t"]}},
    ],
)
def test_a_structured_answer(form: dict[str, Any]) -> None:
    found = post(asked("hi", **settings(responseMimeType="application/json", **form)))
    assert orjson.loads(said(found)) == {"t": "hi"}


def test_limits() -> None:
    found = post(asked("hello", **settings(maxOutputTokens=3)))
    assert found.events[-1]["candidates"][0]["finishReason"] == "MAX_TOKENS"
    found = post(asked("hello", **settings(stopSequences=["said"])))
    assert said(found).strip() == "You"


def test_thinking_alone() -> None:
    found = post(asked("hello", **settings(maxOutputTokens=2, thinkingConfig={"includeThoughts": True})))
    assert all(part["thought"] for part in parts(found))
    assert found.events[-1]["candidates"][0]["finishReason"] == "MAX_TOKENS"


class TestPaths:
    def test_vertex(self) -> None:
        target = "/v1/projects/P/locations/L/publishers/google/models/m:streamGenerateContent?alt=sse"
        assert post(asked("hi"), target).events[0]["modelVersion"] == "m"

    def test_code_assist(self) -> None:
        request = {"model": "m", "project": "p", "request": asked("hi")}
        found = post(request, "/v1internal:streamGenerateContent?alt=sse")
        assert found.events[0]["response"]["modelVersion"] == "m"

    def test_models(self) -> None:
        found = answer("GET", "/v1beta/models?pageSize=1000", b"")
        assert found.document is not None
        listed = found.document["models"]
        assert [(one["name"], one["displayName"]) for one in listed] == [
            (f"models/{id}", name) for id, name in MODELS.items()
        ]
        assert all("generateContent" in one["supportedGenerationMethods"] for one in listed)

    @pytest.mark.parametrize(
        "request_",
        [asked("hello"), {"generateContentRequest": asked("hello")}, {"request": asked("hello")}],
    )
    def test_count(self, request_: dict[str, Any]) -> None:
        found = post(request_, COUNT)
        assert found.document is not None
        assert 0 < found.document["totalTokens"] < 50

    @pytest.mark.parametrize(
        ("method", "target"),
        [("GET", GENERATE), ("POST", "/v1beta/models"), ("POST", "/v1beta/models/m:embed"), ("POST", "/x")],
    )
    def test_others(self, method: str, target: str) -> None:
        found = answer(method, target, b"{}")
        assert found.status == 404
        assert found.document is not None
        assert found.document["error"]["status"] == "NOT_FOUND"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"contents":5}', b'{"generateContentRequest":5}']
)
def test_what_is_no_request(body: bytes) -> None:
    found = answer("POST", GENERATE, body)
    assert found.status == 400
    assert found.document is not None
    assert found.document["error"]["status"] == "INVALID_ARGUMENT"


def test_messages_document() -> None:
    document = messages_document(
        {
            "systemInstruction": {"parts": [{"text": "s"}]},
            "contents": [
                HI,
                {
                    "role": "model",
                    "parts": [{"text": "t", "thought": True}, {"other": 1}, {"functionCall": {"name": "F"}}],
                },
                {"role": "user", "parts": [{"functionResponse": {"name": "F"}}]},
                5,
            ],
            "tools": [{"googleSearch": {}}, 5, {"functionDeclarations": [{"name": "F"}]}],
        }
    )
    assert document == {
        "max_tokens": 65536,
        "system": [{"type": "text", "text": "s"}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": None, "name": "F", "input": {}}]},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": None, "content": "", "is_error": False}],
            },
        ],
        "tools": [{"name": "F", "input_schema": {"type": "object"}}],
        "stop_sequences": [],
    }
