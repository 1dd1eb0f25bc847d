"""Attempt: one request to one upstream, from its credential to the response's last byte."""

import asyncio
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.dialects.base import Outgoing
from gateway.http1.client_connection import ClientConnection
from gateway.http1.heads import ResponseHead
from gateway.http1.upstream_request import ConnectError, UpstreamError
from gateway.proxy.content_encoding import UnreadableCoding, content_decoder
from gateway.proxy.response_headers import UpstreamHead, upstream_head
from gateway.proxy.responses import DecodingReader, Reader
from gateway.proxy.responses.buffered import ErrorReader, TokenCount
from gateway.proxy.responses.choose import choose_response
from gateway.proxy.upstream import UpstreamClient, forwarded_lines
from gateway.routing.credentials import Credential, RefreshError
from gateway.routing.failures import Failure, FailureKind
from gateway.routing.scheduler import Lease

if TYPE_CHECKING:
    from gateway.proxy.forward import Forwarder


LINGER = 1.0
"""Seconds for an upstream to end a body whose message is complete. The end usually comes at once, and then the
connection can be reused; some hosts keep the body open, and no client waits for them."""

_MESSAGE_ID = re.compile(rb'"id":\s*"(msg_[!#-\[\]-~]{1,200})"').search
"""A message's id, in the body of a response or in its first event."""


class Attempt:
    """Sends a client's request to a lease's account, and reports the result to the forwarder."""

    __slots__ = (
        "about",
        "body",
        "connection",
        "credential",
        "dialling",
        "first_byte_timeout",
        "forwarder",
        "head",
        "lease",
        "method",
        "outgoing",
        "reader",
        "request",
        "stop_waiting",
        "upstream",
    )

    outgoing: Outgoing
    about: UpstreamHead
    """The relevant parts of the response's head."""

    def __init__(self, forwarder: "Forwarder", lease: Lease, upstream: UpstreamClient) -> None:
        self.forwarder = forwarder
        self.request = forwarder.request
        self.lease = lease
        self.upstream = upstream
        self.credential: Credential | None = None
        self.reader: Reader | None = None
        """The receiver of the response's body, once its head has arrived."""
        self.method = "POST"
        self.head = b""
        self.body = b""
        self.first_byte_timeout = 0.0
        self.connection: ClientConnection | None = None
        self.dialling: asyncio.Task[None] | None = None
        self.stop_waiting: Callable[[], None] | None = None
        """Cancels the wait for a credential."""

    def start(self, credential: Credential | None = None) -> None:
        """Send the request, once there is a credential for it."""
        request, upstream, target = self.request, self.upstream, self.lease.target
        if credential is None:
            source = upstream.credentials[target.account]
            credential = source.current()
            if credential is None:
                self.stop_waiting = source.wait(self._credential_received)
                return
        self.credential = credential
        dialect = upstream.dialect
        stream = request.purpose == "messages" and (
            request.parsed.stream or upstream.upstream.stream_internally or not dialect.relays
        )
        outgoing = self.outgoing = dialect.encode(
            upstream.upstream, target.wire_model, request, stream=stream, cures=self.lease.cures
        )
        request.record.repairs = outgoing.repairs
        if self.lease.cures:
            cured = outgoing.cured
            names = [cure.name for cure in self.lease.cures] if cured is None else cured
            request.record.repairs += tuple(f"cure:{name}" for name in names)
        entrance = request.entrance
        assert entrance is not None
        if entrance.forwarded[0] is not dialect and outgoing.headers is None:
            entrance.forwarded = dialect, forwarded_lines(dialect, request.headers)
        fields = upstream.fields(target.account, credential)
        self.head = upstream.head(outgoing, fields, entrance.forwarded[1])
        self.body = outgoing.body
        self.method = outgoing.method
        limits = request.runtime.config.server.limits
        self.first_byte_timeout = limits.first_byte_timeout if stream else limits.first_byte_timeout_complete
        # Until the response begins, perhaps minutes later, the client's own bytes are enough.
        outgoing.body = b""
        request.parsed.forget()
        upstream.pool.send(self)

    def _credential_received(self, credential: Credential | RefreshError) -> None:
        self.stop_waiting = None
        try:
            if isinstance(credential, RefreshError):
                kind = FailureKind.REFRESH
                self.outgoing = Outgoing(target="")
                self.failed(Failure(kind=kind, status=credential.status, message=str(credential)))
            else:
                self.start(credential)
        except Exception as error:
            self.crashed(error)

    def flow(self, ready: bool) -> None:
        """Read from the upstream only as fast as the client reads."""
        if self.connection is not None:
            if ready:
                self.connection.resume()
            else:
                self.connection.pause()

    # The pool and the connection call these; see `http1.client_connection.UpstreamRequest`.

    def head_received(
        self, connection: ClientConnection, head: ResponseHead
    ) -> "Reader | DecodingReader | None":
        """Choose the receiver of the body."""
        template = head.template
        about = template.known if template is not None else None
        if not isinstance(about, UpstreamHead):
            about = upstream_head(head)
        self.about = about
        try:
            content = content_decoder(about.coding) if about.coding is not None else None
        except UnreadableCoding as error:
            self.failed(Failure(kind=FailureKind.STATUS, status=502, message=str(error)))
            return None
        decoded = DecodingReader(self, content) if content is not None else None
        if head.status >= 300:
            self.reader = ErrorReader(self, head)
        else:
            if self.lease.probes:
                self.lease.responded(self.request.exchange.loop.time())
            if self.request.purpose == "count_tokens":
                self.reader = TokenCount(self, head, self.upstream.dialect)
            else:
                self.reader = choose_response(self, head, connection, decoded)
        if decoded is None:
            return self.reader
        decoded.hand_over(self.reader)
        return decoded

    def failed(self, failure: Failure | UpstreamError) -> None:
        """Report an error before anything was sent to the client."""
        if isinstance(failure, UpstreamError):
            kind = FailureKind.CONNECT
            status = 502
            if failure.timeout and not isinstance(failure, ConnectError):
                status = 504
            elif not (
                isinstance(failure, ConnectError) or self.upstream.closes_on_others(self.request.request_id)
            ):
                # The upstream may close because of this request.
                kind = FailureKind.INCOMPLETE
            failure = Failure(kind=kind, status=status, message=failure.message)
        self.forwarder.attempt_failed(self, failure)

    @property
    def takes_empty(self) -> bool:
        """Whether to pass on a complete response without content: another attempt returned one, too."""
        return self.forwarder.has_met("empty")

    def crashed(self, error: Exception) -> None:
        """End the request after an exception in the gateway's own code, or a refusal."""
        self.request.crashed(error)

    # The reader calls these; see `responses.ResponseSink`.

    def abandon(self) -> None:
        """Close the upstream's connection: no more of the response is needed."""
        self.upstream.pool.cancel(self)

    def linger(self) -> None:
        """Let the upstream end a response whose message is complete."""
        assert self.connection is not None, "a response is read from a connection"
        self.connection.linger(self, LINGER)

    def ended_early(self, message: str, *, timeout: bool = False) -> None:
        """Report a 200 that ended before any content."""
        status = 504 if timeout else 502
        self.failed(Failure(kind=FailureKind.INCOMPLETE, status=status, message=message))

    def commit(self, head: ResponseHead, content_type_line: bytes, beginning: bytes) -> bytes:
        """Note that there is content; return the header lines for the client's response."""
        request, lease = self.request, self.lease
        record, exchange = request.record, request.exchange
        now = exchange.loop.time()
        if request.purpose == "messages":
            lease.succeeded(now)
        self.upstream.closed_on = ""
        record.error = ""
        if self.upstream.on_success is not None:
            self.upstream.on_success()
        record.first_byte = now - exchange.received_at
        if request.in_thread:
            self._remember(beginning, now)
        lines = self.about.lines(head.values, request.request_id) + lease.target.lines
        if record.attempts > 1:
            lines += b"x-gateway-attempts: %d\r\n" % record.attempts
        return lines + content_type_line + request.cors

    def _remember(self, beginning: bytes, now: float) -> None:
        """Have the next request of a message thread go to the same account."""
        found = _MESSAGE_ID(beginning)
        if found is not None:
            conversation = self.request.thread_conversation(found[1].decode())
            self.request.runtime.scheduler.conversations.bind(conversation, self.lease.target.state, now)

    def done(self) -> None:
        """Release everything: the response ended well."""
        self.forwarder.done()

    def broke(self, failure: Failure | None, message: str = "") -> None:
        """Release everything: the response ended badly after it was committed."""
        self.forwarder.broke(self, failure, message)
