"""A running gateway as the operator's commands speak to it, over real sockets."""

import asyncio
from argparse import Namespace
from pathlib import Path

import pytest
import trustme

from gateway.config import Auth, Config, ConfigError, Secret, Server, Tls
from gateway.operator.peer import GatewayAddress, Peer, PeerError, address_of, peer_for, peer_of
from tests.support.running import config, running

KEYS = Auth(mode="strict", keys={"none": Secret(""), "laptop": Secret("canary-key")})


def certificate(directory: Path, name: str) -> Tls:
    cert = trustme.CA().issue_cert(name)
    files = directory / "cert.pem", directory / "key.pem"
    cert.cert_chain_pems[0].write_to_path(files[0])
    cert.private_key_pem.write_to_path(files[1])
    return Tls(certificate=files[0], private_key=files[1])


async def test_address_and_key_from_the_configuration() -> None:
    async with running(config(auth=KEYS)) as g:
        peer = peer_for(g.gateway.runtime.config, g.gateway.runtime.base_url)
        response = await asyncio.to_thread(peer.request, "GET", "/v1/models")
        assert (response.status, response.headers["content-type"]) == (200, "application/json")
        assert b'"data"' in response.body
        other = peer_for(g.gateway.runtime.config, g.gateway.runtime.base_url + "/v1/", "wrong")
        assert (await asyncio.to_thread(other.request, "GET", "/v1/models")).status == 401
        assert (peer.url, other.url) == (g.gateway.runtime.base_url,) * 2
        assert "canary-key" not in repr(peer)


async def test_the_configured_certificate_is_trusted(tmp_path: Path) -> None:
    tls = certificate(tmp_path, "127.0.0.1")
    async with running(config(server={"tls": tls})) as g:
        peer = peer_for(g.gateway.runtime.config, g.gateway.runtime.base_url)
        assert (await asyncio.to_thread(peer.request, "GET", "/healthz")).body == b'{"status":"ok"}'
        stranger = Peer(address_of(g.gateway.runtime.base_url))
        with pytest.raises(PeerError, match=r"127\.0\.0\.1:\d+ does not respond: .*certificate"):
            await asyncio.to_thread(stranger.request, "GET", "/healthz")
        plain = Peer(address_of(g.gateway.runtime.base_url.replace("https", "http")))
        with pytest.raises(PeerError, match="if TLS is spoken there, write https://"):
            await asyncio.to_thread(plain.request, "GET", "/healthz")


async def test_a_certificate_for_the_name_that_others_use(tmp_path: Path) -> None:
    tls = certificate(tmp_path, "gateway.lan")
    async with running(config(server={"tls": tls})) as g:
        here = Config(server=Server(port=g.port, tls=tls))
        peer = peer_for(here)
        assert (await asyncio.to_thread(peer.request, "GET", "/healthz")).body == b'{"status":"ok"}'
        named = peer_for(here, peer.url)
        with pytest.raises(PeerError, match="say the name that it is for with --url"):
            await asyncio.to_thread(named.request, "GET", "/healthz")
        other = tmp_path / "other"
        other.mkdir()
        wrong = peer_for(Config(server=Server(port=g.port, tls=certificate(other, "gateway.lan"))))
        with pytest.raises(PeerError, match="certificate"):
            await asyncio.to_thread(wrong.request, "GET", "/healthz")


async def test_tls_with_a_gateway_that_speaks_plain_http() -> None:
    async with running(config()) as g:
        peer = Peer(address_of(g.url.replace("http", "https")))
        with pytest.raises(PeerError, match="does not respond: plain HTTP is spoken there; write http://"):
            await asyncio.to_thread(peer.request, "GET", "/healthz")


async def test_connection_errors_are_one_line() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
        writer.close()

    server = await asyncio.start_server(half, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(PeerError, match="does not respond: IncompleteRead"):
        await asyncio.to_thread(Peer(address_of(url)).request, "GET", "/")
    server.close()
    await server.wait_closed()
    with pytest.raises(PeerError, match=f"{url} does not respond: Connection refused"):
        await asyncio.to_thread(Peer(address_of(url)).request, "GET", "/")


@pytest.mark.parametrize(
    ("url", "address", "shown"),
    [
        ("127.0.0.1:8045", GatewayAddress("http", "127.0.0.1", 8045), "http://127.0.0.1:8045"),
        ("http://h/v1/", GatewayAddress("http", "h", 80), "http://h"),
        ("http://[::1]:8045/v1", GatewayAddress("http", "::1", 8045), "http://[::1]:8045"),
        ("https://me:canary@H/llm/", GatewayAddress("https", "h", 443, "/llm"), "https://h/llm"),
        ("https://h:80", GatewayAddress("https", "h", 80), "https://h:80"),
    ],
)
def test_addresses_as_people_write_them(url: str, address: GatewayAddress, shown: str) -> None:
    assert address_of(url) == address
    assert address.url == shown


@pytest.mark.parametrize(
    "url", ["ftp://h", "http://", "http://h:port", "http://h:99999", "", "ftp://me:canary@h"]
)
def test_invalid_addresses(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^--url: ") as caught:
        address_of(url)
    assert "canary" not in str(caught.value)


def test_options_name_the_gateway() -> None:
    assert peer_of(Namespace(config=None, url="http://h:1", key="k")).url == "http://h:1"
    assert peer_for(Config(server=Server(host="0.0.0.0", port=7))).url == "http://127.0.0.1:7"
