"""Converts a Messages request to the body of `POST /chat/completions`.

The body is a pure function of the request, the host's traits and the cures. A setting that the client did not send is
not sent. `history` converts messages, `tools` converts tools.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from gateway.config.openai_traits import Traits
from gateway.dialects.history import UnsupportedSource
from gateway.dialects.openai.history import History, content_of
from gateway.dialects.openai.schema import Schemas, is_strict
from gateway.dialects.openai.thinking import thinking_fields
from gateway.dialects.openai.tools import Tools
from gateway.messages.errors import RequestError
from gateway.messages.json_documents import write_document
from gateway.messages.json_values import as_dict, as_list

MOST_STOPS = 4
"""The API's limit of stop sequences; the decoder cuts at the others."""

MOST_MARKS = 4
"""`cache_control` marks that are passed on, at most: the limit of the providers that read them."""

ONLY_JSON = "Respond with one JSON object and nothing else: no prose around it, no code fence. Its schema:\n"

Body = dict[str, Any]


def chat_request(
    document: Mapping[str, Any],
    original: Mapping[str, Any],
    *,
    traits: Traits,
    wire_model: str,
    history: History,
    tools: Tools,
    schemas: Schemas,
    stream: bool,
) -> Body:
    """Return the body for a repaired `document`. The caller passes it to `finished`.

    `original` is the document before repairs, for places in error messages. Raises RequestError(400).
    """
    messages = build_messages(history, document, original)
    more = [*tools.overflow, *json_prompt(document, traits)]
    body: Body = {"model": wire_model, "messages": with_system(messages, document, traits, more)}
    if traits.cache_control:
        keep_last_marks(body["messages"])
    choice = tools.choice(document.get("tool_choice"))
    if tools.functions:
        body["tools"] = [{"type": "function", "function": function} for function in tools.functions]
        if choice is not None:
            body["tool_choice"] = (
                {"type": "function", "function": choice} if isinstance(choice, dict) else choice
            )
        if wants_one_call(document) and traits.parallel_tool_calls:
            body["parallel_tool_calls"] = False
    limit = max_tokens(document, traits, wire_model)
    if limit:
        body[traits.max_tokens_field] = limit
    body.update(sampling(document, traits))
    stops, _ = stop_sequences(document, traits)
    if stops:
        body["stop"] = list(stops)
    form = output_form(document)
    if form is not None and traits.json == "schema":
        body["response_format"] = {"type": "json_schema", "json_schema": named_schema(form, schemas)}
    elif form is not None and traits.json == "object":
        body["response_format"] = {"type": "json_object"}
    body["stream"] = stream
    if stream and traits.stream_usage:
        body["stream_options"] = {"include_usage": True}
    body.update(thinking_fields(document, traits))
    if traits.tool_effort and tools.functions:
        body["reasoning_effort"] = traits.tool_effort
    body.update(tools.body)
    return body


def finish_body(body: Body, traits: Traits, key: str) -> Body:
    """Return the body with the conversation's key, after the configuration's `body` and `strip`."""
    if key and ":" not in traits.cache_key:
        body[traits.cache_key] = key
    body.update(traits.body)
    for field in traits.strip:
        outer, _, inner = field.partition(".")
        if not inner:
            body.pop(outer, None)
        elif isinstance(body.get(outer), dict):
            body[outer] = {key: value for key, value in body[outer].items() if key != inner}
    return body


def build_messages(history: History, document: Mapping[str, Any], original: Mapping[str, Any]) -> list[Body]:
    """Return the history's messages. Raises RequestError(400) for a block that cannot be sent."""
    try:
        for message in document.get("messages", ()):
            history.add(message)
    except UnsupportedSource as error:
        raise RequestError(
            400,
            f"{error.place(original.get('messages', ()))}: this {error.kind} (source type {error.type!r}) cannot be "
            'sent to the upstream: its `documents` is set to "error"',
        ) from None
    return history.end()


def with_system(
    messages: list[Body], document: Mapping[str, Any], traits: Traits, more: list[str]
) -> list[Body]:
    """Return the messages with one system prompt in front, which ends with `more`."""
    parts = [*system_parts(document.get("system")), *({"type": "text", "text": text} for text in more)]
    if not parts:
        return messages
    first = messages[0] if messages else {}
    if traits.prompt_role == "user" and first.get("role") == "user":
        # Chat templates without a system role require that user and assistant alternate.
        content = first["content"]
        parts += content if isinstance(content, list) else [{"type": "text", "text": content}]
        return [{"role": "user", "content": content_of(parts)}, *messages[1:]]
    return [{"role": traits.prompt_role, "content": content_of(parts)}, *messages]


def system_parts(system: object) -> list[Body]:
    """Return the texts of `system` as parts, with their cache marks."""
    parts = []
    for block in system if isinstance(system, list) else [system]:
        text = block.get("text") if isinstance(block, dict) else block
        if isinstance(text, str) and text.strip():
            part: Body = {"type": "text", "text": text}
            if isinstance(block, dict) and "cache_control" in block:
                part["cache_control"] = block["cache_control"]
            parts.append(part)
    return parts


def keep_last_marks(messages: list[Body]) -> None:
    """Remove all but the last `cache_control` marks."""
    lists = [message["content"] for message in messages if isinstance(message.get("content"), list)]
    marked = [part for parts in lists for part in parts if "cache_control" in part]
    for part in marked[:-MOST_MARKS]:
        del part["cache_control"]


def wants_one_call(document: Mapping[str, Any]) -> bool:
    """Return whether the client accepts only one tool call at a time."""
    choice = document.get("tool_choice")
    return isinstance(choice, dict) and choice.get("disable_parallel_tool_use") is True


def max_tokens(document: Mapping[str, Any], traits: Traits, wire_model: str) -> int:
    """Return the limit to send, within the host's range; 0 for none."""
    given = document.get("max_tokens")
    if type(given) is not int or given < 1:
        return 0
    most = limit_of(traits, wire_model)
    return max(min(given, most) if most else given, traits.least_tokens)


def limit_of(traits: Traits, wire_model: str) -> int:
    """Return a model's limit of output tokens; 0 if it is unknown."""
    table = traits.max_output_tokens
    if isinstance(table, int):
        return table
    if wire_model in table:
        return table[wire_model]
    fitting = [pattern for pattern in table if fnmatchcase(wire_model, pattern)]
    return table[max(fitting, key=lambda pattern: len(pattern.replace("*", "")))] if fitting else 0


def sampling(document: Mapping[str, Any], traits: Traits) -> Body:
    """Return the settings that have the same name in both protocols and that the host accepts."""
    names = [*(("temperature", "top_p") if traits.sampling else ()), *(("top_k",) if traits.top_k else ())]
    return {name: document[name] for name in names if document.get(name) is not None}


def stop_sequences(document: Mapping[str, Any], traits: Traits) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the stop sequences to send, and those at which the decoder cuts."""
    listed = [stop for stop in as_list(document.get("stop_sequences")) if isinstance(stop, str) and stop]
    if traits.stop == "cut":
        return (), tuple(listed)
    sent = [stop for stop in listed if stop.strip()][:MOST_STOPS]
    return tuple(sent), tuple(stop for stop in listed if stop not in sent)


def output_form(document: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the format of structured output with a JSON schema; None if there is none."""
    form = as_dict(document.get("output_config")).get("format")
    form = form if form is not None else document.get("output_format")
    return form if isinstance(form, dict) and form.get("type") == "json_schema" else None


def named_schema(form: Mapping[str, Any], schemas: Schemas) -> Body:
    """Return the schema of structured output with its name, strict if it allows that."""
    schema = schemas.output(form.get("schema"))
    return {"name": "output", "schema": schema, **({"strict": True} if is_strict(schema) else {})}


def json_prompt(document: Mapping[str, Any], traits: Traits) -> list[str]:
    """Return the prompt for JSON output, for hosts that take no schema."""
    form = output_form(document)
    if form is None or traits.json == "schema":
        return []
    return [ONLY_JSON + write_document(form.get("schema")).decode()]
