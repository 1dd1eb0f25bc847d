"""Traits: the peculiarities of one OpenAI-compatible host, as values.

`Traits` is the table: each field has its default, the words that it accepts and its meaning. The configuration's
parsers (`KEYS`) are made from it, and a test holds README's table to it. No other module looks at a host's or a model's
name; a cure is a trait with another value.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from gateway.config.parsers import boolean, check_word, integer, one_of, string
from gateway.config.reading import Mistake, Parser, Reading, array, table
from gateway.patterns import LazyPattern

MOST_TOKENS = 10_000_000
"""Above any model's output."""

LONGEST_DESCRIPTION = 1_000_000
"""Above any tool's description."""

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""Every effort that some host accepts, weakest first."""

FIELD = LazyPattern(r"[A-Za-z_][A-Za-z0-9_]{0,63}(?:\.[A-Za-z_][A-Za-z0-9_]{0,63})?")
"""A field of a request body, or of an object in it, such as `reasoning.summary`."""

OWN_FIELDS = frozenset({"model", "messages", "input", "stream"})
"""Fields that every request needs: neither `body` nor `strip` may name them."""

HEADER = LazyPattern(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")

OWN_HEADERS = frozenset(
    {"authorization", "connection", "content-length", "content-type", "host", "transfer-encoding", "te"}
)
"""Fields that the gateway writes itself: credentials belong to accounts, framing to the connection."""


def trait(default: Any, meaning: str, *words: str) -> Any:
    """Return a field of `Traits`: its default, its meaning, and the words that it accepts, if it is a word."""
    metadata = {"meaning": meaning, "words": words}
    if default == {}:
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What one host accepts and sends."""

    wire: str = trait("chat", "which of the two APIs is asked", "chat", "responses")
    path: str = trait("", "replaces the path and query of a request; `{model}` stands for the wire model")
    headers: Mapping[str, str] = trait({}, "fields added to the head of every request")
    body: Mapping[str, Any] = trait({}, "fields merged into every request body, last")
    strip: tuple[str, ...] = trait(
        (), "fields taken out of every request body, after that (`reasoning.summary`: out of an object)"
    )
    max_tokens_field: str = trait(
        "max_tokens", "the field that holds `max_tokens`", "max_tokens", "max_completion_tokens"
    )
    max_output_tokens: int | Mapping[str, int] = trait(
        0, "the most that may be asked for, a number or a table from wire models (`*` for any) to numbers"
    )
    least_tokens: int = trait(1, "a smaller `max_tokens` is raised to this: some models think first")
    thinking: str = trait(
        "none",
        "how thinking is asked for",
        "none", "effort", "openrouter", "deepseek", "zai", "moonshot", "qwen", "template", "minimax",
    )  # fmt: skip
    efforts: tuple[str, ...] = trait(("low", "medium", "high"), "the effort words that the host takes")
    tool_effort: str = trait("", "the effort word for requests that have tools; empty: the same", *EFFORTS)
    echo: str = trait(
        "auto",
        "where reasoning goes back; `auto`: into the field it came in",
        "auto", "reasoning_content", "reasoning", "details", "think", "parts", "none",
    )  # fmt: skip
    echo_required: bool = trait(False, "every assistant message must have its reasoning")
    think_tags: tuple[tuple[str, str], ...] = trait(
        (("<think>", "</think>"),),
        "tags around reasoning at the very start of the text; an empty first one: it begins inside",
    )
    prompt_role: str = trait("system", "the role of the system prompt", "system", "developer", "user")
    images: str = trait(
        "send", "pictures: sent, sent unless they are URLs, or a note", "send", "data", "note"
    )
    documents: str = trait("note", "PDF files: sent, a note, or refused", "file", "note", "error")
    tool_images: str = trait(
        "user", "pictures of tool results: in the `user` message behind, or in the `tool` message", "user", "tool"
    )  # fmt: skip
    tool_choice: str = trait("full", "all forms, no object form, or none", "full", "words", "auto")
    parallel_tool_calls: bool = trait(True, "`parallel_tool_calls: false` may be sent")
    stop: str = trait("send", "stop sequences are sent, or cut here", "send", "cut")
    sampling: bool = trait(True, "`temperature` and `top_p` may be sent")
    top_k: bool = trait(False, "`top_k` may be sent")
    stream: bool = trait(True, "ask for a stream")
    stream_usage: bool = trait(True, "ask for usage in the stream (`stream_options`)")
    json: str = trait(
        "schema", "structured output: by schema, as any JSON object, by the prompt alone", "schema", "object", "prompt"
    )  # fmt: skip
    schema: str = trait(
        "full", "`plain`: patterns, lengths and formats of schemas move into descriptions", "full", "plain"
    )
    description_limit: int = trait(
        0, "characters of a tool's description; the rest goes into the system prompt. 0: no limit"
    )
    tool_ids: str = trait(
        "any", "the ids of tool calls that the host takes", "any", "64", "40", "alnum9", "kimi"
    )
    after_tool: str = trait(
        "none", "`assistant`: a short message of that role between tool results and the user", "none", "assistant"
    )  # fmt: skip
    prefill: str = trait(
        "plain", "`prefix`: marks a last assistant message as a beginning", "plain", "prefix"
    )
    cache_control: bool = trait(False, "pass `cache_control` on")
    cache_key: str = trait("", "the body field, or `header:NAME`, that gets a hash of the conversation")
    web_search: Mapping[str, Any] = trait({}, "body fields for a request whose only tool is web search")
    unsupported_tools: str = trait("error", "tools that only Anthropic's servers run", "error", "drop")
    finish: bool = trait(True, "a response says why it ended; false: `[DONE]` is enough")


DEFAULTS: Mapping[str, Any] = {entry.name: getattr(Traits(), entry.name) for entry in fields(Traits)}
WORDS: Mapping[str, tuple[str, ...]] = {entry.name: entry.metadata["words"] for entry in fields(Traits)}
MEANINGS: Mapping[str, str] = {entry.name: entry.metadata["meaning"] for entry in fields(Traits)}


def request_path(reading: Reading, path: str, value: object) -> str:
    """Read a request path, with or without a placeholder for the wire model."""
    text = check_word(value)
    if not text.startswith("/") or "#" in text:
        raise Mistake('must begin with "/"')
    return text


def head_fields(reading: Reading, path: str, value: object) -> dict[str, str]:
    """Read a table of header fields; names become lower case."""
    found = {}
    for name, text in table(value).items():
        if not HEADER.compiled.fullmatch(name) or name.lower() in OWN_HEADERS:
            raise Mistake(
                "names a field that cannot be added: keys belong to accounts, framing to the gateway"
            )
        if not isinstance(text, str) or not re.fullmatch(r"[ -~]*", text):
            raise Mistake("must hold printable ASCII only")
        found[name.lower()] = text.strip()
    return found


def body_fields(reading: Reading, path: str, value: object) -> dict[str, Any]:
    """Read a table of body fields."""
    given = table(value)
    for name in given:
        check_field(name)
    return given


def field_names(reading: Reading, path: str, value: object) -> tuple[str, ...]:
    """Read a list of names of body fields."""
    return tuple(check_field(name) for name in array(value, "an array of field names"))


def check_field(name: object) -> str:
    """Check the name of a body field that may be added or removed; return it. Raise Mistake."""
    if not isinstance(name, str) or not FIELD.compiled.fullmatch(name) or name in OWN_FIELDS:
        raise Mistake("names no field, or one that every request needs (model, messages, input, stream)")
    return name


def limits(reading: Reading, path: str, value: object) -> int | dict[str, int]:
    """Read a number of tokens, or a table from wire models to such numbers."""
    number = integer(0, MOST_TOKENS)
    if isinstance(value, dict):
        return {check_word(name): number(reading, path, most) for name, most in value.items()}
    return int(number(reading, path, value))


def effort_words(reading: Reading, path: str, value: object) -> tuple[str, ...]:
    """Read effort words; return them weakest first."""
    given = array(value, "an array of effort words")
    if not given or any(word not in EFFORTS for word in given):
        raise Mistake("must hold one or more of " + ", ".join(f'"{word}"' for word in EFFORTS))
    return tuple(word for word in EFFORTS if word in given)


def tag_pairs(reading: Reading, path: str, value: object) -> tuple[tuple[str, str], ...]:
    """Read pairs of an opening tag, which may be empty, and a closing tag."""
    pairs = array(value, 'an array of pairs, as [["<think>", "</think>"]]')
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(tag, str) for tag in pair):
            raise Mistake('must hold pairs of tags, as [["<think>", "</think>"]]')
        if not pair[1].strip() or pair[0] != pair[0].strip():
            raise Mistake("needs a closing tag in each pair, and no blanks around an opening one")
    return tuple((pair[0], pair[1]) for pair in pairs)


def cache_key(reading: Reading, path: str, value: object) -> str:
    """Read the name of a body field, or `header:` and the name of a header field."""
    text = string(value)
    kind, colon, name = text.partition(":")
    if colon and kind == "header" and HEADER.compiled.fullmatch(name) and name.lower() not in OWN_HEADERS:
        return f"header:{name.lower()}"
    return check_field(text)


SPECIAL: Mapping[str, Parser] = {
    "path": request_path,
    "headers": head_fields,
    "body": body_fields,
    "strip": field_names,
    "max_output_tokens": limits,
    "least_tokens": integer(1, MOST_TOKENS),
    "efforts": effort_words,
    "think_tags": tag_pairs,
    "description_limit": integer(0, LONGEST_DESCRIPTION),
    "cache_key": cache_key,
    "web_search": body_fields,
}
"""Parsers of traits that are neither booleans nor words."""


def _parser(name: str) -> Parser:
    if name in SPECIAL:
        return SPECIAL[name]
    return one_of(*WORDS[name]) if WORDS[name] else boolean


KEYS: Mapping[str, Parser] = {name: _parser(name) for name in DEFAULTS}
"""Key of the configuration -> its parser, one for each trait."""


EXAMPLES: Mapping[str, str] = {
    "path": "/openai/deployments/{model}/chat/completions?api-version=2025-04-01-preview",
    "tool_effort": "none",
    "cache_key": "prompt_cache_key",
}
"""Examples for keys whose default cannot be written in TOML."""


def starter_lines() -> str:
    """Return every key with its meaning and its default, commented out, for a starter configuration."""
    lines = []
    for name, default in DEFAULTS.items():
        words = ", ".join(WORDS[name])
        lines.append(f"# {MEANINGS[name]}" + (f": {words}" if words else ""))
        lines.append(f"#{name} = {in_toml(EXAMPLES.get(name, default))}")
    return "\n".join(lines) + "\n"


def in_toml(value: object) -> str:
    """Return a default in TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(in_toml(item) for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)
