"""Repairs of a request that an upstream would refuse: each a pure function with a name, in one table.

A repair takes a document as `read_request` checked it and gives back one; the very same object when
there was nothing to do. It never changes what it was given, and never reaches into what is data: tool
arguments, tool schemas, texts of tool results. Which repairs an upstream needs is its configuration's.
"""

from collections.abc import Callable, Collection
from itertools import dropwhile
from typing import Any

from gateway.messages.history import (
    Block,
    Document,
    Message,
    are_mergeable,
    blocks_of,
    changed_blocks,
    changed_contents,
    changed_message_blocks,
    is_tool_result,
    merged,
    without,
)
from gateway.messages.json_documents import write_document
from gateway.messages.request import BILLING_HEADER
from gateway.messages.survey import PLACEHOLDER, survey
from gateway.messages.thinking import (
    DIALECT_MARKS,
    KINDS,
    foreign_thinking,
    speaks_of_signature,
    without_thinking,
)

__all__ = ["DIALECT_MARKS", "PLACEHOLDER", "REPAIRS", "apply", "speaks_of_signature", "without_thinking"]

NO_RESULT = "no result was provided"

_TEXT = ("text",)

_USER_KINDS = ("text", "image", "document", "search_result")
"""Blocks that a tool result and a user's message may both hold."""


def attribution(document: Document) -> Document:
    """Without the attribution line that `system` may begin with, a block of its own: it differs between
    conversations, and so spoils the prefix that an upstream caches."""
    system = document.get("system")
    if not isinstance(system, list):
        return document
    kept = list(dropwhile(_is_attribution, system))
    return document if len(kept) == len(system) else _with_system(document, kept)


def deferred_tools(document: Document) -> Document:
    """Without the placeholder tool; references to loaded tools become text."""
    out = changed_message_blocks(document, _without_references, ("tool_reference", "tool_result"))
    tools = document.get("tools")
    if isinstance(tools, list):
        kept = changed_blocks(tools, lambda tool: None if tool.get("name") == PLACEHOLDER else tool)
        if kept is not tools:
            out = {**out, "tools": kept}
    return out


def system_role(document: Document) -> Document:
    """Messages of role system become reminders at the end of the user message before them, or a user
    message of their own: what came before them stays as it was, and so does the prefix that is cached."""
    if all(message.get("role") != "system" for message in document["messages"]):
        return document
    out: list[Message] = []
    for message in document["messages"]:
        if message.get("role") != "system":
            out.append(message)
            continue
        reminders = _reminders(message.get("content"))
        if not reminders:
            continue
        last = out[-1] if out else {}
        if last.get("role") == "user" and isinstance(last.get("content"), (str, list)):
            out[-1] = {**last, "content": blocks_of(last["content"]) + reminders}
        else:
            out.append({"role": "user", "content": reminders})
    return {**document, "messages": out}


def empty_text(document: Document) -> Document:
    """Without blank text blocks, in messages and in `system`, and without messages that hold nothing."""
    out = changed_contents(document, _without_blanks)
    system = document.get("system")
    if isinstance(system, list):
        kept = changed_blocks(system, _unless_blank, _TEXT)
        if kept is not system:
            out = _with_system(out, kept)
    return out


def merge_roles(document: Document) -> Document:
    """Consecutive messages of a user, or of an assistant, become one."""
    messages = document["messages"]
    out: list[Message] = []
    run: list[Message] = []
    for message in messages:
        if run and not are_mergeable(run[-1], message):
            out.append(merged(run))
            run = []
        run.append(message)
    if run:
        out.append(merged(run))
    return document if len(out) == len(messages) else {**document, "messages": out}


def tool_results(document: Document) -> Document:
    """Each tool call of an assistant's turn is answered in the user's turn after it, and nothing else is.

    A missing result is made up as an error; a result that answers no call of the turn before it (its
    call is gone, or was answered already) becomes text.
    """
    turns = _Turns()
    for message in document["messages"]:
        role = message.get("role")
        if role == "assistant":
            turns.assistant(message)
        elif role == "user":
            turns.user(message)
        else:
            turns.out.append(message)
    turns.end()
    return {**document, "messages": turns.out} if turns.changed else document


def cache_control(document: Document) -> Document:
    """Without cache marks: on the request, its tools, system blocks, content blocks, and the blocks
    inside a tool result."""
    out = changed_message_blocks(document, _without_marks)
    for key in ("system", "tools"):
        blocks = document.get(key)
        if isinstance(blocks, list):
            kept = changed_blocks(blocks, lambda block: without(block, "cache_control"))
            if kept is not blocks:
                out = {**out, key: kept}
    return without(out, "cache_control")


def thinking_cache_control(document: Document) -> Document:
    """Without cache marks on thinking blocks, where the protocol forbids them."""

    return changed_message_blocks(document, lambda block: without(block, "cache_control"), KINDS)


REPAIRS: dict[str, Callable[[Document], Document]] = {
    "deferred_tools": deferred_tools,
    "system_role": system_role,
    "foreign_thinking": foreign_thinking,
    "empty_text": empty_text,
    "attribution": attribution,
    "merge_roles": merge_roles,
    "tool_results": tool_results,
    "cache_control": cache_control,
    "thinking_cache_control": thinking_cache_control,
}
"""In the order in which they are applied: first what makes messages or empties them, then what joins
them, then what needs to see whole turns, and last what changes blocks wherever they ended up."""


def apply(
    document: Document, names: Collection[str], *, own_mark: str = ""
) -> tuple[Document, tuple[str, ...]]:
    """The document with the named repairs applied, and the names of those that changed something.

    `own_mark` is what signatures of the dialect asked for begin with, "" for the protocol's own.
    """
    changed = []
    due = survey(document, own_mark)
    if due.isdisjoint(names):
        return document, ()
    for name, repair in REPAIRS.items():
        if name not in names or name not in due:
            continue
        before = document
        document = foreign_thinking(before, own_mark) if repair is foreign_thinking else repair(before)
        if document is not before:
            changed.append(name)
            if repair is system_role:
                # Only this one makes work for others: its user messages have neighbours and end turns.
                due = survey(document, own_mark)
    return document, tuple(changed)


def _is_attribution(block: object) -> bool:
    text = block.get("text") if isinstance(block, dict) else None
    return isinstance(text, str) and text.startswith(BILLING_HEADER)


def _with_system(document: Document, system: list[Any]) -> Document:
    """The document with these system blocks; without the key when there are none, as hosts want it."""
    return {**document, "system": system} if system else without(document, "system")


def _without_references(block: Block) -> Block:
    """A content block with tool references as text: itself one, or those inside a tool result."""
    if block.get("type") == "tool_reference":
        text = {"type": "text", "text": f"Tool loaded: {block.get('tool_name')}"}
        return {**text, "cache_control": block["cache_control"]} if "cache_control" in block else text
    return _with_inner(block, _without_references)


def _without_marks(block: Block) -> Block:
    if type(block.get("content")) is list:
        block = _with_inner(block, _without_marks)
    return without(block, "cache_control")


def _with_inner(block: Block, change: Callable[[Block], Block]) -> Block:
    """The block with those inside it changed, if it is a tool result."""
    if not is_tool_result(block) or not isinstance(block.get("content"), list):
        return block
    inner = changed_blocks(block["content"], change)
    return block if inner is block["content"] else {**block, "content": inner}


def _reminders(content: object) -> list[Any]:
    """A system message's content as blocks of a user message; blank text says nothing."""
    if not isinstance(content, (str, list)):
        return []
    return changed_blocks(blocks_of(content), _reminder, _TEXT)


def _reminder(block: Block) -> Block | None:
    text = block.get("text")
    if not isinstance(text, str):
        return block
    if _is_blank(text):
        return None
    if text.startswith("<system-reminder>"):
        return block
    return {**block, "text": f"<system-reminder>\n{text}\n</system-reminder>"}


def _is_blank(text: object) -> bool:
    return isinstance(text, str) and (not text or text.isspace())


def _unless_blank(block: Block) -> Block | None:
    text = block.get("text", "")
    return None if isinstance(text, str) and (not text or text.isspace()) else block


def _without_blanks(content: Any) -> Any:
    """A message's content without blank text; None if nothing is left or there was nothing."""
    if type(content) is list:
        return changed_blocks(content, _unless_blank, _TEXT) or None
    return None if _is_blank(content) else content


class _Turns:
    """Walks a history and answers each assistant turn's calls in the user turn that follows it.

    A turn may be several messages, with messages of other roles in between.
    """

    def __init__(self) -> None:
        self.out: list[Message] = []
        self.changed = False
        self._calls: dict[str, None] = {}
        """Calls of the current turns that have no result yet, in order."""
        self._assistant = -1
        """Where in `out` the assistant's turn ends."""
        self._user = -1
        """Where in `out` the user's turn after it begins; -1 before it has begun."""

    def assistant(self, message: Message) -> None:
        if self._user >= 0:
            self.end()
        self._assistant = len(self.out)
        self.out.append(message)
        content = message.get("content")
        if type(content) is list:
            for block in content:
                if (
                    type(block) is dict
                    and block.get("type") == "tool_use"
                    and isinstance(block.get("id"), str)
                ):
                    self._calls[block["id"]] = None

    def user(self, message: Message) -> None:
        if self._user < 0:
            self._user = len(self.out)
        content = message.get("content")
        if type(content) is list:
            results: list[Any] = []
            rest: list[Any] = []
            is_stray = False
            for block in content:
                if not is_tool_result(block):
                    rest.append(block)
                elif self._answers(block):
                    results.append(block)
                else:
                    rest.extend(_as_text(block))
                    is_stray = True
            if is_stray:
                message = {**message, "content": results + rest}
                self.changed = True
        self.out.append(message)

    def end(self) -> None:
        """The turns are over: calls that have no result by now get one."""
        if self._calls:
            self.changed = True
            self._answer([_missing(call) for call in self._calls])
            self._calls = {}
        self._user = -1

    def _answers(self, result: Block) -> bool:
        """Whether the result is the first for one of the calls."""
        call = result.get("tool_use_id")
        if not isinstance(call, str) or call not in self._calls:
            return False
        del self._calls[call]
        return True

    def _answer(self, results: list[Any]) -> None:
        """Put results behind those that the user's turn begins with, or into a turn of their own."""
        message = self.out[self._user] if self._user >= 0 else {}
        content = message.get("content")
        if not isinstance(content, (str, list)):
            self.out.insert(self._assistant + 1, {"role": "user", "content": results})
            return
        blocks = blocks_of(content)
        first = next((at for at, block in enumerate(blocks) if not is_tool_result(block)), len(blocks))
        self.out[self._user] = {**message, "content": [*blocks[:first], *results, *blocks[first:]]}


def _missing(call: str) -> Block:
    return {"type": "tool_result", "tool_use_id": call, "is_error": True, "content": NO_RESULT}


def _as_text(result: Block) -> list[Any]:
    """What a tool result holds, as blocks that a user's message may hold."""
    content = result.get("content")
    blocks = blocks_of(content) if isinstance(content, (str, list)) else []
    inner = [_as_user_block(block) for block in blocks]
    return changed_blocks(inner, _unless_blank, _TEXT) or [{"type": "text", "text": "(an empty tool result)"}]


def _as_user_block(block: Any) -> Any:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind in _USER_KINDS:
        return block
    if kind == "tool_reference":
        return _without_references(block)
    return {"type": "text", "text": write_document(block).decode()}
