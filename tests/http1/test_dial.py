"""Connecting: directly, with TLS, through a proxy; and the errors when it fails. Real sockets, on each loop."""

import asyncio
import socket
import ssl
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from gateway.http1.client_connection import ClientConnection
from gateway.http1.dial import Origin, client_context, dial, origin_of, proxy_for
from gateway.http1.limits import Limits
from gateway.http1.upstream_request import ConnectError
from tests.http1.wire import Sink
from tests.support.loops import PATIENCE, on_each_loop, settle
from tests.support.spawned import unused_port
from tests.support.wire import Wire

QUICK = Limits()._replace(connect_timeout=0.05)
"""For what must fail by silence. Everything else gets all the time it wants."""

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)

# Servers to connect to.

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(
    handle: Handler, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[int]:
    """A server; gives its port. Ends when its peers have left."""
    left: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        left.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            await handle(reader, writer)
        writer.close()
        left.discard(task)

    server = await asyncio.start_server(serve, host, 0, ssl=tls)
    yield server.sockets[0].getsockname()[1]
    server.close()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*left)
    await settle()


async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send nothing until the peer leaves."""
    await reader.read()


async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close at once."""


async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request, one response."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(OK)
    await reader.read()


def sending(data: bytes) -> Handler:
    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Respond to the first bytes with these, and wait until the peer leaves."""
        await reader.read(2**16)
        writer.write(data)
        await reader.read()

    return send


class Proxy:
    """Opens tunnels to a port of this machine, whatever host the CONNECT names."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.heads: list[bytes] = []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        there, to_there = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n")
        await settle()
        writer.write(b"\r\n")
        await asyncio.gather(pipe(reader, to_there), pipe(there, writer))


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(2**16):
            writer.write(data)
    writer.close()


@dataclass
class Trust:
    """A certificate authority and a certificate that it signed."""

    ca_file: Path
    other_file: Path
    """Of another authority."""
    localhost: ssl.SSLContext
    expired: ssl.SSLContext


def serving(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    authority, other = trustme.CA(), trustme.CA()
    directory = tmp_path_factory.mktemp("trust")
    files = directory / "ca.pem", directory / "other.pem"
    authority.cert_pem.write_to_path(str(files[0]))
    other.cert_pem.write_to_path(str(files[1]))
    expired = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", not_before=LONG_AGO, not_after=LONG_AGO).configure_cert(expired)
    return Trust(*files, serving(authority, "localhost"), expired)


async def request(connection: ClientConnection) -> list[str]:
    """Whether the connection serves."""
    sink = Sink(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"", method="GET")
    connection.send(sink)
    await sink.over.wait()
    connection.abort()
    await settle()
    return sink.notes


WHOLE = ["head 200", "end 'hello'"]

PROXY = "http://proxy.test:3128"


# Straight.


@on_each_loop
async def test_tcp() -> None:
    async with listening(respond) as port:
        connection = await dial(Origin("http", "127.0.0.1", port), Limits())
        assert repr(connection) == f"<ClientConnection [http://127.0.0.1:{port}, NEW, Request Count: 0]>"
        assert await request(connection) == WHOLE


@on_each_loop
async def test_tls(trust: Trust) -> None:
    async with listening(respond, trust.localhost) as port:
        connection = await dial(Origin("https", "localhost", port, None, trust.ca_file), Limits())
        assert connection.transport.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        assert await request(connection) == WHOLE


@on_each_loop
async def test_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        # On a machine without IPv6 only the name is checked.
        with pytest.raises(ConnectError, match=r"no connection to http://\[::1\]:9: "):
            await dial(Origin("http", "::1", 9), Limits())
        return
    async with listening(respond, host="::1") as port:
        assert await request(await dial(Origin("http", "::1", port), Limits())) == WHOLE


async def failing(origin: Origin, limits: Limits | None = None) -> ConnectError:
    with pytest.raises(ConnectError) as caught:
        await dial(origin, limits or Limits())
    await settle()
    return caught.value


@on_each_loop
async def test_invalid_chunks_are_refused() -> None:
    with unused_port() as port:
        error = await failing(Origin("http", "127.0.0.1", port))
    assert str(error) == f"no connection to http://127.0.0.1:{port}: Connection refused"
    assert not error.timeout


async def test_an_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    error = await failing(Origin("http", "up.test", 80))
    assert str(error) == "no connection to http://up.test: Name or service not known"


async def test_several_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*_: object, **__: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with unused_port() as one, unused_port() as other:
        ports = one, other
        error = await failing(Origin("http", "up.test", 80))
    assert str(error) == "no connection to http://up.test: Connection refused"


@on_each_loop
async def test_a_connect_error_without_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def context(ca_file: Path | None) -> ssl.SSLContext:
        raise OSError

    monkeypatch.setattr("gateway.http1.dial.client_context", context)
    error = await failing(Origin("https", "up.test", 443, None, Path("ca.pem")))
    assert str(error) == "no connection to https://up.test: ca.pem cannot be used: OSError"


@pytest.mark.parametrize("host", ["ä..b", "ä" * 64])
@on_each_loop
async def test_an_invalid_hostname(host: str) -> None:
    error = await failing(Origin("http", host, 80), Limits())
    assert str(error) == f"no connection to http://{host}: its address is not valid"


@pytest.mark.parametrize(
    ("ca", "host", "server", "reason"),
    [
        ("other.pem", "localhost", "localhost", "unable to get local issuer certificate"),
        ("", "localhost", "localhost", "unable to get local issuer certificate"),
        (
            "ca.pem",
            "127.0.0.1",
            "localhost",
            "IP address mismatch, certificate is not valid for '127.0.0.1'.",
        ),
        ("ca.pem", "localhost", "expired", "certificate has expired"),
    ],
)
@on_each_loop
async def test_untrusted_tls_certificate(trust: Trust, ca: str, host: str, server: str, reason: str) -> None:
    ca_file = trust.ca_file.with_name(ca) if ca else None
    async with listening(hold, getattr(trust, server)) as port:
        error = await failing(Origin("https", host, port, None, ca_file), Limits())
        assert str(error) == f"TLS with https://{host}:{port} failed: {reason}"
        assert not error.timeout


@on_each_loop
async def test_tls_to_a_plain_http_server(trust: Trust) -> None:
    async with listening(sending(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        error = await failing(Origin("https", "localhost", port, None, trust.ca_file))
        assert str(error) in {
            f"TLS with https://localhost:{port} failed: wrong version number",
            f"TLS with https://localhost:{port} failed: record layer failure",
        }


@on_each_loop
async def test_tls_server_closes_during_the_handshake(trust: Trust) -> None:
    async with listening(leave) as port:
        error = await failing(Origin("https", "localhost", port, None, trust.ca_file))
        assert str(error) in {
            f"no connection to https://localhost:{port}: Connection reset by peer",
            f"no connection to https://localhost:{port}: the connection was closed during the TLS handshake",
        }


@on_each_loop
async def test_tls_handshake_timeout_of_an_upstream(trust: Trust) -> None:
    async with listening(hold) as port:
        error = await failing(Origin("https", "localhost", port, None, trust.ca_file), QUICK)
        assert str(error) == f"no connection to https://localhost:{port} within 0.05 s"
        assert error.timeout


@pytest.mark.parametrize(
    ("text", "reason"), [(None, "No such file or directory"), ("junk", "no certificate or crl found")]
)
@on_each_loop
async def test_an_invalid_ca_file(tmp_path: Path, text: str | None, reason: str) -> None:
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text)
    async with listening(hold) as port:
        error = await failing(Origin("https", "localhost", port, None, file))
        assert str(error) == f"no connection to https://localhost:{port}: {file} cannot be used: {reason}"


@pytest.mark.parametrize("scheme", ["http", "https"])
@on_each_loop
async def test_a_cancelled_dial_leaves_no_socket(trust: Trust, scheme: str) -> None:
    """The dial waits for a silent server's TLS handshake, or for a silent proxy."""
    async with listening(hold) as port:
        proxy = f"http://127.0.0.1:{port}" if scheme == "http" else None
        origin = Origin(scheme, "localhost", port, proxy, trust.ca_file)
        task = asyncio.create_task(dial(origin, Limits()))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # `listening` ends only when its peer has left.


# Through a proxy.


@on_each_loop
async def test_a_tunnel() -> None:
    async with listening(respond) as port:
        proxy = Proxy(port)
        async with listening(proxy.handle) as at:
            origin = Origin("http", "up.test", 8080, f"http://127.0.0.1:{at}")
            assert await request(await dial(origin, Limits())) == WHOLE
        assert proxy.heads == [b"CONNECT up.test:8080 HTTP/1.1\r\nhost: up.test:8080\r\n\r\n"]


@on_each_loop
async def test_tls_in_a_tunnel(trust: Trust) -> None:
    async with listening(respond, trust.localhost) as port:
        proxy = Proxy(port)
        async with listening(proxy.handle) as at:
            origin = Origin("https", "localhost", 443, f"http://127.0.0.1:{at}", trust.ca_file)
            connection = await dial(origin, Limits())
            assert connection.transport.get_extra_info("ssl_object") is not None
            assert await request(connection) == WHOLE
        assert proxy.heads == [b"CONNECT localhost:443 HTTP/1.1\r\nhost: localhost:443\r\n\r\n"]


@pytest.mark.parametrize(
    ("credentials", "pair"),
    [
        ("user:secret@", b"user:secret"),
        ("user@", b"user:"),
        ("us%40er:se%3Acr%2Fet@", b"us@er:se:cr/et"),
        ("user:s%C3%A9cret@", "user:sécret".encode()),
    ],
)
async def test_a_proxy_with_a_password(credentials: str, pair: bytes) -> None:
    async with listening(respond) as port:
        proxy = Proxy(port)
        async with listening(proxy.handle) as at:
            origin = Origin("http", "up.test", 80, f"http://{credentials}127.0.0.1:{at}")
            assert await request(await dial(origin, Limits())) == WHOLE
    scheme, _, value = proxy.heads[0].partition(b"proxy-authorization: ")[2].partition(b" ")
    assert (scheme, b64decode(value.strip())) == (b"Basic", pair)


async def test_a_tunnel_to_an_ipv6_address() -> None:
    async with listening(respond) as port:
        proxy = Proxy(port)
        async with listening(proxy.handle) as at:
            origin = Origin("http", "2001:db8::1", 80, f"http://127.0.0.1:{at}")
            assert await request(await dial(origin, Limits())) == WHOLE
    assert proxy.heads == [b"CONNECT [2001:db8::1]:80 HTTP/1.1\r\nhost: [2001:db8::1]:80\r\n\r\n"]


SECRET = "hunter2"


def without_secret(error: BaseException | None) -> bool:
    """Return whether neither the error nor the causes that a traceback shows contain the password."""
    while error is not None:
        if SECRET in str(error) or SECRET in repr(error):
            return False
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return True


@pytest.mark.parametrize(
    ("proxy", "message", "silent"),
    [
        (
            sending(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"),
            "no connection to https://up.test: the proxy refused the tunnel with status 407",
            False,
        ),
        (
            sending(b"HTTP/1.1 301 Moved\r\nlocation: /\r\n\r\n"),
            "no connection to https://up.test: the proxy refused the tunnel with status 301",
            False,
        ),
        (
            sending(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
            "no connection to https://up.test: the proxy sent nonsense: the upstream's response "
            "cannot be trusted: its status line is not one of HTTP/1.1 or HTTP/1.0",
            False,
        ),
        (
            sending(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 10_000),
            "no connection to https://up.test: the proxy sent too large a head",
            False,
        ),
        (leave, "no connection to https://up.test: the proxy closed the connection", False),
        (hold, "no connection to https://up.test within 0.05 s", True),
        (sending(b"HTTP/1.1 200 OK\r\n"), "no connection to https://up.test within 0.05 s", True),
    ],
)
@on_each_loop
async def test_proxy_errors(proxy: Handler, message: str, silent: bool) -> None:
    async with listening(proxy) as port:
        limits = QUICK if silent else Limits()
        error = await failing(Origin("https", "up.test", 443, f"http://me:{SECRET}@127.0.0.1:{port}"), limits)
    assert (str(error), error.timeout) == (message, silent)
    assert without_secret(error)


async def test_extra_bytes_after_a_proxys_response(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes behind the proxy's response that arrive with it change nothing."""
    wire = Wire()

    async def connect(
        protocol: Callable[[], asyncio.Protocol], *, sock: socket.socket
    ) -> tuple[Wire, asyncio.Protocol]:
        sock.close()
        wire.join(protocol())
        wire.feed(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        wire.feed(b"x" * 2**20)
        await wire.leave()
        return wire, wire.protocol

    async with listening(hold) as port:
        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", connect)
        error = await failing(Origin("http", "up.test", 80, f"http://127.0.0.1:{port}"))
    assert str(error) == "no connection to http://up.test: the proxy refused the tunnel with status 403"


@pytest.mark.parametrize(
    ("proxy", "reason"),
    [
        ("http://me:{secret}@127.0.0.1:{port}", "its proxy cannot be reached: Connection refused"),
        ("http://me:{secret}@127.0.0.1:port", "its address, or that of its proxy, is not valid"),
        ("http://me:{secret}@127.0.0.1:99999", "its address, or that of its proxy, is not valid"),
        ("http://me:{secret}/2@127.0.0.1:80", "its address, or that of its proxy, is not valid"),
        ("http://me:{secret}@[::1:80", "its address, or that of its proxy, is not valid"),
        ("https://me:{secret}@127.0.0.1:443", "its proxy's URL must begin with http://"),
        ("socks5://me:{secret}@127.0.0.1:1080", "its proxy's URL must begin with http://"),
    ],
)
@on_each_loop
async def test_a_proxy_that_cannot_be_used(proxy: str, reason: str) -> None:
    with unused_port() as port:
        url = proxy.format(secret=SECRET, port=port)
        error = await failing(Origin("https", "up.test", 443, url))
    assert str(error) == f"no connection to https://up.test: {reason}"
    assert without_secret(error)


@on_each_loop
async def test_untrusted_tls_certificate_in_a_tunnel(trust: Trust) -> None:
    async with listening(hold, trust.localhost) as port, listening(Proxy(port).handle) as at:
        proxy = f"http://me:{SECRET}@127.0.0.1:{at}"
        error = await failing(Origin("https", "localhost", 443, proxy, trust.other_file), Limits())
    assert str(error) == "TLS with https://localhost failed: unable to get local issuer certificate"
    assert without_secret(error)


async def test_a_tunnel_that_is_lost_during_the_handshake(
    trust: Trust, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio then returns no transport and raises no exception."""

    async def start_tls(*_: object, **__: object) -> None:
        return None

    async with listening(hold) as port, listening(Proxy(port).handle) as at:
        monkeypatch.setattr(asyncio.get_running_loop(), "start_tls", start_tls)
        origin = Origin("https", "localhost", 443, f"http://127.0.0.1:{at}", trust.ca_file)
        error = await failing(origin, Limits())
    assert str(error) == (
        "no connection to https://localhost: the connection was closed during the TLS handshake"
    )


# Origins.


@pytest.mark.parametrize(
    ("url", "origin", "authority", "shown"),
    [
        ("https://a.test", ("https", "a.test", 443), b"a.test", "https://a.test"),
        ("https://a.test:443/v1", ("https", "a.test", 443), b"a.test", "https://a.test"),
        ("https://a.test:8443", ("https", "a.test", 8443), b"a.test:8443", "https://a.test:8443"),
        ("https://a.test:80", ("https", "a.test", 80), b"a.test:80", "https://a.test:80"),
        ("http://A.test", ("http", "a.test", 80), b"a.test", "http://a.test"),
        ("http://a.test:443", ("http", "a.test", 443), b"a.test:443", "http://a.test:443"),
        (
            "http://127.0.0.1:11434",
            ("http", "127.0.0.1", 11434),
            b"127.0.0.1:11434",
            "http://127.0.0.1:11434",
        ),
        ("http://[::1]", ("http", "::1", 80), b"[::1]", "http://[::1]"),
        ("http://[::1]:1234/x", ("http", "::1", 1234), b"[::1]:1234", "http://[::1]:1234"),
        (
            "http://[fe80::1%eth0]:1234",
            ("http", "fe80::1%eth0", 1234),
            b"[fe80::1]:1234",
            "http://[fe80::1]:1234",
        ),
    ],
)
def test_origins(url: str, origin: tuple[str, str, int], authority: bytes, shown: str) -> None:
    found = origin_of(url, proxy=None, ca_file=None)
    assert (found.scheme, found.host, found.port) == origin
    assert (found.authority, str(found)) == (authority, shown)


def test_an_origin_does_not_show_its_proxy() -> None:
    origin = origin_of("https://a.test", proxy=f"http://me:{SECRET}@proxy.test", ca_file=Path("ca.pem"))
    assert (origin.proxy, origin.ca_file) == (f"http://me:{SECRET}@proxy.test", Path("ca.pem"))
    assert SECRET not in repr(origin) + str(origin)


def test_equal_origins_are_equal_keys() -> None:
    made = [origin_of("https://a.test/x", proxy=None, ca_file=Path(name)) for name in ("a", "a", "b")]
    assert len(set(made)) == 2


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("https://a.test", {}, None),
        ("https://a.test", {"HTTPS_PROXY": PROXY}, PROXY),
        ("https://a.test", {"https_proxy": PROXY}, PROXY),
        ("https://a.test", {"https_proxy": PROXY, "HTTPS_PROXY": "http://other.test"}, PROXY),
        ("https://a.test", {"https_proxy": "", "HTTPS_PROXY": PROXY}, PROXY),
        ("https://a.test", {"HTTP_PROXY": PROXY, "ALL_PROXY": PROXY}, None),
        ("https://a.test", {"HTTPS_PROXY": "proxy.test:3128"}, PROXY),
        ("https://a.test", {"HTTPS_PROXY": "me:pw@proxy.test:3128"}, "http://me:pw@proxy.test:3128"),
        # NO_PROXY and loopback hosts.
        ("http://a.test", {"HTTPS_PROXY": PROXY}, None),
        ("https://localhost", {"HTTPS_PROXY": PROXY}, None),
        ("https://LOCALHOST:8443", {"HTTPS_PROXY": PROXY}, None),
        ("https://127.0.0.1", {"HTTPS_PROXY": PROXY}, None),
        ("https://127.8.9.10", {"HTTPS_PROXY": PROXY}, None),
        ("https://[::1]:443", {"HTTPS_PROXY": PROXY}, None),
        ("https://localhost.test", {"HTTPS_PROXY": PROXY}, PROXY),
        # NO_PROXY.
        ("https://a.test", {"HTTPS_PROXY": PROXY, "NO_PROXY": ""}, PROXY),
        ("https://a.test", {"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, None),
        ("https://a.test", {"HTTPS_PROXY": PROXY, "NO_PROXY": "b.test, * "}, None),
        ("https://a.test", {"HTTPS_PROXY": PROXY, "NO_PROXY": "a.test"}, None),
        ("https://a.test", {"HTTPS_PROXY": PROXY, "no_proxy": "a.test"}, None),
        ("https://a.test", {"HTTPS_PROXY": PROXY, "no_proxy": "b.test", "NO_PROXY": "a.test"}, PROXY),
        ("https://A.test", {"HTTPS_PROXY": PROXY, "NO_PROXY": "b.test, A.TEST ,"}, None),
        ("https://x.a.test", {"HTTPS_PROXY": PROXY, "NO_PROXY": "a.test"}, None),
        ("https://x.a.test", {"HTTPS_PROXY": PROXY, "NO_PROXY": ".a.test"}, None),
        ("https://a.test", {"HTTPS_PROXY": PROXY, "NO_PROXY": ".a.test"}, None),
        ("https://x.a.test", {"HTTPS_PROXY": PROXY, "NO_PROXY": "*.a.test"}, None),
        ("https://xa.test", {"HTTPS_PROXY": PROXY, "NO_PROXY": "a.test"}, PROXY),
        ("https://a.test.b", {"HTTPS_PROXY": PROXY, "NO_PROXY": "a.test"}, PROXY),
        ("https://a.test", {"HTTPS_PROXY": PROXY, "NO_PROXY": ","}, PROXY),
        ("https://10.0.0.1", {"HTTPS_PROXY": PROXY, "NO_PROXY": "10.0.0.1"}, None),
        ("https://[2001:db8::1]", {"HTTPS_PROXY": PROXY, "NO_PROXY": "2001:db8::1"}, None),
    ],
)
def test_proxy_from_the_environment(url: str, environ: dict[str, str], proxy: str | None) -> None:
    assert proxy_for(url, environ) == proxy


def test_contexts_verify_and_are_made_once(trust: Trust) -> None:
    context = client_context(trust.ca_file)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert client_context(trust.ca_file) is context
    assert client_context(trust.other_file) is not context
    assert len(context.get_ca_certs()) == 1
