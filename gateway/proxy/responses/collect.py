"""Collects a streamed response into one Message, for a client that did not ask for a stream."""

from gateway.dialects.base import Decoder, StreamFailure
from gateway.http1.heads import ResponseHead
from gateway.http1.upstream_request import UpstreamError
from gateway.messages.collect import Collector
from gateway.messages.errors import STATUS_OF_TYPE
from gateway.messages.json_documents import write_document
from gateway.messages.sse import EventDecoder
from gateway.messages.stream import StreamWriter
from gateway.proxy.response_headers import JSON
from gateway.proxy.responses import ResponseSink
from gateway.proxy.responses.buffered import respond_whole
from gateway.proxy.responses.translate import end_decoding
from gateway.routing.failures import Failure, FailureKind
from gateway.telemetry.access_log import Record
from gateway.telemetry.usage import usage_of_json_body


class Collection:
    """Collects the events of a stream, in the client's own protocol or translated."""

    __slots__ = ("_body", "_collector", "_decoder", "_events", "_head", "_sink", "_writer", "decode")

    def __init__(
        self,
        sink: ResponseSink,
        head: ResponseHead,
        decoder: Decoder,
        writer: StreamWriter,
    ) -> None:
        self.decode = True
        self._sink = sink
        self._head = head
        self._decoder = decoder
        self._writer = writer
        self._events = EventDecoder()
        self._collector = Collector()
        self._body = b""

    def body_received(self, raw: bytes, payload: bytes, ended: bool) -> None:
        """Collect bytes; respond at the message's end."""
        try:
            self._collect(payload, ended)
        except StreamFailure as failure:
            self._sink.abandon()
            self._sink.failed(failure.failure)
            return
        except ValueError as error:
            self._sink.abandon()
            self.failed(UpstreamError(f"the upstream's stream: {error}"))
            return
        if self._collector.error is not None:
            self._sink.abandon()
            self._sink.failed(self._error(*self._collector.error))
        elif ended or self._writer.finished:
            self._end("the upstream ended its response early")
            if not ended:
                self._sink.linger()

    def _collect(self, data: bytes, ended: bool) -> None:
        """Raise StreamFailure, or ValueError for an event that is too long."""
        self._decoder.feed(data)
        if ended:
            end_decoding(self._decoder, self._sink)
        events = self._events.feed(self._writer.take())
        if ended:
            events += self._events.end()
        for event in events:
            self._collector.feed(event)

    def _end(self, otherwise: str, *, timeout: bool = False) -> None:
        """Respond with the message; `otherwise` is the error if there is none."""
        message = self._collector.message
        if message is None:
            self._sink.ended_early(otherwise, timeout=timeout)
            return
        self._body = write_document(message)
        respond_whole(self._sink, self._head, JSON, self._body)
        self._sink.request.usage_source = self

    def _error(self, type: str, message: str) -> Failure:
        return Failure(
            kind=FailureKind.STREAM_ERROR,
            status=STATUS_OF_TYPE.get(type, 500),
            headers=tuple(self._head.headers),
            message=message,
            type=type,
        )

    def failed(self, error: UpstreamError) -> None:
        """Report that the body broke off, unless the response was complete."""
        if self._decoder.complete:
            try:
                self._collect(b"", ended=True)
            except StreamFailure as failure:
                self._sink.failed(failure.failure)
                return
            self._end(error.message, timeout=error.timeout)
        else:
            self._sink.ended_early(error.message, timeout=error.timeout)

    def can_ping(self) -> bool:
        """Return True: nothing of this response has been sent."""
        return True

    def is_complete(self) -> bool:
        """Return False: the response is sent with its last byte."""
        return False

    def record_usage(self, record: Record) -> None:
        """Read the message's token counts."""
        record.estimated = self._writer.estimated
        # Unknown counts are 0 in the body.
        record.take_usage(self._writer.usage if record.estimated else usage_of_json_body(self._body))
