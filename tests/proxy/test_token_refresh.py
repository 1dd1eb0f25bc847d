"""OAuth tokens that expire, with a scripted endpoint: one refresh at a time, early enough, and all waiters called."""

from collections.abc import AsyncIterator
from urllib.parse import parse_qs

import orjson
import pytest

from gateway.http1.client_connection import ClientConnection
from gateway.http1.dial import Origin, origin_of
from gateway.http1.limits import Limits
from gateway.http1.pool import Pool
from gateway.proxy.token_refresh import MAX_RESPONSE, TokenRefresher
from gateway.routing.credentials import Credential, OAuthToken, RefreshError
from tests.fakes.messages import Close, Reset, Script, ScriptedUpstream, Sleep, Stall, json_response
from tests.support.explode import explode
from tests.support.loops import eventually, settle
from tests.support.running import FAST
from tests.support.spawned import unused_port
from tests.support.wire import Wire

Result = Credential | RefreshError


class Clock:
    """Unix time that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("gateway.proxy.token_refresh.time.time", clock.time)
    return clock


@pytest.fixture
async def login() -> AsyncIterator[ScriptedUpstream]:
    """The token endpoint."""
    async with ScriptedUpstream() as endpoint:
        yield endpoint


@pytest.fixture
async def pool(login: ScriptedUpstream) -> AsyncIterator[Pool]:
    """The connections to it."""
    pool = pool_to(login.url)
    yield pool
    pool.close()
    await settle()


def pool_to(url: str) -> Pool:
    return Pool(origin_of(url, proxy=None, ca_file=None), FAST)


def refresher_of(pool: Pool, url: str, path: str = "/token") -> TokenRefresher:
    file = {
        "client_id": "id",
        "client_secret": "canary-cs",
        "refresh_token": "canary-rt&",
        "token_uri": url + path,
    }
    return TokenRefresher(OAuthToken(orjson.dumps(file)), pool)


def token(value: str, life: float = 3600) -> Script:
    return json_response(200, {"access_token": value, "expires_in": life})


async def fetched(refresher: TokenRefresher) -> Result:
    """Wait for a token; return the result."""
    results: list[Result] = []
    refresher.wait(results.append)
    await eventually(lambda: results)
    assert len(results) == 1
    return results[0]


def value_of(result: Result | None) -> str | None:
    assert not isinstance(result, RefreshError)
    return None if result is None else result.secret.reveal()


async def test_the_request_for_a_token(login: ScriptedUpstream, pool: Pool, clock: Clock) -> None:
    refresher = refresher_of(pool, login.url)
    login.script(token("t-1"))
    assert value_of(await fetched(refresher)) == "t-1"
    (request,) = login.requests
    assert (request.method, request.target) == ("POST", "/token")
    assert request.header("host") == f"127.0.0.1:{login.port}"
    assert request.header("content-type") == "application/x-www-form-urlencoded"
    assert request.header("accept") == "application/json"
    assert request.header("accept-encoding") == "identity"
    assert parse_qs(request.body.decode()) == {
        "grant_type": ["refresh_token"],
        "client_id": ["id"],
        "client_secret": ["canary-cs"],
        "refresh_token": ["canary-rt&"],
    }


@pytest.mark.parametrize(
    ("path", "target"), [("/", "/"), ("/a/b", "/a/b"), ("/a?x=y&z", "/a?x=y&z"), ("/?q", "/?q")]
)
async def test_token_request_target(
    login: ScriptedUpstream, pool: Pool, clock: Clock, path: str, target: str
) -> None:
    login.script(token("t"))
    await fetched(refresher_of(pool, login.url, path))
    assert login.requests[0].target == target


async def test_a_token_uri_without_any_path(clock: Clock) -> None:
    wire = Wire()

    async def dial(origin: Origin, limits: Limits) -> ClientConnection:
        connection = ClientConnection(origin, limits)
        wire.join(connection)
        return connection

    pool = Pool(origin_of("https://login.example", proxy=None, ca_file=None), FAST, dial)
    assert refresher_of(pool, "https://login.example", "").current() is None
    await settle()
    assert wire.written().startswith(b"POST / HTTP/1.1\r\nhost: login.example\r\n")
    pool.close()
    await settle()


async def test_one_refresh_for_all_waiters(login: ScriptedUpstream, pool: Pool, clock: Clock) -> None:
    refresher = refresher_of(pool, login.url)
    login.script([Sleep(0.01), *token("t-1")])
    results: list[Result] = []
    assert refresher.current() is None
    for _ in range(5):
        refresher.wait(results.append)
    assert repr(refresher) == "<TokenRefresher [REFRESHING, <OAuthToken [empty]>]>"
    await eventually(lambda: len(results) == 5)
    assert {value_of(result) for result in results} == {"t-1"}
    assert len(login.requests) == 1
    assert value_of(refresher.current()) == "t-1"
    assert repr(refresher) == "<TokenRefresher [IDLE, <OAuthToken [until 1003600]>]>"
    assert len(login.requests) == 1


async def test_a_cancelled_waiter_is_not_called(login: ScriptedUpstream, pool: Pool, clock: Clock) -> None:
    refresher = refresher_of(pool, login.url)
    login.script(token("t-1"))
    results: list[Result] = []
    take_back = refresher.wait(results.append)
    others = [refresher.wait(results.append) for _ in range(2)]
    take_back()
    await eventually(lambda: results)
    await settle()
    assert len(results) == 2
    for again in (take_back, *others):
        again()


async def test_a_waiter_may_cancel_other_waiters(login: ScriptedUpstream, pool: Pool, clock: Clock) -> None:
    refresher = refresher_of(pool, login.url)
    login.script(token("t-1"))
    results: list[str] = []

    def first(result: Result) -> None:
        results.append("first")
        take_back()

    refresher.wait(first)
    take_back = refresher.wait(lambda result: results.append("second"))
    refresher.wait(lambda result: results.append("third"))
    await eventually(lambda: results)
    await settle()
    assert results == ["first", "third"]


async def test_a_waiter_that_waits_again_gets_the_next_refresh(
    login: ScriptedUpstream, pool: Pool, clock: Clock
) -> None:
    refresher = refresher_of(pool, login.url)
    login.script(json_response(503, {}), token("t-2"))
    results: list[Result] = []

    def again(result: Result) -> None:
        results.append(result)
        if isinstance(result, RefreshError):
            refresher.wait(again)

    refresher.wait(again)
    await eventually(lambda: len(results) == 2)
    assert isinstance(results[0], RefreshError)
    assert value_of(results[1]) == "t-2"


async def test_token_is_refreshed_before_it_expires(
    login: ScriptedUpstream, pool: Pool, clock: Clock
) -> None:
    refresher = refresher_of(pool, login.url)
    login.script(token("t-1"), [Sleep(0.01), *token("t-2")])
    await fetched(refresher)
    clock.now += 3600 - 301
    assert value_of(refresher.current()) == "t-1"
    assert "IDLE" in repr(refresher)
    clock.now += 2
    # Reading the known token starts no refresh.
    assert value_of(refresher.known) == "t-1"
    assert "IDLE" in repr(refresher)
    # Five minutes before it expires the next one is fetched, once, while the old one is still used.
    assert [value_of(refresher.current()) for _ in range(3)] == ["t-1"] * 3
    assert "REFRESHING" in repr(refresher)
    await eventually(lambda: value_of(refresher.current()) == "t-2")
    assert len(login.requests) == 2


async def test_a_failed_early_refresh_keeps_the_old_token(
    login: ScriptedUpstream, pool: Pool, clock: Clock
) -> None:
    refresher = refresher_of(pool, login.url)
    login.script(token("t-1"), json_response(500, {}), token("t-2"))
    await fetched(refresher)
    clock.now += 3600 - 100
    assert value_of(refresher.current()) == "t-1"
    await eventually(lambda: "IDLE" in repr(refresher))
    assert len(login.requests) == 2
    # The next one who waits starts another refresh.
    assert value_of(refresher.current()) == "t-1"
    await eventually(lambda: value_of(refresher.current()) == "t-2")


async def test_an_expired_token_is_waited_for(login: ScriptedUpstream, pool: Pool, clock: Clock) -> None:
    refresher = refresher_of(pool, login.url)
    login.script(token("t-1"), token("t-2"))
    await fetched(refresher)
    clock.now += 3600
    assert refresher.known is None
    assert refresher.current() is None
    assert value_of(await fetched(refresher)) == "t-2"
    assert len(login.requests) == 2


async def test_a_refused_token_is_dropped_once(login: ScriptedUpstream, pool: Pool, clock: Clock) -> None:
    refresher = refresher_of(pool, login.url)
    login.script(token("t-1"), token("t-2"))
    first = await fetched(refresher)
    assert isinstance(first, Credential)
    refresher.refused(first)
    assert refresher.current() is None
    assert value_of(await fetched(refresher)) == "t-2"
    # Others who were refused the old one do not make it forget the new one.
    refresher.refused(first)
    assert value_of(refresher.current()) == "t-2"
    assert len(login.requests) == 2


@pytest.mark.parametrize(
    ("script", "status", "words"),
    [
        (json_response(400, {"error": "invalid_grant"}), 401, "responded with 400 (invalid_grant)"),
        (json_response(401, {"error": "invalid_client"}), 401, "responded with 401 (invalid_client)"),
        (json_response(403, b"<html>"), 401, "responded with 403"),
        (json_response(302, b"", [("location", "/elsewhere")]), 503, "responded with 302"),
        (json_response(429, {}), 503, "responded with 429"),
        (json_response(500, {}), 503, "responded with 500"),
        (json_response(200, {}), 503, "gave no usable access_token"),
        (json_response(200, {"access_token": "a\nb"}), 503, "gave no usable access_token"),
        (json_response(200, b"<html>"), 503, "gave no usable access_token"),
        (
            json_response(200, {"access_token": "t", "more": "x" * MAX_RESPONSE}),
            503,
            "larger than 65536 bytes",
        ),
        ([Close()], 503, "the upstream closed the connection before it responded"),
        ([Reset()], 503, "the upstream"),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", Close()], 503, "the"),
    ],
    ids=range(13),
)
async def test_token_refresh_errors(
    login: ScriptedUpstream, pool: Pool, clock: Clock, script: Script, status: int, words: str
) -> None:
    refresher = refresher_of(pool, login.url)
    login.script(script)
    error = await fetched(refresher)
    assert isinstance(error, RefreshError)
    assert error.status == status
    assert str(error).startswith(f"the token endpoint {login.url}/token")
    assert words in str(error)
    assert "canary" not in str(error) + repr(error)
    assert refresher.current() is None


async def test_token_endpoint_connect_error(clock: Clock) -> None:
    with unused_port() as port:
        url = f"http://127.0.0.1:{port}"
        error = await fetched(refresher_of(pool_to(url), url))
    assert isinstance(error, RefreshError)
    assert error.status == 503
    assert f"no connection to {url}" in str(error)


async def test_token_endpoint_timeout(
    login: ScriptedUpstream, pool: Pool, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.proxy.token_refresh.PATIENCE", 0.02)
    login.script([Stall()])
    error = await fetched(refresher_of(pool, login.url))
    assert isinstance(error, RefreshError)
    assert (error.status, "did not begin to respond in time" in str(error)) == (503, True)


async def test_token_response_size_limit_is_per_response(
    login: ScriptedUpstream, pool: Pool, clock: Clock
) -> None:
    refresher = refresher_of(pool, login.url)
    login.script(json_response(200, {"access_token": "t", "more": "x" * (MAX_RESPONSE // 2)}))
    for _ in range(4):
        assert value_of(await fetched(refresher)) == "t"


async def test_a_token_response_in_pieces(login: ScriptedUpstream, pool: Pool, clock: Clock) -> None:
    (whole,) = token("t-1")
    assert isinstance(whole, bytes)
    login.script([whole[at : at + 9] for at in range(0, len(whole), 9)])
    assert value_of(await fetched(refresher_of(pool, login.url))) == "t-1"


def test_no_secret_in_repr() -> None:
    refresher = refresher_of(pool_to("https://login.example"), "https://login.example")
    assert repr(refresher) == "<TokenRefresher [IDLE, <OAuthToken [empty]>]>"


async def test_an_internal_error_is_a_refresh_error(
    login: ScriptedUpstream, pool: Pool, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OAuthToken, "accept", explode)
    login.script(token("t-1"))
    error = await fetched(refresher_of(pool, login.url))
    assert isinstance(error, RefreshError)
    words = f"the token endpoint {login.url}/token: the request failed here: KeyError"
    assert (error.status, str(error)) == (503, words)
