"""Refreshes OAuth tokens through the pool, ahead of time, one refresh at a time for each account.

`routing.credentials` builds and reads the messages; this module sends requests and keeps the callbacks of those who
wait. No request waits while the old token is still valid.
"""

import asyncio
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from gateway import __version__
from gateway.http1.client_connection import ClientConnection
from gateway.http1.dial import Origin
from gateway.http1.heads import ResponseHead, render_request_head
from gateway.http1.pool import Pool
from gateway.http1.upstream_request import UpstreamError
from gateway.proxy.upstream import Waiter
from gateway.routing.credentials import FORM_TYPE, Credential, OAuthToken, RefreshError

PATIENCE = 30.0
"""Seconds for the token endpoint to respond; it needs a few tenths of one."""

MAX_RESPONSE = 64 * 1024
"""Bytes of a token endpoint's response that are read; Google's has about one KiB."""


class TokenRefresher:
    """One OAuth account's token; a `CredentialSource`."""

    __slots__ = ("_pool", "_refreshing", "_token", "_waiters")

    def __init__(self, token: OAuthToken, pool: Pool) -> None:
        """`pool`: the connections to the token's endpoint."""
        self._token = token
        self._pool = pool
        self._refreshing = False
        self._waiters: dict[object, Waiter] = {}

    def __repr__(self) -> str:
        state = "REFRESHING" if self._refreshing else "IDLE"
        return f"<TokenRefresher [{state}, {self._token!r}]>"

    @property
    def known(self) -> Credential | None:
        """The token while it is valid; does not start a refresh."""
        return self._token.credential(time.time())

    def current(self) -> Credential | None:
        """Return the token while it is valid, else None. Starts a refresh if one is due."""
        wall = time.time()
        if self._token.due(wall):
            self._refresh()
        return self._token.credential(wall)

    def refused(self, credential: Credential) -> None:
        """Drop a token that an upstream refused with 401."""
        self._token.refused(credential)

    def wait(self, then: Waiter) -> Callable[[], None]:
        """Have `then` called once with the result of the refresh. Return a function that cancels this."""
        key = object()
        self._waiters[key] = then
        self._refresh()

        def take_back() -> None:
            self._waiters.pop(key, None)

        return take_back

    def _refresh(self) -> None:
        if not self._refreshing:
            self._refreshing = True
            self._pool.send(_Refresh(self, self._token, self._pool.origin))

    def finish(self, result: Credential | RefreshError) -> None:
        """Handle the result of a refresh, and pass it to those who wait for it."""
        self._refreshing = False
        # A waiter that is called may cancel others, or wait again.
        for key in tuple(self._waiters):
            waiter = self._waiters.pop(key, None)
            if waiter is not None:
                waiter(result)


class _Refresh:
    """One request to a token endpoint."""

    __slots__ = (
        "_owner",
        "_pieces",
        "_size",
        "_status",
        "_token",
        "body",
        "connection",
        "decode",
        "dialling",
        "first_byte_timeout",
        "head",
        "method",
    )

    def __init__(self, owner: TokenRefresher, token: OAuthToken, origin: Origin) -> None:
        parts = urlsplit(token.uri)
        self.method = "POST"
        self.body = token.refresh_body()
        self.head = render_request_head(
            "POST",
            (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            [
                (b"host", origin.authority),
                (b"content-type", FORM_TYPE),
                (b"accept", b"application/json"),
                (b"accept-encoding", b"identity"),
                (b"user-agent", f"messages-gateway/{__version__}".encode()),
                (b"content-length", b"%d" % len(self.body)),
            ],
        )
        self.first_byte_timeout = PATIENCE
        self.connection: ClientConnection | None = None
        self.dialling: asyncio.Task[None] | None = None
        self.decode = True
        self._owner = owner
        self._token = token
        self._status = 0
        self._pieces: list[bytes] = []
        self._size = 0

    def head_received(self, connection: ClientConnection, head: ResponseHead) -> "_Refresh":
        """Receive the body, whatever the status."""
        self._status = head.status
        return self

    def body_received(self, raw: bytes, payload: bytes, ended: bool) -> None:
        """Add bytes; read the token with the last."""
        self._size += len(payload)
        if self._size <= MAX_RESPONSE:
            self._pieces.append(payload)
        if not ended:
            return
        try:
            result: Credential | RefreshError = self._token.accept(
                self._status, b"".join(self._pieces), time.time()
            )
        except RefreshError as error:
            result = error
        self._owner.finish(result)

    def failed(self, error: UpstreamError) -> None:
        """Report that there is no token."""
        self._owner.finish(RefreshError(503, f"the token endpoint {self._token.uri}: {error.message}"))

    def crashed(self, error: Exception) -> None:
        """Report that there is no token, after an exception in the gateway's own code."""
        self._owner.finish(RefreshError(503, f"the token endpoint {self._token.uri}: {type(error).__name__}"))
