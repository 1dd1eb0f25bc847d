"""GET /healthz and /readyz: whether the gateway is alive, and whether it could serve a request now."""

from collections.abc import Iterable
from math import ceil, isinf
from typing import Any

import orjson

from gateway.messages.errors import error_type
from gateway.proxy.request import ClientRequest
from gateway.proxy.response_headers import JSON, shown_account
from gateway.routing.cure_memory import Remembered

OK = b'{"status":"ok"}'
DRAINING = b'{"status":"draining"}'


def healthz(request: ClientRequest) -> None:
    """Respond 200 if the gateway is alive, 503 while it drains."""
    if request.runtime.draining:
        request.respond(503, DRAINING)
    else:
        request.respond(200, OK)


def readyz(request: ClientRequest) -> None:
    """Respond 200 if some account could serve a request now; else 503 with the reasons and the earliest time.

    Clients without a key, where keys are checked, learn nothing about accounts and cures.
    """
    runtime = request.runtime
    server = runtime.config.server
    now = request.exchange.loop.time()
    key = request.entrance.key if request.entrance is not None else ""
    trusted = bool(key) or runtime.config.auth.effective_mode(server.host) == "off"
    cures = _cures(runtime.scheduler.cures.remembered(now), now) if trusted else []
    learnt = {"cures": cures} if cures else {}
    accounts = runtime.scheduler.snapshot(now)
    if not runtime.draining and any(account.ready or account.alone_until <= now for account in accounts):
        request.respond(200, orjson.dumps({"status": "ready", **learnt}))
        return
    if runtime.draining:
        earliest, reason = None, "the gateway is shutting down"
    elif not accounts:
        earliest, reason = None, "no account is configured"
    else:
        earliest = min(account.alone_until for account in accounts)
        shut = "every account is cooling down"
        named = (
            f"{account.upstream}/{shown_account(server, account.account) or 'an account'}: {account.cause}"
            for account in accounts
        )
        reason = f"{shut}: {'; '.join(named)}" if trusted else shut
    seconds = None if earliest is None or isinf(earliest) else max(0.0, round(earliest - now, 1))
    lines = JSON
    if seconds is not None:
        lines += b"retry-after: %d\r\n" % ceil(seconds)
    request.record.error = reason
    error = {"type": error_type(503), "message": reason}
    request.respond(
        503,
        orjson.dumps(
            {
                "type": "error",
                "error": error,
                "request_id": request.request_id,
                "ready_in_seconds": seconds,
                **learnt,
            }
        ),
        lines,
    )


def _cures(remembered: Iterable[Remembered], now: float) -> list[dict[str, Any]]:
    """Return the cures that are applied from the start, each with the seconds until it is tried without; None for those
    of the configuration."""
    return [
        {
            "upstream": one.upstream,
            "model": one.wire_model or None,
            "cure": one.cure.name,
            "detail": one.cure.detail,
            "seconds": None if isinf(one.until) else round(one.until - now),
        }
        for one in remembered
    ]
