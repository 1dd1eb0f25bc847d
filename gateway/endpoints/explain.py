"""POST /status/explain: what the gateway would do with a Messages request, without sending it.

Body and head are those of a request to /v1/messages. `messages.messages` handles it, and `Attempt` prepares the
upstream's request; only the account's slot, its credential and the connection are left out. The state that other
requests depend on is not changed.
"""

import json
import re
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, cast

from gateway.config import KINDS, Secret, Upstream
from gateway.dialects.base import Cure, Outgoing
from gateway.endpoints.access import check_action
from gateway.endpoints.messages import messages
from gateway.http1.dial import Origin
from gateway.http1.pool import Pool
from gateway.messages.cures import CURES
from gateway.messages.errors import RequestError
from gateway.messages.json_documents import first_difference, write_document
from gateway.messages.repair import REPAIRS, apply
from gateway.messages.request import conversation_id, read_request, splice_model
from gateway.messages.token_estimate import estimate
from gateway.messages.warmup import is_warmup
from gateway.proxy.attempt import Attempt
from gateway.proxy.error_response import error_response
from gateway.proxy.forward import Forwarder
from gateway.proxy.request import ClientRequest
from gateway.proxy.response_headers import shown_account
from gateway.proxy.upstream import UpstreamClient
from gateway.routing.accounts import Target
from gateway.routing.choice import Ranked
from gateway.routing.credentials import Credential
from gateway.routing.lease import Lease
from gateway.routing.model_routes import ModelTable
from gateway.routing.policy import NEVER
from gateway.routing.retries import Choice, GiveUp, Retries
from gateway.routing.sent import Sent

Report = dict[str, Any]
"""JSON: the parts that are known; `refused` where the client would get an error."""

MASK = "***"

SECRET = re.compile(r"auth|cookie|key|password|secret|token", re.IGNORECASE)
"""Matches names of fields whose values are masked: the account's, and those that a configuration adds."""

SECRET_PARAMETER = re.compile(rf"([?&][^=&]*(?:code|sig|{SECRET.pattern})[^=&]*=)[^&]*", re.IGNORECASE)
"""The same for a query's parameters, where some hosts take keys by other names."""

SHOWN = 8
"""Characters shown of a conversation's id: enough to recognize it in a log."""

LONGEST = 200
"""Characters shown of a path, or of a cure's detail: a client chose the keys in them."""


def explain(request: ClientRequest) -> None:
    """Respond with the report. Raises RequestError for a request without the action header."""
    check_action(request.exchange.head)
    report: Report = {}
    try:
        messages(request, lambda *serving: DryRun(report, *serving), lambda _: _report_here(request, report))
    except RequestError as error:
        report.setdefault("refused", refusal_report(error.status, error.type, error.message))
    # The log line of this request lists no repairs, since none was sent.
    request.record.repairs = ()
    request.respond(200, write_document(report))


def refusal_report(status: int, type: str, message: str) -> Report:
    """Return the report's part about the error that the client would get."""
    return {"status": status, "type": type, "message": message}


def _report_here(request: ClientRequest, report: Report) -> None:
    """Report that a request gets its response without an upstream."""
    _report_request(request, report)
    document = request.parsed.document
    if not is_warmup(document):
        why = "a quota probe"
    elif len([one for one in document["messages"] if one.get("role") != "system"]) == 1:
        why = "its only message is a warm-up's prompt"
    else:
        why = "it began as a warm-up, and the calls of its last message failed with that"
    report["warmup"] = {"intercepted": True, "why": why}


def _report_request(request: ClientRequest, report: Report) -> None:
    parsed = request.parsed
    report["request"] = {
        "model": parsed.model,
        "stream": parsed.stream,
        "bytes": len(parsed.raw),
        "messages": len(parsed.document["messages"]),
    }


class _NoConnection:
    """Replaces a pool: knows the origin, and sends nothing."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin

    def send(self, attempt: Attempt) -> None:
        """Leave the request unsent."""


def _kind(attempt: Attempt, raw: bytes) -> str:
    """Return how the upstream's body relates to the client's."""
    if not attempt.upstream.dialect.relays:
        return "translated"
    if attempt.body == raw:
        return "same"
    spliced = splice_model(read_request(raw), attempt.lease.target.wire_model)
    return "spliced" if attempt.body == spliced else "rewritten"


class DryRun:
    """Follows one request up to the point where it would be sent."""

    def __init__(
        self, report: Report, request: ClientRequest, targets: Sequence[Target], conversation: str
    ) -> None:
        self._report = report
        self._request = request
        self._runtime = request.runtime
        self._targets = targets
        self._conversation = conversation
        self._now = request.exchange.loop.time()

    def start(self) -> None:
        """Report. Raises RequestError for what an upstream's dialect cannot encode."""
        request, report, runtime = self._request, self._report, self._runtime
        _report_request(request, report)
        unwanted = is_warmup(request.parsed.document)
        why = "it is one, but intercept.warmup is off" if unwanted else "it is no warm-up"
        report["warmup"] = {"intercepted": False, "why": why}
        ranked = runtime.scheduler.rank(self._targets, self._conversation, self._now, request.features)
        report["conversation"] = self._report_conversation(ranked)
        routes = dict.fromkeys((one.upstream, one.wire_model, one.priority) for one in self._targets)
        report["route"] = {
            "mapped": ModelTable(runtime.config.models).target(request.parsed.model),
            "targets": [
                dict(zip(("upstream", "wire_model", "priority"), one, strict=True)) for one in routes
            ],
        }
        chosen = self._choose()
        report["accounts"] = [self._report_account(one, one.target is chosen) for one in ranked]
        target = chosen or ranked[0].target
        document = request.parsed.document
        report["input_tokens"] = runtime.correction.apply(target.wire_model, estimate(document))
        self._prepare(target)

    def _choose(self) -> Target | None:
        """Return the account that would be used now; None if there is none, after reporting why."""
        runtime, request = self._runtime, self._request
        retries = Retries(
            runtime.scheduler,
            self._targets,
            self._conversation,
            runtime.config.retry,
            lambda: 0.0,
            Sent(request.parsed.document, request.headers),
        )
        step = retries.look(self._now)
        if isinstance(step, Choice):
            self._report["next"] = {"step": "ask", "alone": step.alone}
            return step.target
        if isinstance(step, GiveUp):
            upstream = runtime.upstreams.get(step.upstream)
            censor = str if upstream is None else upstream.censor
            error = error_response(
                step, runtime.config.server, request.request_id, relays=False, censor=censor
            )
            self._report["next"] = {"step": "give up"}
            self._report["refused"] = refusal_report(error.status, error.type, error.message)
        else:
            self._report["next"] = {"step": "wait", "seconds": round(step.seconds, 1)}
        return None

    def _report_conversation(self, ranked: Sequence[Ranked]) -> Report:
        entrance, document = self._request.entrance, self._request.parsed.document
        assert entrance is not None
        name = self._conversation.removeprefix(f"{entrance.key}/")
        if entrance.conversation == self._conversation:
            source = "x-claude-code-session-id"
        elif self._request.in_thread and name.startswith("thread:"):
            source, name = "thread.previous_message_id", name.removeprefix("thread:")
        elif conversation_id({**document, "metadata": None}) != conversation_id(document):
            source = "metadata.user_id"
        else:
            source = "how it begins: system and first user message"
        return {
            "id": name if len(name) <= SHOWN else f"{name[:SHOWN]}…",
            "key": entrance.key,
            "source": source,
            "home": next((self._place(one.target) for one in ranked if one.home), None),
        }

    def _report_account(self, one: Ranked, asked: bool) -> Report:
        opens_in = round(max(0.0, one.opens_at - self._now), 1) if 0.0 < one.opens_at < NEVER else 0.0
        place, wire_model = self._place(one.target), one.target.wire_model
        report = {**place, "wire_model": wire_model, "asked": asked, "reason": one.reason}
        return {**report, "opens_in": opens_in} if opens_in else report

    def _place(self, target: Target) -> dict[str, str]:
        account = shown_account(self._runtime.config.server, target.account)
        return {"upstream": target.upstream, "account": account}

    # What would be sent.

    def _prepare(self, target: Target) -> None:
        """Have an attempt prepare the request for a target, and report the result."""
        request, scheduler = self._request, self._runtime.scheduler
        there = self._runtime.upstreams[target.upstream]
        pool = cast(Pool, _NoConnection(there.pool.origin))
        upstream = UpstreamClient(there.upstream, pool, there.dialect, {})
        # It holds no slot, so it need not be released.
        lease = Lease(scheduler, target, self._conversation, False, self._now)
        lease.cures = scheduler.cures.known(target.upstream, target.wire_model, self._now)
        forwarder = Forwarder(request, self._targets, self._conversation)
        attempt = Attempt(forwarder, lease, upstream)
        raw = request.parsed.raw
        attempt.start(_masked_credential(there, target.account))
        request.parsed.recall()
        head = attempt.head.decode("latin-1").split("\r\n")[:-2]
        self._report["upstream_request"] = {
            **self._place(target),
            "wire_model": target.wire_model,
            "method": attempt.method,
            "url": _scheme_and_host(there.upstream)
            + SECRET_PARAMETER.sub(rf"\1{MASK}", attempt.outgoing.target),
            "head": [_mask_line(line) for line in head[1:]],
            "body": {
                "is": _kind(attempt, raw),
                "bytes": len(attempt.body),
                "sha256": sha256(attempt.body).hexdigest(),
            },
            **self._changes(attempt),
        }

    def _changes(self, attempt: Attempt) -> Report:
        """Return the repairs and cures that changed the request, each with the first place that it changed."""
        outgoing, upstream = attempt.outgoing, attempt.upstream.upstream
        document = self._request.parsed.exact()
        cures: list[Report] = []
        if attempt.upstream.dialect.relays:
            for name, detail in attempt.lease.cures:
                before = document
                if name in CURES:
                    document = CURES[name](before, detail)
                    at = first_difference(before, document)
                else:
                    at = self._head_difference(attempt)
                if at is not None:
                    cures.append(_change(name, at, detail))
        else:
            cures = self._translated_cures(attempt)
        repairs = []
        for name in outgoing.repairs:
            before, at = document, name
            if name in REPAIRS:
                document, _ = apply(before, {name}, own_mark=KINDS[upstream.kind].signature_mark)
                at = first_difference(before, document) or ""
            repairs.append(_change(name, at))
        return {"repairs": repairs, "cures": cures}

    def _head_difference(self, attempt: Attempt) -> str | None:
        """Return the first header field that a cure changed; None if there is none."""
        if attempt.outgoing.headers is None:
            return None
        usual = attempt.upstream.dialect.forwarded(self._request.headers)
        names = (field[0].decode() for field in usual if field not in attempt.outgoing.headers)
        return next((f"head: {name}" for name in names), None)

    def _translated_cures(self, attempt: Attempt) -> list[Report]:
        """Return the cures of a translated request that have an effect, found by encoding it without each of them."""
        cures, found = attempt.lease.cures, []
        before = self._encoded(attempt, ()) if cures else None
        for count, (name, detail) in enumerate(cures, 1):
            after = self._encoded(attempt, cures[:count])
            assert before is not None
            at = first_difference(json.loads(before.body), json.loads(after.body))
            if at is None and before.target != after.target:
                at = "target"
            found.append(_change(name, f"sent: {at}" if at is not None else "", detail))
            before = after
        return found

    def _encoded(self, attempt: Attempt, cures: tuple[Cure, ...]) -> Outgoing:
        upstream = attempt.upstream
        wire_model = attempt.lease.target.wire_model
        return upstream.dialect.encode(upstream.upstream, wire_model, self._request, stream=True, cures=cures)


def _change(name: str, at: str, detail: str = "") -> Report:
    """Return a report about one change: the first place that it touched, and its detail, if any."""
    report = {"name": name, "at": at, **({"detail": detail} if detail else {})}
    return {key: text if len(text) <= LONGEST else f"{text[:LONGEST]}…" for key, text in report.items()}


def _masked_credential(upstream: UpstreamClient, account: str) -> Credential:
    """Return a credential of an account's kind without its secret. No token is fetched."""
    known = upstream.credentials[account].known
    kind = "bearer" if known is None else known.kind
    return Credential(kind, Secret(MASK))


def _mask_line(line: str) -> str:
    """Return a header line with a value that may be secret masked."""
    name, colon, value = line.partition(": ")
    return f"{name}{colon}{MASK}" if SECRET.search(name) and MASK not in value else line


def _scheme_and_host(upstream: Upstream) -> str:
    scheme, _, rest = upstream.base_url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"
