"""Reasoning between a host's fields and thinking blocks, both ways, byte for byte.

A thinking block's signature says which field the reasoning came in, so that it lives in the history alone:
it outlasts restarts and other processes. Text goes to any host; opaque entries only to the host and model
that made them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from gateway.config.openai_traits import Traits
from gateway.messages.json_documents import write_document
from gateway.messages.json_values import as_text, texts_in

MARK = "openai:"
"""Before every signature of this dialect: a history that later meets another provider is recognised."""

TEXT_KEYS = ("text", "summary")
"""Where an entry of `reasoning_details` keeps text."""

BLANK = " "
"""Reasoning for a host that demands it where there is none: empty is refused by some, and a sentence,
repeated, makes responses empty."""

FIELDS = ("reasoning_content", "reasoning", "reasoning_text", "think", "parts")
"""Where text may have come in: fields of a message, tags in its content, parts of its content."""

DEFAULT_FIELD = "reasoning_content"
"""The spelling of most hosts, for reasoning whose own field cannot be sent."""

DETAILS = "details"
ITEMS = "items"
"""What a signature's entries are, `reasoning_details` or items of the Responses wire; the second is also a
spelling, for that wire alone: whole items, each in its place."""

SEPARATOR = "\n\n"
"""Between the parts of a summary in a thinking block."""

Entry = dict[str, Any]


class Reasoning(NamedTuple):
    """One thinking block of the history."""

    text: str
    field: str = ""
    """Where it came in: a field's name, "think" (tags) or "parts"; "" if it is opaque or not known."""
    details: tuple[Entry, ...] = ()
    """Entries of `reasoning_details` or items of the Responses wire, whole again; only if host and model fit."""
    items: bool = False
    """They are such items."""


def text_signature(field: str) -> str:
    """Return the signature of a block whose text is the reasoning, verbatim."""
    return f'{MARK}{{"f":"text","k":"{field}"}}'


def details_signature(entries: Sequence[Entry | int], host: str, model: str, form: str = DETAILS) -> str:
    """Return the signature of a block that stands for entries, their texts replaced by lengths.

    An int among them is a length of the block's text that belongs to no entry. Neighbours that differ in
    nothing but their text are written once.
    """
    written: list[list[Any]] = []
    for entry in entries:
        key = None if isinstance(entry, int) else _text_key(entry)
        if isinstance(entry, int):
            written.append([None, "", [entry]])
        elif key is None:
            written.append([entry])
        else:
            bare, length = {**entry, key: None}, len(entry[key])
            last = written[-1] if written else []
            if len(last) == 3 and last[0] == bare and list(last[0]) == list(bare):
                last[2].append(length)
            else:
                written.append([bare, key, [length]])
    signed = {"f": form, "h": host, "m": model, "d": written}
    return MARK + write_document(signed).decode()


def read_block(block: Mapping[str, Any], host: str, model: str, *, opaque: bool) -> Reasoning | None:
    """Read a thinking block of the history; None for one of another dialect.

    `opaque` False: entries stay behind, whoever made them.
    """
    signature, text = block.get("signature"), as_text(block.get("thinking"))
    if not isinstance(signature, str) or not signature.startswith(MARK):
        return None
    try:
        signed = orjson.loads(signature[len(MARK) :])
        form = signed["f"]
        if form == "text":
            return Reasoning(text, signed["k"] if signed["k"] in FIELDS else "")
        if not opaque or (signed["h"], signed["m"]) != (host, model):
            return Reasoning(text)
        details = tuple(_rebuilt(signed["d"], text))
        if form == ITEMS:
            # Only to see that they are such, while it can still be said that they are not.
            [item_of(entry) for entry in details]
        return Reasoning(text, details=details, items=form == ITEMS)
    except (ValueError, KeyError, TypeError, IndexError):
        # A client changed it; what can be read is still the model's reasoning.
        return Reasoning(text)


def _rebuilt(written: Iterable[Any], text: str) -> Iterable[Entry]:
    """Give the entries again. Raises ValueError if the text is not the one that was signed."""
    at = 0
    found: list[Entry] = []
    for item in written:
        if len(item) == 1:
            found.append({**item[0]})
            continue
        bare, key, lengths = item
        for length in lengths:
            if bare is not None:
                found.append({**bare, key: text[at : at + length]})
            at += length
    if at != len(text):
        raise ValueError("the text is another one")
    return found


def _text_key(entry: Entry) -> str | None:
    """Return the key that holds the entry's text; None if it has none."""
    return next((key for key in TEXT_KEYS if isinstance(entry.get(key), str) and entry[key]), None)


def text_of(entry: Entry) -> str:
    """Return an entry's text, "" for none."""
    key = _text_key(entry)
    return str(entry[key]) if key is not None else ""


def entry_of_item(item: Mapping[str, Any]) -> Entry | None:
    """Return an item of reasoning as a signature holds it; None for one that could not come back.

    Its summary is one text, as the thinking block has it, with the lengths of its parts.
    """
    if not isinstance(item.get("encrypted_content"), str):
        return None
    texts = texts_in(item.get("summary"))
    return {
        "type": "reasoning",
        "summary": SEPARATOR.join(texts),
        "parts": [len(text) for text in texts],
        "encrypted_content": item["encrypted_content"],
    }


def item_of(entry: Entry) -> Entry:
    """Return the item of reasoning that an entry stands for, without its id: nothing is stored at the host."""
    at, parts = 0, []
    for length in entry["parts"]:
        parts.append({"type": "summary_text", "text": str(entry["summary"])[at : at + length]})
        at += length + len(SEPARATOR)
    return {"type": "reasoning", "summary": parts, "encrypted_content": entry["encrypted_content"]}


def items_of(block: Reasoning | None, traits: Traits) -> list[Entry]:
    """Return the items of reasoning that a block stands for, where the host takes them."""
    if block is None or not block.items or traits.echo != ITEMS:
        return []
    return [item_of(entry) for entry in block.details]


def put_back(
    message: dict[str, Any], blocks: Sequence[Reasoning], traits: Traits, more: Sequence[Entry] = ()
) -> str:
    """Put the reasoning of one assistant message back, in the host's spelling.

    `more`: entries that came behind the thinking blocks. Returns the spelling that was used, "" for none.
    """
    echo = traits.echo
    if echo == "none":
        return ""
    if echo == ITEMS:
        return echo if any(block.items for block in blocks) else ""
    if echo == "auto":
        opaque = more or any(block.details and not block.items for block in blocks)
        known = next((block.field for block in blocks if block.field), DEFAULT_FIELD)
        echo = "details" if opaque else known
    text = "".join(block.text for block in blocks)
    if echo == "details":
        entries = [*(entry for block in blocks for entry in _entries_of(block)), *more]
        if not entries and traits.echo_required:
            entries = [_entry_of(BLANK)]
        if not entries:
            return ""
        message["reasoning_details"] = entries
        return echo
    if not text and not traits.echo_required:
        return ""
    _PUT.get(echo, _put_field)(message, text or BLANK, echo, traits)
    return echo


def _entries_of(block: Reasoning) -> Sequence[Entry]:
    if block.details and not block.items:
        return block.details
    return [_entry_of(block.text)] if block.text else []


def _entry_of(text: str) -> Entry:
    return {"type": "reasoning.text", "text": text}


def _put_field(message: dict[str, Any], text: str, echo: str, traits: Traits) -> None:
    message[echo] = text


def _put_tags(message: dict[str, Any], text: str, echo: str, traits: Traits) -> None:
    opening, closing = traits.think_tags[0] if traits.think_tags else ("<think>", "</think>")
    message["content"] = f"{opening}{text}{closing}{message.get('content') or ''}"


def _put_parts(message: dict[str, Any], text: str, echo: str, traits: Traits) -> None:
    parts: list[dict[str, Any]] = [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]
    if message.get("content"):
        parts.append({"type": "text", "text": message["content"]})
    message["content"] = parts


_PUT = {"think": _put_tags, "parts": _put_parts}
"""Spellings that are no field of their own."""
