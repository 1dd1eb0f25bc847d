"""ClientRequest: one client request from its head to its log line.

All responses of the gateway go through here: each gets its request id, errors get the protocol's form, and when the
exchange ends, in whatever way, the observers get one record, after the bytes are sent.
"""

import time
from collections.abc import Callable
from os import urandom
from os.path import basename
from typing import TYPE_CHECKING, Protocol

from gateway.dialects.base import Headers, Purpose
from gateway.http1.exchange import Exchange
from gateway.http1.heads import render_lines
from gateway.messages.errors import RequestError
from gateway.messages.protocol import MESSAGES
from gateway.messages.request import MessagesRequest
from gateway.proxy.cache_watch import LARGEST, CacheWatch
from gateway.proxy.content_encoding import decode_request
from gateway.proxy.response_headers import JSON
from gateway.routing.accounts import Target
from gateway.routing.sent import Sent
from gateway.telemetry.access_log import Record
from gateway.telemetry.metrics import LAST

if TYPE_CHECKING:
    from gateway.messages.prompt_prefix import Prefix
    from gateway.proxy.runtime import Runtime

Endpoint = Callable[["ClientRequest"], None]


def new_id(prefix: str) -> str:
    """Return an identifier as long as the API's own: a prefix and 24 digits. Unique enough for logs; not a secret."""
    return f"{prefix}{urandom(12).hex()}"


def place_of(error: BaseException) -> str:
    """Return an exception's type and where it was raised, without its text."""
    from traceback import extract_tb

    frames = [f"{basename(f.filename)}:{f.lineno} {f.name}" for f in extract_tb(error.__traceback__)]
    # Five frames name the function and its callers; more would be asyncio's.
    return f"{type(error).__name__} at {' < '.join(reversed(frames[-5:]))}"


class Entrance:
    """What follows from a request's head, under one configuration: its endpoint, its client, its conversation.

    Computed once for heads that differ only in Content-Length.
    """

    __slots__ = (
        "_session",
        "coding",
        "conversation",
        "cors",
        "endpoint",
        "forwarded",
        "health",
        "key",
        "model",
        "open",
        "path",
        "query",
        "runtime",
        "targets",
    )

    def __init__(
        self,
        runtime: "Runtime",
        endpoint: Endpoint,
        path: str,
        query: str,
        key: str,
        cors: bytes,
        session: str,
        coding: str,
        *,
        health: bool,
        open: bool = False,
    ) -> None:
        """`session`: the session named in the head, "" if there is none."""
        self.runtime = runtime
        self.endpoint = endpoint
        self.path = path
        self.query = query
        """The query of the target, without `?`; "" if there is none."""
        self.key = key
        """The name of the client's key, "" without one."""
        self.cors = cors
        """Header lines for all responses, by which an allowed foreign origin may read them."""
        self.health = health
        """Whether it is served even while the gateway drains."""
        self.open = open
        """Whether it needs no key."""
        self._session = session
        self.coding = coding
        """The content coding of the body, "" for none."""
        self.conversation = f"{key}/{session}" if session else ""
        """The conversation, if the head names a session: key's name and session."""
        self.forwarded: tuple[object, bytes] = (None, b"")
        """The dialect and the lines that it takes from this head for its upstreams."""
        self.model = ""
        self.targets: tuple[Target, ...] = ()
        """The targets for `model`, the last requested one."""

    def with_key(self, key: str) -> "Entrance":
        """Return the same entrance for a client with another key."""
        return Entrance(
            self.runtime,
            self.endpoint,
            self.path,
            self.query,
            key,
            self.cors,
            self._session,
            self.coding,
            health=self.health,
        )


LONGEST_ID = 128
"""Characters of a message's id that are used; the API's have 28."""

STOPPED = "the gateway was stopped; the next one that starts will serve this request"

CACHE, NOTHING_READ, NOTHING_WRITTEN = (
    b'"cache_',
    b'"cache_read_input_tokens":0',
    b'"cache_creation_input_tokens":0',
)
"""Marks of a cache in the beginning of a stream; the last two as the API writes that none was used."""

FORGOTTEN = MessagesRequest(b"", {}, "", stream=True, by_orjson=True)
"""Replaces a request that is not needed any more."""


class UsageSource(Protocol):
    """Where a response's token counts can be read after it was sent."""

    def record_usage(self, record: Record) -> None:
        """Read them into the record."""


class Worker(Protocol):
    """Something that serves a request."""

    def client_left(self) -> bool:
        """Stop. Return whether the client had received everything before it left."""

    def cancel(self) -> None:
        """Stop, after an exception in the gateway's own code, or a refusal."""

    def break_off(self, message: str) -> bool:
        """Stop, and end a response that has content with an error. Return False if there is none."""

    def flow(self, ready: bool) -> None:
        """Slow down (False), or continue."""


class ClientRequest:
    """The only way to respond to a client; the exchange's handler. Owns the request's log record."""

    __slots__ = (
        "body",
        "cors",
        "entrance",
        "exchange",
        "in_thread",
        "parsed",
        "prompt",
        "purpose",
        "query",
        "record",
        "request_id",
        "runtime",
        "usage_source",
        "worker",
    )

    parsed: MessagesRequest
    """The body, once it has been read."""

    def __init__(self, exchange: Exchange, runtime: "Runtime") -> None:
        self.exchange = exchange
        exchange.handler = self
        self.runtime = runtime
        """The configuration for this request, even if a reload changes it meanwhile."""
        self.request_id = new_id("req_")
        self.entrance: Entrance | None = None
        """What follows from its head, once that is known."""
        self.query = ""
        """The query of the target, without `?`."""
        self.cors = b""
        """Header lines for all responses, by which an allowed foreign origin may read them."""
        self.body = b""
        """The request's whole body, until it is parsed."""
        self.purpose: Purpose = "messages"
        self.in_thread = False
        """Whether it belongs to a message thread: the request after its response goes to the same account."""
        self.prompt: tuple[str, Prefix] | None = None
        """Its conversation and the hashes of its prompt, if its cache is watched and the request was dropped."""
        self.worker: Worker | None = None
        """Serves the request, once it is set."""
        self.usage_source: UsageSource | None = None
        """Has the response's usage when the record is written."""
        self.record = Record(time.time(), self.request_id)

    # The interface for dialects; see `dialects.base.Incoming`.

    def features(self) -> frozenset[str]:
        """Return the features that the request uses and that accounts may lack."""
        return Sent(self.parsed.document, self.headers).features()

    @property
    def headers(self) -> Headers:
        """The fields of the client's head."""
        return self.exchange.head.headers

    # The exchange calls these; see `http1.exchange.RequestHandler`.

    def request_received(self, body: bytes) -> None:
        """Call the endpoint."""
        self.record.bytes_in = len(body)
        entrance = self.entrance
        assert entrance is not None
        if entrance.coding:
            body = decode_request(entrance.coding, body, self.runtime.config.server.limits.max_body)
        self.body = body
        entrance.endpoint(self)

    def writable(self, ready: bool) -> None:
        """Pass back-pressure on to the worker."""
        if self.worker is not None:
            self.worker.flow(ready)

    def ended(self) -> None:
        """Complete the record; observers get it in the next turn of the loop, after the response's bytes are sent."""
        exchange, record, entrance = self.exchange, self.record, self.entrance
        worker, self.worker = self.worker, None
        gone = exchange.gone and not (worker is not None and worker.client_left())
        record.method = exchange.head.method
        if entrance is not None:
            record.path, record.key = entrance.path, entrance.key
        record.status = 499 if gone else exchange.status
        record.bytes_out = exchange.bytes_sent
        record.duration = exchange.loop.time() - exchange.received_at
        if not record.outcome:
            record.outcome = "canceled" if gone else "ok" if exchange.status < 400 else "refused"
        exchange.loop.call_soon(self._notify_observers)

    def crashed(self, error: Exception) -> None:
        """Respond to a refusal with its message, to any other exception with an internal error.

        An exception's text may contain a part of a body, so only its place is logged.
        """
        worker, self.worker = self.worker, None
        if worker is not None:
            worker.cancel()
        if isinstance(error, RequestError):
            self.refuse(error)
            return
        self.runtime.log.error(f"{self.request_id}: internal error: {place_of(error)}")
        exchange = self.exchange
        if exchange.ended:
            return
        self.record.outcome = "internal_error"
        if exchange.status:
            exchange.abort()
        else:
            self.fail(RequestError(500, "the gateway failed on this request; its log says where"))
        self.record.error = type(error).__name__

    def stop(self) -> None:
        """End the response as it is: the gateway stops and waits no longer."""
        try:
            if self.worker is None or not self.worker.break_off(STOPPED):
                self.crashed(
                    RequestError(503, STOPPED, type="overloaded_error", headers=[(b"retry-after", b"1")])
                )
        except Exception as error:
            self.crashed(error)
        self.record.outcome = "shutdown"

    def _notify_observers(self) -> None:
        record = self.record
        if self.usage_source is not None:
            self.usage_source.record_usage(record)
            self.usage_source = None
        runtime = self.runtime
        watch = runtime.cache_watch
        read = record.cache_read_tokens
        if (
            watch is not None
            and (read or record.cache_creation_tokens or (read == 0 and record.upstream in watch.watched))
            and self.purpose == "messages"
            and not self.in_thread
        ):
            self._judge_cache(watch)
        for observe in runtime.observers:
            observe(record)
        # No function call: one for each request would cost more than all the rest.
        metrics = runtime.metrics
        at = metrics.waiting
        metrics.records[at] = record
        metrics.waiting = at + 1
        if at == LAST:
            metrics.fold()
        if record.wire_model in runtime.estimated:
            runtime.learn(self.parsed, record)

    def _judge_cache(self, watch: CacheWatch) -> None:
        """Record what happened to the conversation's prompt cache."""
        prompt, self.prompt = self.prompt, None
        if prompt is None and self.parsed is not FORGOTTEN and self.record.bytes_in <= LARGEST:
            prompt = watch.prompt_of(self, self.parsed)
        watch.judge(self.record, prompt)

    def forget_body(self, beginning: bytes) -> None:
        """Drop the request: a stream may live for an hour, and only another attempt would need it. `beginning`: the
        first bytes of the response."""
        watch = self.runtime.cache_watch
        if (
            watch is not None
            and not self.in_thread
            and (
                self.record.upstream in watch.watched
                or (CACHE in beginning and not (NOTHING_READ in beginning and NOTHING_WRITTEN in beginning))
            )
        ):
            self.exchange.loop.call_soon(watch.follow, self, self.parsed, beginning)
        if self.record.wire_model not in self.runtime.estimated:
            self.parsed = FORGOTTEN

    def thread_conversation(self, message_id: str) -> str:
        """Return the conversation of the request that follows this response in a message thread."""
        assert self.entrance is not None
        return f"{self.entrance.key}/thread:{message_id[:LONGEST_ID]}"

    # Responding.

    def respond(self, status: int, body: bytes, lines: bytes = JSON) -> None:
        """Respond with a whole body made by the gateway."""
        id_line = b"request-id: %b\r\n" % self.request_id.encode()
        self.exchange.respond(status, body, lines + id_line + self.cors)

    def fail(self, error: RequestError) -> None:
        """Respond with an error made by the gateway, in the protocol's form."""
        record = self.record
        record.error = error.message
        body = MESSAGES.error_body(
            error.status, error.message, self.request_id, type=error.type, details=error.details
        )
        self.respond(error.status, body, JSON + render_lines(error.headers))

    def refuse(self, error: RequestError) -> None:
        """Send an error in whatever form is still possible."""
        exchange = self.exchange
        if not exchange.status:
            self.fail(error)
            return
        record = self.record
        record.outcome = record.outcome or "refused"
        record.error = error.message
        exchange.write(MESSAGES.error_event(error.type, error.message, self.request_id))
        exchange.finish_and_close()
