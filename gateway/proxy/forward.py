"""The attempt loop: choose, send, judge, again; it ends with one committed answer.

`dispatch.plan` decides who serves a request and what follows a failure. Here that is carried out: the request is
encoded and sent, the answer's head is looked at, and a reader takes over that relays, collects or translates. The
reader commits when the answer has content; from then on there is no retry.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from gateway.dialects.base import Incoming, Outgoing
from gateway.http1.client_connection import ClientConnection, UpstreamError
from gateway.http1.heads import ResponseHead, render_lines
from gateway.http1.pool import Call
from gateway.messages.errors import RequestError, error_event
from gateway.messages.stream import PING
from gateway.proxy.content_encoding import UnreadableCoding, content_decoder
from gateway.proxy.error_response import error_response
from gateway.proxy.ping import PingTimer
from gateway.proxy.request import ClientRequest, guarded
from gateway.proxy.response_headers import (
    EVENT_STREAM,
    STREAM_HEADERS,
    STREAM_LINES,
    content_type_line,
    kept_lines,
    way_lines,
)
from gateway.proxy.responses.buffered import MAX_ERROR, BufferedResponse, refuse_whole
from gateway.proxy.responses.choose import choose_response
from gateway.proxy.responses.reader import Reader
from gateway.proxy.runtime import Runtime
from gateway.proxy.token_refresh import TokenRefresher
from gateway.proxy.upstream import UpstreamClient
from gateway.routing.credentials import Credential, RefreshError
from gateway.routing.failures import Failure, FailureKind
from gateway.routing.model_routes import Candidate
from gateway.routing.retries import GiveUp, Plan, Try, Wait

CANNOT_COUNT = frozenset({404, 405, 501})
"""What an upstream says that has no count_tokens."""

UNCOUNTABLE_FOR = 600.0
"""Seconds before an upstream that cannot count tokens is asked again: as long as a 404 cools a model down."""


class Forwarder:
    """Gets one request answered. Lives from `start` until the answer has ended or the client has left."""

    __slots__ = (
        "_call",
        "_connection",
        "_credential",
        "_keepalive",
        "_link",
        "_outgoing",
        "_plan",
        "_reader",
        "_services",
        "_stop_waiting",
        "_timer",
        "_try",
        "_uncountable",
        "answer",
        "incoming",
    )

    _link: UpstreamClient
    _try: Try
    _outgoing: Outgoing

    def __init__(
        self,
        answer: ClientRequest,
        services: Runtime,
        incoming: Incoming,
        candidates: tuple[Candidate, ...],
        conversation: str,
        uncountable: Callable[[], None] | None = None,
    ) -> None:
        """`uncountable` answers a count_tokens request that its upstream cannot serve."""
        self.answer = answer
        self.incoming = incoming
        self._services = services
        self._uncountable = uncountable
        self._connection: ClientConnection | None = None
        self._reader: Reader | None = None
        self._call: Call | None = None
        self._credential: Credential | None = None
        self._timer: asyncio.Handle | None = None
        self._stop_waiting: Callable[[], None] | None = None
        self._keepalive: PingTimer | None = None
        self._plan = Plan(
            services.scheduler, candidates, conversation, services.config.retry, services.random
        )

    def start(self) -> None:
        """Begin. Everything else happens by itself."""
        self.answer.cancel = self._cancel
        self.answer.on_logged = partial(self._services.learn, self.incoming.request, self.answer.record)
        exchange = self.answer.exchange
        exchange.on_flow = self._flow
        self._next()
        if self._streaming and self.answer.cancel is not None:
            self._keepalive = PingTimer(exchange, self._services.config.stream.ping_after, self._ping)

    @property
    def _streaming(self) -> bool:
        """The client asked for a stream."""
        return self.incoming.purpose == "messages" and self.incoming.request.stream

    @property
    def _now(self) -> float:
        return self.answer.exchange.loop.time()

    # Choosing and sending.

    @guarded
    def _next(self) -> None:
        self._timer = None
        if self._stop_waiting is not None:
            self._stop_waiting()
            self._stop_waiting = None
        step = self._plan.next(self._now)
        if isinstance(step, Try):
            self._send(step)
        elif isinstance(step, Wait):
            if step.for_slot:
                self._stop_waiting = self._services.scheduler.on_free(self._slot_is_free)
            self._timer = self.answer.exchange.loop.call_later(step.seconds, self._next)
        else:
            self._give_up(step)

    def _slot_is_free(self) -> None:
        """Called in the middle of another request's end, so that this one goes on in a turn of its own."""
        assert self._timer is not None
        self._timer.cancel()
        self._timer = self.answer.exchange.loop.call_soon(self._next)

    def _send(self, step: Try) -> None:
        self._try = step
        record = self.answer.record
        record.upstream, record.account, record.wire_model = step.upstream, step.account, step.wire_model
        record.attempts = self._plan.attempts
        link = self._link = self._services.links[step.upstream]
        keeper = link.credentials[step.account]
        if isinstance(keeper, TokenRefresher):
            if step.refresh and self._credential is not None:
                keeper.refused(self._credential)
            credential = keeper.current()
            if credential is None:
                self._stop_waiting = keeper.wait(self._send_with)
                return
        else:
            credential = keeper
        self._send_with(credential)

    @guarded
    def _send_with(self, credential: Credential | RefreshError) -> None:
        self._stop_waiting = None
        if isinstance(credential, RefreshError):
            self.failed(Failure(kind=FailureKind.STATUS, status=credential.status, message=str(credential)))
            return
        self._credential = credential
        services, link, step, incoming = self._services, self._link, self._try, self.incoming
        stream = incoming.purpose == "messages" and (
            incoming.request.stream or link.upstream.stream_internally or not link.dialect.relays
        )
        if step.without_thinking or stream != incoming.stream:
            incoming = replace(incoming, stream=stream, without_thinking=step.without_thinking)
        try:
            outgoing = link.dialect.encode(link.upstream, credential, step.wire_model, incoming)
        except RequestError as error:
            self.done()
            self._say(error)
            return
        self._outgoing, self.answer.record.repairs = outgoing, outgoing.repairs
        limits = services.config.server.limits
        self._call = services.pool.send(
            link.origin,
            outgoing.method,
            link.head(outgoing),
            outgoing.body,
            self,
            limits.first_byte_timeout if stream else limits.first_byte_timeout_complete,
        )
        # Until the answer begins, perhaps minutes, the client's own bytes are enough.
        outgoing.body = b""
        incoming.request.forget()

    # The upstream's answer: its head comes here, its body goes to a reader.

    @guarded
    def head_received(self, connection: ClientConnection, head: ResponseHead) -> Reader | None:
        self._connection = connection
        if head.status < 300:
            self._plan.answered(self._now)
        try:
            content = content_decoder(head.get(b"content-encoding"))
        except UnreadableCoding as error:
            self.failed(Failure(kind=FailureKind.STATUS, status=502, message=str(error)))
            return None
        if head.status >= 300:
            refused = partial(refuse_whole, self, head)
            # Even an error whose body breaks off is judged by its status.
            self._reader = BufferedResponse(self, content, MAX_ERROR, refused, partial(refused, b""))
        elif self.incoming.purpose == "count_tokens":
            self._reader = BufferedResponse(self, content, MAX_ERROR, partial(self._counted, head))
        else:
            limit = self._services.config.server.limits.max_body
            self._reader = choose_response(
                self, connection, head, content, self._link.dialect, self._outgoing, limit
            )
        return self._reader

    def _counted(self, head: ResponseHead, body: bytes) -> None:
        """The upstream counted tokens."""
        dialect = self._link.dialect
        count = dialect.count(body)
        if count is None:
            self.failed_early("the upstream's answer holds no token count")
            return
        if not dialect.relays:
            body = b'{"input_tokens":%d}' % count
        self.answer.record.input_tokens = count
        self.commit_whole(body, b"application/json", head, (b"x-token-count", b"upstream"))

    # What a reader tells, and a connection that failed.

    def abandon(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    @guarded
    def failed(self, failure: Failure | UpstreamError) -> None:
        if isinstance(failure, UpstreamError):
            failure = Failure(
                kind=FailureKind.CONNECT, status=504 if failure.timeout else 502, message=failure.message
            )
        self._call = self._connection = self._reader = None
        link = self._link
        if (
            self._uncountable is not None
            and failure.kind is FailureKind.STATUS
            and failure.status in CANNOT_COUNT
        ):
            link.uncountable_until = self._now + UNCOUNTABLE_FOR
            self.done()
            self._uncountable()
            return
        failure = link.dialect.failure(failure)
        self.answer.note(failure, link.censored)
        self._plan.failed(self._now, time.time(), failure)
        self._next()

    def failed_early(self, message: str, *, timeout: bool = False) -> None:
        self.failed(Failure(kind=FailureKind.INCOMPLETE, status=504 if timeout else 502, message=message))

    def commit_stream(self, content_type: bytes | None, head: ResponseHead) -> None:
        self._committed()
        exchange = self.answer.exchange
        self._forget_request()
        if not exchange.started:
            exchange.start(200, (), rendered=self._lines(head, content_type or EVENT_STREAM) + STREAM_LINES)

    def commit_whole(
        self,
        body: bytes,
        content_type: bytes | None,
        head: ResponseHead,
        *extra: tuple[bytes, bytes],
    ) -> None:
        self._committed()
        self.done()
        answer = self.answer
        if answer.exchange.started:
            # A client that asked for a stream, got pings, and now an upstream's whole answer.
            answer.record.outcome = "upstream_error"
            self._say(RequestError(502, "the upstream answered a streaming request without a stream"))
            return
        answer.body_for_usage = body if self.incoming.purpose == "messages" else b""
        answer.exchange.respond(200, extra, body, self._lines(head, content_type or b"application/json"))

    def broke(self, failure: Failure | None, message: str = "") -> None:
        record = self.answer.record
        record.outcome = "upstream_error"
        record.error = self._link.censored(failure.message if failure is not None else message)
        self._plan.broke(self._now, time.time(), failure)
        self.done()

    def _committed(self) -> None:
        now = self._now
        self._plan.succeeded(now)
        record = self.answer.record
        record.attempts = self._plan.attempts
        record.first_byte = now - self.answer.exchange.received_at

    def _forget_request(self) -> None:
        """A stream may live for an hour; what only another attempt would need goes now."""
        del self.incoming, self._outgoing
        answer = self.answer
        answer.record.bytes_in, answer.exchange.body = len(answer.exchange.body), b""
        if self._try.wire_model not in self._services.estimated:
            answer.on_logged = None

    def _lines(self, head: ResponseHead, content_type: bytes) -> bytes:
        """Header lines of a committed answer."""
        answer = self.answer
        kept = kept_lines(head, answer.request_id)
        cors = render_lines(answer.cors) if answer.cors else b""
        return b"".join((kept, self._way(self._try), content_type_line(content_type), cors))

    def _way(self, step: Try | GiveUp) -> bytes:
        expose = self._services.config.server.expose
        return way_lines(expose, step.account, step.wire_model, self._plan.attempts)

    # Endings.

    def _give_up(self, stop: GiveUp) -> None:
        self.done()
        services, answer = self._services, self.answer
        link = services.links.get(stop.upstream)
        final = error_response(
            stop, services.config.server, answer.request_id, relays=link is not None and link.dialect.relays
        )
        record = answer.record
        record.outcome = "upstream_error"
        way = b""
        if self._plan.attempts:
            record.upstream, record.account, record.wire_model = stop.upstream, stop.account, stop.wire_model
            way = self._way(stop)
        if answer.exchange.started:
            self._say(RequestError(final.status, final.message, type=final.type))
        else:
            answer.exchange.respond(final.status, [*final.headers, *answer.cors], final.body, way)
        record.error = final.message if link is None else link.censored(final.message)

    def _say(self, error: RequestError) -> None:
        """An error, in whichever way the client can still be told."""
        exchange = self.answer.exchange
        if exchange.started:
            record = self.answer.record
            record.outcome = record.outcome or "refused"
            record.error = error.message
            exchange.write(error_event(error.type, error.message, self.answer.request_id))
            exchange.finish_and_close()
        else:
            self.answer.fail(error)

    def done(self) -> None:
        """Nothing is under way any more: slot, timers and the client's hold on this are let go."""
        self._plan.done(self._now)
        self._call = self._connection = self._reader = None
        self.answer.cancel = None
        self.answer.exchange.on_flow = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._stop_waiting is not None:
            self._stop_waiting()
            self._stop_waiting = None
        if self._keepalive is not None:
            self._keepalive.stop()
            self._keepalive = None

    def _cancel(self) -> None:
        """The client left."""
        self.abandon()
        self.done()

    # The client's pace.

    def _flow(self, flowing: bool) -> None:
        connection = self._connection
        if connection is None:
            return
        if flowing:
            connection.resume()
        else:
            connection.pause()

    def _ping(self) -> None:
        exchange = self.answer.exchange
        if not exchange.started:
            exchange.start(
                200,
                [
                    (b"content-type", EVENT_STREAM),
                    *STREAM_HEADERS,
                    (b"request-id", self.answer.request_id.encode()),
                    *self.answer.cors,
                ],
            )
            exchange.write(PING)
        elif self._reader is None or self._reader.can_ping():
            exchange.write(PING)
