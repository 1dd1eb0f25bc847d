"""Access control: host, origin and key, judged by the head alone.

The host and origin rules stop web pages from reaching a local gateway (DNS rebinding, cross-site requests).
Keys are compared as digests in constant time; a missing and a wrong key look the same.
"""

from collections.abc import Mapping
from hashlib import blake2b
from hmac import compare_digest

from gateway.config import Config, Secret, is_loopback
from gateway.http1.grammar import ProtocolError, origin_host, split_host
from gateway.http1.heads import RequestHead
from gateway.messages.errors import RequestError

KEY_FIELDS = frozenset({b"authorization", b"x-api-key", b"x-goog-api-key"})

ACTION = b"x-gateway-action"
"""The field that requests with side effects need: a page of another origin cannot send it without permission."""


def check_action(head: RequestHead) -> None:
    """Check that a request with side effects was sent on purpose. Raises RequestError (403)."""
    if head.get(ACTION) is None:
        raise RequestError(403, f"this needs the header {ACTION.decode()}, with any value")


def _digest(key: bytes) -> bytes:
    return blake2b(key, digest_size=32).digest()


class Keys:
    """The configured client keys, stored as digests only."""

    __slots__ = ("_digests",)

    def __init__(self, keys: Mapping[str, Secret]) -> None:
        self._digests = [(name, _digest(key.reveal().encode())) for name, key in keys.items() if key]

    def name_of(self, head: RequestHead) -> str | None:
        """Return the name of the first configured key that a request holds; None if it holds none.

        Every key in the request is compared with every configured one, so that the time reveals nothing.
        """
        found = None
        for name, value in head.headers:
            if name not in KEY_FIELDS:
                continue
            key = value
            if name == b"authorization":
                scheme, _, key = value.partition(b" ")
                if scheme.lower() != b"bearer":
                    continue
            offered = _digest(key.strip())
            for known, digest in self._digests:
                if compare_digest(offered, digest) and found is None:
                    found = known
        return found


class AccessControl:
    """The rules of one configuration."""

    __slots__ = ("_bound_beyond_loopback", "_hosts", "_implied_port", "_keys", "_mode", "_origins", "_scheme")

    def __init__(self, config: Config) -> None:
        server = config.server
        self._hosts = frozenset(server.allowed_hosts)
        self._origins = frozenset(server.allowed_origins)
        self._bound_beyond_loopback = not is_loopback(server.host)
        self._mode = config.auth.effective_mode(server.host)
        self._keys = Keys(config.auth.keys)
        self._scheme, self._implied_port = ("http://", 80) if server.tls is None else ("https://", 443)

    def check_host(self, head: RequestHead) -> None:
        """Check the Host. Raises RequestError for one that is not this gateway's name (403), or not a name (400)."""
        value = head.get(b"host")
        if value is None:
            return  # HTTP/1.0 may omit it, and no browser speaks HTTP/1.0.
        try:
            name, _ = split_host(value)
        except ProtocolError as error:
            raise RequestError(400, error.message) from None
        if not self._knows(name):
            raise RequestError(
                403,
                f"the Host {name!r} is not one of this gateway's names: use http://127.0.0.1 or localhost, or add "
                "the name to allowed_hosts in [server]",
            )

    def _knows(self, name: str) -> bool:
        if name in {"127.0.0.1", "localhost"} or name in self._hosts or is_loopback(name):
            return True
        if not self._bound_beyond_loopback:
            return False
        from ipaddress import ip_address

        try:
            ip_address(name)
        except ValueError:
            return False
        return True

    def check_origin(self, head: RequestHead) -> str | None:
        """Return an allowed foreign Origin, for CORS fields; None without one and for the gateway's own.

        Raises RequestError (403) for any other.
        """
        values = [value for name, value in head.headers if name == b"origin"]
        if not values:
            return None
        value = values[0]
        origin = value.decode("latin-1").lower()
        if origin in self._origins and len(values) == 1:
            return value.decode("latin-1")
        try:
            name, port = split_host(head.get(b"host") or b"")
            same = origin_host(value) == (name, None if port == self._implied_port else port)
        except ProtocolError:
            same = False
        same = same and len(values) == 1 and origin.startswith(self._scheme)
        if not same:
            raise RequestError(
                403,
                "requests from other web origins are refused: add the origin to allowed_origins in [server] if "
                "that page is yours",
            )
        return None

    def check_key(self, head: RequestHead, *, health: bool) -> str:
        """Return the name of the client's key, "" if none is needed. Raises RequestError (401)."""
        if self._mode == "off" or (health and self._mode == "all_except_health"):
            return self._keys.name_of(head) or ""
        name = self._keys.name_of(head)
        if name is None:
            raise RequestError(
                401,
                "this gateway's key is missing or wrong: send it as x-api-key or Authorization: Bearer",
                headers=[(b"x-should-retry", b"false")],
            )
        return name
