"""Converts the history for Gemini: `messages` become `contents`.

Keeps Gemini's rules for any history: it begins with a user's turn, no turn is without parts, and every function call
has one response, in order, in a content right behind the call that holds nothing else (Vertex AI refuses a mixed one).
Signatures return to their calls, texts and thoughts. The table in parts.py converts single blocks.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.dialects.gemini.families import Family
from gateway.dialects.gemini.parts import Part, PartMaker, may_stand_in_result
from gateway.dialects.gemini.signatures import BYPASS, Signatures
from gateway.dialects.history import SEE_BELOW, UnsupportedSource, arguments_of
from gateway.dialects.tool_names import ToolNames
from gateway.messages.errors import RequestError
from gateway.messages.json_values import as_text
from gateway.messages.tool_repairs import NO_RESULT

BEFORE_MODEL = {"text": "(continued)"}
"""The user's text in front of a history that begins with the model. Gemini refuses an empty text."""

AFTER_MODEL = {"text": "(continue)"}
"""The user's text behind a history that ends with the model, where that is refused."""

Open = tuple[str, str]
"""A call without a result so far: id and wire name."""


@dataclass(slots=True)
class _UserTurn:
    """The user's messages since the model's last turn."""

    responses: dict[str, deque[Part]] = field(default_factory=dict)
    """Responses to open calls, by their ids."""
    strays: list[Part] = field(default_factory=list)
    """Responses to calls that are not in the history."""
    others: list[Part] = field(default_factory=list)
    """All other parts."""

    def __bool__(self) -> bool:
        return bool(self.responses or self.strays or self.others)


class Contents:
    """Builds the turns of one request, message by message."""

    def __init__(
        self, kind: Family, names: ToolNames, signatures: Signatures | None, make: PartMaker
    ) -> None:
        """`signatures` None: no thinking is sent, and every call gets the bypass value."""
        self._kind = kind
        self._names = names
        self._signatures = signatures
        self._passes = False
        """Whether some call of the last model turn has a signature."""
        self._make = make
        self._turns: list[dict[str, Any]] = []
        self._called: dict[str, str] = {}
        """Id of every call so far -> its wire name."""
        self._open: list[Open] = []
        """The calls in the last model turn."""
        self._awaited: Counter[str] = Counter()
        """Id -> how many of them have no result so far."""
        self._user = _UserTurn()

    def add(self, message: Mapping[str, Any]) -> None:
        """Add the next message. Raises UnsupportedSource."""
        content = message.get("content")
        blocks: Iterable[Any] = content if isinstance(content, list) else (content,)
        if message.get("role") == "assistant":
            self._add_model(blocks)
        else:
            self._add_user(blocks)

    def end(self, *, by_user: bool) -> list[dict[str, Any]]:
        """Return all turns. `by_user`: the last turn must be the user's."""
        self._close_user()
        if by_user and self._turns and self._turns[-1]["role"] == "model":
            self._turns.append({"role": "user", "parts": [AFTER_MODEL]})
        return self._turns

    def _add_user(self, blocks: Iterable[Any]) -> None:
        for block in blocks:
            if isinstance(block, dict) and block.get("type") == "tool_result":
                self._add_result(block)
            else:
                self._user.others += self._make.parts(block)

    def _add_result(self, block: Mapping[str, Any]) -> None:
        id = as_text(block.get("tool_use_id"))
        name = self._called.get(id) or self._names.wire(id or "unknown")
        texts: list[str] = []
        inside: list[Part] = []
        behind: list[Part] = []
        for part in self._make.parts_of(block.get("content")):
            if "text" in part:
                texts.append(part["text"])
            else:
                (inside if self._kind.media_in_results and may_stand_in_result(part) else behind).append(part)
        text = "\n".join(texts)
        if id in self._called and not self._awaited[id]:
            # A second or a late result: it answers no open call, so it becomes text.
            self._user.others += [{"text": text}] if text else []
            behind = inside + behind
        else:
            value = text or (SEE_BELOW if behind else "")
            response = self._response(id, name, "error" if block.get("is_error") is True else "result", value)
            if inside:
                response["functionResponse"]["parts"] = inside
            if id in self._called:
                self._awaited[id] -= 1
                self._user.responses.setdefault(id, deque()).append(response)
            else:
                self._user.strays.append(response)
        if behind:
            self._user.others += [{"text": f"[from tool result {name}:]"}, *behind]

    def _response(self, id: str, name: str, key: str, value: str) -> Part:
        response: dict[str, Any] = {"name": name}
        if id and self._kind.ids:
            response["id"] = id
        return {"functionResponse": {**response, "response": {key: value}}}

    def _add_model(self, blocks: Iterable[Any]) -> None:
        parts: list[Part] = []
        calls: list[Open] = []
        thought = ""
        for block in blocks:
            kind = block.get("type") if isinstance(block, dict) else None
            if kind == "tool_use":
                calls.append(self._add_call(block, "" if calls else thought, parts))
            elif kind == "thinking":
                thought = self._add_thinking(block, parts) or thought
            else:
                made = self._make.parts(block)
                if kind == "text" and made and self._signs:
                    self._sign(made[0], self._signs.of_text(block["text"]))
                parts += made
        if parts:
            # Model messages with nothing in between are one turn, whose calls are still open.
            if self._user:
                self._close_user()
            if not self._turns:
                self._turns.append({"role": "user", "parts": [BEFORE_MODEL]})
            self._append(parts)
            for call in calls:
                self._open.append(call)
                self._awaited[call[0]] += 1
                self._called[call[0]] = call[1]

    @property
    def _signs(self) -> Signatures | None:
        """The signatures, if the family accepts them."""
        return self._signatures if self._kind.signatures else None

    def _sign(self, part: Part, signature: str) -> None:
        if signature:
            part["thoughtSignature"] = signature

    def _add_thinking(self, block: Mapping[str, Any], parts: list[Part]) -> str:
        """Add a thinking block with a signature of Gemini's, and return the signature; skip any other block."""
        signature = self._signs.of_thinking(block.get("signature")) if self._signs else ""
        if signature:
            text = as_text(block.get("thinking"))
            parts.append({"text": text, "thought": True, "thoughtSignature": signature})
        return signature

    def _add_call(self, block: Mapping[str, Any], thought: str, parts: list[Part]) -> Open:
        """Add a call. `thought`: the signature of the thinking before it, if it may be used for the call."""
        id = as_text(block.get("id"))
        name = self._names.wire(block["name"])
        call: dict[str, Any] = {"name": name, "args": arguments_of(block)}
        if id and self._kind.ids:
            call["id"] = id
        part: Part = {"functionCall": call}
        if self._kind.signatures:
            self._sign(part, BYPASS if self._signatures is None else self._signatures.of_call(id) or thought)
        parts.append(part)
        return id, name

    def _append(self, parts: list[Part]) -> None:
        """Append parts to the model's current turn, or start one."""
        if self._turns and self._turns[-1]["role"] == "model":
            known = self._turns[-1]["parts"]
            if self._kind.signatures and self._open and not self._passes:
                # The signature found so far belongs to another message.
                self._bypass(known)
            known.extend(parts)
        else:
            self._passes = False
            self._turns.append({"role": "model", "parts": parts})

    def _close_user(self) -> None:
        """End the user's turn, if it has parts or a call waits for it."""
        if self._kind.signatures and self._open:
            self._bypass(self._turns[-1]["parts"])
        responses: list[Part] = []
        for id, name in self._open:
            known = self._user.responses.get(id)
            response = known.popleft() if known else self._response(id, name, "error", NO_RESULT)
            # Two calls with the same id may have different names.
            response["functionResponse"]["name"] = name
            responses.append(response)
        responses += self._user.strays
        # Two contents, since one with responses may hold nothing else.
        for parts in (responses, self._user.others):
            if parts:
                self._turns.append({"role": "user", "parts": parts})
        self._open, self._awaited, self._user = [], Counter(), _UserTurn()

    def _bypass(self, parts: list[Part]) -> None:
        """Let Gemini accept a model turn without signed calls; unsigned siblings of a signed call are normal."""
        self._passes = True
        calls = [part for part in parts if "functionCall" in part]
        if not any("thoughtSignature" in part for part in calls):
            calls[0]["thoughtSignature"] = BYPASS


def gemini_contents(
    messages: Iterable[Mapping[str, Any]],
    original: Iterable[Mapping[str, Any]],
    *,
    kind: Family,
    names: ToolNames,
    signatures: Signatures | None,
    warn: Callable[[str], None],
    by_user: bool = False,
) -> list[dict[str, Any]]:
    """Return `contents` for the (repaired) messages. `by_user`: the last turn must be the user's.

    Raises RequestError(400) for an image or document that cannot be sent, with its place in the `original` messages,
    which are the client's.
    """
    contents = Contents(kind, names, signatures, PartMaker(warn))
    try:
        for message in messages:
            contents.add(message)
    except UnsupportedSource as error:
        raise RequestError(
            400,
            f"{error.place(original)}: the source of this {error.kind} (type {error.type!r}) cannot be sent to a "
            "Gemini model; base64, url and text sources can",
        ) from None
    return contents.end(by_user=by_user)
