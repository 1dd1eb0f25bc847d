"""The embedded upstream that speaks Gemini's protocol, as an application of the HTTP server.

It knows the same two accounts as the other one, streams with small pauses, and limits its first account now and
then, in the words of the endpoint that was asked. What it says and refuses is decided in `gemini`.
"""

from functools import partial

from gateway.demo.accounts import PAUSE, RateLimit
from gateway.demo.gemini import Answer, answer
from gateway.demo.gemini_rules import GoogleError, error_document, limited
from gateway.demo.playing import JSON, WORD_PAUSE, Headers, key_of, play
from gateway.http1.exchange import Exchange
from gateway.messages.json_documents import write_document


class GeminiUpstream:
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
        return [JSON], write_document(error_document(status, "INVALID_ARGUMENT", message))

    def _answer(self, exchange: Exchange) -> None:
        try:
            found = self._found(exchange)
        except GoogleError as error:
            found = Answer(error.status, error.document())
        if found.document is not None:
            exchange.respond(found.status, [JSON], write_document(found.document))
        else:
            lines = (b"data: %b\r\n\r\n" % write_document(event) for event in found.events)
            play(exchange, (), lines, self._pause)

    def _found(self, exchange: Exchange) -> Answer:
        """Raises GoogleError for a wrong key and for an account that must wait."""
        head = exchange.head
        key = key_of(head, b"x-goog-api-key")
        if key is None:
            raise GoogleError("UNAUTHENTICATED", "API key not valid. Please pass a valid API key.")
        found = answer(head.method, head.target, exchange.body)
        if found.events and self._limit.refuses(key):
            raise limited(PAUSE, "quota_reset" if "/v1internal:" in head.target else "retry_info")
        return found
