"""An embedded upstream that speaks Gemini's protocol, without its sockets: a request in, an Answer out.

It says what the other embedded upstream says (`reply`), so a request is read as a Messages document first; it
refuses what Google would refuse (`gemini_rules`). Pure: the same request, the same words. Who may ask, and how
an Answer's events are sent, is left to its application.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.demo.gemini_rules import GoogleError, check, parts_of, signed, signed_text
from gateway.demo.reply import Reply, reply_to
from gateway.messages.json_documents import read_document
from gateway.messages.token_estimate import estimate

Document = dict[str, Any]

MODELS = {
    "gemini-3-pro-preview": "Gemini 3 Pro (demo)",
    "gemini-3-flash-preview": "Gemini 3 Flash (demo)",
    "gemini-2.5-pro": "Gemini 2.5 Pro (demo)",
}
"""What it lists, id -> display name. Other names are served as well."""

INPUT_LIMIT = 1_048_576
OUTPUT_LIMIT = 65_536
"""Tokens, as Google lists them for these models."""

FINISH = {"end_turn": "STOP", "tool_use": "STOP", "max_tokens": "MAX_TOKENS", "stop_sequence": "STOP"}
"""A Reply's stop reason -> `finishReason`."""

CHOICES = {"AUTO": "auto", "ANY": "any", "NONE": "none", "VALIDATED": "auto"}

_MODEL_LIST = re.compile(r"(?:/[^/?]+)*/models(?:\?.*)?")
_METHOD = re.compile(r"(?:/[^/?:]+)*/(?:models/(?P<model>[^/?:]+)|v1internal):(?P<method>\w+)(?:\?.*)?")
_WORD = re.compile(r"\s*\S+|\s+")


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: a JSON document, or the events of a stream, one `data:` line each."""

    status: int
    document: Document | None = None
    events: tuple[Document, ...] = ()


def answer(method: str, target: str, body: bytes) -> Answer:
    """The answer to a request. Knows the paths of the Gemini API, of Vertex AI and of Code Assist."""
    try:
        return _answered(method, target, body)
    except GoogleError as error:
        return Answer(error.status, error.document())


def _answered(method: str, target: str, body: bytes) -> Answer:
    if method == "GET" and _MODEL_LIST.fullmatch(target):
        return Answer(200, {"models": [_listed(id, name) for id, name in MODELS.items()]})
    asked = _METHOD.fullmatch(target)
    if method != "POST" or asked is None or asked["method"] not in ("streamGenerateContent", "countTokens"):
        raise GoogleError("NOT_FOUND", f"The requested URL {target} was not found on this server.")
    outer = _object(body)
    enveloped = isinstance(outer.get("request"), dict)
    request = outer["request"] if enveloped else outer.get("generateContentRequest", outer)
    request = request if isinstance(request, dict) else {}
    contents = request.get("contents")
    check([turn for turn in contents if isinstance(turn, dict)] if isinstance(contents, list) else [])
    document = messages_document(request)
    tokens = estimate(document)
    if asked["method"] == "countTokens":
        return Answer(200, {"totalTokens": tokens})
    model = asked["model"] or str(outer.get("model", ""))
    events = tuple(_events(reply_to(document, tokens, lambda prefix: prefix), model))
    return Answer(200, events=tuple({"response": event} for event in events) if enveloped else events)


def _object(body: bytes) -> Document:
    try:
        document = read_document(body)
    except ValueError as error:
        raise GoogleError("INVALID_ARGUMENT", f"Invalid JSON payload received. {error}") from None
    if not isinstance(document, dict):
        raise GoogleError(
            "INVALID_ARGUMENT", "Invalid JSON payload received. Root element must be a message."
        )
    return document


def _listed(id: str, name: str) -> Document:
    return {
        "name": f"models/{id}",
        "displayName": name,
        "inputTokenLimit": INPUT_LIMIT,
        "outputTokenLimit": OUTPUT_LIMIT,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    }


def messages_document(request: Mapping[str, Any]) -> Document:
    """A generateContent request as the Messages request that it would be."""
    settings = _dict(request.get("generationConfig"))
    document: Document = {
        "max_tokens": settings.get("maxOutputTokens", OUTPUT_LIMIT),
        "messages": [_message(turn) for turn in request.get("contents", ()) if isinstance(turn, dict)],
        "system": [
            {"type": "text", "text": part.get("text")}
            for part in parts_of(_dict(request.get("systemInstruction")))
        ],
        "tools": list(_tools(request)),
        "stop_sequences": settings.get("stopSequences", []),
    }
    config = _dict(_dict(request.get("toolConfig")).get("functionCallingConfig"))
    if config:
        names = config.get("allowedFunctionNames")
        named = {"type": "tool", "name": names[0]} if isinstance(names, list) and names else None
        document["tool_choice"] = named or {"type": CHOICES.get(str(config.get("mode")), "auto")}
    if _dict(settings.get("thinkingConfig")).get("includeThoughts") is True:
        document["thinking"] = {"type": "adaptive"}
    if settings.get("responseMimeType") == "application/json":
        schema = settings.get("responseJsonSchema", settings.get("responseSchema", {}))
        document["output_config"] = {"format": {"type": "json_schema", "schema": _lowered(schema)}}
    return document


def _message(turn: Mapping[str, Any]) -> Document:
    role = "assistant" if turn.get("role") == "model" else "user"
    return {"role": role, "content": [block for part in parts_of(turn) if (block := _block(part))]}


def _block(part: Mapping[str, Any]) -> Document | None:
    call, result = part.get("functionCall"), part.get("functionResponse")
    if isinstance(call, dict):
        return {
            "type": "tool_use",
            "id": call.get("id"),
            "name": call.get("name"),
            "input": call.get("args", {}),
        }
    if isinstance(result, dict):
        response = _dict(result.get("response"))
        text = response.get("error", response.get("result", ""))
        return {
            "type": "tool_result",
            "tool_use_id": result.get("id"),
            "content": str(text),
            "is_error": "error" in response,
        }
    data = part.get("inlineData")
    if isinstance(data, dict):
        source = {"type": "base64", "media_type": data.get("mimeType"), "data": data.get("data")}
        kind = "image" if str(data.get("mimeType")).startswith("image/") else "document"
        return {"type": kind, "source": source}
    text = part.get("text")
    return (
        {"type": "text", "text": text} if isinstance(text, str) and part.get("thought") is not True else None
    )


def _tools(request: Mapping[str, Any]) -> Iterator[Document]:
    for tool in request.get("tools", ()):
        for function in _dict(tool).get("functionDeclarations", ()):
            schema = function.get("parametersJsonSchema", function.get("parameters", {}))
            yield {
                "name": function.get("name"),
                "input_schema": {"type": "object", **_dict(_lowered(schema))},
            }


def _lowered(schema: Any) -> Any:
    """A schema of either form with its types in small letters."""
    if isinstance(schema, list):
        return [_lowered(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    lowered = {key: _lowered(value) for key, value in schema.items()}
    if isinstance(schema.get("type"), str):
        lowered["type"] = schema["type"].lower()
    return lowered


def _events(reply: Reply, model: str) -> Iterator[Document]:
    """A Reply as Gemini streams it: word by word, a call whole, the signature of a text on an empty last part."""
    prompt = reply.usage["input_tokens"]
    said = thought = 0
    last: Document = {}
    for block in reply.content:
        if block["type"] == "tool_use":
            call = {"name": block["name"], "args": block["input"]}
            last = {"functionCall": call, "thoughtSignature": signed(call)}
            yield _event(model, prompt, said, thought, last)
            continue
        is_thought = block["type"] == "thinking"
        text = block["thinking" if is_thought else "text"]
        for word in _WORD.findall(text):
            said, thought = (said, thought + 1) if is_thought else (said + 1, thought)
            part = {"text": word, "thought": True} if is_thought else {"text": word}
            yield _event(model, prompt, said, thought, part)
        last = {} if is_thought else {"text": "", "thoughtSignature": signed_text(text)}
    end = [last] if "text" in last else []
    said = max(said, reply.usage["output_tokens"] - thought)
    yield _event(model, prompt, said, thought, *end, finish=FINISH[reply.stop_reason])


def _event(model: str, prompt: int, said: int, thought: int, *parts: Document, finish: str = "") -> Document:
    candidate: Document = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    usage = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": said,
        "thoughtsTokenCount": thought,
        "totalTokenCount": prompt + said + thought,
    }
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model}


def _dict(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
