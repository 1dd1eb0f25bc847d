"""`gateway check`'s text: what people read of a configuration, and never a secret."""

from pathlib import Path

import pytest

from gateway.config import Account, Auth, Config, Secret, Server, Tls, Upstream
from gateway.operator.check import summary

CANARY = "canary-51d0"

SECRET = Secret(CANARY)

FIRST = Upstream(
    name="first",
    kind="anthropic",
    base_url="https://first.example.com",
    models={"claude-opus-*": "big", "exact": "exact"},
    accounts=(
        Account(name="a@example.com", api_key=SECRET),
        Account(name="b@example.com", api_key=SECRET, max_concurrent=4),
    ),
    repairs=frozenset({"empty_text", "attribution"}),
    proxy=SECRET,
    ca_file=Path("/etc/ca.pem"),
)

SECOND = Upstream(
    name="second",
    kind="gemini",
    base_url="https://second.example.com",
    priority=1,
    accounts=(Account(name="g@example.com", oauth_file=Path("/etc/user.json")), Account(name="none")),
    repairs=frozenset({"merge_roles"}),
)


def test_the_whole_text() -> None:
    tls = Tls(certificate=Path("c"), private_key=Path("k"))
    config = Config(
        server=Server(host="0.0.0.0", port=1, workers=2, tls=tls),
        auth=Auth(keys={"laptop": SECRET, "ci": SECRET}),
        models={"claude-haiku-*": "second/small", "*": "claude-opus-5"},
        upstreams=(FIRST, SECOND),
        path=Path("/etc/gateway.toml"),
        warnings=("look here",),
    )
    assert (
        summary(config)
        == """\
/etc/gateway.toml is valid.

listens on       0.0.0.0 port 1, https, 2 workers
clients          auth all_except_health, keys: laptop, ci
count_tokens     auto

upstream first: anthropic, https://first.example.com, priority 0
  account        a@example.com, api_key ***
  account        b@example.com, api_key ***, at most 4 requests at once
  proxy          ***
  ca_file        /etc/ca.pem
  repairs        attribution, empty_text

upstream second: gemini, https://second.example.com, priority 1
  account        g@example.com, oauth_file /etc/user.json
  account        none, no key
  repairs        merge_roles

routes: requested -> upstream: wire model, in the order in which they are asked
  claude-haiku-* -> second: small
  claude-opus-* -> first: big, second: claude-opus-5
  exact -> first: big, second: claude-opus-5
  * -> first: big, second: claude-opus-5

WARNING: look here"""
    )


@pytest.mark.parametrize(
    ("auth", "clients"),
    [
        (Auth(), "no key needed"),
        (Auth(mode="strict"), "auth strict, keys: none, nobody can come in"),
        (Auth(mode="strict", keys={"ci": SECRET}), "auth strict, keys: ci"),
    ],
)
def test_who_may_come_in(auth: Auth, clients: str) -> None:
    lines = summary(Config(auth=auth, upstreams=(SECOND,))).splitlines()
    assert lines[0] == "The configuration is valid."
    assert f"clients          {clients}" in lines


def test_what_no_upstream_serves() -> None:
    config = Config(models={"fast": "small"}, upstreams=(FIRST,))
    assert summary(config).splitlines()[-4:] == [
        "  fast -> not served (404)",
        "  claude-opus-* -> first: big",
        "  exact -> first: unchanged",
        "  * -> not served (404)",
    ]
