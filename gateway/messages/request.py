"""A Messages request with what the gateway needs to know: its model, whether it streams, its conversation.

Reading is lenient: only what the gateway itself uses is checked, and the client's bytes are kept to be sent on, with
nothing but the model's name replaced in place. The upstream, translators and repairs read the rest.
"""

import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import orjson

from gateway.messages.errors import RequestError
from gateway.messages.history import without
from gateway.messages.json_documents import (
    BOM,
    TooLarge,
    compile_key,
    member_values,
    only_key,
    read_quickly,
    with_every_digit,
    write_document,
)

BILLING_HEADER = "x-anthropic-billing-header"
"""The prefix of a first system block that is an attribution line, which differs between conversations."""

SESSION_FIELD = b"x-claude-code-session-id"
"""The header field in which Claude Code names the session."""

MAX_MESSAGES = 100_000
"""The API's own limit for one request."""

MAX_BLOCKS = 100_000
"""Content blocks of all messages: at three tokens each so many exceed every model's window."""

_LONGEST_MODEL = 1024
"""Characters of a model's name: a resource name of Vertex AI has some 150. Names are kept in memory for a while."""

_LONGEST_ID = 128
"""Characters of a conversation's id from the client: three UUIDs. Longer ones are hashed."""

_LONGEST_USER_ID = 4096
"""Characters of `metadata.user_id` that are parsed as JSON: Claude Code's has 200."""

_BEGINNING = 16
"""Blocks of the system prompt, and of the first user message, that identify a conversation: real ones have 5."""

_MODEL = compile_key("model")
_KEY = b'"model"'
_PLAIN_MODEL = re.compile(rb'"model"[ \t\r\n]*+:[ \t\r\n]*+("[^"\\]*+(?:\\.[^"\\]*+)*+")', re.DOTALL)
_ESCAPED_LETTER = rb"\u006"
"""The beginning of the escape of any letter in that key, such as `\\u006d`."""

_FORGOTTEN: dict[str, Any] = {}
"""Replaces a document that was dropped."""


class MessagesRequest:
    """One request. All attempts to serve it share its values and its `document`, and never change them."""

    __slots__ = ("by_orjson", "document", "model", "named", "raw", "stream")

    def __init__(
        self, raw: bytes, document: dict[str, Any], model: str, stream: bool, by_orjson: bool
    ) -> None:
        self.raw = raw
        """The body as the client sent it, without a byte order mark; a splice replaces the model's name."""
        self.named = model
        """The model in `raw`: the client's, or the last one spliced in."""
        self.document = document
        """The parsed body, in which integers beyond 64 bits may be floats. To write or translate it use `exact()`."""
        self.model = model
        self.stream = stream
        self.by_orjson = by_orjson
        """Whether orjson read `raw`, so that nothing in it is NaN or infinite."""

    def forget(self) -> None:
        """Drop the document, which takes several times the memory of `raw`, until `recall`."""
        self.document = _FORGOTTEN

    def recall(self) -> None:
        """Parse the document again, if it was dropped."""
        if self.document is _FORGOTTEN:
            self.document = {**read_quickly(self.raw)[0], "model": self.model}

    def exact(self) -> dict[str, Any]:
        """Return the document with all digits of its integers; the same object if none were lost."""
        if not self.by_orjson:
            return self.document
        document: dict[str, Any] = with_every_digit(self.document, self.raw)
        return document if document is self.document else {**document, "model": self.model}

    def __repr__(self) -> str:
        return f"MessagesRequest(model={self.model!r}, stream={self.stream}, {len(self.raw)} bytes)"


class Thread(NamedTuple):
    """A request's message thread."""

    kind: Literal["start", "continue"]
    previous: str = ""
    """The id of the response that the request continues."""


def read_request(raw: bytes) -> MessagesRequest:
    """Read a body of `/v1/messages` or `/v1/messages/count_tokens`.

    Raises RequestError with the mistake and its place. 400: not JSON, not an object, nested too deep, `model` not a
    string or empty or too long for a name, `messages` not a list of objects. 413: more values, messages or content
    blocks than a real request has.
    """
    if raw.startswith(BOM):
        raw = raw[len(BOM) :]
    if not raw:
        raise RequestError(400, "the request body is empty: send a JSON object")
    try:
        document, by_orjson = read_quickly(raw)
    except TooLarge as error:
        raise RequestError(413, f"the request body cannot be served: {error}") from None
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
    # A message or a block takes at least two bytes.
    if len(raw) > 2 * MAX_BLOCKS:
        _check_length(messages)
    return MessagesRequest(raw, document, model, document.get("stream") is True, by_orjson)


def splice_model(request: MessagesRequest, model: str) -> bytes:
    """Return the client's bytes with the top-level `model` replaced, and nothing else changed.

    A key that occurs more than once is replaced each time, since upstreams differ in which one they read. The request
    keeps the result in place of the client's bytes: one copy is enough while a response is awaited.
    """
    raw = request.raw
    if model == request.named:
        return raw
    written = orjson.dumps(model) if request.by_orjson else write_document(model, finite=True)
    at = -1
    # Searched from the end, which CPython does in half the time.
    if raw.rfind(_ESCAPED_LETTER) < 0:
        at = raw.rfind(_KEY)
        if raw.find(_KEY) != at:
            at = only_key(raw, _KEY)
    if at >= 0:
        found = _PLAIN_MODEL.match(raw, at)
        assert found is not None, "it was read as a string"
        start, end = found.span(1)
        # A memoryview, so that the rest, nearly all of the body, is copied only once.
        spliced = b"".join((raw[:start], written, memoryview(raw)[end:]))
    else:
        pieces = []
        end = 0
        for start, after in member_values(raw, _MODEL):
            pieces.append(raw[end:start])
            end = after
        pieces.append(raw[end:])
        spliced = written.join(pieces)
    request.raw = spliced
    request.named = model
    return spliced


def conversation_id(
    document: dict[str, Any], session: bytes = b"", hash: Callable[[object], int] = hash
) -> str:
    """Return an id that is equal in all turns of a conversation and differs between conversations.

    It is the session in the head (`SESSION_FIELD`), or the one in `metadata.user_id`, or a hash of the conversation's
    beginning. Python's own `hash` is valid in this process only; processes that must agree pass another. Two clients
    may have the same id: the caller adds the client's name.
    """
    if session:
        name = session.decode("latin-1")
    else:
        metadata = document.get("metadata")
        user_id = metadata.get("user_id") if isinstance(metadata, dict) else None
        name = _session_of(user_id) if isinstance(user_id, str) else ""
    if name and len(name) <= _LONGEST_ID:
        return name
    # 64 bits: if two conversations collide they share an account, which does no harm.
    return f"{hash(name or _beginning(document)):x}"


def thread_of(document: dict[str, Any]) -> Thread | None:
    """Return the message thread that a request starts or continues; None if it contains its whole history."""
    thread = document.get("thread")
    if thread is None:
        return None
    if not isinstance(thread, dict) or thread.get("type") != "continue":
        return Thread("start")
    previous = thread.get("previous_message_id")
    return Thread("continue", previous if isinstance(previous, str) else "")


def _check_length(messages: list[dict[str, Any]]) -> None:
    """Raise RequestError (413) for more messages or content blocks than a real history has."""
    contents = [message.get("content") for message in messages]
    blocks = sum(len(content) for content in contents if type(content) is list)
    for name, count, limit in (
        ("messages", len(messages), MAX_MESSAGES),
        ("content blocks", blocks, MAX_BLOCKS),
    ):
        if count > limit:
            raise RequestError(413, f"messages: {count:,} {name} are too many: at most {limit:,} are served")


def _kind(value: object) -> str:
    """Return JSON's name of a value's type, with an article."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def _wrong(document: dict[str, Any], key: str, name: str) -> RequestError:
    """Return the error for a missing key, or for a value that is not of the named kind."""
    if key not in document:
        return RequestError(400, f"{key}: is required and must be {name}")
    return RequestError(400, f"{key}: must be {name}, not {_kind(document[key])}")


def _session_of(user_id: str) -> str:
    """Return the session part of `metadata.user_id`, in either form that Claude Code uses; "" if there is none."""
    if user_id.startswith("{") and len(user_id) <= _LONGEST_USER_ID:
        try:
            session = orjson.loads(user_id).get("session_id")
        except orjson.JSONDecodeError:
            return ""
        return session if isinstance(session, str) else ""
    return user_id.rpartition("_session_")[2] if "_session_" in user_id else ""


def _beginning(document: dict[str, Any]) -> tuple[object, object]:
    """Return the parts of system prompt and first user message that no later turn changes."""
    prompt = document.get("system")
    system = None if prompt is None else _texts(prompt)
    if system and isinstance(system[0], str) and system[0].startswith(BILLING_HEADER):
        system = system[1:]
    for message in document["messages"]:
        if message.get("role") == "user":
            content = message.get("content")
            return system, (content,) if type(content) is str else _texts(content)
    return system, None


def _texts(content: object) -> tuple[str | bytes, ...]:
    """Return the first blocks of a content (a string is one text block), without their cache marks.

    Cache marks move with each turn. A block that is no text is written as JSON.
    """
    if type(content) is str:
        return (content,)
    texts: list[str | bytes] = []
    for block in content[:_BEGINNING] if isinstance(content, list) else (content,):
        text = block.get("text") if isinstance(block, dict) else block
        if not isinstance(text, str):
            text = write_document(without(block, "cache_control") if isinstance(block, dict) else block)
        texts.append(text)
    return tuple(texts)
