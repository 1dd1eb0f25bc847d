"""Connects to an origin: TCP, TLS, and a tunnel through a proxy (CONNECT).

Raises ConnectError with a message about what failed, which never contains a proxy's password.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from gateway.http1.addresses import connected_socket
from gateway.http1.client_connection import ClientConnection
from gateway.http1.grammar import ProtocolError
from gateway.http1.heads import parse_response_head, render_request_head
from gateway.http1.limits import Limits
from gateway.http1.upstream_request import ConnectError


@dataclass(frozen=True, slots=True)
class Origin:
    """The destination of connections. Equal origins share pooled connections."""

    scheme: str
    """http or https"""
    host: str
    """A name or an address, IPv6 without brackets."""
    port: int
    proxy: str | None = field(default=None, repr=False)
    """`http://[user:password@]host[:port]` of a proxy that is asked for a tunnel."""
    ca_file: Path | None = None
    """PEM certificates to trust instead of the system's."""

    @property
    def authority(self) -> bytes:
        """The Host field's value, without the scheme's default port and without an IPv6 zone, which means nothing
        to other machines (RFC 6874, 4)."""
        host = _bracketed(self.host)
        default = 443 if self.scheme == "https" else 80
        return (host if self.port == default else f"{host}:{self.port}").encode()

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority.decode()}"


def origin_of(url: str, *, proxy: str | None, ca_file: Path | None) -> Origin:
    """Return the origin of a base URL that the configuration has checked."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return Origin(parts.scheme, host, parts.port or (443 if parts.scheme == "https" else 80), proxy, ca_file)


def proxy_for(url: str, environ: Mapping[str, str]) -> str | None:
    """Return the proxy that HTTPS_PROXY and NO_PROXY name for a URL; None for a direct connection.

    Lower-case names take precedence, as in curl. Loopback and plain http:// never use the environment's proxy, since
    http:// is for local servers here.
    """
    parts = urlsplit(url)
    if parts.scheme != "https":
        return None
    proxy = environ.get("https_proxy") or environ.get("HTTPS_PROXY")
    if not proxy:
        return None
    host = (parts.hostname or "").lower()
    if host == "localhost" or host.startswith("127.") or host == "::1":
        return None
    for entry in (environ.get("no_proxy") or environ.get("NO_PROXY") or "").split(","):
        name = entry.strip().lower().removeprefix("*").lstrip(".")
        if entry.strip() == "*" or (name and (host == name or host.endswith("." + name))):
            return None
    return proxy if "://" in proxy else f"http://{proxy}"


@lru_cache(maxsize=32)
def client_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a TLS context that verifies the server. Loading the system's roots takes about 20 ms, once."""
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file is not None else None)
    context.set_alpn_protocols(["http/1.1"])
    return context


async def dial(origin: Origin, limits: Limits) -> ClientConnection:
    """Connect to `origin`; return a connection that is ready for a request. Raises ConnectError."""
    try:
        async with asyncio.timeout(limits.connect_timeout):
            if origin.proxy is not None:
                return await _tunnel(origin, limits, urlsplit(origin.proxy))
            return await _direct(origin, limits)
    except TimeoutError as error:
        raise ConnectError(
            f"no connection to {origin} within {limits.connect_timeout:g} s", timeout=True
        ) from error
    except ssl.SSLError as error:
        raise ConnectError(f"TLS with {origin} failed: {reason_of(error)}") from error
    except OSError as error:
        raise ConnectError(f"no connection to {origin}: {reason_of(error)}") from error
    except ValueError:
        # The error's text may quote a part of the proxy's password.
        whose = "its address" if origin.proxy is None else "its address, or that of its proxy,"
        raise ConnectError(f"no connection to {origin}: {whose} is not valid") from None


def reason_of(error: OSError) -> str:
    """Return the reason of an error, without the address, which asyncio's texts repeat."""
    if isinstance(error, ssl.SSLError):
        verdict: str = getattr(error, "verify_message", "")
        return verdict or (error.reason or "handshake failed").replace("_", " ").lower()
    if error.errno is not None and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    if isinstance(error, ConnectionResetError):
        return "the connection was closed during the TLS handshake"
    return error.strerror or str(error) or type(error).__name__


def _trust(origin: Origin) -> ssl.SSLContext:
    try:
        return client_context(origin.ca_file)
    except OSError as error:
        message = f"no connection to {origin}: {origin.ca_file} cannot be used: {reason_of(error)}"
        raise ConnectError(message) from error


async def _direct(origin: Origin, limits: Limits) -> ClientConnection:
    tls = _trust(origin) if origin.scheme == "https" else None
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: ClientConnection(origin, limits),
        sock=await connected_socket(origin.host, origin.port),
        ssl=tls,
        server_hostname=origin.host if tls is not None else None,
    )
    return connection


class _Tunnel(asyncio.Protocol):
    """Waits for a proxy's response to CONNECT."""

    def __init__(self, origin: Origin, limits: Limits) -> None:
        self._origin = origin
        self._limits = limits
        self._buffer = b""
        self.established: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if self.established.done():
            return
        if end >= 0:
            try:
                status = parse_response_head(self._buffer[: end + 4]).status
            except ProtocolError as error:
                self._refuse(f"sent nonsense: {error.message}")
                return
            if 200 <= status < 300:
                self.established.set_result(None)
            else:
                self._refuse(f"refused the tunnel with status {status}")
        elif len(self._buffer) > self._limits.max_head:
            self._refuse("sent too large a head")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.established.done():
            self._refuse("closed the connection")

    def _refuse(self, what: str) -> None:
        message = f"no connection to {self._origin}: the proxy {what}"
        self.established.set_exception(ConnectError(message))


async def _tunnel(origin: Origin, limits: Limits, proxy: SplitResult) -> ClientConnection:
    if proxy.scheme != "http":
        raise ConnectError(f"no connection to {origin}: its proxy's URL must begin with http://")
    loop = asyncio.get_running_loop()
    head = _connect_head(origin, proxy)
    try:
        sock = await connected_socket(proxy.hostname or "", proxy.port or 80)
        transport, tunnel = await loop.create_connection(lambda: _Tunnel(origin, limits), sock=sock)
    except OSError as error:
        message = f"no connection to {origin}: its proxy cannot be reached: {reason_of(error)}"
        raise ConnectError(message) from error
    try:
        if not transport.is_closing():
            transport.write(head)
        await tunnel.established
        connection = ClientConnection(origin, limits)
        if origin.scheme == "https":
            connection.connection_made(await _start_tls(transport, connection, origin))
        else:
            transport.set_protocol(connection)
            connection.connection_made(transport)
    except BaseException:
        transport.abort()
        raise
    return connection


async def _start_tls(
    transport: asyncio.WriteTransport, connection: ClientConnection, origin: Origin
) -> asyncio.Transport:
    """Start TLS inside a tunnel; return the transport of its content. Raises OSError."""
    loop = asyncio.get_running_loop()
    secure = await loop.start_tls(transport, connection, _trust(origin), server_hostname=origin.host)
    if secure is None:
        raise ConnectionResetError
    return secure


def _bracketed(host: str) -> str:
    """Return a host as the Host field has it."""
    return f"[{host.partition('%')[0]}]" if ":" in host else host


def _connect_head(origin: Origin, proxy: SplitResult) -> bytes:
    target = f"{_bracketed(origin.host)}:{origin.port}"
    headers = [(b"host", target.encode())]
    if proxy.username is not None:
        from base64 import b64encode

        pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        headers.append((b"proxy-authorization", b"Basic " + b64encode(pair.encode())))
    return render_request_head("CONNECT", target, headers)
