"""Access: hosts, origins and keys, as tables, and over sockets the responses to refused clients."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Auth, Config, Secret, Server, Tls
from gateway.endpoints.access import AccessControl, Keys
from gateway.http1.heads import RequestFacts, RequestHead
from gateway.messages.errors import RequestError
from tests.support.client import Client, ask
from tests.support.running import config, running

Fields = Sequence[tuple[bytes, bytes]]


def head(*fields: tuple[bytes, bytes], method: str = "GET") -> RequestHead:
    facts = RequestFacts(method, "/", "1.1", keep_alive=True, chunked=False, expects_continue=False)
    return RequestHead(facts, list(fields), None)


def access_control(**fields: Any) -> AccessControl:
    server = {"host": "127.0.0.1", **fields.pop("server", {})}
    return AccessControl(Config(server=Server(**server), **fields))


# Hosts.

LOCAL = [
    b"127.0.0.1",
    b"127.0.0.1:8045",
    b"localhost",
    b"LocalHost:1",
    b"localhost.",
    b"gateway.localhost",
    b"[::1]",
    b"[::1]:8045",
    b"127.9.9.9",
]
ADDRESSES = [b"192.168.1.7", b"192.168.1.7:8045", b"[fe80::1]:8045", b"8.8.8.8"]
NAMES = [b"evil.example", b"gateway.lan.evil.example", b"localhost.evil.example", b"127.0.0.1.evil.example"]


def knows(access: AccessControl, host: bytes) -> bool:
    error = refused(partial(access.check_host, head((b"host", host))))
    assert error is None or (error.status == 403 and "allowed_hosts" in error.message)
    return error is None


def refused(check: Callable[[], object]) -> RequestError | None:
    try:
        check()
    except RequestError as error:
        return error
    return None


@pytest.mark.parametrize("bound", ["127.0.0.1", "::1", "localhost", "0.0.0.0", "::", "192.168.1.7"])
def test_accepted_host_headers(bound: str) -> None:
    access = access_control(server={"host": bound, "allowed_hosts": ("gateway.lan", "10.0.0.1")})
    beyond = bound not in {"127.0.0.1", "::1", "localhost"}
    assert all(knows(access, host) for host in LOCAL)
    assert all(
        knows(access, host) for host in (b"gateway.lan", b"Gateway.LAN:80", b"gateway.lan.", b"10.0.0.1")
    )
    # An address cannot be rebound to another one.
    assert [knows(access, host) for host in ADDRESSES] == [beyond] * len(ADDRESSES)
    assert not any(knows(access, host) for host in NAMES)


@pytest.mark.parametrize("host", [b"", b"a/b", b"u@a", b"a, b", b"a:99999", b"[::1", b"1.2.3"])
def test_invalid_host_header(host: bytes) -> None:
    with pytest.raises(RequestError) as raised:
        access_control().check_host(head((b"host", host)))
    assert raised.value.status == 400


def test_http_1_0_may_have_no_host() -> None:
    access_control().check_host(head())


# Origins.

REFUSED = "refused"


def judged(access: AccessControl, origin: bytes | None, host: bytes = b"127.0.0.1:8045") -> str | None:
    fields = [(b"host", host)]
    if origin is not None:
        fields.append((b"origin", origin))
    error = refused(partial(access.check_origin, head(*fields)))
    if error is not None:
        assert error.status == 403
        assert "allowed_origins" in error.message
        return REFUSED
    return access.check_origin(head(*fields))


@pytest.mark.parametrize(
    ("origin", "host", "result"),
    [
        (None, b"127.0.0.1:8045", None),
        (b"http://127.0.0.1:8045", b"127.0.0.1:8045", None),
        (b"HTTP://LocalHost:8045", b"localhost:8045", None),
        (b"http://localhost", b"localhost:80", None),
        (b"http://localhost:80", b"localhost", None),
        # Another scheme is another origin: this one speaks plain HTTP.
        (b"https://gateway.lan", b"gateway.lan:443", REFUSED),
        (b"https://gateway.lan:443", b"gateway.lan", REFUSED),
        (b"http://[::1]:8045", b"[::1]:8045", None),
        (b"http://localhost:3000", b"localhost:8045", REFUSED),
        (b"http://localhost", b"localhost:8045", REFUSED),
        (b"http://localhost:8045", b"127.0.0.1:8045", REFUSED),
        (b"https://evil.example", b"127.0.0.1:8045", REFUSED),
        (b"null", b"127.0.0.1:8045", REFUSED),
        (b"", b"127.0.0.1:8045", REFUSED),
        (b"null", b"null", REFUSED),
        (b"nonsense", b"127.0.0.1:8045", REFUSED),
        (b"http://127.0.0.1:8045.evil.example", b"127.0.0.1:8045", REFUSED),
        (b"https://app.example", b"127.0.0.1:8045", "https://app.example"),
        (b"HTTPS://App.Example", b"127.0.0.1:8045", "HTTPS://App.Example"),
        (b"https://app.example:8443", b"127.0.0.1:8045", REFUSED),
        (b"http://app.example", b"127.0.0.1:8045", REFUSED),
    ],
)
def test_origins(origin: bytes | None, host: bytes, result: str | None) -> None:
    access = access_control(server={"allowed_origins": ("https://app.example",)})
    assert judged(access, origin, host) == result


@pytest.mark.parametrize(
    ("origin", "host", "result"),
    [
        (b"https://gateway.lan", b"gateway.lan:443", None),
        (b"https://gateway.lan:443", b"gateway.lan", None),
        (b"http://gateway.lan", b"gateway.lan", REFUSED),
    ],
)
def test_origins_of_a_gateway_with_tls(origin: bytes, host: bytes, result: str | None) -> None:
    tls = Tls(certificate=Path("c.pem"), private_key=Path("k.pem"))
    assert judged(access_control(server={"tls": tls}), origin, host) == result


@pytest.mark.parametrize("origin", [b"https://app.example", b"http://localhost:8045"])
def test_two_origin_headers_are_refused(origin: bytes) -> None:
    access = access_control(server={"allowed_origins": ("https://app.example",)})
    fields = [(b"host", b"localhost:8045"), (b"origin", origin)]
    access.check_origin(head(*fields))
    assert refused(partial(access.check_origin, head(*fields, fields[1]))) is not None


def test_an_origin_without_any_host() -> None:
    with pytest.raises(RequestError):
        access_control().check_origin(head((b"origin", b"http://127.0.0.1")))


# Keys.

KEYS = {"laptop": Secret("sk-laptop"), "ci": Secret("sk-ci é"), "empty": Secret("")}


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ([(b"authorization", b"Bearer sk-laptop")], "laptop"),
        ([(b"authorization", b"bearer sk-laptop")], "laptop"),
        ([(b"authorization", b"BEARER   sk-laptop ")], "laptop"),
        ([(b"x-api-key", b"sk-laptop")], "laptop"),
        ([(b"x-goog-api-key", b"sk-laptop")], "laptop"),
        ([(b"x-api-key", "sk-ci é".encode())], "ci"),
        ([(b"authorization", b"Bearer other"), (b"x-api-key", b"sk-laptop")], "laptop"),
        ([(b"x-api-key", b"other"), (b"x-goog-api-key", b"sk-laptop")], "laptop"),
        ([(b"x-api-key", b"sk-laptop"), (b"x-api-key", b"other")], "laptop"),
        ([(b"x-api-key", "sk-ci é".encode()), (b"authorization", b"Bearer sk-laptop")], "ci"),
        ([], None),
        ([(b"authorization", b"sk-laptop")], None),
        ([(b"authorization", b"Basic sk-laptop")], None),
        ([(b"authorization", b"Bearer")], None),
        ([(b"authorization", b"Bearer ")], None),
        ([(b"authorization", b"Bearersk-laptop")], None),
        ([(b"x-api-key", b"Bearer sk-laptop")], None),
        ([(b"x-api-key", b"")], None),
        ([(b"x-api-key", b"sk-lapto")], None),
        ([(b"x-api-key", b"sk-laptop2")], None),
        ([(b"x-api-key", b"SK-LAPTOP")], None),
        ([(b"cookie", b"sk-laptop"), (b"x-key", b"sk-laptop")], None),
    ],
)
def test_headers_that_hold_a_key(fields: Fields, name: str | None) -> None:
    assert Keys(KEYS).name_of(head(*fields)) == name


@pytest.mark.parametrize("keys", [{}, {"empty": Secret("")}], ids=["none", "empty"])
@pytest.mark.parametrize("offered", [None, b"", b"x"])
def test_requests_without_a_valid_key_are_refused(keys: dict[str, Secret], offered: bytes | None) -> None:
    access = access_control(auth=Auth(mode="strict", keys=keys))
    fields = [] if offered is None else [(b"x-api-key", offered)]
    with pytest.raises(RequestError):
        access.check_key(head(*fields), health=False)


@pytest.mark.parametrize(
    ("mode", "bound", "health", "open_"),
    [
        ("off", "0.0.0.0", False, True),
        ("strict", "127.0.0.1", False, False),
        ("strict", "127.0.0.1", True, False),
        ("all_except_health", "127.0.0.1", False, False),
        ("all_except_health", "127.0.0.1", True, True),
        ("auto", "127.0.0.1", False, True),
        ("auto", "localhost", False, True),
        ("auto", "::1", False, True),
        ("auto", "0.0.0.0", False, False),
        ("auto", "0.0.0.0", True, True),
        ("auto", "192.168.1.7", False, False),
        ("auto", "gateway.lan", False, False),
    ],
)
def test_auth_modes(mode: Any, bound: str, health: bool, open_: bool) -> None:
    access = access_control(auth=Auth(mode=mode, keys=KEYS), server={"host": bound})
    # The right key is known in every mode, for the log.
    assert access.check_key(head((b"x-api-key", b"sk-laptop")), health=health) == "laptop"
    for fields in ([], [(b"x-api-key", b"wrong")]):
        if open_:
            assert access.check_key(head(*fields), health=health) == ""
            continue
        with pytest.raises(RequestError) as raised:
            access.check_key(head(*fields), health=health)
        error = raised.value
        assert (error.status, error.type) == (401, "authentication_error")
        assert error.headers == ((b"x-should-retry", b"false"),)


# Over sockets.


async def test_missing_and_wrong_keys_get_the_same_error() -> None:
    auth = Auth(mode="strict", keys={"laptop": Secret("sk-laptop")})
    async with running(config(auth=auth)) as g:
        missing = await g.post(ask())
        wrong = await g.post(ask(), x_api_key="sk-wrong")
        right = await g.post(ask(), x_api_key="sk-laptop")

    assert (missing.status, missing.error_type) == (401, "authentication_error")
    assert missing.header("x-should-retry") == "false"
    assert missing.document.pop("request_id") == missing.header("request-id")
    assert missing.message == wrong.message
    names = [[name for name, _ in response.headers] for response in (missing, wrong)]
    assert names[0] == names[1]
    assert right.status == 404
    assert " - POST /v1/messages 401 refused" in g.lines[0]
    assert " laptop POST /v1/messages" in g.lines[2]
    assert not any("sk-" in line for line in g.lines)


@pytest.mark.parametrize(
    "path", ["/", "/health", "/healthz", "/readyz", "/api/hello", "/v1/models", "/nowhere"]
)
@pytest.mark.parametrize("mode", ["strict", "all_except_health"])
async def test_which_paths_need_a_key(mode: Any, path: str) -> None:
    auth = Auth(mode=mode, keys={"laptop": Secret("sk-laptop")})
    async with running(config(auth=auth)) as g:
        bare = await g.get(path)
        keyed = await g.get(path, authorization="Bearer sk-laptop")
    opened = mode == "all_except_health" and path not in {"/v1/models", "/nowhere"}
    assert (bare.status == 401) is not opened
    assert keyed.status in {200, 404, 503}


@pytest.mark.parametrize("host", ["evil.example", "192.168.1.7"])
async def test_a_foreign_host_is_refused_first(host: str) -> None:
    auth = Auth(mode="strict", keys={"laptop": Secret("sk-laptop")})
    async with running(config(auth=auth)) as g, await Client.connect(g.port) as client:
        client.writer.write(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        response = await client.response()
        # The connection is still good for a request that is.
        again = await client.request("GET", "/healthz", headers=[("x-api-key", "sk-laptop")])
    assert (response.status, response.error_type) == (403, "permission_error")
    assert host in response.message
    assert again.status == 200


async def test_a_foreign_origin_is_refused() -> None:
    async with running(config()) as g:
        response = await g.post(ask(), origin="https://evil.example")
        own = await g.get("/healthz", origin="http://127.0.0.1")
    assert (response.status, response.error_type) == (403, "permission_error")
    assert own.status == 200
    for each in (response, own):
        assert not any(name.startswith("access-control") for name, _ in each.headers)
