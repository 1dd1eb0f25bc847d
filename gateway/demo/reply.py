"""The demo upstream's replies: a request document -> a Reply. Deterministic: equal requests get equal text.

The text echoes the prompt and says what this is. "run ..." and "read ..." become a call of a suitable tool, chosen by
name and schema; a tool's result gets a text about it.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.messages.content_repairs import PLACEHOLDER
from gateway.messages.json_documents import write_document
from gateway.messages.json_values import as_dict, as_list

Block = dict[str, Any]

ECHO = 120
"""Characters of a prompt that are quoted: one line in a terminal."""

RESULT = 1000
"""Characters of a tool's result that are quoted: about a screen."""

SIGNATURE = "demo-ZGVtb25zdHJhdGlvbg"
"""The signature of every thinking block. Others are refused, as the API refuses other hosts' signatures."""

WHO = "This is the gateway's demo: a small upstream inside it answers, with no key and no network."
HINT = 'Say "run echo hi" or "read README.md", and I call your client\'s tool for it.'
HINT_WITHOUT_TOOLS = 'Offer me a tool and say "run echo hi", and I call it.'

_ADDED = re.compile(r"<(system-reminder|environment[\w-]*|env)\b[^>]*>.*?</\1>", re.DOTALL)
"""Text that clients add to a prompt: reminders, and descriptions of the environment."""

_WRAPPED = re.compile(r"<(task|user_query|user_message|feedback)>(.*)</\1>", re.DOTALL)
"""Tags in which some clients wrap a prompt."""

_TOKEN = re.compile(r"\w{1,6}|[^\w\s]{1,3}")
"""Approximates a tokenizer: a short word, a piece of a long one, a few punctuation marks."""

_POLITE = r"\s*(?:(?:please|can you|could you|now)\s+)*"


@dataclass(frozen=True, slots=True)
class Verb:
    """A kind of request that a prompt may begin with, and the tools for it."""

    name: str
    wish: re.Pattern[str]
    """Its group 1 is the object of the request."""
    tools: re.Pattern[str]
    """Matches the names of such tools."""
    properties: tuple[str, ...]
    """Names of such a tool's main input, the likeliest first."""


VERBS = (
    Verb(
        "run",
        re.compile(_POLITE + r"(?:run|execute)\b:?[ \t]+(\S.*)", re.IGNORECASE),
        re.compile("bash|shell|run|exec|terminal|command", re.IGNORECASE),
        ("command", "cmd", "script", "commandLine", "command_line"),
    ),
    Verb(
        "read",
        # A quoted path may contain blanks; another one ends before a sentence's punctuation.
        re.compile(
            _POLITE + r"read\b:?[ \t]+(?:(?:the|file)[ \t]+)*@?"
            r"(`[^`\n]+`|\"[^\"\n]+\"|\S+?(?=[.,;:?!]*(?:\s|\Z)))",
            re.IGNORECASE,
        ),
        re.compile(r"read|view|open|cat(?![a-z])|show|load|(?:get|fetch)_?file", re.IGNORECASE),
        ("file_path", "filePath", "path", "filename", "file_name", "file", "absolute_path", "target_file"),
    ),
)


@dataclass(frozen=True, slots=True)
class Reply:
    """The variable parts of a Message. `usage` counts all of it."""

    content: tuple[Block, ...]
    stop_reason: str
    usage: dict[str, int]


def reply_to(document: Mapping[str, Any], input_tokens: int, new_id: Callable[[str], str]) -> Reply:
    """Return the reply to a checked request. `input_tokens`: for its usage; `new_id` returns an id with a prefix."""
    thought, text, call = _intent(document)
    content: list[Block] = []
    if as_dict(document.get("thinking")).get("type") in ("enabled", "adaptive"):
        content.append({"type": "thinking", "thinking": thought, "signature": SIGNATURE})
    if text:
        content.append({"type": "text", "text": text})
    if call is not None:
        content.append({"type": "tool_use", "id": new_id("toolu_"), **call})
    usage = {
        "input_tokens": input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": len(_TOKEN.findall(write_document(content).decode())),
    }
    return Reply(tuple(content), "end_turn" if call is None else "tool_use", usage)


def _intent(document: Mapping[str, Any]) -> tuple[str, str, Block | None]:
    """Return the thinking, the text, and the tool call, if any."""
    calls, turn = _last_turn(document["messages"])
    prompt = next((words for block in reversed(turn) if (words := words_of(block))), "")
    results = [block for block in turn if block.get("type") == "tool_result"]
    quoted = _shorten(prompt)
    tools = _offered(document)
    verb, what = _wish(prompt)
    call = _call_for(verb, what, tools) if verb is not None else None
    choice = as_dict(document.get("tool_choice"))
    if choice.get("type") in ("any", "tool"):
        named = [tool for tool in tools if tool["name"] == choice.get("name", tool["name"])]
        if named and (call is None or choice["type"] == "tool"):
            call = {"name": named[0]["name"], "input": value_for(named[0]["input_schema"], quoted)}
        return "I am told to call a tool.", "" if call else WHO, call
    format = as_dict(document.get("output_config")).get("format") or document.get("output_format")
    if isinstance(format, dict) and "schema" in format:
        return (
            "I am told to fit a schema.",
            write_document(value_for(format["schema"], quoted)).decode(),
            None,
        )
    made = any(call == {"name": done.get("name"), "input": done.get("input")} for done in calls)
    if verb is not None and call is not None and not made:
        wish = f"{verb.name} `{what}`"
        return f"I was asked to {wish}, and {call['name']} can.", f"I {wish} with {call['name']}.", call
    if results:
        return "The tool has responded, so I can tell.", _about(results), None
    if verb is not None:
        text = f"I would {verb.name} `{what}`, but this request offers no tool for it. {WHO}"
        return "No tool can do what I was asked for.", text, None
    echo = f'You said: "{quoted}".' if quoted else "You said nothing in words."
    return "I return what was said.", f"{echo} {WHO} {HINT if tools else HINT_WITHOUT_TOOLS}", None


def _last_turn(messages: Sequence[Mapping[str, Any]]) -> tuple[list[Block], list[Block]]:
    """Return the calls before the last turn, and that turn's blocks. A prefill at the end is skipped."""
    said = [message for message in messages if message["role"] != "system"]
    while said and said[-1]["role"] == "assistant":
        said.pop()
    start = len(said)
    while start and said[start - 1]["role"] == "user":
        start -= 1
    before = list(_blocks(said[start - 1])) if start else []
    turn = [block for message in said[start:] for block in _blocks(message)]
    return [block for block in before if block.get("type") == "tool_use"], turn


def _blocks(holder: Mapping[str, Any]) -> Iterator[Block]:
    """Yield the blocks of a message's or a tool result's content."""
    content = holder.get("content")
    if isinstance(content, str):
        yield {"type": "text", "text": content}
    elif isinstance(content, list):
        yield from (block for block in content if isinstance(block, dict))


def words_of(block: Block) -> str:
    """Return a text block's prompt, without what clients add to it and wrap it in."""
    text = block.get("text")
    words = _ADDED.sub("", text).strip() if isinstance(text, str) else ""
    wrapped = _WRAPPED.search(words)
    return wrapped[2].strip() if wrapped else words


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= ECHO else line[: ECHO - 1].rstrip() + "…"


def _about(results: Sequence[Block]) -> str:
    """Return a text about tool results. One of several lines becomes a separate code block."""
    parts = []
    for result in results:
        shown = (
            words_of(part) if part.get("type") == "text" else f"({part.get('type')})"
            for part in _blocks(result)
        )
        text = "\n".join(filter(None, shown)) or "(no output)"
        text = text if len(text) <= RESULT else text[:RESULT] + "…"
        verb = "failed" if result.get("is_error") is True else "says"
        parts.append(
            f"The tool {verb}: {text}" if "\n" not in text else f"The tool {verb}:\n\n```\n{text}\n```"
        )
    return "\n\n".join([*parts, "So the whole round went through the gateway."])


# Tools.


def _wish(prompt: str) -> tuple[Verb | None, str]:
    """Return the verb that a prompt begins with, and its object; None for any other prompt."""
    for verb in VERBS:
        found = verb.wish.match(prompt)
        if found is not None:
            what = found[1].strip()
            quoted = re.match(r"`([^`]+)`", what) or re.fullmatch(r"\"(.+)\"|'(.+)'", what)
            return verb, quoted[quoted.lastindex or 0] if quoted else what
    return None, ""


def _offered(document: Mapping[str, Any]) -> list[Block]:
    """Return the tools that may be called: the client's own, loaded, and not excluded by `tool_choice`."""
    if as_dict(document.get("tool_choice")).get("type") == "none":
        return []
    return [
        {"name": tool["name"], "input_schema": {**tool["input_schema"], "type": "object"}}
        for tool in document.get("tools") or ()
        if isinstance(tool.get("input_schema"), dict)
        and tool["name"] != PLACEHOLDER
        and tool.get("defer_loading") is not True
    ]


def _call_for(verb: Verb, what: str, tools: Sequence[Block]) -> Block | None:
    """Return a call of the first tool for this verb; None if there is none."""
    for tool in tools:
        properties = as_dict(tool["input_schema"].get("properties"))
        for main in verb.properties if verb.tools.search(tool["name"]) else ():
            if as_dict(properties.get(main)).get("type") == "string":
                # Other required strings get a short text: Claude Code shows Bash's `description` to people.
                filled = value_for(tool["input_schema"], f"{verb.name.capitalize()} {what}")
                return {"name": tool["name"], "input": {**filled, main: what}}
    return None


def value_for(schema: object, text: str) -> Any:
    """Return a small value that fits a schema: objects have what they require, strings are `text`."""
    if not isinstance(schema, dict):
        return text
    options, kind, required = schema.get("enum"), schema.get("type"), schema.get("required")
    if isinstance(options, list) and options:
        return options[0]
    if kind == "object":
        names = [name for name in as_list(required) if isinstance(name, str)]
        properties = as_dict(schema.get("properties"))
        return {name: value_for(properties.get(name), text) for name in names}
    values = {"boolean": False, "integer": 1, "number": 1, "array": [], "null": None}
    return values.get(kind, text) if isinstance(kind, str) else text
