"""POST /v1/messages: the main line.

Reads the request, answers warm-ups itself, finds who serves the model, and hands over to delivery.
"""

from gateway.dialects.base import Incoming
from gateway.messages import warmup
from gateway.messages.request import SESSION_FIELD, MessagesRequest, conversation_id, read_request
from gateway.proxy.forward import Forwarder
from gateway.proxy.request import JSON, ClientRequest, new_id
from gateway.proxy.response_headers import EVENT_STREAM, STREAM_HEADERS
from gateway.proxy.runtime import Runtime


def messages(answer: ClientRequest, services: Runtime) -> None:
    """Raises RequestError for a request that cannot be served at all."""
    exchange = answer.exchange
    request = read_request(exchange.body)
    answer.record.model = request.model
    intercept = services.config.intercept
    if (intercept.warmup and warmup.is_warmup(request.document)) or (
        intercept.quota_probe and warmup.is_quota_probe(request.document)
    ):
        _answer_here(answer, request)
        return
    candidates = services.routes.resolve(request.model)
    incoming = incoming_of(answer, request, "messages")
    Forwarder(answer, services, incoming, candidates, conversation_of(answer, request)).start()


def conversation_of(answer: ClientRequest, request: MessagesRequest) -> str:
    """Whose conversation a request belongs to, and which."""
    session = answer.exchange.head.get(SESSION_FIELD) or b""
    return f"{answer.record.key}/{conversation_id(request.document, session)}"


def incoming_of(answer: ClientRequest, request: MessagesRequest, purpose: str) -> Incoming:
    """What the dialects get to see of a client's request."""
    head = answer.exchange.head
    return Incoming(
        request=request,
        purpose="messages" if purpose == "messages" else "count_tokens",
        query=head.target.partition("?")[2],
        headers=head.headers,
        stream=purpose == "messages" and request.stream,
        form=head.form,
    )


def _answer_here(answer: ClientRequest, request: MessagesRequest) -> None:
    """A warm-up or a probe: its answer is thrown away, so no upstream is asked."""
    answer.record.outcome = "warmup"
    mark = (b"x-warmup-intercepted", b"true")
    if request.stream:
        body = warmup.events(request.model, new_id("msg_"))
        answer.respond(200, body, ((b"content-type", EVENT_STREAM), *STREAM_HEADERS, mark))
    else:
        answer.respond(200, warmup.answer(request.model, new_id("msg_")), (JSON, mark))
