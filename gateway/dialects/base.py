"""The interface of dialects: how a request is encoded, a response decoded, and a failure translated.

A dialect is sans-I/O. It gets a parsed request and returns the bytes to send; it gets a response's payload bytes
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
"""Field name -> prefix of the key in its value."""

Purpose = Literal["messages", "count_tokens"]


def credential_fields(credential: Credential, name: str) -> list[tuple[bytes, bytes]]:
    """Return the credential's header field: `name` for a key, `authorization` for a token; none without credential."""
    if credential.kind == "none":
        return []
    name = "authorization" if credential.kind == "bearer" else name
    return [(name.encode(), _BEFORE_KEY.get(name, b"") + credential.secret.reveal().encode())]


class Incoming(Protocol):
    """The parts of a client's request that a dialect uses."""

    @property
    def parsed(self) -> MessagesRequest:
        """The body."""

    @property
    def purpose(self) -> Purpose:
        """Which of the protocol's two requests it is."""

    @property
    def query(self) -> str:
        """The query of the client's target, without `?`; "" if there is none."""

    @property
    def headers(self) -> Headers:
        """The fields of the client's head."""


@dataclass(slots=True)
class Outgoing:
    """One HTTP request to an upstream, without `host`, `content-length` and the dialect's `fields`."""

    target: str
    """Path and query, beginning with the path of the upstream's base URL."""
    method: str = "POST"
    headers: Headers | None = None
    """Fields of this request; None: those that `Dialect.forwarded` takes from the client's head."""
    body: bytes = b""
    """Dropped once it is sent."""
    repairs: tuple[str, ...] = ()
    """Names of the repairs that changed the request, for the log line."""
    cured: Collection[str] | None = None
    """Names of the cures that changed it, for the log line; None: all that were applied."""
    state: object = None
    """What the dialect's decoder must know about this request; opaque to others."""


class ListedModel(NamedTuple):
    """One model of an upstream's own list."""

    id: str
    display_name: str
    fields: Mapping[str, Any] = MappingProxyType({})
    """Other values from the upstream's list, by the Messages protocol's names (`max_input_tokens`, `created_at`,
    ...)."""


NO_STORES: "Mapping[str, SignatureStore]" = MappingProxyType({})


class StreamFailure(Exception):
    """A 200 response turned out to be a failure. Raised by a decoder; the caller knows what was already sent.

    `failure` is for the scheduler; `type` and `message` are for an `event: error`.
    """

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        self.type = failure.type or "api_error"
        self.message = failure.message or "the upstream reported an error"
        super().__init__(self.message)


class Decoder(Protocol):
    """Decodes one response. Writes events to the StreamWriter that it was made with."""

    @property
    def complete(self) -> bool:
        """Whether the upstream has finished its response: then `end` may follow, whatever happens to the body's
        rest."""

    def feed(self, data: bytes) -> None:
        """Decode payload bytes, cut anywhere. Raises StreamFailure."""

    def end(self) -> None:
        """Finish when the body has ended cleanly.

        Raises StreamFailure if the response is not complete, and one of kind EMPTY if it is, but without content: a
        second call of `end` then writes it as it is.
        """


class Dialect(Protocol):
    """A kind of upstream. Keeps no state of single requests, but may have caches and signatures."""

    relays: bool
    """Whether the upstream's bytes are relayed to the client; then `decoder` is never called."""
    stores: "Mapping[str, SignatureStore]"
    """Stores to share with other processes, by names that are the same in all of them."""
    counts: bool
    """Whether its upstreams can count tokens; if not, `encode` and `count` are for messages alone."""

    def fields(self, upstream: Upstream, credential: Credential) -> Headers:
        """Return the fields of every request to `upstream` with this credential."""

    def forwarded(self, headers: Headers) -> Headers:
        """Return the fields of a request that come from the client's own."""

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

        `stream`: whether to ask for a stream, which may differ from what the client asked for. Raises RequestError for
        what cannot be translated.
        """

    def decoder(self, incoming: Incoming, outgoing: Outgoing, writer: StreamWriter) -> Decoder:
        """Return a decoder for the response to `outgoing`."""

    def failure(self, failure: Failure, upstream: Upstream, wire_model: str, outgoing: Outgoing) -> Failure:
        """Return the failure with status, type and message of the Messages protocol."""

    def cure(
        self,
        failure: Failure,
        outgoing: Outgoing,
        sent: Sent,
        applied: Sequence[Cure],
        never: frozenset[str],
    ) -> tuple[Cure, bool] | None:
        """Return the cure for a refusal, and whether to remember it; None if there is none.

        `failure`: untranslated, in the upstream's own form. `sent`: the client's request. `applied`: the cures already
        applied to it. `never`: names of cures that are turned off.
        """

    def count(self, body: bytes) -> int | None:
        """Read the input tokens from a count_tokens response; None if the body is not one."""

    def models_request(self, upstream: Upstream) -> Outgoing | None:
        """Return a GET for the upstream's own model list; None if it has none."""

    def models(self, body: bytes) -> list[ListedModel]:
        """Read the models in a response to `models_request`; [] if it is not one."""
