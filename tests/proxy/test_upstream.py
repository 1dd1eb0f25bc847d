"""A link to an upstream: who pays, and that it shows no secret."""

import orjson
import pytest

from gateway.config import Secret
from gateway.dialects.anthropic import AnthropicDialect
from gateway.dialects.base import Incoming, Outgoing
from gateway.http1.dial import origin_of
from gateway.http1.forms import MAX_FORMS
from gateway.http1.heads import parse_request_head
from gateway.http1.pool import Pool
from gateway.messages.request import read_request
from gateway.proxy.token_refresh import TokenRefresher
from gateway.proxy.upstream import UpstreamClient
from gateway.routing.credentials import NO_CREDENTIAL, Credential, OAuthToken
from tests.support.running import FAST, eventually, settle, upstream
from tests.support.upstream import ScriptedUpstream, json_answer

KEY = Credential("api_key", Secret("canary-key"))


def link_with(*credentials: Credential | TokenRefresher) -> UpstreamClient:
    url = "https://h"
    return UpstreamClient(
        upstream=upstream(url, proxy=Secret("http://u:canary-proxy@p")),
        origin=origin_of(url, proxy="http://u:canary-proxy@p", ca_file=None),
        dialect=AnthropicDialect(),
        credentials={f"a{index}": credential for index, credential in enumerate(credentials)},
    )


def test_an_account_pays_with_its_own() -> None:
    link = link_with(KEY, NO_CREDENTIAL)
    assert link.credential("a0") is KEY
    assert link.credential("a1") is NO_CREDENTIAL
    assert link.uncountable_until == 0.0


async def test_a_token_pays_while_it_lasts() -> None:
    async with ScriptedUpstream() as login:
        login.script(json_answer(200, {"access_token": "canary-token"}))
        file = {
            "client_id": "i",
            "client_secret": "s",
            "refresh_token": "r",
            "token_uri": f"{login.url}/token",
        }
        pool = Pool(FAST)
        link = link_with(TokenRefresher(OAuthToken(orjson.dumps(file)), pool, None))
        assert link.censored("canary-token") == "canary-token"
        assert login.connections == 0
        assert link.credential("a0") is None
        await eventually(lambda: link.credential("a0"))
        paying = link.credential("a0")
        assert paying is not None
        assert (paying.kind, paying.secret.reveal()) == ("bearer", "canary-token")
        assert "canary" not in repr(link)
        # An upstream may quote what it refuses.
        assert link.censored("no: canary-token!") == "no: ***!"
        pool.close()
        await settle()


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_the_head_of_a_request(body: bytes) -> None:
    outgoing = Outgoing(method="POST", target="/v1/messages?x", headers=[(b"x-api-key", b"k")], body=body)
    head = parse_request_head(link_with(KEY).head(outgoing))
    assert (head.method, head.target) == ("POST", "/v1/messages?x")
    length = [(b"content-length", b"2")] if body else []
    assert head.headers == [(b"host", b"h"), (b"x-api-key", b"k"), *length]


def test_a_head_that_is_kept_gets_the_length_of_its_body() -> None:
    link = link_with(KEY)
    headers = ((b"x-api-key", b"canary-key"),)
    for body in (b"{}", b"[1, 2, 3]", b"", b"{}"):
        for kept in (headers, list(headers)):
            outgoing = Outgoing(method="POST", target="/a", headers=kept, body=body)
            assert link.head(outgoing) == link_with(KEY).head(outgoing)
    assert len(link._heads) == 1
    assert "canary" not in repr(link)


def test_heads_are_kept_apart_by_their_fields_and_targets() -> None:
    link = link_with(KEY)
    fields = [((b"x-api-key", b"%d" % number),) for number in (1, 1, 2)]
    for _ in range(3):
        for each in fields:
            for target in ("/a", "/b"):
                outgoing = Outgoing(method="POST", target=target, headers=each, body=b"{}")
                head = parse_request_head(link.head(outgoing))
                assert (head.target, head.get(b"x-api-key")) == (target, each[0][1])
    assert len(link._heads) == len(fields)


def test_heads_of_fields_that_may_change_are_not_kept() -> None:
    link = link_with(KEY)
    fields = [(b"x-api-key", b"1")]
    for key in (b"1", b"2"):
        fields[0] = (b"x-api-key", key)
        head = link.head(Outgoing(method="POST", target="/a", headers=fields, body=b""))
        assert parse_request_head(head).get(b"x-api-key") == key
    assert link._heads == {}


def test_heads_that_are_kept_are_bounded() -> None:
    link = link_with(KEY)
    for number in range(3 * MAX_FORMS):
        outgoing = Outgoing(method="POST", target="/", headers=((b"x", b"%d" % number),), body=b"")
        head = parse_request_head(link.head(outgoing))
        assert head.get(b"x") == b"%d" % number
        assert len(link._heads) <= MAX_FORMS


def test_a_token_that_was_refreshed_is_in_the_next_head() -> None:
    link = link_with(KEY)
    raw = b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nX-App: cli\r\nContent-Length: 2\r\n\r\n"
    for _ in range(3):
        asked = parse_request_head(raw)
    assert asked.form is not None
    incoming = Incoming(
        request=read_request(b'{"model":"m","messages":[]}'),
        purpose="messages",
        query="",
        headers=asked.headers,
        stream=False,
        form=asked.form,
    )
    for number in range(5):
        # As an OAuth token's: nothing but the link knows it, and it is gone with the next.
        paying = Credential("bearer", Secret(f"token-{number}"))
        for _ in range(2):
            outgoing = link.dialect.encode(link.upstream, paying, "m", incoming)
            head = parse_request_head(link.head(outgoing))
            assert head.all(b"authorization") == [b"Bearer token-%d" % number]


def test_nothing_secret_is_shown() -> None:
    assert "canary" not in repr(link_with(KEY))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("invalid x-api-key", "invalid x-api-key"),
        ("invalid key canary-key", "invalid key ***"),
        ("canary-key, canary-key2", "***, ***2"),
        ("", ""),
    ],
)
def test_a_key_that_an_upstream_quotes_is_not_logged(said: str, shown: str) -> None:
    empty = Credential("api_key", Secret(""))
    assert link_with(NO_CREDENTIAL, KEY, empty).censored(said) == shown
