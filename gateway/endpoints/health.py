"""GET /healthz and /readyz: is the gateway alive, and could it serve a request now."""

from math import ceil

import orjson

from gateway.messages.errors import error_type
from gateway.proxy.request import JSON, ClientRequest
from gateway.proxy.response_headers import shown_account
from gateway.proxy.runtime import Runtime

OK = b'{"status":"ok"}'
DRAINING = b'{"status":"draining"}'
READY = b'{"status":"ready"}'


def healthz(answer: ClientRequest, services: Runtime) -> None:
    """Alive, or about to stop."""
    if services.draining:
        answer.respond(503, DRAINING)
    else:
        answer.respond(200, OK)


def readyz(answer: ClientRequest, services: Runtime) -> None:
    """Some account could serve a request now; else why not, and when at the earliest."""
    now = answer.exchange.loop.time()
    server = services.config.server
    ready, earliest, reason = services.scheduler.ready(
        now, lambda account: shown_account(server, account) or "an account"
    )
    if services.draining:
        ready, earliest, reason = False, None, "the gateway is shutting down"
    if ready:
        answer.respond(200, READY)
        return
    seconds = None if earliest is None else max(0.0, round(earliest - now, 1))
    headers = [JSON]
    if seconds is not None:
        headers.append((b"retry-after", b"%d" % ceil(seconds)))
    answer.record.error = reason
    error = {"type": error_type(503), "message": reason}
    answer.respond(
        503,
        orjson.dumps(
            {
                "type": "error",
                "error": error,
                "request_id": answer.request_id,
                "ready_in_seconds": seconds,
            }
        ),
        headers,
    )
