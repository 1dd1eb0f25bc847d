"""A Messages request as the gateway needs to see it: which model, streamed or not, whose conversation.

Reading is lenient: only what the gateway itself must know is checked, and the client's bytes are kept
to be sent on, with nothing but the model's name exchanged in place. What the rest of a request means
is left to the upstream and to the rooms that translate or repair it.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.messages.documents import read_document, write_document
from gateway.messages.errors import RequestError

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

_BOM = b"\xef\xbb\xbf"

_LONGEST_MODEL = 1024
"""Characters of a model's name: a resource name of Vertex AI has some 150. Names are remembered for a while."""

_LONGEST_ID = 128
"""Characters of a conversation's id as the client names it: three UUIDs. Longer ones are hashed."""


@dataclass(frozen=True, slots=True)
class MessagesRequest:
    """One request. Nobody changes `document`: it is shared by every attempt to serve it."""

    raw: bytes
    """The body as the client sent it, without a byte order mark."""
    document: dict[str, Any]
    model: str
    stream: bool
    canonical: bool = False
    """`raw` is byte for byte what orjson writes for `document`."""


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
        document, canonical = read_document(raw)
    except ValueError as error:
        raise RequestError(400, f"the request body cannot be read as JSON: {error}") from None
    if not isinstance(document, dict):
        raise RequestError(400, f"the request body must be a JSON object, not {_kind(document)}")
    model = _checked(document, "model", str, "a string")
    if not model:
        raise RequestError(400, "model: must not be empty")
    if len(model) > _LONGEST_MODEL:
        raise RequestError(400, f"model: must have at most {_LONGEST_MODEL} characters, not {len(model)}")
    for index, message in enumerate(_checked(document, "messages", list, "an array")):
        if not isinstance(message, dict):
            raise RequestError(400, f"messages.{index}: must be an object, not {_kind(message)}")
    return MessagesRequest(raw, document, model, document.get("stream") is True, canonical)


def splice_model(request: MessagesRequest, model: str) -> bytes:
    """The client's bytes with the top-level `model` replaced, and nothing else changed.

    A key that is there more than once is replaced each time, whichever of them an upstream reads.
    """
    if model == request.model:
        return request.raw
    value = write_document(model)
    if request.canonical:
        raw = request.raw
        start = _canonical_position(request.document)
        end = start + len(orjson.dumps(request.model))
        return b"".join((raw[:start], value, raw[end:]))
    text = request.raw.decode()
    pieces = []
    position = 0
    for start, end in _top_level_values(text, "model"):
        pieces.append(text[position:start].encode())
        pieces.append(value)
        position = end
    pieces.append(text[position:].encode())
    return b"".join(pieces)


def conversation_id(document: dict[str, Any], headers: Sequence[tuple[bytes, bytes]]) -> str:
    """What stays the same over the turns of one conversation, and differs between conversations.

    The session header, else the session in `metadata.user_id`, else a hash of what a conversation
    begins with. Two clients may have the same: the caller adds whose it is.
    """
    for name, value in headers:
        if name == b"x-claude-code-session-id" and value:
            return _bounded(value.decode("latin-1"))
    metadata = document.get("metadata")
    user_id = metadata.get("user_id") if isinstance(metadata, dict) else None
    if isinstance(user_id, str):
        session = _session_of(user_id)
        if session:
            return _bounded(session)
    return _hash(_beginning(document))


def _kind(value: object) -> str:
    """What JSON calls a value's type, with its article."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _checked(document: dict[str, Any], key: str, kind: type, name: str) -> Any:
    if key not in document:
        raise RequestError(400, f"{key}: is required and must be {name}")
    value = document[key]
    if not isinstance(value, kind):
        raise RequestError(400, f"{key}: must be {name}, not {_kind(value)}")
    return value


def _canonical_position(document: dict[str, Any]) -> int:
    """Where the value of `model` begins in what orjson writes for `document`."""
    keys = list(document)
    before = {key: document[key] for key in keys[: keys.index("model")]}
    # Its closing brace stands where the comma does, if anything comes before at all.
    return len(orjson.dumps(before)) - (not before) + len('"model":')


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


def _beginning(document: dict[str, Any]) -> Iterator[bytes]:
    """The system prompt and the first user message, as much of them as no later turn changes."""
    system = _texts(document.get("system"))
    first = next(system, b"")
    if not first.startswith(BILLING_HEADER.encode()):
        yield first
    yield from system
    for message in document["messages"]:
        if message.get("role") == "user":
            yield from _texts(message.get("content"))
            return


def _texts(content: object) -> Iterator[bytes]:
    """A content's blocks, a string being one text block, without the cache marks that move each turn."""
    for block in content if isinstance(content, list) else (content,):
        if isinstance(block, dict):
            text = block.get("text")
            if isinstance(text, str):
                block = text
            else:
                block = {key: value for key, value in block.items() if key != "cache_control"}
        yield block.encode("utf-8", "surrogatepass") if isinstance(block, str) else write_document(block)


def _bounded(name: str) -> str:
    return name if len(name) <= _LONGEST_ID else _hash((name.encode("utf-8", "surrogatepass"),))


def _hash(pieces: Iterable[bytes]) -> str:
    from hashlib import blake2b

    digest = blake2b(digest_size=16)
    for piece in pieces:
        digest.update(b"%d:" % len(piece))
        digest.update(piece)
    return digest.hexdigest()
