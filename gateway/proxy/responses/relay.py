"""Upstream bytes to client bytes, untouched: a streamed answer of the client's own dialect.

What stands before the first content is held back, so that a failure up to there can go to another account. From then
on each read of the upstream's socket is one write to the client's, in the same call. Usage is read from the first
events and from a short tail, kept by reference. Nothing here changes or delays a byte, but for the last few that end
a chunked body: those wait until the answer is known to be complete.
"""

import orjson

from gateway.http1.client_connection import ClientConnection, UpstreamError
from gateway.http1.framing import Framing, chunk
from gateway.http1.heads import ResponseHead
from gateway.messages.errors import STATUS_OF_TYPE, error_event
from gateway.messages.sse import Event, EventDecoder
from gateway.proxy.content_encoding import ContentDecoder, UnreadableCoding
from gateway.proxy.request import guarded
from gateway.proxy.responses.reader import ResponseSink
from gateway.routing.failures import Failure, FailureKind
from gateway.telemetry.usage import UNKNOWN, usage_of_message_delta, usage_of_message_start

HOLD = 64 * 1024
"""Bytes held back for want of content; whoever sends more without any gets them passed on."""

TAIL = 8 * 1024
"""Bytes at the end of a stream in which its last events are looked for; those take about 500."""

MAX_PADDING = 1024 * 1024
"""A broken chunk is filled up to its announced size, so that an error can follow; not beyond this."""

HIDE_PARTIAL = b"event: ping\n\n"
"""Turns an unfinished event into one that clients skip: a later `event:` line overrides the earlier."""


def kind_of(event: Event) -> str:
    """An event's type: its name, or for a server that names none, what its data says."""
    if event.name:
        return event.name
    try:
        kind = orjson.loads(event.data)["type"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""
    return kind if isinstance(kind, str) else ""


def has_content(event: Event) -> bool:
    """Whether a client would lose something if the answer began again after this event."""
    kind = kind_of(event)
    if kind in {"message_start", "ping"}:
        return False
    if kind == "content_block_start":
        try:
            block = orjson.loads(event.data)["content_block"]
            return bool(block[block["type"]]) if block["type"] in {"text", "thinking"} else True
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return True
    return True


def names_stop_reason(event: Event) -> bool:
    """Whether a `message_delta` says why the answer ended: nothing of its content is missing then."""
    try:
        return orjson.loads(event.data)["delta"]["stop_reason"] is not None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return False


def failure_of(event: Event, head: ResponseHead | None) -> Failure:
    """An `error` event as the failure that its type stands for. `head`: what the answer began with, if the
    event followed at once, so that its fields are about the same moment."""
    try:
        error = orjson.loads(event.data)["error"]
        type, message = str(error["type"]), str(error["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        type, message = "api_error", event.data.decode("utf-8", "replace")
    return Failure(
        kind=FailureKind.STREAM_ERROR,
        status=STATUS_OF_TYPE.get(type, 500),
        headers=tuple(head.headers) if head is not None else (),
        body=event.data,
        message=message,
        type=type,
    )


class Tail:
    """The last reads of a stream, at least TAIL bytes of them, kept by reference."""

    __slots__ = ("_new", "_old", "_size")

    def __init__(self, framing: Framing | None) -> None:
        """`framing` stands before the first read; None where reads are payload already."""
        self._old: tuple[Framing | None, list[bytes]] = (None, [])
        self._new: tuple[Framing | None, list[bytes]] = (framing, [])
        self._size = 0

    def add(self, data: bytes, framing: Framing | None) -> None:
        """One more read; `framing` stands behind it."""
        self._new[1].append(data)
        self._size += len(data)
        if self._size > TAIL:
            self._old = self._new
            self._new = (framing.copy() if framing is not None else None, [])
            self._size = 0

    def payload(self) -> bytes:
        """The tail without its framing."""
        framing, reads = self._old if self._old[1] else self._new
        everything = b"".join((*reads, *self._new[1])) if self._old[1] else b"".join(reads)
        return everything if framing is None else b"".join(framing.copy().payload(everything))


class Ending:
    """What a stream's last events say."""

    __slots__ = ("complete", "error", "usage")

    def __init__(self, payload: bytes) -> None:
        self.complete = False
        """The upstream finished its answer."""
        self.error: Event | None = None
        self.usage = UNKNOWN
        decoder = EventDecoder()
        try:
            events = decoder.feed(payload)
        except ValueError:
            return
        for event in events:
            kind = kind_of(event)
            if kind == "message_stop":
                self.complete = True
            elif kind == "message_delta":
                self.usage = usage_of_message_delta(event.data)
                self.complete = self.complete or names_stop_reason(event)
            elif kind == "error":
                self.error = event


class StreamRelay:
    """Reads one streamed answer and writes it to the client."""

    __slots__ = (
        "_attempt",
        "_committed",
        "_content",
        "_events",
        "_exchange",
        "_framing",
        "_head",
        "_held",
        "_peek",
        "_pending",
        "_size",
        "_start",
        "_tail",
        "answer",
        "decode",
    )

    def __init__(
        self,
        attempt: ResponseSink,
        connection: ClientConnection,
        head: ResponseHead,
        content: ContentDecoder | None,
    ) -> None:
        self.answer = attempt.answer
        self._attempt = attempt
        self._exchange = exchange = attempt.answer.exchange
        self._head = head
        self._content = content
        framing = connection.framing
        raw = framing.mode == "chunked" and content is None and exchange.head.version == "1.1"
        self.decode = not raw
        """Chunks pass as they came where both sides have them; anything else is framed anew."""
        self._framing = framing if raw else None
        self._peek = framing.copy() if raw else None
        self._tail = Tail(framing.copy() if raw else None)
        self._events = EventDecoder()
        self._held: list[bytes] = []
        self._size = 0
        self._start = b""
        """The data of message_start, until its counts are read."""
        self._pending = b""
        self._committed = False

    # The connection calls these.

    def body_received(self, data: bytes, ended: bool) -> None:
        try:
            if self._content is not None:
                data = self._content.feed(data)
                if ended:
                    self._content.end()
            if not self._committed:
                self._look(data, ended)
            elif ended:
                self._end(data)
            else:
                self._pass(data)
        except UnreadableCoding as error:
            self._attempt.abandon()
            self.failed(UpstreamError("body", str(error)))
        except Exception as error:
            self.answer.crashed(error)

    @guarded
    def failed(self, error: UpstreamError) -> None:
        if self._committed:
            self._break("timeout_error" if error.timeout else "api_error", error.message)
        else:
            self._attempt.failed_early(error.message, timeout=error.timeout)

    def can_ping(self) -> bool:
        """An event of our own could stand here without cutting one of the upstream's."""
        if not self._committed:
            return True
        if self._framing is not None and (not self._framing.at_chunk_boundary or self._pending):
            return False
        return self._tail.payload().endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))

    # Before the first content.

    def _look(self, data: bytes, ended: bool) -> None:
        self._held.append(data)
        self._size += len(data)
        payload = data if self._peek is None else b"".join(self._peek.payload(data))
        try:
            events = self._events.feed(payload)
        except ValueError:
            events = []
            self._size += HOLD
        for event in events:
            kind = kind_of(event)
            if kind == "message_start":
                self._start = event.data
            elif kind == "error":
                self._attempt.abandon()
                self._attempt.failed(failure_of(event, self._head))
                return
            elif has_content(event):
                self._commit(ended)
                return
        if self._size > HOLD:
            self._commit(ended)
        elif ended:
            self._attempt.failed_early("the upstream's answer ended before it had any content")

    def _commit(self, ended: bool) -> None:
        data = b"".join(self._held)
        self._held.clear()
        self._committed = True
        self._attempt.commit_stream(self._head.get(b"content-type"), self._head)
        # A stream may live for an hour.
        del self._head, self._events, self._peek
        if ended:
            self._end(data)
        else:
            self._pass(data)
            self.answer.record.take_usage(usage_of_message_start(self._start))
            self._start = b""

    # From the first content on.

    def _pass(self, data: bytes) -> None:
        framing = self._framing
        self._tail.add(data, framing)
        if framing is None:
            self._exchange.write(data)
            return
        if self._pending:
            data = self._pending + data
            self._pending = b""
        unsettled = framing.unsettled
        if unsettled:
            self._pending = data[-unsettled:]
            data = data[:-unsettled]
        if data:
            self._exchange.write_raw(data)

    def _end(self, data: bytes) -> None:
        """The upstream's body ended as HTTP has it. Whether the answer is complete, its last events say."""
        framing = self._framing
        self._tail.add(data, None if framing is None else framing)
        ending = Ending(self._tail.payload())
        record = self.answer.record
        if self._start:
            record.take_usage(usage_of_message_start(self._start))
        record.take_usage(ending.usage)
        last = b""
        if framing is None:
            self._exchange.write(data)
        else:
            data = self._pending + data
            self._pending = b""
            data, last = data[: -framing.unsettled], data[-framing.unsettled :]
            if data:
                self._exchange.write_raw(data)
        if ending.error is not None:
            self._attempt.broke(failure_of(ending.error, None))
            self._exchange.finish_and_close()
        elif ending.complete:
            self._attempt.done()
            if last:
                self._exchange.write_raw(last)
            self._exchange.finish(framed=bool(last))
        else:
            self._say_broken("api_error", "the upstream ended its answer early")

    def _break(self, type: str, message: str) -> None:
        """The upstream's body broke off."""
        ending = Ending(self._tail.payload())
        self._attempt.answer.record.take_usage(ending.usage)
        if ending.error is None:
            self._say_broken(type, message)
        else:
            self._attempt.broke(failure_of(ending.error, None))
            self._exchange.abort()

    def _say_broken(self, type: str, message: str) -> None:
        """One `event: error`, then the connection ends. An event that was cut is hidden, not completed: a
        client would run a tool call whose stop it saw."""
        answer = self._attempt.answer
        payload = self._tail.payload()
        text = error_event(type, message, answer.request_id)
        if not payload.endswith((b"\n\n", b"\r\n\r\n", b"\r\r")):
            line_end = b"" if payload.endswith(b"\n") else b"\n"
            text = b"".join((_rest_of_character(payload), line_end, HIDE_PARTIAL, text))
        self._attempt.broke(None, message)
        if self._framing is None:
            self._exchange.write(text)
        elif self._framing.chunk_left > MAX_PADDING:
            self._exchange.abort()
            return
        else:
            self._exchange.write_raw(_closing(self._framing, text))
        self._exchange.finish_and_close()


def _rest_of_character(payload: bytes) -> bytes:
    """What makes a character whole that was cut at the end of `payload`: clients that read lines as UTF-8 before
    they look at events would find nothing else, not even the error."""
    for have in (1, 2, 3):
        first = payload[-have] if have <= len(payload) else 0
        if first >= 0xC0:
            missing = (2 if first < 0xE0 else 3 if first < 0xF0 else 4) - have
            # Behind these two only the higher continuations are UTF-8.
            low = {0xE0: b"\xa0", 0xF0: b"\x90"}.get(first, b"\x80") if have == 1 else b"\x80"
            return (low + b"\x80\x80")[: max(0, missing)]
        if first < 0x80:
            break
    return b""


def _closing(framing: Framing, text: bytes) -> bytes:
    """`text` behind a body that stopped where `framing` stands: what is missing of the chunk that was cut
    is made of `text` and blank lines."""
    left = framing.chunk_left
    return text[:left].ljust(left, b"\n") + framing.chunk_end + chunk(text[left:])
