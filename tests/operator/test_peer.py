"""A running gateway as the operator's commands speak to it, over real sockets."""

import asyncio
from argparse import Namespace
from pathlib import Path

import pytest
import trustme

from gateway.config import Auth, Config, ConfigError, Secret, Server, Tls
from gateway.operator.peer import Peer, PeerError, peer_for, peer_of
from tests.support.running import config, running

KEYS = Auth(mode="strict", keys={"none": Secret(""), "laptop": Secret("canary-key")})


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
    cert = trustme.CA().issue_cert("127.0.0.1")
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.cert_chain_pems[0].write_to_path(files[0])
    cert.private_key_pem.write_to_path(files[1])
    tls = Tls(certificate=files[0], private_key=files[1])
    async with running(config(server={"tls": tls})) as g:
        peer = peer_for(g.gateway.runtime.config, g.gateway.runtime.base_url)
        assert (await asyncio.to_thread(peer.request, "GET", "/healthz")).body == b'{"status":"ok"}'
        stranger = Peer(g.gateway.runtime.base_url)
        with pytest.raises(PeerError, match=r"127\.0\.0\.1:\d+ does not respond: .*certificate"):
            await asyncio.to_thread(stranger.request, "GET", "/healthz")


async def test_connection_errors_are_one_line() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
        writer.close()

    server = await asyncio.start_server(half, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    with pytest.raises(PeerError, match="does not respond: IncompleteRead"):
        await asyncio.to_thread(Peer(url).request, "GET", "/")
    server.close()
    await server.wait_closed()
    with pytest.raises(PeerError, match=f"{url} does not respond: Connection refused"):
        await asyncio.to_thread(Peer(url).request, "GET", "/")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("127.0.0.1:8045", "http://127.0.0.1:8045"),
        ("http://[::1]:8045/v1", "http://[::1]:8045"),
        ("https://me:canary@gateway.lan/llm/", "https://gateway.lan/llm"),
    ],
)
def test_addresses_as_people_write_them(url: str, shown: str) -> None:
    assert Peer(url).url == shown


@pytest.mark.parametrize("url", ["ftp://h", "http://", "http://h:port", "http://h:99999"])
def test_invalid_addresses(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^--url: "):
        Peer(url)


def test_options_name_the_gateway() -> None:
    assert peer_of(Namespace(config=None, url="http://h:1", key="k")).url == "http://h:1"
    assert peer_for(Config(server=Server(host="0.0.0.0", port=7))).url == "http://127.0.0.1:7"
