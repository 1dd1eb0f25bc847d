"""The three questions every kind of upstream answers: how is a request encoded, how is an answer
decoded, what does a failure say.

A dialect is sans-I/O. It gets a parsed request and says which bytes to send; it gets an answer's
payload bytes (transfer and content coding already removed) and writes Messages events.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from gateway.config import Upstream
from gateway.http1.forms import Form
from gateway.messages.request import MessagesRequest
from gateway.messages.stream import StreamWriter
from gateway.routing.credentials import Credential
from gateway.routing.failures import Failure

Headers = Sequence[tuple[bytes, bytes]]
"""Lower-case names, values without surrounding blanks, in order; names may repeat."""

Purpose = Literal["messages", "count_tokens"]


@dataclass(slots=True, kw_only=True)
class Incoming:
    """What a client asked for, as a dialect needs to see it. Nobody changes it."""

    request: MessagesRequest
    purpose: Purpose
    query: str
    """Behind the `?` of the client's target, "" if there was none."""
    headers: Headers
    stream: bool
    """Ask the upstream for a stream. May differ from what the client asked for."""
    without_thinking: bool = False
    """The upstream refused a signature: encode the same request with thinking removed from history."""
    form: Form | None = None
    """Requests of one form have the same `headers` and `query`, but for credentials and ids."""


@dataclass(slots=True, kw_only=True)
class Outgoing:
    """One HTTP request to an upstream, all but `host` and `content-length`. Nobody changes it, but whoever has sent
    it lets go of its body."""

    method: str
    target: str
    """Path and query, beginning with the path of the upstream's base URL."""
    headers: Headers
    """A tuple is the same one whenever the fields are the same: what it looks like on the wire may be kept with it."""
    body: bytes
    repairs: tuple[str, ...] = ()
    """Names of the repairs that changed the request, for the log line."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Tool names that had to be changed for the upstream: theirs -> the client's. For the decoder."""


class StreamFailure(Exception):
    """A 200 answer turned out to be a failure. The decoder raises it; the caller knows what was sent.

    `failure` says what a scheduler must know; `type` and `message` are for an `event: error`.
    """

    def __init__(self, failure: Failure, type: str, message: str) -> None:
        super().__init__(message)
        self.failure = failure
        self.type = type
        self.message = message


class Decoder(Protocol):
    """One answer being translated. Writes events to the StreamWriter it was made with."""

    @property
    def complete(self) -> bool:
        """The upstream said that its answer is over: `end` may follow, whatever becomes of the body's rest."""

    def feed(self, data: bytes) -> None:
        """Take payload bytes, cut anywhere. Raises StreamFailure."""

    def end(self) -> None:
        """The upstream's body ended cleanly. Raises StreamFailure when the answer is not complete."""


class Dialect(Protocol):
    """How one kind of upstream speaks. Holds no state of a request; may hold caches and signatures."""

    relays: bool
    """True: the upstream's bytes are the client's bytes, and `decoder` is never called."""

    def encode(
        self, upstream: Upstream, credential: Credential, wire_model: str, incoming: Incoming
    ) -> Outgoing:
        """The request for this upstream. Raises RequestError for what cannot be translated."""

    def decoder(self, incoming: Incoming, outgoing: Outgoing, writer: StreamWriter) -> Decoder:
        """A decoder for the answer to `outgoing`."""

    def failure(self, failure: Failure) -> Failure:
        """The same failure with status, type and message as the Messages protocol would say it."""

    def count(self, body: bytes) -> int | None:
        """Input tokens from a count_tokens answer; None if the body is not one."""

    def models_request(self, upstream: Upstream, credential: Credential) -> Outgoing | None:
        """A GET for the upstream's own model list; None for one that has no list."""

    def models(self, body: bytes) -> list[tuple[str, str]]:
        """(id, display name) of each model in an answer to `models_request`; [] if it is not one."""
