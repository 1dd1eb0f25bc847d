"""Credentials of accounts: a key, or an OAuth token with its life cycle, without the network.

`OAuthToken` says when a token must be refreshed, builds the request and reads the response. The caller sends it, one
refresh at a time. No error and no `repr` shows a secret.
"""

import re
from typing import Any, Literal, NamedTuple

from gateway.config import Account, Secret
from gateway.config.addresses import token_uri
from gateway.config.reading import Mistake
from gateway.messages.json_values import as_dict, json_in

REFRESH_AHEAD = 300.0
"""Seconds before its end at which a token is replaced: longer than a request waits for its first byte."""

ASSUMED_LIFE = 3600.0
"""Seconds a token lasts if its response does not say: as long as Google's."""

GOOGLE_URI = "https://oauth2.googleapis.com/token"
"""The endpoint for Google's own files, which have no `token_uri`."""

FORM_TYPE = b"application/x-www-form-urlencoded"
"""The content type of `OAuthToken.refresh_body`."""

_HEADER_SAFE = r"[!-~]+"
_ERROR_CODE = r"[a-z_]{1,40}"


class Credential(NamedTuple):
    """The value of an upstream request's credential header."""

    kind: Literal["api_key", "bearer", "none"]
    secret: Secret


NO_CREDENTIAL = Credential("none", Secret(""))
"""For local upstreams that need none."""


def credential_of(account: Account) -> Credential | None:
    """Return the credential in an account's configuration; None if a token must be fetched first."""
    if account.oauth_file is not None:
        return None
    return NO_CREDENTIAL if account.api_key is None else Credential("api_key", account.api_key)


class RefreshError(Exception):
    """No token could be fetched. `status` is that of the failed attempt.

    401: the login was refused, and a person must log in again. 503: a later refresh may succeed.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class OAuthToken:
    """One account's token. Times are unix seconds, passed in.

    Made from the bytes of a Google `authorized_user` file; raises ValueError naming the field at fault.
    """

    __slots__ = (
        "_client_id",
        "_client_secret",
        "_credential",
        "_due_at",
        "_ends_at",
        "_refresh_token",
        "uri",
    )

    uri: str
    """The URL to POST `refresh_body` to."""

    def __init__(self, file: bytes) -> None:
        document = json_in(file)
        if type(document) is not dict:
            raise ValueError("not a JSON object")
        kind = document.get("type", "authorized_user")
        if kind != "authorized_user":
            raise ValueError('type: must be "authorized_user"')
        self._client_id = _field(document, "client_id")
        self._client_secret = Secret(_field(document, "client_secret"))
        self._refresh_token = Secret(_field(document, "refresh_token"))
        self.uri = GOOGLE_URI
        if "token_uri" in document:
            try:
                self.uri = token_uri(_field(document, "token_uri"))
            except Mistake as mistake:
                raise ValueError(f"token_uri: {mistake}") from None
        self._credential: Credential | None = None
        self._due_at = self._ends_at = 0.0

    def __repr__(self) -> str:
        state = "empty" if self._credential is None else f"until {self._ends_at:.0f}"
        return f"<OAuthToken [{state}]>"

    def credential(self, wall: float) -> Credential | None:
        """Return the token while it is valid, else None."""
        return self._credential if wall < self._ends_at else None

    def due(self, wall: float) -> bool:
        """Return whether to refresh now. The old token is used until it ends."""
        return self._credential is None or wall >= self._due_at

    def refused(self, credential: Credential) -> None:
        """Drop a credential that an upstream refused with 401, unless it was replaced meanwhile."""
        if credential == self._credential:
            self._credential = None
            self._due_at = self._ends_at = 0.0

    def refresh_body(self) -> bytes:
        """Return the form to POST to `uri`."""
        from urllib.parse import urlencode

        form = {
            "grant_type": "refresh_token",
            "client_id": self._client_id,
            "client_secret": self._client_secret.reveal(),
            "refresh_token": self._refresh_token.reveal(),
        }
        return urlencode(form).encode("ascii")

    def accept(self, status: int, body: bytes, wall: float) -> Credential:
        """Read the response to `refresh_body`. Return the new credential. Raise RefreshError."""
        document = as_dict(json_in(body))
        if status != 200:
            code = document.get("error")
            named = f" ({code})" if isinstance(code, str) and re.fullmatch(_ERROR_CODE, code) else ""
            final = status in (400, 401, 403)
            raise RefreshError(
                401 if final else 503, f"the token endpoint {self.uri} responded with {status}{named}"
            )
        value = document.get("access_token")
        if not isinstance(value, str) or not re.fullmatch(_HEADER_SAFE, value):
            raise RefreshError(503, f"the token endpoint {self.uri} gave no usable access_token")
        life = _seconds(document.get("expires_in"))
        self._ends_at = wall + life
        # A token with a shorter life than REFRESH_AHEAD must not be refreshed for every request.
        self._due_at = self._ends_at - min(REFRESH_AHEAD, life / 2)
        self._credential = Credential("bearer", Secret(value))
        return self._credential


def _field(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name}: must be a non-empty string")
    return value


def _seconds(value: object) -> float:
    """Return `expires_in`, a positive number, also as text; ASSUMED_LIFE for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:12])
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return ASSUMED_LIFE
    return float(min(value, 366 * 86400))
