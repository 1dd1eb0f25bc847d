"""Upstream bytes through a dialect's decoder to client bytes: streamed on, or collected into one Message.

A relayed stream that is collected for a client without streaming goes the same way, with no decoder before the
events.
"""

from gateway.dialects.base import Decoder, StreamFailure
from gateway.http1.client_connection import UpstreamError
from gateway.http1.heads import ResponseHead
from gateway.messages.collect import Collector
from gateway.messages.errors import STATUS_OF_TYPE
from gateway.messages.json_documents import write_document
from gateway.messages.sse import EventDecoder
from gateway.messages.stream import StreamWriter
from gateway.proxy.content_encoding import ContentDecoder, UnreadableCoding
from gateway.proxy.request import guarded
from gateway.proxy.response_headers import EVENT_STREAM
from gateway.proxy.responses.reader import ResponseSink
from gateway.routing.failures import Failure, FailureKind
from gateway.telemetry.usage import usage_of

JSON = b"application/json"


class Translation:
    """Writes a translated answer to the client's stream as it comes."""

    __slots__ = (
        "_attempt",
        "_committed",
        "_content",
        "_decoder",
        "_head",
        "_held",
        "_writer",
        "answer",
        "decode",
    )

    def __init__(
        self,
        attempt: ResponseSink,
        head: ResponseHead,
        content: ContentDecoder | None,
        decoder: Decoder,
        writer: StreamWriter,
    ) -> None:
        self.decode = True
        self.answer = attempt.answer
        self._attempt = attempt
        self._head = head
        self._content = content
        self._decoder = decoder
        self._writer = writer
        self._held: list[bytes] = []
        self._committed = False

    def body_received(self, data: bytes, ended: bool) -> None:
        try:
            data = self._content.feed(data) if self._content is not None else data
            self._decoder.feed(data)
            if ended:
                if self._content is not None:
                    self._content.end()
                self._decoder.end()
            self._pass()
            if ended:
                self._end()
        except StreamFailure as failure:
            self._attempt.abandon()
            self._fail(failure)
        except UnreadableCoding as error:
            self._attempt.abandon()
            self.failed(UpstreamError("body", str(error)))
        except Exception as error:
            self.answer.crashed(error)

    def _end(self) -> None:
        self._attempt.answer.record.take_usage(usage_of(self._writer.usage))
        self._attempt.done()
        self._attempt.answer.exchange.finish()

    def _pass(self) -> None:
        data = self._writer.take()
        if self._committed:
            self.answer.exchange.write(data)
            return
        self._held.append(data)
        if self._writer.has_content or self._writer.finished:
            self._committed = True
            self._attempt.commit_stream(EVENT_STREAM, self._head)
            del self._head
            self._attempt.answer.exchange.write(b"".join(self._held))
            self._held.clear()

    def _fail(self, failure: StreamFailure) -> None:
        if self._committed:
            self._say_broken(failure.failure, failure.type, failure.message)
        else:
            self._attempt.failed(failure.failure)

    @guarded
    def failed(self, error: UpstreamError) -> None:
        if self._decoder.complete:
            # What broke off is the body, not the answer.
            self._decoder.end()
            self._pass()
            self._end()
        elif self._committed:
            self._say_broken(None, "timeout_error" if error.timeout else "api_error", error.message)
        else:
            self._attempt.failed_early(error.message, timeout=error.timeout)

    def _say_broken(self, failure: Failure | None, type: str, message: str) -> None:
        """What was translated so far, one `event: error`, then the connection ends."""
        answer = self._attempt.answer
        answer.record.take_usage(usage_of(self._writer.usage))
        self._writer.error(type, message, answer.request_id)
        self._attempt.broke(failure, message)
        answer.exchange.write(self._writer.take())
        answer.exchange.finish_and_close()

    def can_ping(self) -> bool:
        return True


class Collection:
    """Collects a streamed answer into one Message for a client that did not ask for a stream."""

    __slots__ = (
        "_attempt",
        "_collector",
        "_content",
        "_decoder",
        "_events",
        "_head",
        "_writer",
        "answer",
        "decode",
    )

    def __init__(
        self,
        attempt: ResponseSink,
        head: ResponseHead,
        content: ContentDecoder | None,
        decoder: Decoder | None,
        writer: StreamWriter | None,
    ) -> None:
        """Without `decoder` and `writer` the upstream's own events are collected."""
        self.decode = True
        self.answer = attempt.answer
        self._attempt = attempt
        self._head = head
        self._content = content
        self._decoder = decoder
        self._writer = writer
        self._events = EventDecoder()
        self._collector = Collector()

    @guarded
    def body_received(self, data: bytes, ended: bool) -> None:
        try:
            if self._content is not None:
                data = self._content.feed(data)
                if ended:
                    self._content.end()
            self._collect(data, ended)
        except StreamFailure as failure:
            self._attempt.abandon()
            self._attempt.failed(failure.failure)
            return
        except UnreadableCoding as error:
            self._attempt.abandon()
            self.failed(UpstreamError("body", str(error)))
            return
        if self._collector.error is not None:
            self._attempt.abandon()
            self._attempt.failed(self._error(*self._collector.error))
        elif ended:
            self._end("the upstream ended its answer early")

    def _end(self, otherwise: str, *, timeout: bool = False) -> None:
        """The message goes to the client; `otherwise` tells why there is none."""
        message = self._collector.message
        if message is None:
            self._attempt.failed_early(otherwise, timeout=timeout)
        else:
            self._attempt.commit_whole(write_document(message), JSON, self._head)

    def _collect(self, data: bytes, ended: bool) -> None:
        if self._decoder is not None and self._writer is not None:
            self._decoder.feed(data)
            if ended:
                self._decoder.end()
            data = self._writer.take()
        try:
            events = self._events.feed(data)
            if ended:
                events += self._events.end()
        except ValueError as error:
            raise UnreadableCoding(f"the upstream's stream: {error}") from None
        for event in events:
            self._collector.feed(event)

    def _error(self, type: str, message: str) -> Failure:
        return Failure(
            kind=FailureKind.STREAM_ERROR,
            status=STATUS_OF_TYPE.get(type, 500),
            headers=tuple(self._head.headers),
            message=message,
            type=type,
        )

    @guarded
    def failed(self, error: UpstreamError) -> None:
        if self._decoder is not None and self._decoder.complete:
            # What broke off is the body, not the answer.
            self._collect(b"", ended=True)
            self._end(error.message, timeout=error.timeout)
        else:
            self._attempt.failed_early(error.message, timeout=error.timeout)

    def can_ping(self) -> bool:
        return True
