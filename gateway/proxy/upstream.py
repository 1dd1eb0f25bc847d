"""UpstreamClient: one upstream of the configuration, ready to be spoken to."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.config import Upstream
from gateway.dialects.base import Dialect, Headers, Outgoing
from gateway.http1.dial import Origin
from gateway.http1.forms import MAX_FORMS
from gateway.http1.heads import render_request_head
from gateway.proxy.token_refresh import TokenRefresher
from gateway.routing.credentials import Credential


@dataclass(slots=True, kw_only=True)
class UpstreamClient:
    """An upstream with where it is, how it speaks and what its accounts pay with."""

    upstream: Upstream
    origin: Origin
    dialect: Dialect
    credentials: Mapping[str, Credential | TokenRefresher]
    """By account name: what it pays with, or who has that fetched."""
    uncountable_until: float = 0.0
    """Loop time until which this upstream is not asked to count tokens: it said that it cannot."""
    _heads: dict[int, tuple[Headers, str, bytes]] = field(default_factory=dict, repr=False)
    """By their identity, fields that come again and again; with them the target, and the head but for its length."""

    def credential(self, account: str) -> Credential | None:
        """What an account pays with now; None if its token must be waited for."""
        known = self.credentials[account]
        return known.current() if isinstance(known, TokenRefresher) else known

    def censored(self, text: str) -> str:
        """What an upstream said, for the log: without the keys and tokens of its accounts, which it may quote."""
        for known in self.credentials.values():
            credential = known.known if isinstance(known, TokenRefresher) else known
            secret = credential.secret.reveal() if credential is not None else ""
            if secret:
                text = text.replace(secret, "***")
        return text

    def head(self, outgoing: Outgoing) -> bytes:
        """The head of a request to this upstream. Raises ProtocolError."""
        headers, target = outgoing.headers, outgoing.target
        last = b"content-length: %d\r\n\r\n" % len(outgoing.body) if outgoing.body else b"\r\n"
        known = self._heads.get(id(headers))
        if known is not None and known[0] is headers and known[1] == target:
            return known[2] + last
        fields = [(b"host", self.origin.authority), *headers]
        if outgoing.body:
            fields.append((b"content-length", b"%d" % len(outgoing.body)))
        head = render_request_head(outgoing.method, target, fields)
        if isinstance(headers, tuple):
            if len(self._heads) >= MAX_FORMS:
                self._heads.clear()
            self._heads[id(headers)] = (headers, target, head.removesuffix(last))
        return head
