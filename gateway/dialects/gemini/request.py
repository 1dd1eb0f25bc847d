"""A Messages request as the body of `generateContent`.

Everything but the history (contents.py) and the tools (tools.py, schema.py) is here: the system prompt
and the generation settings. Nothing is invented: a setting that the client did not send is not sent.
"""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.config import Upstream
from gateway.dialects.gemini.contents import gemini_contents
from gateway.dialects.gemini.schema.clean import SchemaCache
from gateway.dialects.gemini.signatures import SignatureStore
from gateway.dialects.gemini.thinking import thinking_config
from gateway.dialects.gemini.tools import gemini_tools, tool_config, tool_names
from gateway.messages.errors import RequestError
from gateway.messages.request import BILLING_HEADER

MAX_STOP_SEQUENCES = 5
"""The API's own limit."""

SETTINGS: tuple[tuple[str, str], ...] = (
    ("max_tokens", "maxOutputTokens"),
    ("temperature", "temperature"),
    ("top_p", "topP"),
    ("top_k", "topK"),
)
"""Settings that only change their name."""


THREADS_UNSUPPORTED = {"error_code": "thread_unsupported_request"}
"""By these details an SDK knows that it must send the whole history; it then does so by itself."""


def gemini_request(
    document: Mapping[str, Any],
    original: Mapping[str, Any],
    *,
    upstream: Upstream,
    wire_model: str,
    schemas: SchemaCache,
    signatures: SignatureStore | None,
    warn: Callable[[str], None],
) -> tuple[dict[str, Any], dict[str, str]]:
    """The body for a repaired `document`, and the tool names that were changed (theirs -> the client's).

    `original` is the document before repairs, for places in error messages. `signatures` None: thinking
    stays behind and every call gets the bypass value. Raises RequestError(400).
    """
    if document.get("thread") is not None:
        # Its later requests hold only what is new: without the history they mean something else.
        raise RequestError(
            400,
            "thread: a Gemini model keeps no conversation; send the whole of it without `thread`",
            details=THREADS_UNSUPPORTED,
        )
    names = tool_names(document.get("tools"))
    body: dict[str, Any] = {}
    system = _system_parts(document.get("system"))
    if system:
        body["systemInstruction"] = {"parts": system}
    tools = gemini_tools(document.get("tools"), upstream, names, schemas, warn)
    body["contents"] = gemini_contents(
        document.get("messages", ()), original.get("messages", ()), names, signatures, warn
    )
    if tools:
        body["tools"] = tools
        # A calling mode without functions is refused.
        config = (
            tool_config(document.get("tool_choice"), names) if "functionDeclarations" in tools[0] else None
        )
        if config:
            body["toolConfig"] = config
    settings = _generation_config(document, upstream, wire_model, schemas)
    if settings:
        body["generationConfig"] = settings
    return body, names.changed


def _system_parts(system: object) -> list[dict[str, str]]:
    blocks = system if isinstance(system, list) else [system]
    texts = [block.get("text") if isinstance(block, dict) else block for block in blocks]
    if texts and isinstance(texts[0], str) and texts[0].startswith(BILLING_HEADER):
        del texts[0]
    return [{"text": text} for text in texts if isinstance(text, str) and text.strip()]


def _generation_config(
    document: Mapping[str, Any], upstream: Upstream, wire_model: str, schemas: SchemaCache
) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for theirs, ours in SETTINGS:
        value = document.get(theirs)
        if value is not None:
            config[ours] = value
    stops = document.get("stop_sequences")
    if stops and isinstance(stops, list):
        if len(stops) > MAX_STOP_SEQUENCES:
            raise RequestError(
                400,
                f"stop_sequences: {len(stops)} given, but a Gemini model takes at most {MAX_STOP_SEQUENCES}",
            )
        config["stopSequences"] = stops
    thinking = thinking_config(document, wire_model)
    if thinking:
        config["thinkingConfig"] = thinking
    output = document.get("output_config")
    form = output.get("format") if isinstance(output, dict) else document.get("output_format")
    if isinstance(form, dict) and form.get("type") == "json_schema":
        config["responseMimeType"] = "application/json"
        style = upstream.options.schema
        key = "responseJsonSchema" if style == "json" else "responseSchema"
        config[key] = schemas.answer(form.get("schema"), style)
    return config
