"""Refreshes OAuth tokens through the pool, ahead of time, one refresh at a time for each account.

`routing.credentials` builds and reads the messages; this module sends requests and keeps the callbacks of those who
wait. No request waits while the old token is still valid.
"""

import time
from collections.abc import Callable
from urllib.parse import urlsplit

from gateway.dialects.base import USER_AGENT
from gateway.http1.heads import render_request_head
from gateway.http1.pool import Pool
from gateway.proxy.call import Call, Response
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
        if self._refreshing:
            return
        self._refreshing = True
        body = self._token.refresh_body()
        parts = urlsplit(self._token.uri)
        head = render_request_head(
            "POST",
            (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            [
                (b"host", self._pool.origin.authority),
                (b"content-type", FORM_TYPE),
                (b"accept", b"application/json"),
                (b"accept-encoding", b"identity"),
                USER_AGENT,
                (b"content-length", b"%d" % len(body)),
            ],
        )
        Call(self._pool, "POST", head, body, self._take, patience=PATIENCE, limit=MAX_RESPONSE).send()

    def _take(self, response: Response | str) -> None:
        """Read the response to a refresh and pass the result to all waiters."""
        result: Credential | RefreshError
        if isinstance(response, str):
            result = RefreshError(503, f"the token endpoint {self._token.uri}: {response}")
        else:
            try:
                result = self._token.accept(response.head.status, response.body, time.time())
            except RefreshError as error:
                result = error
        self._refreshing = False
        # A waiter that is called may cancel others, or wait again.
        for key in tuple(self._waiters):
            waiter = self._waiters.pop(key, None)
            if waiter is not None:
                waiter(result)
