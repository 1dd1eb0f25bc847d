"""Converts reasoning between hosts' fields and thinking blocks, both ways, byte for byte.

A thinking block's signature says which field the reasoning came in, so that it needs no memory: it survives restarts
and works in any process. Text goes to any host; opaque entries only to the host and model that made them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from gateway.config.openai_traits import Traits
from gateway.messages.json_documents import write_document
from gateway.messages.json_values import as_text, texts_in

MARK = "openai:"
"""Prefix of this dialect's signatures, by which other providers' dialects recognize them in a history."""

TEXT_KEYS = ("text", "summary")
"""Keys of text in entries of `reasoning_details`."""

BLANK = " "
"""Stands for missing reasoning where a host demands some: hosts refuse an empty text, and a repeated sentence leads
to empty responses."""

FIELDS = ("reasoning_content", "reasoning", "reasoning_text", "think", "parts")
"""Places of text: fields of a message, tags in its content, parts of its content."""

DEFAULT_FIELD = "reasoning_content"
"""The field of most hosts, for reasoning whose own field cannot be sent."""

DETAILS = "details"
ITEMS = "items"
"""The form of a signature's entries: `reasoning_details`, or items of the Responses wire. `items` is also a value of
`echo`, for that wire alone: whole items, each in its place."""

SEPARATOR = "\n\n"
"""Separates the parts of a summary in a thinking block."""

Entry = dict[str, Any]


class Reasoning(NamedTuple):
    """One thinking block of the history."""

    text: str
    field: str = ""
    """The field it came in, "think" (tags) or "parts"; "" if it is opaque or unknown."""
    details: tuple[Entry, ...] = ()
    """Restored entries of `reasoning_details` or items of the Responses wire; empty for another host or model."""
    items: bool = False
    """Whether `details` are items."""


def text_signature(field: str) -> str:
    """Return the signature of a block whose text is the reasoning, verbatim."""
    return f'{MARK}{{"f":"text","k":"{field}"}}'


def details_signature(entries: Sequence[Entry | int], host: str, model: str, form: str = DETAILS) -> str:
    """Return the signature of a block made of entries, with lengths in place of their texts.

    A number among the entries is the length of text that belongs to none. Neighbours that differ only in their text are
    merged.
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

    `opaque` False: leave entries out, whoever made them.
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
        details = tuple(_rebuild(signed["d"], text))
        if form == ITEMS:
            # Called only for its errors: below, a block with bad items could no longer be refused.
            [item_of(entry) for entry in details]
        return Reasoning(text, details=details, items=form == ITEMS)
    except (ValueError, KeyError, TypeError, IndexError):
        # A client changed it; its text is still the model's reasoning.
        return Reasoning(text)


def _rebuild(written: Iterable[Any], text: str) -> Iterable[Entry]:
    """Yield the restored entries. Raises ValueError if the text is not the one that was signed."""
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
    """Return the key of an entry's text; None if it has none."""
    return next((key for key in TEXT_KEYS if isinstance(entry.get(key), str) and entry[key]), None)


def text_of(entry: Entry) -> str:
    """Return an entry's text, "" if it has none."""
    key = _text_key(entry)
    return str(entry[key]) if key is not None else ""


def entry_of_item(item: Mapping[str, Any]) -> Entry | None:
    """Return an item of reasoning in the form for a signature; None for one that cannot be sent back.

    Its summary becomes one text, as in the thinking block, with the lengths of its parts.
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
    """Return the item of an entry, without its id, since the host stores none."""
    at, parts = 0, []
    for length in entry["parts"]:
        parts.append({"type": "summary_text", "text": str(entry["summary"])[at : at + length]})
        at += length + len(SEPARATOR)
    return {"type": "reasoning", "summary": parts, "encrypted_content": entry["encrypted_content"]}


def items_of(block: Reasoning | None, traits: Traits) -> list[Entry]:
    """Return the items of a block, if the host accepts items."""
    if block is None or not block.items or traits.echo != ITEMS:
        return []
    return [item_of(entry) for entry in block.details]


def put_back(
    message: dict[str, Any], blocks: Sequence[Reasoning], traits: Traits, more: Sequence[Entry] = ()
) -> str:
    """Add an assistant message's reasoning to it, in the host's form.

    `more`: entries from behind the thinking blocks. Returns the form that was used, "" if there is no reasoning.
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
"""Values of `echo` that are no field of the message."""
