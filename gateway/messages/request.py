"""A Messages request as the gateway needs to see it: which model, streamed or not, whose conversation.

Reading is lenient: only what the gateway itself must know is checked, and the client's bytes are kept
to be sent on, with nothing but the model's name exchanged in place. What the rest of a request means
is left to the upstream and to the rooms that translate or repair it.
"""

import re
from collections.abc import Iterator
from typing import Any

import orjson

from gateway.messages.errors import RequestError
from gateway.messages.history import without
from gateway.messages.json_documents import read_quickly, with_every_digit, write_document

__all__ = [
    "BILLING_HEADER",
    "MessagesRequest",
    "conversation_id",
    "read_request",
    "splice_model",
    "write_document",
]

BILLING_HEADER = "x-anthropic-billing-header"
"""A first system block that starts so is an attribution line, which differs between conversations."""

SESSION_FIELD = b"x-claude-code-session-id"
"""Where Claude Code's requests name their session."""

_BOM = b"\xef\xbb\xbf"

_LONGEST_MODEL = 1024
"""Characters of a model's name: a resource name of Vertex AI has some 150. Names are remembered for a while."""

_LONGEST_ID = 128
"""Characters of a conversation's id as the client names it: three UUIDs. Longer ones are hashed."""


_FIRST = b'{"model":'
"""How most bodies begin."""

_KEY = re.compile(rb'"model"[ \t\r\n]*:[ \t\r\n]*')
"""Nowhere but where an object's key ends: inside a string, quotes are escaped."""


class MessagesRequest:
    """One request. Nobody changes it, nor its `document`, which is shared by every attempt to serve it."""

    __slots__ = ("_document", "by_orjson", "model", "raw", "stream")

    def __init__(
        self, raw: bytes, document: dict[str, Any], model: str, stream: bool, by_orjson: bool
    ) -> None:
        self.raw = raw
        """The body as the client sent it, without a byte order mark."""
        self._document: dict[str, Any] | None = document
        self.model = model
        self.stream = stream
        self.by_orjson = by_orjson
        """orjson read `raw`: nothing in it is NaN or infinite."""

    @property
    def document(self) -> dict[str, Any]:
        """To look at: integers beyond 64 bits may be floats. Who writes or translates it takes `exact()`."""
        if self._document is None:
            self._document, _ = read_quickly(self.raw)
        return self._document

    def forget(self) -> None:
        """Let go of the document, which takes several times the room of `raw`; it is read again if need be."""
        self._document = None

    def exact(self) -> dict[str, Any]:
        """The document with every digit of its integers; the same object if none was lost."""
        if not self.by_orjson:
            return self.document
        document: dict[str, Any] = with_every_digit(self.document, self.raw)
        return document

    def __repr__(self) -> str:
        return f"MessagesRequest(model={self.model!r}, stream={self.stream}, {len(self.raw)} bytes)"


def read_request(raw: bytes) -> MessagesRequest:
    """Read a body of `/v1/messages` or `/v1/messages/count_tokens`.

    Raises RequestError (400) that says what is wrong and where: not JSON, not an object, nested too
    deep, `model` not a string or empty or too long for a name, `messages` not a list of objects.
    """
    if raw.startswith(_BOM):
        raw = raw[len(_BOM) :]
    if not raw:
        raise RequestError(400, "the request body is empty: send a JSON object")
    try:
        document, by_orjson = read_quickly(raw)
    except ValueError as error:
        raise RequestError(400, f"the request body cannot be read as JSON: {error}") from None
    if type(document) is not dict:
        raise RequestError(400, f"the request body must be a JSON object, not {_kind(document)}")
    model = document.get("model")
    if type(model) is not str:
        raise _wrong(document, "model", "a string")
    if not model:
        raise RequestError(400, "model: must not be empty")
    if len(model) > _LONGEST_MODEL:
        raise RequestError(400, f"model: must have at most {_LONGEST_MODEL} characters, not {len(model)}")
    messages = document.get("messages")
    if type(messages) is not list:
        raise _wrong(document, "messages", "an array")
    for message in messages:
        if type(message) is not dict:
            at = messages.index(message)
            raise RequestError(400, f"messages.{at}: must be an object, not {_kind(message)}")
    return MessagesRequest(raw, document, model, document.get("stream") is True, by_orjson)


def splice_model(request: MessagesRequest, model: str) -> bytes:
    """The client's bytes with the top-level `model` replaced, and nothing else changed.

    A key that is there more than once is replaced each time, whichever of them an upstream reads.
    """
    raw = request.raw
    if model == request.model:
        return raw
    old, new = write_document(request.model, finite=True), write_document(model, finite=True)
    start = _position(request, old)
    if start >= 0:
        return b"".join((raw[:start], new, memoryview(raw)[start + len(old) :]))
    text = raw.decode()
    pieces = []
    position = 0
    for start, end in _top_level_values(text, "model"):
        pieces.append(text[position:start].encode())
        pieces.append(new)
        position = end
    pieces.append(text[position:].encode())
    return b"".join(pieces)


def conversation_id(document: dict[str, Any], session: bytes = b"") -> str:
    """What stays the same over the turns of one conversation, and differs between conversations.

    The session that the head names (`SESSION_FIELD`), else the one in `metadata.user_id`, else a hash of what
    a conversation begins with, which means something in this process only. Two clients may have the same:
    the caller adds whose it is.
    """
    if session:
        return _bounded(session.decode("latin-1"))
    metadata = document.get("metadata")
    user_id = metadata.get("user_id") if isinstance(metadata, dict) else None
    if isinstance(user_id, str):
        named = _session_of(user_id)
        if named:
            return _bounded(named)
    return _hash(_beginning(document))


def _kind(value: object) -> str:
    """What JSON calls a value's type, with its article."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _wrong(document: dict[str, Any], key: str, name: str) -> RequestError:
    """What to say of a key that is not there, or has a value of another kind."""
    if key not in document:
        return RequestError(400, f"{key}: is required and must be {name}")
    return RequestError(400, f"{key}: must be {name}, not {_kind(document[key])}")


def _position(request: MessagesRequest, value: bytes) -> int:
    """Where the only top-level `model` has its value, written as `value` is; -1 when finding it takes a
    closer look: the key may be there twice, or be written with escapes, as the value may."""
    raw, document = request.raw, request.document
    if not request.by_orjson:
        return -1
    if orjson.dumps(document) == raw:
        # Then no key is there twice, and orjson writes what comes before as the client did: its closing
        # brace stands where the comma does.
        if raw.startswith(_FIRST):
            return len(_FIRST)
        keys = list(document)
        before = {key: document[key] for key in keys[: keys.index("model")]}
        return len(orjson.dumps(before)) + len('"model":')
    for key in _KEY.finditer(raw):
        if raw.startswith(value, key.end()):
            renamed = b"".join((raw[: key.start()], b'"":', memoryview(raw)[key.end() :]))
            return -1 if "model" in orjson.loads(renamed) else key.end()
    return -1


def _top_level_values(text: str, key: str) -> Iterator[tuple[int, int]]:
    """Where in the text of a JSON object (known to be one) each value of `key` begins and ends.

    The standard library's parser finds the ends, so that strings that look like keys, escaped keys and
    nested ones need no rules of their own.
    """
    from json import JSONDecoder

    decode = JSONDecoder().raw_decode
    token = re.compile(r"[^ \t\n\r]")

    def find(at: int) -> int:
        found = token.search(text, at)
        return found.start() if found else len(text)

    at = find(0)
    while text[at] != "}":
        name, at = decode(text, find(at + 1))
        start = find(find(at) + 1)
        _, at = decode(text, start)
        if name == key:
            yield start, at
        at = find(at)


def _session_of(user_id: str) -> str:
    """The session part of `metadata.user_id`, in either form that Claude Code uses; "" without one."""
    if user_id.startswith("{"):
        try:
            session = orjson.loads(user_id).get("session_id")
        except orjson.JSONDecodeError:
            return ""
        return session if isinstance(session, str) else ""
    return user_id.rpartition("_session_")[2] if "_session_" in user_id else ""


def _beginning(document: dict[str, Any]) -> tuple[object, object]:
    """The system prompt and the first user message, as much of them as no later turn changes."""
    system = _texts(document.get("system"))
    if system and isinstance(system[0], str) and system[0].startswith(BILLING_HEADER):
        del system[0]
    for message in document["messages"]:
        if message.get("role") == "user":
            return tuple(system), tuple(_texts(message.get("content")))
    return tuple(system), None


def _texts(content: object) -> list[str | bytes]:
    """A content's blocks, a string being one text block, without the cache marks that move each turn."""
    if isinstance(content, str):
        return [content]
    return [_text(block) for block in (content if isinstance(content, list) else (content,))]


def _text(block: object) -> str | bytes:
    """What a block says; as JSON, if it is no text."""
    if isinstance(block, dict):
        text = block.get("text")
        return text if isinstance(text, str) else write_document(without(block, "cache_control"))
    return block if isinstance(block, str) else write_document(block)


def _bounded(name: str) -> str:
    return name if len(name) <= _LONGEST_ID else _hash(name)


def _hash(value: object) -> str:
    """Python's own, of 64 bits: two conversations that have the same share an account, and no more."""
    return f"{hash(value):x}"
