"""Link: one upstream of the configuration, ready to be spoken to."""

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.config import Upstream
from gateway.delivery.oauth import TokenKeeper
from gateway.dialects.base import Dialect, Outgoing
from gateway.dispatch.credentials import Credential
from gateway.http1.dial import Origin
from gateway.http1.heads import render_request_head


@dataclass(slots=True, kw_only=True)
class Link:
    """An upstream with where it is, how it speaks and what its accounts pay with."""

    upstream: Upstream
    origin: Origin
    dialect: Dialect
    credentials: Mapping[str, Credential | TokenKeeper]
    """By account name: what it pays with, or who has that fetched."""
    uncountable_until: float = 0.0
    """Loop time until which this upstream is not asked to count tokens: it said that it cannot."""

    def credential(self, account: str) -> Credential | None:
        """What an account pays with now; None if its token must be waited for."""
        known = self.credentials[account]
        return known.current() if isinstance(known, TokenKeeper) else known

    def censored(self, text: str) -> str:
        """What an upstream said, for the log: without the keys and tokens of its accounts, which it may quote."""
        for known in self.credentials.values():
            credential = known.known if isinstance(known, TokenKeeper) else known
            secret = credential.secret.reveal() if credential is not None else ""
            if secret:
                text = text.replace(secret, "***")
        return text

    def head(self, outgoing: Outgoing) -> bytes:
        """The head of a request to this upstream. Raises ProtocolError."""
        headers = [(b"host", self.origin.authority), *outgoing.headers]
        if outgoing.body:
            headers.append((b"content-length", b"%d" % len(outgoing.body)))
        return render_request_head(outgoing.method, outgoing.target, headers)
