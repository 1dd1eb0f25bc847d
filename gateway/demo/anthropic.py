"""An embedded upstream that speaks the Messages protocol: an application of the HTTP server.

It knows two accounts, answers any model's name, streams with small pauses, and limits its first account now and
then. What it says is decided in `reply`.
"""

from functools import partial
from typing import Any

from gateway.demo.accounts import PAUSE, RateLimit
from gateway.demo.checks import check
from gateway.demo.events import message, pieces
from gateway.demo.playing import JSON, WORD_PAUSE, Headers, key_of, new_id, play
from gateway.demo.reply import reply_to
from gateway.http1.exchange import Exchange
from gateway.http1.heads import RequestHead
from gateway.messages.errors import RequestError, error_body
from gateway.messages.json_documents import write_document
from gateway.messages.request import read_request
from gateway.messages.token_estimate import estimate

MODELS = {
    "claude-opus-5-5": "Claude Opus 5.5 (demo)",
    "claude-sonnet-5-5": "Claude Sonnet 5.5 (demo)",
    "claude-haiku-5-5": "Claude Haiku 5.5 (demo)",
    "claude-opus-4-8": "Claude Opus 4.8 (demo)",
    "claude-haiku-4-5": "Claude Haiku 4.5 (demo)",
}
"""What it lists, id -> display name. Other names are served as well."""

METHODS = {"/v1/messages": "POST", "/v1/messages/count_tokens": "POST", "/v1/models": "GET"}

LISTED_SINCE = "2026-01-01T00:00:00Z"


class AnthropicUpstream:
    """Answers requests; keeps nothing between them but the count for its rate limit."""

    def __init__(self, pause: float = WORD_PAUSE) -> None:
        """`pause`: seconds between two words of a streamed answer."""
        self._pause = pause
        self._limit = RateLimit()

    def admit(self, exchange: Exchange) -> None:
        """See http1.server.Application."""
        exchange.on_request = partial(self._answer, exchange)

    def protocol_error(self, status: int, message: str, exchange: Exchange | None) -> tuple[Headers, bytes]:
        """See http1.server.Application."""
        request_id = new_id("req_")
        return _headers(request_id), error_body(status, message, request_id)

    def _answer(self, exchange: Exchange) -> None:
        head = exchange.head
        path = head.target.partition("?")[0]
        try:
            key = _key_of(head)
            if path == "/v1/messages" and head.method == "POST":
                self._messages(exchange, key)
            else:
                _respond(exchange, _document_for(head.method, path, exchange.body))
        except RequestError as error:
            request_id = new_id("req_")
            body = error_body(error.status, error.message, request_id, type=error.type)
            exchange.respond(error.status, [*_headers(request_id), *error.headers], body)

    def _messages(self, exchange: Exchange, key: str) -> None:
        request = read_request(exchange.body)
        check(request.document)
        if self._limit.refuses(key):
            raise RequestError(
                429,
                f"This account of the demo rests for {PAUSE} s, so that another one is seen to take over.",
                headers=[(b"retry-after", b"%d" % PAUSE)],
            )
        reply = reply_to(request.document, estimate(request.document), new_id)
        headers = [(b"request-id", new_id("req_").encode())]
        if request.stream:
            play(exchange, headers, pieces(reply, new_id("msg_"), request.model), self._pause)
        else:
            exchange.respond(200, [JSON, *headers], message(reply, new_id("msg_"), request.model))


def _document_for(method: str, path: str, body: bytes) -> dict[str, Any]:
    """What is answered at once. Raises RequestError."""
    if path in METHODS and METHODS[path] != method:
        raise RequestError(405, f"Method not allowed: {method}", headers=[(b"allow", METHODS[path].encode())])
    if path == "/v1/messages/count_tokens":
        document = read_request(body).document
        check(document, counting=True)
        return {"input_tokens": estimate(document)}
    if path == "/v1/models":
        data = [_model(id) for id in MODELS]
        return {"data": data, "has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]}
    id = path.removeprefix("/v1/models/")
    if method == "GET" and id in MODELS:
        return _model(id)
    raise RequestError(404, f"Not found: {path}")


def _key_of(head: RequestHead) -> str:
    """The account's key. Raises RequestError (401) for any other."""
    key = key_of(head, b"x-api-key")
    if key is None:
        raise RequestError(401, "invalid x-api-key")
    return key


def _model(id: str) -> dict[str, str]:
    return {"type": "model", "id": id, "display_name": MODELS[id], "created_at": LISTED_SINCE}


def _headers(request_id: str) -> list[tuple[bytes, bytes]]:
    return [JSON, (b"request-id", request_id.encode())]


def _respond(exchange: Exchange, document: object) -> None:
    exchange.respond(200, _headers(new_id("req_")), write_document(document))
