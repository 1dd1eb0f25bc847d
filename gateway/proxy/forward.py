"""Forwarder: takes a lease, makes an attempt, judges it, and repeats until a response is committed.

`routing` decides which account serves a request and what follows a failure. This module carries that out: it makes an
attempt, and a reader receives its response, which relays, collects or translates it. The reader commits once the
response has content; after that there is no retry.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial

from gateway.http1.upstream_request import UpstreamError
from gateway.messages.errors import RequestError
from gateway.messages.protocol import MESSAGES
from gateway.proxy import decisions
from gateway.proxy.attempt import Attempt
from gateway.proxy.error_response import error_response
from gateway.proxy.ping import PingTimer
from gateway.proxy.request import ClientRequest
from gateway.proxy.response_headers import EVENT_STREAM, STREAM_LINES
from gateway.routing.accounts import Target
from gateway.routing.cures import FindCure
from gateway.routing.failures import Failure, FailureKind
from gateway.routing.give_up import WORDS, FailedAttempt, give_up
from gateway.routing.meanings import meaning_of
from gateway.routing.policy import RULES, About
from gateway.routing.retries import GiveUp, Retries, Wait
from gateway.routing.scheduler import Lease
from gateway.routing.sent import Sent

UNCOUNTABLE_FOR = 600.0
"""Seconds for which an upstream that did not count tokens is not asked again; the estimate replaces it."""


class Forwarder:
    """Serves one request. Lives from `start` until the response has ended or the client has left."""

    __slots__ = (
        "_attempt",
        "_conversation",
        "_ping",
        "_retries",
        "_stop_waiting",
        "_targets",
        "_timer",
        "_uncountable",
        "request",
    )

    def __init__(
        self,
        request: ClientRequest,
        targets: Sequence[Target],
        conversation: str,
        uncountable: Callable[[], None] | None = None,
    ) -> None:
        """`uncountable` responds to a count_tokens request that its upstream cannot serve."""
        self.request = request
        self._targets = targets
        self._conversation = conversation
        self._uncountable = uncountable
        self._attempt: Attempt | None = None
        """The attempt in progress."""
        self._retries: Retries | None = None
        """Created for the first failure."""
        self._timer: asyncio.Handle | None = None
        self._stop_waiting: Callable[[], None] | None = None
        self._ping: PingTimer | None = None

    def start(self) -> None:
        """Start. Everything else follows by callbacks."""
        request = self.request
        request.worker = self
        request.record.conversation = self._conversation
        exchange, runtime = request.exchange, request.runtime
        lease = runtime.scheduler.lease(
            self._targets,
            self._conversation,
            exchange.loop.time(),
            request.features,
            probe=self._uncountable is None,
        )
        if lease is None and self._uncountable is not None:
            self.done()
            self._uncountable()
        elif lease is None:
            self._next()
        else:
            self._try(lease)
        if request.worker is not None and request.purpose == "messages" and request.parsed.stream:
            self._ping = PingTimer(exchange, runtime.config.stream.ping_after, self._send_ping)

    # The choice.

    def _try(self, lease: Lease) -> None:
        request, target = self.request, lease.target
        record = request.record
        record.upstream, record.account, record.wire_model = (
            target.upstream,
            target.account,
            target.wire_model,
        )
        record.attempts += 1
        if record.attempts > 1:
            request.parsed.recall()
        if request.runtime.debugging:
            self._log_choice(lease)
        attempt = self._attempt = Attempt(self, lease, request.runtime.upstreams[target.upstream])
        attempt.start()

    def _next(self) -> None:
        exchange, retries = self.request.exchange, self._later()
        step = retries.next(exchange.loop.time())
        if self.request.runtime.debugging and not isinstance(step, Lease):
            self._log(decisions.describe_step(step))
        if isinstance(step, Lease):
            self._try(step)
        elif isinstance(step, Wait):
            if step.for_slot:
                self._stop_waiting = self.request.runtime.scheduler.on_free(self._slot_is_free)
            self._timer = exchange.loop.call_later(step.seconds, self._wake)
        else:
            self._give_up(step)

    def _later(self) -> Retries:
        """Return the request's Retries; create them for the first failure."""
        if self._retries is None:
            request = self.request
            runtime = request.runtime
            request.parsed.recall()
            self._retries = Retries(
                runtime.scheduler,
                self._targets,
                self._conversation,
                runtime.config.retry,
                runtime.random,
                Sent(request.parsed.document, request.headers),
            )
        return self._retries

    def has_met(self, rule: str) -> bool:
        """Return whether a failure of this row of the table was among the attempts so far."""
        return self._retries is not None and self._retries.has_met(rule)

    def _wake(self) -> None:
        """Continue after a wait."""
        self._stop()
        try:
            self._next()
        except Exception as error:
            self.request.crashed(error)

    def _slot_is_free(self) -> None:
        """Continue in a turn of its own, since this is called in the middle of another request's end."""
        assert self._timer is not None
        self._timer.cancel()
        self._timer = self.request.exchange.loop.call_soon(self._wake)

    # Results of attempts.

    def attempt_failed(self, attempt: Attempt, failure: Failure) -> None:
        """Judge a failed attempt of which nothing was sent to the client, and continue."""
        upstream, request, target = attempt.upstream, self.request, attempt.lease.target
        now = request.exchange.loop.time()
        dialect, outgoing = upstream.dialect, attempt.outgoing
        find = partial(dialect.cure, failure, outgoing)
        failure = dialect.failure(failure, upstream.upstream, target.wire_model, outgoing)
        if attempt.credential is not None and failure.status == 401:
            upstream.refused(target.account, attempt.credential)
        if self._uncountable is not None:
            self._count_failed(attempt, failure, now, find)
            return
        retries = self._later()
        failed = retries.failed(attempt.lease, failure, now, time.time(), find)
        if request.runtime.debugging:
            self._log(decisions.describe_failure(failed))
        # The lease was released above; `done` must not do it again.
        self._attempt = attempt.reader = None
        self._next()

    def _count_failed(self, attempt: Attempt, failure: Failure, now: float, find: FindCure) -> None:
        """Respond to a count_tokens request without the upstream: failures there say nothing about its health. The
        client only gets an error if the request itself is wrong, and no cure exists."""
        upstream, request, target = attempt.upstream, self.request, attempt.lease.target
        attempt.lease.release()
        self.done()
        request.record.tried = (_format_tried(target.account, target.upstream, failure.status),)
        meaning = meaning_of(failure, time.time())
        about_it = (
            failure.kind is FailureKind.STATUS and failure.status == 400 and meaning.about is About.REQUEST
        )
        if about_it and upstream.dialect.relays:
            request.parsed.recall()
            if find(Sent(request.parsed.document, request.headers), (), frozenset()) is None:
                attempts = (FailedAttempt(target, failure, RULES["request"], failure.status),)
                self._respond(give_up((target,), attempts, now))
                return
        hint = meaning.hint if failure.status == 429 else None
        upstream.uncountable_until = now + (hint or UNCOUNTABLE_FOR)
        self._log(f"{upstream.upstream.name} did not count tokens: they are estimated")
        assert self._uncountable is not None
        self._uncountable()

    def broke(self, attempt: Attempt, failure: Failure | None, message: str) -> None:
        """Note that a committed response ended badly."""
        request = self.request
        request.record.outcome = "upstream_error"
        words = message if failure is None else failure.message
        request.record.error = attempt.upstream.shown(words[:WORDS])
        now = request.exchange.loop.time()
        request.runtime.scheduler.broke(attempt.lease, failure, now, time.time())
        self.done()

    def _give_up(self, stop: GiveUp) -> None:
        """Respond with the most useful failure."""
        self.done()
        self._respond(stop)

    def _respond(self, stop: GiveUp) -> None:
        request = self.request
        record, runtime = request.record, request.runtime
        upstream = runtime.upstreams.get(stop.upstream)
        error = error_response(
            stop,
            runtime.config.server,
            request.request_id,
            relays=upstream is not None and upstream.dialect.relays,
            censor=str if upstream is None else upstream.censor,
        )
        record.outcome = "upstream_error"
        lines = error.lines
        if record.attempts:
            record.upstream, record.account, record.wire_model = stop.upstream, stop.account, stop.wire_model
            who = stop.upstream, stop.account
            lines += next((t.lines for t in self._targets if (t.upstream, t.account) == who), b"")
        if record.attempts > 1:
            lines += b"x-gateway-attempts: %d\r\n" % record.attempts
        if request.exchange.status:
            request.refuse(RequestError(error.status, error.message, type=error.type))
        else:
            request.exchange.respond(error.status, error.body, lines + request.cors)
        record.error = error.message

    # Debug lines.

    def _log(self, line: str) -> None:
        self.request.runtime.log.debug(f"{self.request.request_id} {line}")

    def _log_choice(self, lease: Lease) -> None:
        """Log which account is used, and why the others are not."""
        request = self.request
        tried: tuple[tuple[str, str], ...] = ()
        now = request.exchange.loop.time()
        ranked = request.runtime.scheduler.rank(self._targets, self._conversation, now, request.features)
        if self._retries is not None:
            tried = tuple((one.account, one.upstream) for one in self._retries.tried)
        self._log(decisions.describe_choice(lease, request.record.attempts, ranked, tried))

    # The end.

    def done(self) -> None:
        """Release slot, timers and the client: nothing is in progress any more."""
        attempt, self._attempt = self._attempt, None
        if self._retries is not None:
            self.request.record.tried = tuple(
                _format_tried(one.account, one.upstream, one.status) for one in self._retries.tried
            )
        if attempt is not None:
            attempt.lease.release()
            # They refer to each other: otherwise only the garbage collector would free them.
            attempt.reader = None
            if attempt.stop_waiting is not None:
                attempt.stop_waiting()
        self.request.worker = None
        if self._timer is not None:
            self._stop()
        if self._ping is not None:
            self._ping.stop()
            self._ping = None

    def _stop(self) -> None:
        """End a wait."""
        assert self._timer is not None
        self._timer.cancel()
        self._timer = None
        if self._stop_waiting is not None:
            self._stop_waiting()
            self._stop_waiting = None

    def client_left(self) -> bool:
        """Stop. Return whether the client already had everything: then the upstream may end its response, so that its
        connection can be kept."""
        attempt = self._attempt
        if attempt is None or attempt.reader is None or not attempt.reader.is_complete():
            self.cancel()
            return False
        attempt.linger()
        self.done()
        return True

    def break_off(self, message: str) -> bool:
        """End a response that has content with an error; return False if there is none."""
        attempt = self._attempt
        if attempt is None or attempt.reader is None or self.request.record.first_byte is None:
            return False
        attempt.abandon()
        attempt.reader.failed(UpstreamError(message))
        return True

    def cancel(self) -> None:
        """Stop what is in progress, after an exception in the gateway's own code, or a refusal."""
        if self._attempt is not None:
            self._attempt.abandon()
        self.done()

    # Back-pressure.

    def flow(self, ready: bool) -> None:
        """Read from the upstream only as fast as the client reads."""
        if self._attempt is not None:
            self._attempt.flow(ready)

    def _send_ping(self) -> None:
        request, attempt = self.request, self._attempt
        exchange = request.exchange
        try:
            if not exchange.status:
                id_line = b"request-id: %b\r\n" % request.request_id.encode()
                exchange.start(200, EVENT_STREAM + STREAM_LINES + id_line + request.cors)
                exchange.write(MESSAGES.ping)
            elif attempt is None or attempt.reader is None or attempt.reader.can_ping():
                exchange.write(MESSAGES.ping)
        except Exception as error:
            request.crashed(error)


def _format_tried(account: str, upstream: str, status: int) -> str:
    """Return a failed attempt in the form for records; `status` is 0 if there was no response."""
    return f"{account}@{upstream}:{status or 'unreached'}"
