"""POST /v1/messages: the main route.

Reads the request, responds to warm-ups itself, finds the accounts that serve the model, and starts the forwarder.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.messages import warmup
from gateway.messages.errors import THREAD_UNSUPPORTED, RequestError
from gateway.messages.request import Thread, conversation_id, read_request, thread_of
from gateway.proxy.forward import Forwarder
from gateway.proxy.request import ClientRequest, new_id
from gateway.proxy.response_headers import EVENT_STREAM, JSON, STREAM_LINES
from gateway.routing.accounts import Target

MARK = b"x-warmup-intercepted: true\r\n"


class Serving(Protocol):
    """Something that serves one request."""

    def start(self) -> None:
        """Start; raises RequestError for what cannot be served at all."""


Serve = Callable[[ClientRequest, Sequence[Target], str], Serving]
"""Returns a Serving for a request, the targets for its model, and its conversation."""


def _respond_here(request: ClientRequest) -> None:
    """Respond to a warm-up or a probe: clients discard the response, so no upstream is needed."""
    request.record.outcome = "warmup"
    model = request.parsed.model
    if request.parsed.stream:
        body = warmup.response_events(model, new_id("msg_"))
        request.respond(200, body, EVENT_STREAM + STREAM_LINES + MARK)
    else:
        request.respond(200, warmup.response_body(model, new_id("msg_")), JSON + MARK)


def messages(
    request: ClientRequest,
    serve: Serve = Forwarder,
    respond_here: Callable[[ClientRequest], None] = _respond_here,
) -> None:
    """Serve a request. Raises RequestError for one that cannot be served at all.

    `serve` and `respond_here` can be replaced for a dry run.
    """
    parsed = request.parsed = read_request(request.body)
    request.body = b""
    request.record.model = parsed.model
    intercept = request.runtime.config.intercept
    if (intercept.warmup and warmup.is_warmup(parsed.document)) or (
        intercept.quota_probe and warmup.is_quota_probe(parsed.document)
    ):
        respond_here(request)
        return
    thread = thread_of(parsed.document) if "thread" in parsed.document else None
    if thread is not None:
        _serve_thread(request, thread, serve)
    else:
        serve(request, targets_of(request), conversation_of(request)).start()


def targets_of(request: ClientRequest) -> tuple[Target, ...]:
    """Return the targets for the request's model, best first. Raises RequestError (404)."""
    entrance, model = request.entrance, request.parsed.model
    assert entrance is not None
    if entrance.model != model:
        entrance.targets = request.runtime.targets(model)
        entrance.model = model
    return entrance.targets


def conversation_of(request: ClientRequest) -> str:
    """Return the name of the request's conversation, which begins with that of the client's key."""
    entrance = request.entrance
    assert entrance is not None
    if entrance.conversation:
        return entrance.conversation
    return f"{entrance.key}/{conversation_id(request.parsed.document, hash=request.runtime.hash)}"


def _serve_thread(request: ClientRequest, thread: Thread, serve: Serve) -> None:
    """Serve a request of a message thread by an upstream that keeps threads. A later request holds only what is
    new, and belongs to the account of the earlier response. Raises RequestError where no upstream keeps threads: by
    its code SDKs know that they must send the whole history, and do so."""
    upstreams = request.runtime.upstreams
    able = tuple(target for target in targets_of(request) if upstreams[target.upstream].keeps_threads)
    if not able:
        raise RequestError(
            400,
            "thread: no upstream for this model keeps message threads; send the whole history without `thread`",
            details=THREAD_UNSUPPORTED,
        )
    request.in_thread = True
    conversation = conversation_of(request)
    if thread.previous:
        conversation = request.thread_conversation(thread.previous)
    serve(request, able, conversation).start()
