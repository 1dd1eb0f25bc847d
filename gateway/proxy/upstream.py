"""UpstreamClient: one upstream of the configuration, with its connections and credentials."""

import re
from collections.abc import Callable, Mapping
from typing import Protocol

from gateway.config import Upstream
from gateway.dialects.base import Dialect, Headers, Outgoing
from gateway.http1.grammar import ProtocolError
from gateway.http1.heads import render_lines
from gateway.http1.pool import Pool
from gateway.routing.credentials import Credential, RefreshError
from gateway.routing.give_up import without_keys

SHORTEST_SECRET = 8
"""Characters of a key that is removed from an upstream's messages. Shorter ones ("k", "ollama") belong to local
servers, protect nothing, and are parts of ordinary words."""

_TARGET = re.compile(r'/[!"$-~]*').fullmatch


Waiter = Callable[[Credential | RefreshError], None]
"""Called with the result of a token's refresh."""


class CredentialSource(Protocol):
    """The source of an account's credential: a fixed key, or a token that is refreshed."""

    @property
    def known(self) -> Credential | None:
        """The credential while it is valid; does not start a refresh."""

    def current(self) -> Credential | None:
        """Return the credential while it is valid, else None. Starts a refresh if one is due."""

    def refused(self, credential: Credential) -> None:
        """Handle an upstream's 401 for this credential."""

    def wait(self, then: Waiter) -> Callable[[], None]:
        """Have `then` called once with the result of the refresh. Return a function that cancels this."""


class Key:
    """An account's fixed key, or the lack of one."""

    __slots__ = ("_credential",)

    def __init__(self, credential: Credential) -> None:
        self._credential = credential

    @property
    def known(self) -> Credential:
        """The key."""
        return self._credential

    def current(self) -> Credential:
        """Return the key."""
        return self._credential

    def refused(self, credential: Credential) -> None:
        """Do nothing: there is no other key."""

    def wait(self, then: Waiter) -> Callable[[], None]:
        """Call `then` with the key at once."""
        then(self._credential)
        return _nothing


def _without_beginning(text: str, secret: str) -> str:
    """Return a text without the beginning of a secret at its end."""
    start = secret[:SHORTEST_SECRET]
    at = text.find(start, max(0, len(text) - len(secret)))
    while at >= 0 and not secret.startswith(text[at:]):
        at = text.find(start, at + 1)
    return text if at < 0 else f"{text[:at]}***"


def _nothing() -> None:
    """Do nothing: there is nothing to cancel."""


class UpstreamClient:
    """An upstream with its connections, its dialect, and its accounts' credentials."""

    __slots__ = (
        "_fields",
        "_refused",
        "closed_on",
        "credentials",
        "dialect",
        "on_success",
        "pool",
        "uncountable_until",
        "upstream",
    )

    def __init__(
        self, upstream: Upstream, pool: Pool, dialect: Dialect, credentials: Mapping[str, CredentialSource]
    ) -> None:
        self.upstream = upstream
        self.pool = pool
        self.dialect = dialect
        self.credentials = credentials
        """By account name."""
        self.uncountable_until = 0.0
        """Loop time until which it is not asked to count tokens, since it has refused that."""
        self.closed_on = ""
        """The id of the request on which it closed a connection before responding, until it serves another."""
        self.on_success: Callable[[], None] | None = None
        """Called once when a request was served, for the refresh of its model list."""
        self._refused: dict[str, Credential] = {}
        """By account name, the last refused credential: the upstream may still quote it."""
        self._fields: dict[str, tuple[Credential, bytes]] = {}
        """By account name, the header lines of all requests with its present credential."""

    @property
    def keeps_threads(self) -> bool:
        """Whether a request of a message thread may contain only what is new."""
        return self.dialect.relays and self.upstream.threads

    def __repr__(self) -> str:
        return f"<UpstreamClient {self.upstream.name} {self.pool!r}>"

    def censor(self, text: str) -> str:
        """Return an upstream's message without its accounts' keys and tokens, which it may quote. If it was cut it may
        end inside one."""
        known = [source.known for source in self.credentials.values()]
        for credential in (*known, *self._refused.values()):
            secret = credential.secret.reveal() if credential is not None else ""
            if len(secret) >= SHORTEST_SECRET:
                text = _without_beginning(text.replace(secret, "***"), secret)
        return text

    def shown(self, words: str) -> str:
        """Return an upstream's message for operators: also without what looks like another's key."""
        return without_keys(self.censor(words))

    def refused(self, account: str, credential: Credential) -> None:
        """Handle a 401 for an account's credential."""
        self._refused[account] = credential
        self.credentials[account].refused(credential)

    def closes_on_others(self, request_id: str) -> bool:
        """Note that a connection was closed on a request before its response. Return whether it happened to others,
        too."""
        self.closed_on = self.closed_on or request_id
        return self.closed_on != request_id

    def fields(self, account: str, credential: Credential) -> bytes:
        """Return the header lines of all requests with this credential. Raises ProtocolError."""
        known = self._fields.get(account)
        if known is None or known[0] is not credential:
            authority = self.pool.origin.authority
            lines = render_lines(self.dialect.fields(self.upstream, credential))
            known = self._fields[account] = credential, b"host: %b\r\n%b" % (authority, lines)
        return known[1]

    def head(self, outgoing: Outgoing, fields: bytes, forwarded: bytes) -> bytes:
        """Return the head of a request. `forwarded`: the lines that come from the client's head.

        Raises ProtocolError (400) for a target that a request line cannot contain.
        """
        if outgoing.headers is not None:
            forwarded = render_lines(outgoing.headers)
        target = outgoing.target
        if _TARGET(target) is None:
            raise ProtocolError(400, "the request cannot be written: its target holds what must be encoded")
        start = f"{outgoing.method} {target} HTTP/1.1\r\n".encode()
        if not outgoing.body:
            return b"%b%b%b\r\n" % (start, fields, forwarded)
        return b"%b%b%bcontent-length: %d\r\n\r\n" % (start, fields, forwarded, len(outgoing.body))


def forwarded_lines(dialect: Dialect, headers: Headers) -> bytes:
    """Return the lines of an upstream's request that come from the client's head. Raises ProtocolError."""
    return render_lines(dialect.forwarded(headers))
