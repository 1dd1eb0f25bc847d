"""POST /v1/messages/count_tokens: asked of an upstream that can count, else estimated here.

`count_tokens` in the configuration chooses: "auto", "estimate", or "zero", the placeholder that some clients were
built against. The header X-Token-Count says which it was.
"""

from functools import partial

from gateway.endpoints.messages import conversation_of, incoming_of
from gateway.messages.request import MessagesRequest, read_request
from gateway.proxy.forward import Forwarder
from gateway.proxy.request import JSON, ClientRequest
from gateway.proxy.runtime import Runtime
from gateway.routing.model_routes import Candidate

ZERO = b'{"input_tokens":0,"output_tokens":0}'


def count_tokens(answer: ClientRequest, services: Runtime) -> None:
    """Raises RequestError for a request that cannot be counted at all."""
    request = read_request(answer.exchange.body)
    answer.record.model = request.model
    how = services.config.count_tokens
    if how == "zero":
        answer.respond(200, ZERO, (JSON, (b"x-token-count", b"zero")))
        return
    candidates = services.routes.resolve(request.model)
    now = answer.exchange.loop.time()
    able = tuple(c for c in candidates if services.links[c.upstream].uncountable_until <= now)
    by_estimate = partial(_estimate, answer, services, request, candidates[0])
    if how == "estimate" or not able:
        by_estimate()
        return
    conversation = conversation_of(answer, request)
    incoming = incoming_of(answer, request, "count_tokens")
    Forwarder(answer, services, incoming, able, conversation, by_estimate).start()


def _estimate(
    answer: ClientRequest, services: Runtime, request: MessagesRequest, candidate: Candidate
) -> None:
    count = services.count(candidate.wire_model, request)
    answer.record.outcome = "ok"
    answer.record.input_tokens = count
    answer.respond(200, b'{"input_tokens":%d}' % count, (JSON, (b"x-token-count", b"estimate")))
