"""Relays a streamed response in the client's own protocol, byte for byte.

`Holding` keeps what comes before the first content, so that a failure up to there can go to another account. Then
`Relaying` takes over: each read of the upstream's socket is one write to the client's, in the same call. Usage is read
from the first bytes and from a short tail, kept by reference, after the response was sent. No byte is changed or
delayed, except for the last few of a chunked body: they wait until the response is known to be complete.
"""

import re

from gateway.http1.framing import Framing, chunk
from gateway.http1.heads import ResponseHead
from gateway.http1.upstream_request import UpstreamError
from gateway.messages.protocol import MESSAGES
from gateway.messages.sse import EventDecoder
from gateway.proxy.response_headers import EVENT_STREAM, STREAM_LINES
from gateway.proxy.responses import ResponseSink, Source
from gateway.proxy.responses.buffered import BufferedResponse
from gateway.proxy.responses.events import (
    Ending,
    failure_of,
    has_content,
    is_event_stream,
    kind_of,
    may_become_event_stream,
    take_usage_of_stream,
)
from gateway.routing.failures import Failure, FailureKind
from gateway.telemetry.access_log import Record

HOLD = 64 * 1024
"""Maximum bytes held while waiting for the first content event; beyond it they are passed on without any."""

TAIL = 8 * 1024
"""Bytes at the end of a stream that are searched for its last events; those take about 500."""

MAX_PADDING = 1024 * 1024
"""Bytes, at most, that fill up a broken chunk to its announced size, so that an error can follow."""

HIDE_PARTIAL = b"event: ping\n\n"
"""Turns an unfinished event into one that clients skip: a later `event:` line overrides the earlier."""

_STOPS = re.compile(
    rb'\nevent: message_stop\ndata: \{"type": ?"message_stop" ?\}\n\n(?:\r\n0\r\n\r\n)?\Z'
).search
"""Matches the usual end of a complete stream: its last event, and the last chunk."""

_OPENS = re.compile(
    rb"(?:event: (?:message_start|ping)\ndata: [^\n]*\n\n"
    rb'|event: content_block_start\ndata: [^\n]*"content_block": ?\{"type": ?"(?:text|thinking)", ?'
    rb'"(?:text|thinking)": ?""(?:, ?"signature": ?"")?\}[^\n]*\n\n)*'
).fullmatch
"""Matches whole events without content, in the usual form, at the beginning of a stream."""

_DELTA = re.compile(rb"^event: content_block_delta\ndata: [^\n]*\n\n", re.MULTILINE).search
"""Matches a whole event with content, in the usual form."""


class Holding:
    """Reads a stream up to its first content."""

    __slots__ = (
        "_events",
        "_framing",
        "_head",
        "_held",
        "_is_known",
        "_payload",
        "_sink",
        "_size",
        "_source",
        "decode",
    )

    def __init__(
        self, sink: ResponseSink, head: ResponseHead, framing: Framing | None, source: Source
    ) -> None:
        """`framing`: the connection's, if its chunks may pass unchanged; None: they are framed again."""
        self.decode = True
        self._sink = sink
        self._head = head
        self._framing = framing
        self._source = source
        self._events: EventDecoder | None = None
        self._held: list[bytes] = []
        """The bytes for the client."""
        self._payload: list[bytes] = []
        self._is_known = False
        """Whether enough bytes have arrived to know that it is a stream."""
        self._size = 0

    def body_received(self, raw: bytes, payload: bytes, ended: bool) -> None:
        """Look for content in the next bytes."""
        self._held.append(payload if self._framing is None else raw)
        self._payload.append(payload)
        if payload[:6] != b"event:" and not self._is_stream():
            self._take_whole(raw, ended)
            return
        self._size += len(raw)
        if self._has_content(payload):
            self._commit(ended)
        elif not self._held:
            return
        elif self._size > HOLD:
            self._commit(ended)
        elif ended:
            self._sink.ended_early("the upstream's response ended before it had any content")

    def _is_stream(self) -> bool:
        """Return whether the response is or may become a stream: by its bytes, or else by its content type."""
        if self._is_known:
            return True
        # At most so many pieces as bytes are examined: more would be joined again with every read.
        beginning = b"".join(self._payload[:64])
        if not is_event_stream(beginning):
            if may_become_event_stream(beginning):
                return True
            labelled = self._sink.about.content_type.lower().startswith(b"text/event-stream")
            if not labelled or beginning.lstrip().startswith(b"{"):
                return False
        self._is_known = True
        return True

    def _take_whole(self, raw: bytes, ended: bool) -> None:
        """Read a response that is no stream to its end."""
        limit = self._sink.request.runtime.config.server.limits.max_body
        whole = self._sink.reader = BufferedResponse(self._sink, self._head, limit)
        if not ended:
            self._source.hand_over(whole)
        whole.body_received(raw, b"".join(self._payload), ended)

    def _has_content(self, payload: bytes) -> bool:
        """Examine the bytes directly if they have the usual form, else decode them; report an error among them."""
        if self._events is None:
            if _OPENS(payload) is not None:
                return False
            if _DELTA(payload) is not None and b"error" not in payload:
                return True
            self._events = EventDecoder()
            payload = b"".join(self._payload)
        try:
            events = self._events.feed(payload)
        except ValueError:
            return True
        for event in events:
            kind = kind_of(event)
            if kind == "error":
                self._fail(failure_of(event, self._head))
                return False
            if kind == "message_stop" and not self._sink.takes_empty:
                self._fail(
                    Failure(kind=FailureKind.EMPTY, status=502, message="the upstream's message is empty")
                )
                return False
            if has_content(event):
                return True
        return False

    def _fail(self, failure: Failure) -> None:
        self._held.clear()
        self._sink.abandon()
        self._sink.failed(failure)

    def _content_type(self) -> bytes:
        """Return the content type of the client's stream: the upstream's, if it is an event stream's."""
        about = self._sink.about
        return (
            about.content_type_line if about.content_type.startswith(b"text/event-stream") else EVENT_STREAM
        )

    def _commit(self, ended: bool) -> None:
        sink, request = self._sink, self._sink.request
        beginning = b"".join(self._payload)
        lines = sink.commit(self._head, self._content_type(), beginning)
        request.forget_body(beginning)
        relaying = Relaying(sink, self._framing, beginning)
        request.usage_source = sink.reader = relaying
        if not ended:
            self._source.hand_over(relaying)
        if not request.exchange.status:
            request.exchange.start(200, lines + STREAM_LINES)
        held = b"".join(self._held)
        relaying.body_received(held, held, ended)

    def failed(self, error: UpstreamError) -> None:
        """Report that the body broke off."""
        self._sink.ended_early(error.message, timeout=error.timeout)

    def can_ping(self) -> bool:
        """Return True: nothing of this response has been sent."""
        return True

    def is_complete(self) -> bool:
        """Return False: nothing has been sent."""
        return False


class Relaying:
    """Writes the rest of a stream to the client as it arrives."""

    __slots__ = (
        "_before",
        "_exchange",
        "_first",
        "_framing",
        "_last",
        "_older",
        "_pending",
        "_sink",
        "_size",
        "decode",
    )

    def __init__(self, sink: ResponseSink, framing: Framing | None, first: bytes) -> None:
        """`first`: the payload up to the first content, which also comes as the first bytes."""
        self.decode = framing is None
        self._sink = sink
        self._exchange = sink.request.exchange
        self._framing = framing
        self._first = first
        self._pending = b""
        """Bytes held back: an incomplete chunk size, or the body's last chunk."""
        self._older: tuple[Framing | None, list[bytes]] | None = None
        self._before = framing.copy() if framing is not None and not framing.ended else None
        """The framing's state before `_last`."""
        self._last: list[bytes] = []
        """The last reads; `_older` has those before them: together at least TAIL bytes, kept by reference."""
        self._size = -1

    def body_received(self, raw: bytes, payload: bytes, ended: bool) -> None:
        """Pass bytes on."""
        framing = self._framing
        data = payload if framing is None else raw
        if self._size < 0:
            # The first bytes are also in `first`, so they do not count.
            self._size = 0
        else:
            self._last.append(data)
            self._size += len(data)
            if self._size > TAIL:
                self._older = self._before, self._last
                self._before = framing.copy() if framing is not None else None
                self._last = []
                self._size = 0
        if ended:
            self._end(data)
        elif framing is None:
            self._exchange.write(data)
        else:
            if self._pending:
                data = self._pending + data
                self._pending = b""
            unsettled = framing.unsettled
            if unsettled:
                self._pending = data[-unsettled:]
                data = data[:-unsettled]
            if data:
                self._exchange.write_raw(data)

    def _tail(self) -> bytes:
        """Return the payload of the last bytes: at least TAIL of them, or all."""
        if self._older is None:
            return self._first + _payload(self._before, self._last) if self._last else self._first
        framing, reads = self._older
        return _payload(framing, [*reads, *self._last])

    def record_usage(self, record: Record) -> None:
        """Read the token counts, as far as there are any."""
        take_usage_of_stream(record, self._first, self._tail())

    def _end(self, data: bytes) -> None:
        """End the response like the upstream's body. Its last events say whether it is complete."""
        framing, exchange = self._framing, self._exchange
        complete, error = self._is_plainly_complete(data), None
        if not complete:
            ending = Ending(self._tail())
            complete, error = ending.complete, ending.error
        data = self._pending + data
        self._pending = b""
        if error is None and complete:
            self._sink.done()
            if framing is None:
                exchange.write(data)
            else:
                exchange.write_raw(data)
            exchange.finish(framed=framing is not None)
            return
        if framing is None:
            exchange.write(data)
        elif len(data) > framing.unsettled:
            # Without the last chunk, so that an error can follow.
            exchange.write_raw(data[: -framing.unsettled])
        if error is None:
            self._send_error("api_error", "the upstream ended its response early")
        else:
            self._sink.broke(failure_of(error, None))
            exchange.finish_and_close()

    def _is_plainly_complete(self, data: bytes) -> bool:
        """Return True if the bytes alone show a complete stream without an error."""
        # The pattern matches at most 96 bytes.
        if _STOPS(data[-96:]) is None:
            return False
        before = self._older[1] if self._older is not None else (self._first,)
        return b"event: error" not in b"".join((*before, *self._last))

    def failed(self, error: UpstreamError) -> None:
        """Tell the client that the upstream's body broke off."""
        ending = Ending(self._tail())
        if ending.error is None:
            self._send_error("timeout_error" if error.timeout else "api_error", error.message)
        else:
            self._sink.broke(failure_of(ending.error, None))
            self._exchange.abort()

    def can_ping(self) -> bool:
        """Return whether an event can be inserted here without splitting one of the upstream's."""
        if self._framing is not None and (not self._framing.at_chunk_boundary or self._pending):
            return False
        return self._tail().endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))

    def is_complete(self) -> bool:
        """Return whether the last event was passed on."""
        return not self._pending and Ending(self._tail()).complete

    def _send_error(self, type: str, message: str) -> None:
        """Write one `event: error`, then end the connection. A cut event is hidden, not completed: clients run a tool
        call whose stop they receive."""
        sink, exchange = self._sink, self._exchange
        payload = self._tail()
        text = MESSAGES.error_event(type, message, sink.request.request_id)
        if not payload.endswith((b"\n\n", b"\r\n\r\n", b"\r\r")):
            line_end = b"" if payload.endswith(b"\n") else b"\n"
            text = b"".join((_rest_of_character(payload), line_end, HIDE_PARTIAL, text))
        sink.broke(None, message)
        if self._framing is None:
            exchange.write(text)
        elif self._framing.chunk_left > MAX_PADDING:
            exchange.abort()
            return
        else:
            exchange.write_raw(_frame_ending(self._framing, text))
        exchange.finish_and_close()


def _payload(framing: Framing | None, reads: list[bytes]) -> bytes:
    """Return the payload of reads. `framing`: its state before them."""
    data = b"".join(reads)
    return data if framing is None else b"".join(framing.copy().payload(data))


def _rest_of_character(payload: bytes) -> bytes:
    """Return bytes that complete a character cut at the end of `payload`.

    Clients that decode lines as UTF-8 before they parse events would otherwise fail, and not see the error.
    """
    for have in (1, 2, 3):
        first = payload[-have] if have <= len(payload) else 0
        if first >= 0xC0:
            missing = (2 if first < 0xE0 else 3 if first < 0xF0 else 4) - have
            # After these first bytes UTF-8 allows only higher continuation bytes.
            low = {0xE0: b"\xa0", 0xF0: b"\x90"}.get(first, b"\x80") if have == 1 else b"\x80"
            return (low + b"\x80\x80")[: max(0, missing)]
        if first < 0x80:
            break
    return b""


def _frame_ending(framing: Framing, text: bytes) -> bytes:
    """Return `text` framed for a body that stopped at `framing`'s state.

    What is missing of a cut chunk is filled with `text` and blank lines.
    """
    left = framing.chunk_left
    return text[:left].ljust(left, b"\n") + framing.chunk_end + chunk(text[left:])
