"""What an embedded upstream says: a request document -> a Reply. Pure: the same request, the same words.

The words echo what was asked and say what this is; "run ..." and "read ..." lead to a tool call, its result to
words about it. How a Reply is sent is left to `events`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from gateway.demo.asked import Asked, Result, asked_of, shortened
from gateway.demo.signatures import sign
from gateway.demo.tools import Call, Tool, call_for, fill, forced, offered, wish_of
from gateway.messages.json_documents import write_document

Block = dict[str, Any]

ECHO = 120
"""Characters of a prompt that are quoted: one line in a terminal."""

TITLE = 60
"""Characters of a text that fills a schema's property, such as a conversation's title."""

RESULT = 1000
"""Characters of a tool's result that are quoted: about a screen."""

WHO = "This is the gateway's demo: a small upstream inside it answers, with no key and no network."
HINT = 'Say "run echo hi" or "read README.md", and I call your client\'s tool for it.'
HINT_WITHOUT_TOOLS = 'Offer me a tool and say "run echo hi", and I call it.'

_TOKEN = re.compile(r"\s*(?:\w{1,6}|[^\w\s]{1,3})|\s+")
"""About what a tokenizer makes of a text: a short word, a piece of a long one, a few marks."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, as it is in a Message. `usage` counts the whole of it."""

    content: tuple[Block, ...]
    stop_reason: str
    stop_sequence: str | None
    usage: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Intent:
    """What will be said, before any limit."""

    thought: str
    text: str
    call: Call | None = None


def reply_to(document: dict[str, Any], input_tokens: int, new_id: Callable[[str], str]) -> Reply:
    """The answer to a request. `input_tokens` goes into its usage; `new_id` makes an id from a prefix."""
    intent = _intent_of(document, asked_of(document))
    blocks: list[Block] = []
    thinking = document.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive"):
        blocks.append({"type": "thinking", "thinking": intent.thought})
    if intent.text:
        blocks.append({"type": "text", "text": intent.text})
    if intent.call is not None:
        call = intent.call
        blocks.append({"type": "tool_use", "id": new_id("toolu_"), "name": call.name, "input": call.input})
    cut = _Cut(document)
    content = tuple(cut.blocks(blocks))
    usage = {
        "input_tokens": input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": cut.spent,
    }
    return Reply(content, cut.stop_reason, cut.stop_sequence, usage)


def _intent_of(document: dict[str, Any], asked: Asked) -> _Intent:
    topic = shortened(asked.topic, ECHO)
    tools = offered(document)
    wish = wish_of(asked.prompt)
    insisted = forced(document, tools)
    if insisted is not None:
        return _Intent(f"I am told to call {insisted['name']}.", "", _insisted(insisted, topic))
    schema = _answer_schema(document)
    if schema is not None:
        text = write_document(fill(schema, shortened(asked.topic, TITLE))).decode()
        return _Intent("The answer must be JSON that fits a schema.", text)
    call = call_for(wish, tools) if wish is not None else None
    if call is not None and not _was_made(call, asked):
        return _Intent(
            f"I was asked to {wish}, and {call.name} can do that.", f"I {wish} with {call.name}.", call
        )
    if asked.results:
        return _Intent("The tool has answered, so I can tell.", _about(asked.results))
    if wish is not None:
        return _Intent(
            f"I was asked to {wish}, but no tool can do that.",
            f"I would {wish}, but this request offers no tool for it. {WHO}",
        )
    return _Intent(
        f'The last words were "{topic}". I answer with an echo.',
        f"{_echo(topic)} {WHO} {HINT if tools else HINT_WITHOUT_TOOLS}",
    )


def _insisted(tool: Tool, text: str) -> Call:
    return Call(tool["name"], fill({**tool["input_schema"], "type": "object"}, text))


def _answer_schema(document: dict[str, Any]) -> object:
    """The JSON Schema that the answer must fit; None for an answer in words."""
    config = document.get("output_config")
    format = config.get("format") if isinstance(config, dict) else document.get("output_format")
    if isinstance(format, dict) and format.get("type") == "json_schema":
        return format.get("schema")
    return None


def _was_made(call: Call, asked: Asked) -> bool:
    """Whether the turn before made this very call: clients that repeat the prompt beside the result would
    else go round for ever."""
    return any(made.get("name") == call.name and made.get("input") == call.input for made in asked.calls)


def _echo(topic: str) -> str:
    return f'You said: "{topic}".' if topic else "You said nothing in words."


def _about(results: tuple[Result, ...]) -> str:
    """Tool results in words. Several lines go into a block of their own."""
    parts = []
    for result in results:
        verb = "failed" if result.failed else "says"
        text = result.text if len(result.text) <= RESULT else result.text[:RESULT] + "…"
        parts.append(
            f"The tool {verb}: {text}" if "\n" not in text else f"The tool {verb}:\n\n```\n{text}\n```"
        )
    parts.append("So the whole round went through the gateway.")
    return "\n\n".join(parts)


class _Cut:
    """Applies `max_tokens` and `stop_sequences` while blocks go by; signs what is left of the thinking."""

    __slots__ = ("_left", "_omit", "_stops", "spent", "stop_reason", "stop_sequence")

    def __init__(self, document: dict[str, Any]) -> None:
        self._left: int = document["max_tokens"]
        stops = document.get("stop_sequences")
        self._stops = [s for s in stops if isinstance(s, str) and s] if isinstance(stops, list) else []
        thinking = document.get("thinking")
        self._omit = isinstance(thinking, dict) and thinking.get("display") == "omitted"
        self.spent = 0
        self.stop_reason = "end_turn"
        self.stop_sequence: str | None = None

    def blocks(self, blocks: list[Block]) -> Iterator[Block]:
        """The blocks, up to where the answer must end."""
        for block in blocks:
            kind = block["type"]
            if kind == "thinking":
                text = self._within(block["thinking"])
                shown = "" if self._omit else text
                yield {"type": "thinking", "thinking": shown, "signature": sign(shown)}
            elif kind == "text":
                text = self._within(self._unstopped(block["text"]))
                if text:
                    yield {"type": "text", "text": text}
            elif self._fits(block):
                self.stop_reason = "tool_use"
                yield block
            if self.stop_reason in ("max_tokens", "stop_sequence"):
                return

    def _unstopped(self, text: str) -> str:
        """The text before the first stop sequence in it."""
        found = [(text.find(stop), stop) for stop in self._stops if stop in text]
        if not found:
            return text
        end, self.stop_sequence = min(found)
        self.stop_reason = "stop_sequence"
        return text[:end]

    def _within(self, text: str) -> str:
        """As much of the text as the tokens left allow."""
        tokens = _TOKEN.findall(text)
        if len(tokens) > self._left:
            self.stop_reason, self.stop_sequence = "max_tokens", None
            tokens = tokens[: self._left]
        self._left -= len(tokens)
        self.spent += len(tokens)
        return "".join(tokens)

    def _fits(self, call: Block) -> bool:
        """A call that is cut off would be one that a client runs with half its input: all of it, or nothing."""
        tokens = len(_TOKEN.findall(write_document(call["input"]).decode()))
        if tokens > self._left:
            self.stop_reason = "max_tokens"
            return False
        self._left -= tokens
        self.spent += tokens
        return True
