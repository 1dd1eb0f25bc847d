"""Tokens that end: fetched through the pool, ahead of time, one refresh at a time for each account.

What to send and what an answer means is `dispatch.credentials`' business; here are the requests and those who wait
for them. Nobody waits while the old token still lasts.
"""

import time
from collections.abc import Callable
from urllib.parse import urlsplit

from gateway import __version__
from gateway.http1.client_connection import ClientConnection, UpstreamError
from gateway.http1.dial import Origin, origin_of
from gateway.http1.heads import ResponseHead, render_request_head
from gateway.http1.pool import Call, Pool
from gateway.routing.credentials import FORM_TYPE, Credential, OAuthToken, RefreshError

PATIENCE = 30.0
"""Seconds that the token endpoint gets to answer; it needs a few tenths of one."""

MAX_ANSWER = 64 * 1024
"""Bytes of a token endpoint's answer that are read; Google's has about one KiB."""

Waiter = Callable[[Credential | RefreshError], None]


class TokenRefresher:
    """One OAuth account's token. Receives the answers to its own refresh requests."""

    __slots__ = ("_call", "_origin", "_pieces", "_pool", "_size", "_status", "_token", "_waiters", "decode")

    def __init__(self, token: OAuthToken, pool: Pool, proxy: str | None) -> None:
        self.decode = True
        self._token = token
        self._pool = pool
        self._origin: Origin = origin_of(token.uri, proxy=proxy, ca_file=None)
        self._call: Call | None = None
        self._status = 0
        self._pieces: list[bytes] = []
        self._size = 0
        self._waiters: dict[object, Waiter] = {}

    def __repr__(self) -> str:
        state = "REFRESHING" if self._call is not None else "IDLE"
        return f"<TokenRefresher [{state}, {self._token!r}]>"

    @property
    def known(self) -> Credential | None:
        """The token, while it lasts; asks for no other."""
        return self._token.credential(time.time())

    def current(self) -> Credential | None:
        """The token, while it lasts; None when there is none. One that is due is refreshed meanwhile."""
        wall = time.time()
        if self._token.due(wall):
            self._refresh()
        return self._token.credential(wall)

    def refused(self, credential: Credential) -> None:
        """An upstream answered 401 to this token."""
        self._token.refused(credential)

    def wait(self, then: Waiter) -> Callable[[], None]:
        """Have `then` called once with what the refresh brings; returns what takes it back."""
        key = object()
        self._waiters[key] = then
        self._refresh()

        def take_back() -> None:
            self._waiters.pop(key, None)

        return take_back

    def _refresh(self) -> None:
        if self._call is not None:
            return
        parts = urlsplit(self._token.uri)
        body = self._token.refresh_body()
        head = render_request_head(
            "POST",
            (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            [
                (b"host", self._origin.authority),
                (b"content-type", FORM_TYPE),
                (b"accept", b"application/json"),
                (b"accept-encoding", b"identity"),
                (b"user-agent", f"messages-gateway/{__version__}".encode()),
                (b"content-length", b"%d" % len(body)),
            ],
        )
        self._pieces = []
        self._size = 0
        self._call = self._pool.send(self._origin, "POST", head, body, self, PATIENCE)

    def head_received(self, connection: ClientConnection, head: ResponseHead) -> "TokenRefresher":
        self._status = head.status
        return self

    def body_received(self, data: bytes, ended: bool) -> None:
        self._size += len(data)
        if self._size <= MAX_ANSWER:
            self._pieces.append(data)
        if not ended:
            return
        try:
            self._tell(self._token.accept(self._status, b"".join(self._pieces), time.time()))
        except RefreshError as error:
            self._tell(error)

    def failed(self, error: UpstreamError) -> None:
        self._tell(RefreshError(503, f"the token endpoint {self._token.uri}: {error.message}"))

    def _tell(self, result: Credential | RefreshError) -> None:
        self._call = None
        # Whoever is told may take others back, or wait again.
        for key in tuple(self._waiters):
            waiter = self._waiters.pop(key, None)
            if waiter is not None:
                waiter(result)
