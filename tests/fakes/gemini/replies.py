"""Replies of the fake: a request -> the events of a response. Pure: the same request, the same words.

It echoes the prompt; "run ..." and "read ..." lead to a call of a tool that can do that, and a tool's result to
words about it. A media part is named by its type, so that a test sees that it came.
"""

import re
from collections.abc import Iterator
from typing import Any

import orjson

from tests.fakes.gemini.models import ability
from tests.fakes.gemini.signatures import signed, signed_text

Event = dict[str, Any]
Part = dict[str, Any]

REMINDERS = ("<system-reminder>", "[from tool result", "(an image/")

_WISH = re.compile(r"\s*(run|read)\s+`?([^\n`]+)`?", re.IGNORECASE)
_TOOLS = {
    "run": (re.compile("bash|shell|run|exec", re.IGNORECASE), ("command", "cmd")),
    "read": (re.compile("read|view|open", re.IGNORECASE), ("file_path", "path", "filePath", "file")),
}
_WORD = re.compile(r"\s*\S+|\s+")

RESULT = 1000
"""Characters of a tool's result that are quoted."""


def count_tokens(request: dict[str, Any]) -> int:
    """About as many tokens as a tokenizer would count."""
    counted = {key: request[key] for key in ("systemInstruction", "contents", "tools") if key in request}
    return len(orjson.dumps(counted)) // 4


def events(request: dict[str, Any], model: str) -> Iterator[Event]:
    """A streamed response, word by word, a call whole."""
    signs = ability(model).signs
    settings = request.get("generationConfig", {})
    left = settings.get("maxOutputTokens", 1 << 30)
    usage = {"promptTokenCount": count_tokens(request), "candidatesTokenCount": 0, "thoughtsTokenCount": 0}
    thought, text, call = _intent(request)
    if settings.get("thinkingConfig", {}).get("includeThoughts") is True:
        for word in _WORD.findall(thought):
            usage["thoughtsTokenCount"] += 1
            yield _event(model, usage, {"text": word, "thought": True})
    for stop in settings.get("stopSequences", ()):
        text = text.partition(stop)[0]
    words = _WORD.findall(text)
    for word in words[:left]:
        usage["candidatesTokenCount"] += 1
        yield _event(model, usage, {"text": word})
    finish = "STOP" if len(words) <= left else "MAX_TOKENS"
    last: list[Part] = []
    if call is not None and finish == "STOP":
        usage["candidatesTokenCount"] += 10
        part: Part = {"functionCall": {**call, "id": f"call_{usage['promptTokenCount']}"} if signs else call}
        yield _event(model, usage, {**part, "thoughtSignature": signed(call)} if signs else part)
    elif text and signs:
        last = [{"text": "", "thoughtSignature": signed_text("".join(words[:left]))}]
    yield _event(model, usage, *last, finish=finish)


def _event(model: str, usage: dict[str, int], *parts: Part, finish: str = "") -> Event:
    candidate: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    total = {**usage, "totalTokenCount": sum(usage.values())}
    return {"candidates": [candidate], "usageMetadata": total, "modelVersion": model}


def _intent(request: dict[str, Any]) -> tuple[str, str, dict[str, Any] | None]:
    """(thought, text, call)."""
    parts, made = _last_turn(request["contents"])
    functions = [f for tool in request.get("tools", ()) for f in tool.get("functionDeclarations", ())]
    config = request.get("toolConfig", {}).get("functionCallingConfig", {})
    texts = [part["text"] for part in parts if not part.get("text", "<").startswith(("<", *REMINDERS))]
    prompt = texts[-1] if texts else ""
    results = [part["functionResponse"] for part in parts if "functionResponse" in part]
    seen = [one["inlineData"]["mimeType"] for one in _with_inner(parts) if "inlineData" in one]
    if config.get("mode") == "ANY" and functions:
        names = config.get("allowedFunctionNames") or [functions[0]["name"]]
        function = next(f for f in functions if f["name"] == names[0])
        return (
            f"I am told to call {names[0]}.",
            "",
            {"name": names[0], "args": fill(_schema(function), prompt)},
        )
    settings = request.get("generationConfig", {})
    if settings.get("responseMimeType") == "application/json":
        schema = settings.get("responseJsonSchema", settings.get("responseSchema", {}))
        return "It must be JSON.", orjson.dumps(fill(schema, prompt[:60])).decode(), None
    call = None if config.get("mode") == "NONE" else _wished(prompt, functions)
    if call is not None and call not in made:
        return "A tool can do that.", f"I {prompt.strip()}.", call
    look = f" I see: {', '.join(seen)}." if seen else ""
    if results:
        words = "\n\n".join(_about(result["response"]) for result in results)
        return (
            "The tool has answered.",
            f"{words}{look}\n\nSo the whole round went through the gateway.",
            None,
        )
    return "I answer with an echo.", f'You said: "{prompt[:120]}".{look}', None


def _last_turn(contents: list[dict[str, Any]]) -> tuple[list[Part], list[dict[str, Any]]]:
    """Return the parts since the model's last words, and the calls in those."""
    words: list[Part] = []
    for content in reversed(contents):
        if content["role"] == "model":
            calls = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
            return words, [{"name": call["name"], "args": call.get("args", {})} for call in calls]
        words = content["parts"] + words
    return words, []


def _with_inner(parts: list[Part]) -> list[Part]:
    return parts + [inner for part in parts for inner in part.get("functionResponse", {}).get("parts", ())]


def _about(response: dict[str, Any]) -> str:
    verb = "failed" if "error" in response else "says"
    text = str(response.get("error", response.get("result", "")))[:RESULT]
    return f"The tool {verb}:\n\n```\n{text}\n```" if "\n" in text else f"The tool {verb}: {text}"


def _wished(prompt: str, functions: list[dict[str, Any]]) -> dict[str, Any] | None:
    wish = _WISH.match(prompt)
    if wish is None:
        return None
    names, properties = _TOOLS[wish[1].lower()]
    for function in functions:
        schema = _schema(function)
        for name in properties:
            if names.search(function["name"]) and name in schema.get("properties", {}):
                return {"name": function["name"], "args": {**fill(schema, "as asked"), name: wish[2].strip()}}
    return None


def _schema(function: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = function.get("parametersJsonSchema", function.get("parameters", {}))
    return {"type": "object", **schema}


def fill(schema: dict[str, Any], text: str) -> Any:
    """A small value that a schema takes. Strings are `text`."""
    if "enum" in schema:
        return schema["enum"][0]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return fill(schema[key][0], text)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = (kind[0] if isinstance(kind, list) else kind).lower()
    if kind == "object":
        return {name: fill(schema["properties"][name], text) for name in schema.get("required", ())}
    values: dict[str, Any] = {"array": [], "integer": 1, "number": 1, "boolean": False, "null": None}
    return values.get(kind, text)
