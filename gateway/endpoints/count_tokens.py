"""POST /v1/messages/count_tokens: counted by an upstream that can, else estimated here.

`count_tokens` in the configuration chooses: "auto", "estimate", or "zero", a placeholder that some clients expect. The
header X-Token-Count says which it was.
"""

from functools import partial

from gateway.endpoints.messages import targets_of
from gateway.messages.request import read_request
from gateway.proxy.forward import Forwarder
from gateway.proxy.request import ClientRequest
from gateway.proxy.response_headers import JSON

ZERO = b'{"input_tokens":0,"output_tokens":0}'


def count_tokens(request: ClientRequest) -> None:
    """Respond with a count. Raises RequestError for a request that cannot be counted."""
    request.purpose = "count_tokens"
    parsed = request.parsed = read_request(request.body)
    request.body = b""
    request.record.model = parsed.model
    runtime = request.runtime
    how = runtime.config.count_tokens
    if how == "zero":
        request.respond(200, ZERO, JSON + b"x-token-count: zero\r\n")
        return
    targets = targets_of(request)
    now = request.exchange.loop.time()
    upstreams = runtime.upstreams
    able = tuple(
        t
        for t in targets
        if upstreams[t.upstream].dialect.counts and upstreams[t.upstream].uncountable_until <= now
    )
    by_estimate = partial(_estimate, request, targets[0].wire_model)
    if how == "estimate" or not able:
        by_estimate()
        return
    # No conversation: a count must not bind one to an account.
    Forwarder(request, able, "", by_estimate).start()


def _estimate(request: ClientRequest, wire_model: str) -> None:
    count = request.runtime.count(wire_model, request.parsed)
    request.record.outcome = "ok"
    request.record.input_tokens = count
    request.respond(200, b'{"input_tokens":%d}' % count, JSON + b"x-token-count: estimate\r\n")
