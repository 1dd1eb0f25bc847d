"""Which of the offered tools is called, and with which input.

A prompt that begins with a verb of the table ("run ...", "read ...") asks for a call. A tool is judged by its
name and its schema; nothing is known of what it does.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.messages.repair import PLACEHOLDER

Tool = dict[str, Any]

_POLITE = r"\s*(?:(?:please|can you|could you|now)\s+)*"


@dataclass(frozen=True, slots=True)
class Verb:
    """One kind of wish."""

    name: str
    wish: re.Pattern[str]
    """Finds it at the beginning of a prompt; its group is what the verb is about."""
    tools: re.Pattern[str]
    """What names of tools for it have in them."""
    properties: tuple[str, ...]
    """What such a tool may call its main input, the likeliest first."""


VERBS = (
    Verb(
        "run",
        re.compile(_POLITE + r"(?:run|execute)\b:?[ \t]+(\S.*)", re.IGNORECASE),
        re.compile("bash|shell|run|exec|terminal|command", re.IGNORECASE),
        ("command", "cmd", "script", "code"),
    ),
    Verb(
        "read",
        re.compile(
            _POLITE + r"read\b:?[ \t]+(?:(?:the|file)[ \t]+)*@?"
            # A quoted path may have blanks; after another one, a sentence's marks are left out.
            r"(`[^`\n]+`|\"[^\"\n]+\"|\S+?(?=[.,;:?!]*(?:\s|\Z)))",
            re.IGNORECASE,
        ),
        re.compile("read|view|open", re.IGNORECASE),
        ("file_path", "path", "filename", "file"),
    ),
)


@dataclass(frozen=True, slots=True)
class Wish:
    """A prompt that asks for a tool: the verb, and its object."""

    verb: Verb
    what: str

    def __str__(self) -> str:
        return f"{self.verb.name} `{self.what}`"


@dataclass(frozen=True, slots=True)
class Call:
    """A tool and its input."""

    name: str
    input: dict[str, Any]


def wish_of(prompt: str) -> Wish | None:
    """What a prompt asks to be done; None for any other prompt."""
    for verb in VERBS:
        found = verb.wish.match(prompt)
        if found is not None:
            return Wish(verb, _unquoted(found[1]))
    return None


def offered(document: dict[str, Any]) -> tuple[Tool, ...]:
    """The tools that may be called: the client's own, loaded, and not ruled out by `tool_choice`."""
    tools = document.get("tools")
    if not isinstance(tools, list) or _choice(document).get("type") == "none":
        return ()
    return tuple(
        tool
        for tool in tools
        if isinstance(tool, dict)
        and isinstance(tool.get("name"), str)
        and isinstance(tool.get("input_schema"), dict)
        and tool["name"] != PLACEHOLDER
        and tool.get("defer_loading") is not True
    )


def forced(document: dict[str, Any], tools: Sequence[Tool]) -> Tool | None:
    """The tool that `tool_choice` insists on: the named one, or with "any" the first."""
    choice = _choice(document)
    if choice.get("type") == "tool":
        return next((tool for tool in tools if tool["name"] == choice.get("name")), None)
    return tools[0] if tools and choice.get("type") == "any" else None


def call_for(wish: Wish, tools: Sequence[Tool]) -> Call | None:
    """The call that grants a wish: of the first tool made for it, else of the first that needs a text."""
    verb = wish.verb
    for tool in tools:
        if verb.tools.search(tool["name"]):
            strings = tuple(_strings(tool["input_schema"]))
            for name in verb.properties:
                if name in strings:
                    return _call(tool, name, wish)
    for tool in tools:
        for name in _required(tool["input_schema"]):
            if name in _strings(tool["input_schema"]):
                return _call(tool, name, wish)
    return None


def fill(schema: object, text: str) -> Any:
    """A small value that a JSON Schema takes, as far as its types, constants and required properties go.
    Strings are `text`."""
    if not isinstance(schema, dict):
        return text
    if "const" in schema:
        return schema["const"]
    for key in ("enum", "anyOf", "oneOf", "allOf"):
        options = schema.get(key)
        if isinstance(options, list) and options:
            return options[0] if key == "enum" else fill(options[0], text)
    kind = schema.get("type")
    if isinstance(kind, list) and kind:
        kind = kind[0]
    if kind == "object" or "properties" in schema:
        return {name: fill(_properties(schema).get(name), text) for name in _required(schema)}
    if kind == "array":
        return [fill(schema.get("items"), text)] if schema.get("minItems") else []
    if kind in ("integer", "number"):
        return _number(schema)
    if kind in ("boolean", "null"):
        return False if kind == "boolean" else None
    limit = schema.get("maxLength")
    return text[:limit] if isinstance(limit, int) else text


def _number(schema: dict[str, Any]) -> int:
    """The least whole number from 1 on that the schema's lower bounds take."""
    least = 1
    for key, next_whole in (
        ("minimum", math.ceil),
        ("exclusiveMinimum", lambda bound: math.floor(bound) + 1),
    ):
        bound = schema.get(key)
        if isinstance(bound, int) or (isinstance(bound, float) and math.isfinite(bound)):
            least = max(least, next_whole(bound))
    return least


def _call(tool: Tool, main: str, wish: Wish) -> Call:
    # What else is required gets a few words: Claude Code's Bash shows its `description` to people.
    filled = fill({**tool["input_schema"], "type": "object"}, f"{wish.verb.name.capitalize()} {wish.what}")
    return Call(tool["name"], {**filled, main: wish.what})


def _choice(document: dict[str, Any]) -> dict[str, Any]:
    choice = document.get("tool_choice")
    return choice if isinstance(choice, dict) else {}


def _properties(schema: dict[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties")
    return properties if isinstance(properties, dict) else {}


def _required(schema: dict[str, Any]) -> list[str]:
    required = schema.get("required")
    return [name for name in required if isinstance(name, str)] if isinstance(required, list) else []


def _strings(schema: dict[str, Any]) -> Iterator[str]:
    """The names of the properties that are text."""
    for name, kind in _properties(schema).items():
        if isinstance(kind, dict) and kind.get("type") == "string":
            yield name


def _unquoted(what: str) -> str:
    """Without the marks around it: what stands in backticks at its beginning, or between two quotes."""
    code = re.match(r"`([^`]+)`", what)
    if code is not None:
        return code[1]
    what = what.strip()
    return what[1:-1] if len(what) > 2 and what[0] in "\"'" and what[0] == what[-1] else what
