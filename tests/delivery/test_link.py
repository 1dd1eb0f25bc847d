"""A link to an upstream: who pays, and that it shows no secret."""

import orjson
import pytest

from gateway.config import Secret
from gateway.delivery.link import Link
from gateway.delivery.oauth import TokenKeeper
from gateway.dialects.anthropic import AnthropicDialect
from gateway.dialects.base import Outgoing
from gateway.dispatch.credentials import NO_CREDENTIAL, Credential, OAuthToken
from gateway.http1.dial import origin_of
from gateway.http1.heads import parse_request_head
from gateway.http1.pool import Pool
from tests.support.running import FAST, eventually, settle, upstream
from tests.support.upstream import ScriptedUpstream, json_answer

KEY = Credential("api_key", Secret("canary-key"))


def link_with(*credentials: Credential | TokenKeeper) -> Link:
    url = "https://h"
    return Link(
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
        link = link_with(TokenKeeper(OAuthToken(orjson.dumps(file)), pool, None))
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
