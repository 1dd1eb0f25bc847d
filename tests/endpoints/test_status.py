"""/status: who may look in, who may step in, and what the page may do."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.config import Auth, Secret, Status
from gateway.http1.exchange import Exchange
from tests.fakes.messages import ScriptedUpstream, error_response, json_response, message
from tests.support.client import ask
from tests.support.loops import settle
from tests.support.running import Running, config, running, upstream

HERE = "http://127.0.0.1:1"
KEYS = {"laptop": Secret("key-of-laptop")}
KEY = {"x-api-key": "key-of-laptop"}
ACT = {"x-gateway-action": "1"}
FOREIGN = "https://dash.example"


def settings(enabled: Any = "loopback", mode: Any = "auto", **server: Any) -> Any:
    auth = Auth(mode=mode, keys=KEYS)
    return config(upstream(HERE, "a@x.org"), auth=auth, status=Status(enabled=enabled), server=server)


@pytest.fixture
def from_afar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients come from another machine."""
    monkeypatch.setattr(Exchange, "peer", property(lambda self: "192.0.2.7"))


async def statuses(g: Running, **headers: str) -> tuple[int, int, int]:
    """Return the statuses of the page, the document and an action."""
    return (
        (await g.get("/status", **headers)).status,
        (await g.get("/status.json", **headers)).status,
        (await g.post({"upstream": "up"}, "/status/clear", **headers, **ACT)).status,
    )


FROM_HERE = [
    # enabled, auth.mode; without a key, with a wrong one, with a right one
    ("loopback", "off", 200, 200, 200),
    (True, "off", 200, 200, 200),
    (False, "off", 404, 404, 404),
    ("loopback", "strict", 401, 401, 200),
    ("loopback", "all_except_health", 401, 401, 200),
    (True, "strict", 401, 401, 200),
    (False, "strict", 401, 401, 404),
]


@pytest.mark.parametrize(("enabled", "mode", "without", "wrong", "right"), FROM_HERE)
async def test_access_from_this_machine(
    enabled: Any, mode: Any, without: int, wrong: int, right: int
) -> None:
    page = 404 if enabled is False else 200
    async with running(settings(enabled, mode)) as g:
        assert await statuses(g) == (page, without, without)
        assert await statuses(g, **{"x-api-key": "nonsense"}) == (page, wrong, wrong)
        assert await statuses(g, **KEY) == (page, right, right)


FROM_AFAR = [("loopback", "off", 403, 200), (True, "off", 200, 200), ("loopback", "strict", 401, 200)]


@pytest.mark.usefixtures("from_afar")
@pytest.mark.parametrize(("enabled", "mode", "without", "right"), FROM_AFAR)
async def test_access_from_another_machine(enabled: Any, mode: Any, without: int, right: int) -> None:
    async with running(settings(enabled, mode)) as g:
        assert await statuses(g) == (200, without, without)
        assert await statuses(g, **KEY) == (200, right, right)


@pytest.mark.parametrize("field", ["x-forwarded-for", "forwarded", "x-real-ip", "via"])
async def test_a_proxy_on_this_machine_does_not_make_its_clients_local(field: str) -> None:
    async with running(settings(mode="off")) as g:
        assert await statuses(g, **{field: "192.0.2.7"}) == (200, 403, 403)
        assert await statuses(g, **{field: "192.0.2.7"}, **KEY) == (200, 200, 200)


@pytest.mark.parametrize("peer", ["", "127.0.0.1", "::1", "::ffff:127.0.0.1"])
async def test_this_machine_has_many_addresses(peer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Exchange, "peer", property(lambda self: peer))
    async with running(settings()) as g:
        assert (await g.get("/status.json")).status == 200


GUARDS: list[tuple[dict[str, str], int, str]] = [
    ({}, 403, "x-gateway-action"),
    ({"origin": "https://evil.example", **ACT}, 403, "other web origins"),
    ({"origin": "null", **ACT}, 403, "other web origins"),
    ({"origin": FOREIGN, **ACT}, 403, "pages of other origins"),
]


@pytest.mark.parametrize(("headers", "status", "words"), GUARDS)
@pytest.mark.parametrize("action", ["clear", "disable", "enable"])
async def test_a_foreign_origin_gets_no_status_and_no_action(
    action: str, headers: Mapping[str, str], status: int, words: str
) -> None:
    async with running(settings(allowed_origins=(FOREIGN,))) as g:
        body = {"upstream": "up", "account": "a@x.org"}
        response = await g.post(body, f"/status/{action}", **headers)
        assert (response.status, words in response.message) == (status, True)
        assert not g.gateway.runtime.scheduler.snapshot(0.0)[0].disabled
        assert not any("an operator asked" in line for line in g.lines)


async def test_a_page_that_may_send_requests_may_not_send_actions() -> None:
    """Its browser is refused the header by the preflight, and the action would be refused, too."""
    async with running(settings(allowed_origins=(FOREIGN,))) as g, await g.connect() as client:
        asks = [("origin", FOREIGN), ("access-control-request-method", "POST")]
        for field, allowed in (("X-Api-Key", True), ("content-type, X-Gateway-Action", False)):
            preflight = await client.request(
                "OPTIONS", "/status/disable", b"", [*asks, ("access-control-request-headers", field)]
            )
            assert (preflight.header("access-control-allow-headers") is not None) is allowed
        assert (await g.get("/status.json", origin=FOREIGN)).status == 403


async def test_dns_rebinding_is_refused() -> None:
    async with running(settings()) as g:
        for target in ("/status", "/status.json", "/status/events"):
            async with await g.connect() as client:
                client.writer.write(f"GET {target} HTTP/1.1\r\nHost: rebound.example\r\n\r\n".encode())
                assert (await client.response()).status == 403


async def test_status_page_has_a_content_security_policy() -> None:
    async with running(settings(mode="strict")) as g, await g.connect() as client:
        # Twice: a recognised head needs no key either.
        responses = [await client.request("GET", "/status") for _ in range(2)]
        for response in responses:
            assert response.status == 200
            assert response.header("content-type") == "text/html; charset=utf-8"
            assert response.header("cache-control") == "no-store"
            assert response.header("x-content-type-options") == "nosniff"
            assert response.header("referrer-policy") == "no-referrer"
            policy = response.header("content-security-policy") or ""
            for part in (
                "default-src 'none'",
                "connect-src 'self'",
                "frame-ancestors 'none'",
                "base-uri 'none'",
            ):
                assert part in policy
            assert "unsafe" not in policy
            assert re.search(r"script-src 'sha256-[\w+/]{43}='; style-src 'sha256-", policy)
        text = responses[0].body.decode()
        # Nothing from elsewhere, no markup made of a string, no style or handler in an attribute.
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|//cdn|@import|\burl\(", text)
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text
        )
        assert not re.search(r"\s(style|on\w+)=", text)
        assert not re.search(r"localStorage|document\.cookie", text)
        head = await client.request("HEAD", "/status")
        assert (head.status, head.header("content-length")) == (200, str(len(responses[0].body)))


async def test_status_document_is_not_cached() -> None:
    async with running(settings()) as g, await g.connect() as client:
        response = await client.request("GET", "/status.json")
        assert response.header("cache-control") == "no-store"
        assert response.header("content-type") == "application/json"
        assert response.body.endswith(b"}\n")
        head = await client.request("HEAD", "/status.json")
        assert (head.status, head.body) == (200, b"")
        assert (await client.request("HEAD", "/status/events")).status == 200


BODIES: list[tuple[str, bytes, int, str]] = [
    ("clear", b"", 400, "must be as"),
    ("clear", b"[]", 400, "must be as"),
    ("clear", b'{"upstream": 1}', 400, "must be as"),
    ("clear", b'{"upstream": "x"}', 404, "there are: up"),
    ("clear", b'{"upstream": "up", "account": "x"}', 404, "it has: a@x.org"),
    ("clear", b'{"upstream": "up", "account": ["a@x.org"]}', 400, "account: must be a string"),
    ("disable", b'{"upstream": "up"}', 400, "disable needs one"),
    ("enable", b'{"upstream": "up", "account": ""}', 400, "enable needs one"),
]


@pytest.mark.parametrize(("action", "body", "status", "words"), BODIES)
async def test_invalid_actions(action: str, body: bytes, status: int, words: str) -> None:
    async with running(settings()) as g:
        response = await g.post(body, f"/status/{action}", **ACT)
        assert (response.status, words in response.message) == (status, True)


async def test_recent_requests_are_dropped_when_turned_off() -> None:
    async with running(settings(True)) as g:
        await g.post(ask())
        assert len((await g.get("/status.json")).document["requests"]) == 1
        g.gateway.reload(settings(False))
        assert not g.gateway.runtime.process_state.recent.requests
        g.gateway.reload(settings(True))
        await g.post(ask())
        assert len((await g.get("/status.json")).document["requests"]) == 1


async def test_disable_and_enable() -> None:
    async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x.org", "b@x.org"))) as g:
        up.script(json_response(200, message()))
        body = {"upstream": "up", "account": "a@x.org"}
        assert (await g.post(body, "/status/disable", **ACT)).document == {
            "done": "disable",
            "upstream": "up",
        }
        for _ in range(3):
            assert (await g.post(ask())).header("x-account-email") == "b@x.org"
        await g.post({**body, "account": "b@x.org"}, "/status/disable", **ACT)
        response = await g.post(ask())
        assert (response.status, response.header("x-should-retry")) == (503, "false")
        assert response.message == (
            'account "a@x.org" of upstream "up" is disabled; account "b@x.org" of upstream "up" is disabled'
        )
        ready = await g.get("/readyz")
        assert (ready.status, ready.document["ready_in_seconds"]) == (503, None)
        accounts = (await g.get("/status.json")).document["upstreams"][0]["accounts"]
        assert [(one["state"], one["disabled"], one["until"]) for one in accounts] == [
            ("closed", True, None)
        ] * 2
        await g.post(body, "/status/enable", **ACT)
        assert (await g.post(ask())).header("x-account-email") == "a@x.org"
        await settle()
        assert [line.partition(": ")[2] for line in g.lines if "an operator" in line] == [
            "an operator asked to disable up/a@x.org",
            "an operator asked to disable up/b@x.org",
            "an operator asked to enable up/a@x.org",
        ]
        g.gateway.reload(g.gateway.runtime.config)
        assert not any(one.disabled for one in g.gateway.runtime.scheduler.snapshot(0.0))


async def test_clear_ends_cool_downs_and_forgets_cures() -> None:
    limited = error_response(429, "rate_limit_error", "wait", [("retry-after", "3600")])
    refused = error_response(400, "invalid_request_error", "invalid beta flag")
    auth = Auth(mode="strict", keys=KEYS)
    async with ScriptedUpstream() as up, running(config(upstream(up.url, "a@x.org"), auth=auth)) as g:
        up.script(refused, json_response(200, message()), limited, json_response(200, message()))
        assert (await g.post(ask(), **KEY, anthropic_beta="odd-1")).status == 200
        assert (await g.post(ask(), **KEY)).status == 429
        for body in ({"upstream": "up", "account": "a@x.org"}, {"upstream": "up"}):
            (known,) = (await g.get("/status.json", **KEY)).document["upstreams"]
            assert known["cures"]
            assert (await g.post(body, "/status/clear", **ACT, **KEY)).status == 200
            (known,) = (await g.get("/status.json", **KEY)).document["upstreams"]
            assert known["accounts"][0]["state"] == "free"
        assert known["cures"] == []
        assert (await g.post(ask(), **KEY)).status == 200
        await settle()
        assert any("an operator asked to clear up, with the key laptop" in line for line in g.lines)
