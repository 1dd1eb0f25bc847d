"""A client of a running gateway for the operator's commands: one request, one response, no retries."""

import http.client
import ssl
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway.config import Config, ConfigError
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


class Peer:
    """A gateway's address, and the key to authenticate with."""

    def __init__(
        self, url: str, key: str = "", *, ca_file: str | None = None, patience: float = PATIENCE
    ) -> None:
        """`url`: `http(s)://host[:port]`. `ca_file`: PEM certificates trusted beside the system's.

        Raises ConfigError.
        """
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            self._port = parts.port
        except ValueError:
            raise ConfigError([f"--url: {url} has no valid port"]) from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError([f"--url: {url} is not an address such as http://127.0.0.1:8045"])
        self.url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}".removesuffix(
            "/v1"
        )
        self._host = parts.hostname
        self._path = parts.path.rstrip("/").removesuffix("/v1")
        self._tls = parts.scheme == "https"
        self._key = key
        self._ca_file = ca_file
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
                connection.request(method, self._path + path, body, {**fields, **(headers or {})})
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise self._error(error) from error
            yield response
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if not self._tls:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._patience)
        context = ssl.create_default_context()
        if self._ca_file is not None:
            context.load_verify_locations(self._ca_file)
            # A server's own certificate in that file is trusted, too, not only authorities.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._patience, context=context)

    def _error(self, error: Exception) -> PeerError:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
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
    ca_file = str(tls.certificate) if tls is not None else None
    return Peer(
        url or base_url(config, config.server.port),
        key or config.auth.first_key,
        ca_file=ca_file,
        patience=patience,
    )
