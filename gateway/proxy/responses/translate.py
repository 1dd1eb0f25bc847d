"""Translates an upstream's stream to the client's by a dialect's decoder, as it arrives."""

from gateway.dialects.base import Decoder, StreamFailure
from gateway.http1.heads import ResponseHead
from gateway.http1.upstream_request import UpstreamError
from gateway.messages.stream import StreamWriter
from gateway.proxy.response_headers import EVENT_STREAM, STREAM_LINES
from gateway.proxy.responses import ResponseSink
from gateway.routing.failures import Failure, FailureKind
from gateway.telemetry.access_log import Record


def end_decoding(decoder: Decoder, sink: ResponseSink) -> None:
    """End a response. Raise StreamFailure, except for an empty one if another attempt was empty, too."""
    try:
        decoder.end()
    except StreamFailure as failure:
        if failure.failure.kind is not FailureKind.EMPTY or not sink.takes_empty:
            raise
        decoder.end()


class Translation:
    """Writes a translated response to the client's stream. The response ends with the message."""

    __slots__ = (
        "_committed",
        "_decoder",
        "_exchange",
        "_head",
        "_held",
        "_sink",
        "_writer",
        "decode",
    )

    def __init__(
        self, sink: ResponseSink, head: ResponseHead, decoder: Decoder, writer: StreamWriter
    ) -> None:
        self.decode = True
        self._sink = sink
        self._exchange = sink.request.exchange
        self._head = head
        self._decoder = decoder
        self._writer = writer
        self._held: list[bytes] = []
        self._committed = False

    def body_received(self, raw: bytes, payload: bytes, ended: bool) -> None:
        """Translate bytes."""
        try:
            self._decoder.feed(payload)
            if ended:
                end_decoding(self._decoder, self._sink)
            self._pass()
        except StreamFailure as failure:
            self._sink.abandon()
            self._fail(failure)
            return
        if ended or self._writer.finished:
            self._end()
            if not ended:
                self._sink.linger()

    def _pass(self) -> None:
        data = self._writer.take()
        if self._committed:
            self._exchange.write(data)
            return
        self._held.append(data)
        if self._writer.has_content or self._writer.finished:
            self._committed = True
            request = self._sink.request
            lines = self._sink.commit(self._head, EVENT_STREAM, data)
            request.forget_body(b"")
            request.usage_source = self
            if not self._exchange.status:
                self._exchange.start(200, lines + STREAM_LINES)
            self._exchange.write(b"".join(self._held))
            self._held.clear()

    def _end(self) -> None:
        self._sink.done()
        self._exchange.finish()

    def failed(self, error: UpstreamError) -> None:
        """Report that the body broke off, unless the response was complete."""
        if self._decoder.complete:
            try:
                end_decoding(self._decoder, self._sink)
            except StreamFailure as failure:
                self._fail(failure)
                return
            self._pass()
            self._end()
        elif self._committed:
            self._break(None, "timeout_error" if error.timeout else "api_error", error.message)
        else:
            self._sink.ended_early(error.message, timeout=error.timeout)

    def _fail(self, failure: StreamFailure) -> None:
        """Report a failure, to the client if it has a part of the response."""
        if self._committed:
            self._break(failure.failure, failure.type, failure.message)
        else:
            self._sink.failed(failure.failure)

    def _break(self, failure: Failure | None, type: str, message: str) -> None:
        """Write what was translated so far and one `event: error`, then end the connection."""
        self._writer.error(type, message, self._sink.request.request_id)
        self._sink.broke(failure, message)
        self._exchange.write(self._writer.take())
        self._exchange.finish_and_close()

    def can_ping(self) -> bool:
        """Return True: only whole events are written."""
        return True

    def is_complete(self) -> bool:
        """Return whether the last event has been written."""
        return self._committed and self._writer.finished

    def record_usage(self, record: Record) -> None:
        """Set the token counts, as far as they are known."""
        record.take_usage(self._writer.usage)
        record.estimated = self._writer.estimated
