"""UpstreamClient: one upstream of the configuration, ready to be spoken to."""

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
"""Characters of a key that is taken out of what an upstream said. Shorter ones ("k", "ollama") are what local servers
are given, protect nothing, and are parts of ordinary words."""

_TARGET = re.compile(r'/[!"$-~]*').fullmatch


Waiter = Callable[[Credential | RefreshError], None]
"""Told what the refresh of a token brings."""


class CredentialSource(Protocol):
    """What an account authenticates with: a key that stays, or a token that is refreshed."""

    @property
    def known(self) -> Credential | None:
        """The credential, while it lasts; asks for no other."""

    def current(self) -> Credential | None:
        """Return the credential, while it lasts; None when one must be waited for. One that is due is refreshed."""

    def refused(self, credential: Credential) -> None:
        """Take notice that an upstream responded 401 to it."""

    def wait(self, then: Waiter) -> Callable[[], None]:
        """Have `then` called once with what the refresh brings. Return what takes that back."""


class Key:
    """An account's key, or the lack of one: it stays."""

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
        """Do nothing: no other key can be had."""

    def wait(self, then: Waiter) -> Callable[[], None]:
        """Tell the key at once."""
        then(self._credential)
        return _nothing


def _without_beginning(text: str, secret: str) -> str:
    """Return a text without the part of a secret with which it ends."""
    start = secret[:SHORTEST_SECRET]
    at = text.find(start, max(0, len(text) - len(secret)))
    while at >= 0 and not secret.startswith(text[at:]):
        at = text.find(start, at + 1)
    return text if at < 0 else f"{text[:at]}***"


def _nothing() -> None:
    """Undo nothing."""


class UpstreamClient:
    """An upstream with its connections, how it speaks, and what its accounts authenticate with."""

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
        """Loop time until which this upstream is not asked to count tokens: it said that it cannot."""
        self.closed_on: object = None
        """The request on which it closed a connection before it responded, until it serves another."""
        self.on_success: Callable[[], None] | None = None
        """Called once when a request was served: somebody waits for this upstream to respond."""
        self._refused: dict[str, Credential] = {}
        """By account name, the last one that was refused: what refused it may still be quoted."""
        self._fields: dict[str, tuple[Credential, bytes]] = {}
        """By account name, the lines that every request on its present credential carries."""

    @property
    def keeps_threads(self) -> bool:
        """Return whether requests may hold only what is new in a message thread."""
        return self.dialect.relays and self.upstream.threads

    def __repr__(self) -> str:
        return f"<UpstreamClient {self.upstream.name} {self.pool!r}>"

    def censored(self, text: str) -> str:
        """Return what an upstream said without the keys and tokens of its accounts, which it may quote. Where it was
        cut it may end inside of one."""
        known = [source.known for source in self.credentials.values()]
        for credential in (*known, *self._refused.values()):
            secret = credential.secret.reveal() if credential is not None else ""
            if len(secret) >= SHORTEST_SECRET:
                text = _without_beginning(text.replace(secret, "***"), secret)
        return text

    def shown(self, words: str) -> str:
        """Return words of the upstream as an operator may see them: also without what looks like another's key."""
        return without_keys(self.censored(words))

    def refused(self, account: str, credential: Credential) -> None:
        """Take notice that it responded 401 to an account's credential."""
        self._refused[account] = credential
        self.credentials[account].refused(credential)

    def closes_on_others(self, request: object) -> bool:
        """Note that a connection was closed on a request before its response. Return whether others met that, too."""
        known, self.closed_on = self.closed_on, self.closed_on or request
        return known is not None and known is not request

    def fields(self, account: str, credential: Credential) -> bytes:
        """Return the lines that every request on this credential carries. Raises ProtocolError."""
        known = self._fields.get(account)
        if known is None or known[0] is not credential:
            authority = self.pool.origin.authority
            lines = render_lines(self.dialect.fields(self.upstream, credential))
            known = self._fields[account] = credential, b"host: %b\r\n%b" % (authority, lines)
        return known[1]

    def head(self, outgoing: Outgoing, fields: bytes, forwarded: bytes) -> bytes:
        """Render the head of a request. `forwarded`: the lines for it that follow from the client's head.

        Raises ProtocolError (400) for a target that no request line can hold.
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
    """Return the lines that a request to an upstream gets because of the client's own. Raises ProtocolError."""
    return render_lines(dialect.forwarded(headers))
