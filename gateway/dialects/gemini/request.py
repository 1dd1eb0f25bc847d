"""Converts a Messages request to the body of `generateContent`.

This module handles the system prompt and the generation settings; contents.py handles the history, tools.py and
schema/ the tools. A setting that the client did not send is not sent. Thinking is the exception: its default is off in
the one protocol and on in the other.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.config import Upstream
from gateway.dialects.gemini.contents import gemini_contents
from gateway.dialects.gemini.families import Family
from gateway.dialects.gemini.schema.clean import Schemas
from gateway.dialects.gemini.signatures import Signatures
from gateway.dialects.gemini.thinking import thinking_config
from gateway.dialects.gemini.tools import NAMES, gemini_tools, tool_config
from gateway.dialects.tool_names import ToolNames, tool_names
from gateway.messages.errors import RequestError
from gateway.messages.json_documents import write_document
from gateway.messages.json_values import as_dict
from gateway.messages.request import BILLING_HEADER

MAX_STOP_SEQUENCES = 5
"""The API's limit."""

SETTINGS: tuple[tuple[str, str], ...] = (
    ("max_tokens", "maxOutputTokens"),
    ("temperature", "temperature"),
    ("top_p", "topP"),
    ("top_k", "topK"),
)
"""Settings with the same value under another name."""

JSON_INSTRUCTION = "Your whole response must be JSON, without a code fence, that fits this JSON Schema:"
"""In front of the output's schema in the system instruction, for models that accept no schema beside tools."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """The inputs of the encoding other than the request."""

    upstream: Upstream
    kind: Family
    schemas: Schemas
    signatures: Signatures | None
    """None: thinking is left out and every call gets the bypass value."""
    warn: Callable[[str], None]


def gemini_request(
    document: Mapping[str, Any], original: Mapping[str, Any], how: Encoding
) -> tuple[dict[str, Any], ToolNames]:
    """Return the body for a repaired `document`, and the names of its tools.

    `original` is the document before repairs, for places in error messages; its fields were checked. Raises
    RequestError(400).
    """
    names = tool_names(NAMES, document.get("tools"))
    tools = gemini_tools(document.get("tools"), how.upstream, names, how.schemas, how.warn)
    settings, instruction = _generation_config(document, how, has_tools=bool(tools))
    system = _system_parts(document.get("system"))
    if instruction:
        system.append({"text": instruction})
    body: dict[str, Any] = {"systemInstruction": {"parts": system}} if system else {}
    body["contents"] = gemini_contents(
        document["messages"],
        original["messages"],
        kind=how.kind,
        names=names,
        signatures=how.signatures,
        warn=how.warn,
        # Vertex AI's newer models refuse a history that ends with the model.
        by_user=how.kind.ends_with_user and how.upstream.options.path is not None,
    )
    if tools:
        body["tools"] = tools
        # The API refuses a calling mode without functions.
        config = (
            tool_config(document.get("tool_choice"), names) if "functionDeclarations" in tools[0] else None
        )
        if config:
            body["toolConfig"] = config
    if settings:
        body["generationConfig"] = settings
    return body, names


def _system_parts(system: object) -> list[dict[str, str]]:
    """Return the parts of the system prompt, without Claude Code's attribution line and blank texts."""
    blocks = system if isinstance(system, list) else [system]
    texts = [block.get("text") if isinstance(block, dict) else block for block in blocks]
    if texts and isinstance(texts[0], str) and texts[0].startswith(BILLING_HEADER):
        del texts[0]
    return [{"text": text} for text in texts if isinstance(text, str) and text.strip()]


def _generation_config(
    document: Mapping[str, Any], how: Encoding, *, has_tools: bool
) -> tuple[dict[str, Any], str]:
    """Return `generationConfig`, and the text that the system instruction needs in place of a setting."""
    config: dict[str, Any] = {}
    for theirs, ours in SETTINGS:
        value = document.get(theirs)
        if value is not None:
            config[ours] = value
    if config.get("maxOutputTokens", 0) > how.kind.max_output:
        config["maxOutputTokens"] = how.kind.max_output
    stops = document.get("stop_sequences")
    if stops:
        if len(stops) > MAX_STOP_SEQUENCES:
            raise RequestError(
                400,
                f"stop_sequences: {len(stops)} given, but a Gemini model takes at most {MAX_STOP_SEQUENCES}",
            )
        config["stopSequences"] = stops
    thinking = thinking_config({**document, "max_tokens": config.get("maxOutputTokens")}, how.kind)
    if thinking:
        config["thinkingConfig"] = thinking
    form = as_dict(document.get("output_config")).get("format") or document.get("output_format")
    if not isinstance(form, dict) or form.get("type") != "json_schema":
        return config, ""
    if has_tools and not how.kind.form_beside_tools:
        return config, f"{JSON_INSTRUCTION}\n{write_document(form.get('schema') or {}).decode()}"
    config["responseMimeType"] = "application/json"
    schema = how.schemas.output(form.get("schema"))
    if schema is not None:
        config["responseJsonSchema" if how.schemas.form == "json" else "responseSchema"] = schema
    return config, ""
