"""ClientRequest: one client request from admission to its log line.

Every answer that the gateway gives goes through here: it gets its request id, errors get the protocol's shape, and
when the exchange ends, however it does, one log line is written, after the bytes have left.
"""

import time
from collections.abc import Callable, Sequence
from functools import wraps
from os.path import basename
from random import getrandbits
from typing import Concatenate, ParamSpec, Protocol, Self, TypeVar

from gateway.http1.exchange import Exchange
from gateway.messages.errors import RequestError, error_body
from gateway.routing.failures import Failure
from gateway.telemetry.access_log import AccessLog, Record
from gateway.telemetry.usage import usage_of_json_body

Headers = Sequence[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")


def new_id(prefix: str) -> str:
    """An identifier of the length the API's own have: a prefix and 24 digits. Unguessable it is not."""
    return f"{prefix}{getrandbits(96):024x}"


def place_of(error: BaseException) -> str:
    """An exception's type and where it was raised, without its text."""
    from traceback import extract_tb

    frames = [f"{basename(f.filename)}:{f.lineno} {f.name}" for f in extract_tb(error.__traceback__)]
    return f"{type(error).__name__} at {' < '.join(reversed(frames[-5:]))}"


class ClientRequest:
    """The one way to answer a client. Owns the exchange's end and the request's log record."""

    __slots__ = ("_log", "body_for_usage", "cancel", "cors", "exchange", "on_logged", "record", "request_id")

    def __init__(self, exchange: Exchange, log: AccessLog) -> None:
        self.exchange = exchange
        self._log = log
        self.request_id = new_id("req_")
        self.cancel: Callable[[], None] | None = None
        """Called when the client has left before its answer was complete."""
        self.on_logged: Callable[[], None] | None = None
        """Called when everything is over and told: for work that can wait."""
        self.cors: Headers = ()
        """Added to every answer: an allowed foreign origin may read it."""
        self.body_for_usage = b""
        """A JSON answer, read for its usage when the log line is written."""
        self.record = Record(
            time=time.time(),
            request_id=self.request_id,
            method=exchange.head.method,
            path=exchange.head.target.partition("?")[0],
        )
        exchange.on_end = self._ended

    @classmethod
    def of(cls, exchange: Exchange, log: AccessLog) -> Self:
        """The answer that an exchange has, or else a new one."""
        owner = getattr(exchange.on_end, "__self__", None)
        return owner if isinstance(owner, cls) else cls(exchange, log)

    def respond(self, status: int, body: bytes, headers: Headers = (JSON,)) -> None:
        """A whole answer of the gateway's own making."""
        self.exchange.respond(status, [*headers, (b"request-id", self.request_id.encode()), *self.cors], body)

    def fail(self, error: RequestError) -> None:
        """An error of the gateway's own making, in the protocol's shape."""
        self.record.error = error.message
        self.respond(
            error.status,
            error_body(error.status, error.message, self.request_id, type=error.type, details=error.details),
            (JSON, *error.headers),
        )

    def crashed(self, error: Exception) -> None:
        """The gateway's own code failed: the request ends here, and whatever was under way for it.

        The error's text may hold a part of a body, so only its place is told.
        """
        self._log.error(f"{self.request_id}: internal error: {place_of(error)}")
        cancel, self.cancel = self.cancel, None
        if cancel is not None:
            cancel()
        exchange = self.exchange
        if exchange.ended:
            return
        self.record.outcome = "internal_error"
        if exchange.started:
            exchange.abort()
        else:
            self.fail(RequestError(500, "the gateway failed on this request; its log says where"))
        self.record.error = type(error).__name__

    def note(self, failure: Failure, censored: Callable[[str], str] = str) -> None:
        """What an upstream did, for the log line, in words that may be shown."""
        self.record.error = censored(
            failure.message or f"{failure.kind.value} {failure.status or ''}".strip()
        )

    def _ended(self) -> None:
        exchange = self.exchange
        cancel, self.cancel = self.cancel, None
        if exchange.gone and cancel is not None:
            cancel()
        record = self.record
        record.status = 499 if exchange.gone else exchange.status
        record.bytes_in = record.bytes_in or len(exchange.body)
        record.bytes_out = exchange.bytes_sent
        record.duration = exchange.loop.time() - exchange.received_at
        if not record.outcome:
            record.outcome = "canceled" if exchange.gone else "ok" if exchange.status < 400 else "refused"
        # The answer's bytes leave at the end of this turn of the loop; the line can wait for the next.
        exchange.loop.call_soon(self._write_line)

    def _write_line(self) -> None:
        if self.body_for_usage:
            self.record.take_usage(usage_of_json_body(self.body_for_usage))
        self._log.log(self.record)
        on_logged, self.on_logged = self.on_logged, None
        if on_logged is not None:
            on_logged()


class Answering(Protocol):
    """What works on an answer."""

    answer: ClientRequest


A = TypeVar("A", bound=Answering)
P = ParamSpec("P")
T = TypeVar("T")


def guarded(method: Callable[Concatenate[A, P], T]) -> Callable[Concatenate[A, P], T | None]:
    """For what connections and timers call: where the gateway's own code fails, the request ends, instead of
    hanging for ever."""

    @wraps(method)
    def run(self: A, /, *args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            self.answer.crashed(error)
            return None

    return run
