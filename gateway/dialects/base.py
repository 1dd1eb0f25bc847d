"""What each kind of upstream must say: how a request is encoded, how a response is decoded, what a failure means.

A dialect is sans-I/O. It gets a parsed request and says which bytes to send; it gets a response's payload bytes
(transfer and content coding already removed) and writes Messages events.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from gateway import __version__
from gateway.config import Upstream
from gateway.messages.request import MessagesRequest
from gateway.messages.stream import StreamWriter
from gateway.routing.credentials import Credential
from gateway.routing.cures import WITHOUT_THINKING, Cure
from gateway.routing.failures import Failure
from gateway.routing.sent import Sent

if TYPE_CHECKING:
    from gateway.dialects.signature_store import SignatureStore

__all__ = [
    "JSON",
    "NO_STORES",
    "USER_AGENT",
    "WITHOUT_THINKING",
    "Cure",
    "Decoder",
    "Dialect",
    "Headers",
    "Incoming",
    "ListedModel",
    "Outgoing",
    "Purpose",
    "StreamFailure",
    "credential_fields",
]

Headers = Sequence[tuple[bytes, bytes]]
"""Lower-case names, values without surrounding blanks, in order; names may repeat."""

USER_AGENT = (b"user-agent", f"messages-gateway/{__version__}".encode())

JSON = (b"content-type", b"application/json")

_BEFORE_KEY = {"authorization": b"Bearer "}
"""What stands before a key, by the field; nothing in others."""

Purpose = Literal["messages", "count_tokens"]


def credential_fields(credential: Credential, name: str) -> list[tuple[bytes, bytes]]:
    """Return the field of this name with a key, or `authorization` with a token; none for an upstream without a key."""
    if credential.kind == "none":
        return []
    name = "authorization" if credential.kind == "bearer" else name
    return [(name.encode(), _BEFORE_KEY.get(name, b"") + credential.secret.reveal().encode())]


class Incoming(Protocol):
    """What a dialect sees of a client's request."""

    @property
    def parsed(self) -> MessagesRequest:
        """The body."""

    @property
    def purpose(self) -> Purpose:
        """Which of the protocol's two questions it asks."""

    @property
    def query(self) -> str:
        """The part of the client's target behind `?`, "" if there is none."""

    @property
    def headers(self) -> Headers:
        """The fields of the client's head."""


@dataclass(slots=True)
class Outgoing:
    """One HTTP request to an upstream, all but `host`, `content-length` and the dialect's `fields`."""

    target: str
    """Path and query, beginning with the path of the upstream's base URL."""
    method: str = "POST"
    headers: Headers | None = None
    """Fields of this request; None: those that `Dialect.forwarded` takes from the client's head."""
    body: bytes = b""
    """Let go of once it is sent."""
    repairs: tuple[str, ...] = ()
    """Names of the repairs that changed the request, for the log line."""
    cured: Collection[str] | None = None
    """Names of the cures that changed it, for the log line; None: all that were applied."""
    state: object = None
    """What the dialect's decoder must know of this request; opaque to all others."""


class ListedModel(NamedTuple):
    """One model of an upstream's own list."""

    id: str
    display_name: str
    fields: Mapping[str, Any] = MappingProxyType({})
    """What else the upstream says of it, in the Messages protocol's terms (`max_input_tokens`, `created_at`, ...)."""


NO_STORES: "Mapping[str, SignatureStore]" = MappingProxyType({})


class StreamFailure(Exception):
    """A 200 response turned out to be a failure. The decoder raises it; the caller knows what was sent.

    `failure` says what a scheduler must know; `type` and `message` are for an `event: error`.
    """

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        self.type = failure.type or "api_error"
        self.message = failure.message or "the upstream reported an error"
        super().__init__(self.message)


class Decoder(Protocol):
    """One response being translated. Writes events to the StreamWriter it was made with."""

    @property
    def complete(self) -> bool:
        """The upstream said that its response is over: `end` may follow, whatever becomes of the body's rest."""

    def feed(self, data: bytes) -> None:
        """Take payload bytes, cut anywhere. Raises StreamFailure."""

    def end(self) -> None:
        """Take notice that the body ended cleanly.

        Raises StreamFailure when the response is not complete, and one of kind EMPTY when it is, but holds nothing:
        called again, `end` writes that as it is.
        """


class Dialect(Protocol):
    """How one kind of upstream speaks. Holds no state of a request; may hold caches and signatures."""

    relays: bool
    """True: the upstream's bytes are the client's bytes, and `decoder` is never called."""
    stores: "Mapping[str, SignatureStore]"
    """What other processes should know of what it keeps, by names that are the same in all of them."""
    counts: bool
    """Its upstreams can be asked to count tokens; False: `encode` and `count` are for messages alone."""

    def fields(self, upstream: Upstream, credential: Credential) -> Headers:
        """Return the fields that every request to `upstream` on this credential carries."""

    def forwarded(self, headers: Headers) -> Headers:
        """Return the fields that a request gets because of the client's own."""

    def encode(
        self,
        upstream: Upstream,
        wire_model: str,
        incoming: Incoming,
        *,
        stream: bool,
        cures: Collection[Cure] = (),
    ) -> Outgoing:
        """Encode a client's request for this upstream, with `cures` applied.

        `stream`: ask for a stream, which may differ from what the client asked for. Raises RequestError for what
        cannot be translated.
        """

    def decoder(self, incoming: Incoming, outgoing: Outgoing, writer: StreamWriter) -> Decoder:
        """Return a decoder for the response to `outgoing`."""

    def failure(self, failure: Failure, upstream: Upstream, wire_model: str, outgoing: Outgoing) -> Failure:
        """Return the same failure with status, type and message as the Messages protocol would say it."""

    def cure(
        self,
        failure: Failure,
        outgoing: Outgoing,
        sent: Sent,
        applied: Sequence[Cure],
        never: frozenset[str],
    ) -> tuple[Cure, bool] | None:
        """Return what may be changed after a refusal, and whether to remember it; None: nothing.

        `failure` as it came, before `failure` says it in other words. `sent`: the client's request. `applied`: what was
        changed of it already. `never`: names that are turned off.
        """

    def count(self, body: bytes) -> int | None:
        """Read the input tokens from a count_tokens response; None if the body is not one."""

    def models_request(self, upstream: Upstream) -> Outgoing | None:
        """Return a GET for the upstream's own model list; None for one that has no list."""

    def models(self, body: bytes) -> list[ListedModel]:
        """Read the models in a response to `models_request`; [] if it is not one."""
