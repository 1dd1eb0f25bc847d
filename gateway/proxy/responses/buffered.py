"""Responses that are read completely before anything is sent: JSON bodies, errors, token counts.

The client gets nothing before the last byte has arrived, so after any failure another attempt is possible.
"""

from gateway.dialects.base import Dialect
from gateway.http1.heads import ResponseHead
from gateway.http1.upstream_request import BodyReceiver, UpstreamError
from gateway.messages.collect import Collector
from gateway.messages.json_documents import read_document, write_document
from gateway.messages.json_values import as_dict, json_in
from gateway.messages.replay import message_events
from gateway.messages.sse import EventDecoder
from gateway.proxy.response_headers import EVENT_STREAM, JSON, STREAM_LINES
from gateway.proxy.responses import ResponseSink
from gateway.proxy.responses.events import failure_of, is_event_stream, kind_of
from gateway.routing.failures import Failure, FailureKind, failure_in
from gateway.telemetry.access_log import Record
from gateway.telemetry.usage import usage_of_json_body

MAX_ERROR = 1024 * 1024
"""Bytes of an error's body that are kept; real ones have less than one KiB."""


class Buffer:
    """Collects a body of at most `limit` bytes."""

    __slots__ = ("_limit", "_pieces", "_size")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, payload: bytes, ended: bool) -> bytes | None:
        """Return the body once it is complete. Raise UpstreamError if it is too large."""
        self._size += len(payload)
        if self._size > self._limit:
            raise UpstreamError(f"the upstream's response is larger than {self._limit} bytes")
        if ended and not self._pieces:
            return payload
        self._pieces.append(payload)
        return b"".join(self._pieces) if ended else None


def gathered(
    reader: BodyReceiver, sink: ResponseSink, buffer: Buffer, payload: bytes, ended: bool
) -> bytes | None:
    """Add a part of a body; return the body once it is complete.

    If it is too large, stop reading and fail the reader.
    """
    try:
        return buffer.add(payload, ended)
    except UpstreamError as error:
        sink.abandon()
        reader.failed(error)
        return None


class BufferedResponse:
    """A whole response in the client's own protocol, passed on unchanged, whatever its content type says.

    An event stream in it is collected; other bodies that are no message are failures. If only the close of the
    connection ends the body, half a response looks like a whole one: then it must be complete JSON.
    """

    __slots__ = ("_body", "_buffer", "_head", "_limit", "_sink", "decode")

    def __init__(self, sink: ResponseSink, head: ResponseHead, limit: int) -> None:
        self.decode = True
        self._sink = sink
        self._head = head
        self._limit = limit
        self._buffer: Buffer | None = None
        """Created for a body that comes in more than one read."""
        self._body = b""

    def body_received(self, raw: bytes, payload: bytes, ended: bool) -> None:
        """Add bytes; respond with the last."""
        body = payload
        if not ended or self._buffer is not None or len(payload) > self._limit:
            self._buffer = self._buffer or Buffer(self._limit)
            whole = gathered(self, self._sink, self._buffer, payload, ended)
            if whole is None:
                return
            body = whole
        sink = self._sink
        line = sink.about.content_type_line or JSON
        # Bytes of nearly every message, and of no error; but half a message may have them, too.
        framed = self._head.content_length is not None or self._head.chunked
        if not framed or b'"type":"message"' not in body or b'"content":[{' not in body:
            judged = self._judge(body)
            if judged is None:
                return
            line, body = (line, body) if judged is body else (JSON, judged)
        self._body = body
        respond_whole(sink, self._head, line, body)
        sink.request.usage_source = self

    def _judge(self, body: bytes) -> bytes | None:
        """Return the message in a body; None if there is none, after reporting that."""
        sink, head = self._sink, self._head
        if is_event_stream(body):
            return self._collect(body)
        if not body:
            sink.ended_early("the upstream's response is empty")
            return None
        if head.content_length is None and not head.chunked and not _is_json(body):
            sink.ended_early("the upstream closed the connection inside its response")
            return None
        failure = failure_in(body)
        if failure is None and is_empty_message(body) and not sink.takes_empty:
            failure = Failure(kind=FailureKind.EMPTY, status=502, message="the upstream's message is empty")
        if failure is not None:
            sink.failed(failure._replace(headers=tuple(head.headers)))
            return None
        return body

    def _collect(self, body: bytes) -> bytes | None:
        """Return the message of an event stream."""
        collector, decoder = Collector(), EventDecoder()
        try:
            for event in (*decoder.feed(body), *decoder.end()):
                if kind_of(event) == "error":
                    self._sink.failed(failure_of(event, self._head))
                    return None
                collector.feed(event)
        except ValueError as error:
            self._sink.ended_early(f"the upstream's stream: {error}")
            return None
        if collector.message is None:
            self._sink.ended_early("the upstream ended its response early")
            return None
        return write_document(collector.message)

    def failed(self, error: UpstreamError) -> None:
        """Report that the body broke off."""
        self._sink.ended_early(error.message, timeout=error.timeout)

    def can_ping(self) -> bool:
        """Return True: nothing of this response has been sent."""
        return True

    def is_complete(self) -> bool:
        """Return False: the response is sent with its last byte."""
        return False

    def record_usage(self, record: Record) -> None:
        """Read the body's token counts."""
        record.take_usage(usage_of_json_body(self._body))


class TokenCount:
    """An upstream's count of a request's tokens."""

    __slots__ = ("_buffer", "_dialect", "_head", "_sink", "decode")

    def __init__(self, sink: ResponseSink, head: ResponseHead, dialect: Dialect) -> None:
        self.decode = True
        self._sink = sink
        self._head = head
        self._dialect = dialect
        self._buffer = Buffer(MAX_ERROR)

    def body_received(self, raw: bytes, payload: bytes, ended: bool) -> None:
        """Add bytes; respond with the last."""
        body = gathered(self, self._sink, self._buffer, payload, ended)
        if body is None:
            return
        count = self._dialect.count(body)
        if count is None:
            self._sink.ended_early("the upstream's response holds no token count")
            return
        if not self._dialect.relays:
            body = b'{"input_tokens":%d}' % count
        self._sink.request.record.input_tokens = count
        respond_whole(self._sink, self._head, JSON, body, b"x-token-count: upstream\r\n")

    def failed(self, error: UpstreamError) -> None:
        """Report that the body broke off."""
        self._sink.ended_early(error.message, timeout=error.timeout)

    def can_ping(self) -> bool:
        """Return True: nothing of this response has been sent."""
        return True

    def is_complete(self) -> bool:
        """Return False: the response is sent with its last byte."""
        return False


class ErrorReader:
    """A response with an error status, or a redirect, since none is followed.

    An error whose body breaks off is judged by its status.
    """

    __slots__ = ("_buffer", "_head", "_sink", "decode")

    def __init__(self, sink: ResponseSink, head: ResponseHead) -> None:
        self.decode = True
        self._sink = sink
        self._head = head
        self._buffer = Buffer(MAX_ERROR)

    def body_received(self, raw: bytes, payload: bytes, ended: bool) -> None:
        """Add bytes; report the failure with the last."""
        body = gathered(self, self._sink, self._buffer, payload, ended)
        if body is not None:
            self._refuse(body)

    def failed(self, error: UpstreamError) -> None:
        """Report the failure by its status alone: the body broke off."""
        self._refuse(b"")

    def can_ping(self) -> bool:
        """Return True: nothing of this response has been sent."""
        return True

    def is_complete(self) -> bool:
        """Return False: the response is sent with its last byte."""
        return False

    def _refuse(self, body: bytes) -> None:
        head = self._head
        redirects = head.status < 400
        message = f"the upstream redirects ({head.status}), which is not followed: correct its base_url"
        self._sink.failed(
            Failure(
                kind=FailureKind.STATUS,
                status=502 if redirects else head.status,
                headers=tuple(head.headers),
                body=b"" if redirects else body,
                message=message if redirects else "",
            )
        )


def respond_whole(
    sink: ResponseSink, head: ResponseHead, content_type_line: bytes, body: bytes, more: bytes = b""
) -> None:
    """Respond with a whole body, or with its events to a client that asked for a stream. `more`: header lines in
    addition to those of `head` and the routing."""
    request = sink.request
    if request.purpose == "messages" and request.parsed.stream:
        _respond_events(sink, head, body)
        return
    lines = sink.commit(head, content_type_line, body)
    sink.done()
    request.exchange.respond(200, body, lines + more)


def _respond_events(sink: ResponseSink, head: ResponseHead, body: bytes) -> None:
    """Write a whole message as the events of a stream, also after pings."""
    exchange = sink.request.exchange
    lines = sink.commit(head, EVENT_STREAM, body)
    events = message_events(read_document(body))
    sink.done()
    if not exchange.status:
        exchange.start(200, lines + STREAM_LINES)
    exchange.write(events)
    exchange.finish()


def is_empty_message(body: bytes) -> bool:
    """Return whether a message has no content and no output tokens."""
    message = as_dict(json_in(body))
    cost = as_dict(message.get("usage")).get("output_tokens")
    return "content" in message and not message["content"] and cost == 0


def _is_json(body: bytes) -> bool:
    try:
        read_document(body)
    except ValueError:
        return False
    return True
