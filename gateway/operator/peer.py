"""A client of a running gateway for the operator's commands: one request, one response, no retries."""

import http.client
import ssl
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway.config import Config, ConfigError, is_loopback
from gateway.listening import base_url
from gateway.operator.command_line import running_config

PATIENCE = 10.0
"""Seconds for a connection, and for each piece of a response."""


class PeerError(Exception):
    """The gateway could not be reached. The message is one line for the operator."""


class Response(NamedTuple):
    """A response with its whole body."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes


class GatewayAddress(NamedTuple):
    """A gateway's address."""

    scheme: str
    host: str
    port: int
    path: str = ""
    """Prefix of every path."""
    ca_file: str | None = None
    """PEM certificates trusted beside the system's."""
    is_own: bool = False
    """Whether it is this machine's loopback, by a configuration. Its certificate is for other names than that."""

    @property
    def authority(self) -> str:
        """The Host field's value."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The base URL for clients."""
        return f"{self.scheme}://{self.authority}{self.path}"

    def context(self) -> ssl.SSLContext | None:
        """Return the TLS context; None for plain HTTP. Raises OSError."""
        if self.scheme != "https":
            return None
        context = ssl.create_default_context(cafile=self.ca_file if self.is_own else None)
        context.check_hostname = not self.is_own
        if self.ca_file is not None:
            context.load_verify_locations(self.ca_file)
            # A server's own certificate in that file is trusted, too, not only authorities.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context


_PORTS = {"http": 80, "https": 443}


def address_of(url: str, ca_file: str | None = None) -> GatewayAddress:
    """Return the address in a base URL, with or without scheme and `/v1`. Raises ConfigError."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ConfigError(["--url: must be an address such as http://127.0.0.1:8045"])
    try:
        port = parts.port or _PORTS[parts.scheme]
    except ValueError:
        raise ConfigError(["--url: the port must be a number from 1 to 65535"]) from None
    path = parts.path.rstrip("/").removesuffix("/v1")
    return GatewayAddress(parts.scheme, parts.hostname, port, path, ca_file)


class Peer:
    """A gateway's address, and the key to authenticate with."""

    def __init__(self, address: GatewayAddress, key: str = "", patience: float = PATIENCE) -> None:
        self.url = address.url
        self._address = address
        self._key = key
        self._patience = patience

    def __repr__(self) -> str:
        return f"<Peer {self.url}>"

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send a request; return the response. Raise PeerError."""
        with self.open(method, path, body, headers) as response:
            try:
                content = response.read()
            except (OSError, http.client.HTTPException) as error:
                raise self._error(error) from error
        return Response(
            response.status, {name.lower(): value for name, value in response.getheaders()}, content
        )

    @contextmanager
    def open(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request and yield the response once its head has arrived. Raise PeerError."""
        connection = self._connection()
        fields = {"x-api-key": self._key} if self._key else {}
        try:
            try:
                connection.request(method, self._address.path + path, body, {**fields, **(headers or {})})
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise self._error(error) from error
            yield response
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._address.host, self._address.port
        context = self._address.context()
        if context is None:
            return http.client.HTTPConnection(host, port, timeout=self._patience)
        return http.client.HTTPSConnection(host, port, timeout=self._patience, context=context)

    def _error(self, error: Exception) -> PeerError:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, ssl.SSLCertVerificationError):
            reason = error.verify_message.rstrip(".")
            if "mismatch" in reason or "not valid for" in reason:
                reason += "; say the name that it is for with --url"
        elif isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
            reason = "plain HTTP is spoken there; write http://"
        elif isinstance(error, http.client.RemoteDisconnected) and self._address.scheme == "http":
            reason = "the connection was closed; if TLS is spoken there, write https://"
        return PeerError(f"{self.url} does not respond: {reason}")


def refusal(status: int, body: bytes) -> str:
    """Return one line that says why a request was refused, from its response."""
    return error_words(body) or f"the gateway responded with {status}"


def error_words(body: bytes) -> str:
    """Return the message of a Messages API error on one line; "" if the body is not such an error."""
    from gateway.config.reading import printable
    from gateway.messages.json_values import as_dict, as_text, json_in

    return printable(as_text(as_dict(as_dict(json_in(body)).get("error")).get("message")))


def peer_of(options: Namespace) -> Peer:
    """Return the gateway that `--url`, else the configuration, names. Raise ConfigError."""
    return peer_for(running_config(options), options.url, options.key)


def peer_for(
    config: Config, url: str | None = None, key: str | None = None, *, patience: float = PATIENCE
) -> Peer:
    """Return the gateway that serves a configuration. `url` and `key` win over what it says."""
    tls = config.server.tls
    # A self-signed certificate is trusted because this configuration names it.
    address = address_of(
        base_url(config, config.server.port) if url is None else url,
        None if tls is None else str(tls.certificate),
    )
    if url is None and tls is not None and is_loopback(address.host):
        address = address._replace(is_own=True)
    return Peer(address, key or config.auth.first_key, patience)
