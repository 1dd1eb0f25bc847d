"""Requests to an upstream: their heads, the accounts' credentials, and that no secret is shown."""

import pytest

from gateway.config import Secret
from gateway.dialects.anthropic import AnthropicDialect
from gateway.dialects.base import Outgoing
from gateway.http1.dial import origin_of
from gateway.http1.grammar import ProtocolError
from gateway.http1.heads import parse_request_head
from gateway.http1.pool import Pool
from gateway.proxy.upstream import Key, UpstreamClient, forwarded_lines
from gateway.routing.credentials import NO_CREDENTIAL, Credential
from tests.support.running import FAST, upstream
from tests.support.tokens import Tokens

KEY = Credential("api_key", Secret("canary-key"))


def client_with(*credentials: Credential | Tokens) -> UpstreamClient:
    """An upstream whose accounts are a0, a1, ..."""
    url, proxy = "https://h", "http://u:canary-proxy@p"
    return UpstreamClient(
        upstream(url, proxy=Secret(proxy)),
        Pool(origin_of(url, proxy=proxy, ca_file=None), FAST),
        AnthropicDialect(),
        {
            f"a{index}": Key(each) if isinstance(each, Credential) else each
            for index, each in enumerate(credentials)
        },
    )


def test_a_static_key_is_a_credential() -> None:
    key, results = Key(KEY), list[object]()
    key.refused(KEY)
    take_back = key.wait(results.append)
    take_back()
    assert (key.known, key.current(), results) == (KEY, KEY, [KEY])


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_the_head_of_a_request(body: bytes) -> None:
    client = client_with(KEY)
    outgoing = Outgoing(target="/v1/messages?x", body=body)
    head = parse_request_head(client.head(outgoing, client.fields("a0", KEY), b"x-app: cli\r\n"))
    assert (head.method, head.target) == ("POST", "/v1/messages?x")
    assert head.headers == [
        *((b"host", b"h"), (b"accept-encoding", b"identity"), (b"x-api-key", b"canary-key")),
        (b"x-app", b"cli"),
        *([(b"content-length", b"2")] if body else []),
    ]


def test_fields_of_a_request_replace_forwarded_ones() -> None:
    client = client_with(NO_CREDENTIAL)
    outgoing = Outgoing(target="/", method="GET", headers=[(b"accept", b"a/b")])
    head = client.head(outgoing, client.fields("a0", NO_CREDENTIAL), b"x-app: cli\r\n")
    assert head == b"GET / HTTP/1.1\r\nhost: h\r\naccept-encoding: identity\r\naccept: a/b\r\n\r\n"


@pytest.mark.parametrize("target", ["", "v1", "/a b", "/a#b", "/é", "/a\r\nx: y"])
def test_a_target_that_is_invalid_in_a_request_line(target: str) -> None:
    with pytest.raises(ProtocolError) as raised:
        client_with(KEY).head(Outgoing(target=target), b"", b"")
    assert raised.value.status == 400


def test_each_account_and_each_credential_has_its_own_fields() -> None:
    client = client_with(KEY, NO_CREDENTIAL)
    credentials = [Credential("bearer", Secret(f"token-{number}")) for number in range(2)]
    for _ in range(2):
        assert b"\r\nx-api-key: canary-key\r\n" in client.fields("a0", KEY)
        assert b"key" not in client.fields("a1", NO_CREDENTIAL)
        for number, credential in enumerate(credentials):
            assert client.fields("a1", credential).endswith(b"authorization: Bearer token-%d\r\n" % number)


def test_a_credential_that_is_invalid_in_a_header() -> None:
    with pytest.raises(ProtocolError):
        client_with(KEY).fields("a0", Credential("api_key", Secret("a\r\nx: y")))


def test_forwarded_request_headers() -> None:
    fields = [(b"anthropic-version", b"1"), (b"cookie", b"a"), (b"user-agent", b"u"), (b"content-type", b"c")]
    expected = b"anthropic-version: 1\r\nuser-agent: u\r\ncontent-type: c\r\n"
    assert forwarded_lines(AnthropicDialect(), fields) == expected


def test_no_secret_in_repr() -> None:
    client = client_with(KEY)
    client.fields("a0", KEY)
    assert repr(client) == "<UpstreamClient up <Pool [https://h, Active: 0, Idle: 0, Dialling: 0]>>"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("invalid x-api-key", "invalid x-api-key"),
        ("invalid key canary-key", "invalid key ***"),
        ("canary-key, canary-key2, canary-token", "***, ***2, ***"),
        ("model ollama3 is not known", "model ollama3 is not known"),
        # A text that was cut may end inside of a key.
        ("long words, then canary-t", "long words, then ***"),
        ("long words, then canary-", "long words, then canary-"),
        ("canary-t, and canary-tok", "canary-t, and ***"),
        ("canary-tail", "canary-tail"),
        ("", ""),
    ],
)
def test_a_credential_that_an_upstream_quotes_is_censored(message: str, shown: str) -> None:
    empty, short = Credential("api_key", Secret("")), Credential("api_key", Secret("ollama"))
    client = client_with(NO_CREDENTIAL, KEY, empty, short, Tokens(), Tokens("canary-token"))
    assert client.censor(message) == shown


@pytest.mark.parametrize("threads", [False, True])
def test_whether_an_upstream_keeps_message_threads(threads: bool) -> None:
    client = client_with(KEY)
    client.upstream = upstream("https://h", threads=threads)
    assert client.keeps_threads is threads


def test_whether_an_upstream_closes_other_connections_too() -> None:
    client = client_with(KEY)
    assert [client.closes_on_others(request) for request in "aaba"] == [False, False, True, False]
    client.closed_on = ""
    assert not client.closes_on_others("b")


def test_a_credential_that_was_refused_is_still_censored() -> None:
    tokens = Tokens("canary-token")
    client = client_with(tokens)
    assert tokens.known is not None
    client.refused("a0", tokens.known)
    assert tokens.refused_values == ["canary-token"]
    tokens.issue("canary-other")
    assert client.censor("no: canary-token, canary-other") == "no: ***, ***"
