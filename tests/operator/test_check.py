"""`gateway check`'s text: what people read of a configuration, and never a secret."""

from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from gateway.config import Account, Auth, Config, Secret, Server, Sharing, Tls, Upstream
from gateway.operator.check import describe_model, problems, summary

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

routes: requested -> upstream: wire model. An exact name wins, then the pattern with more literal characters
  exact -> first: big, second: claude-opus-5
  claude-haiku-* -> second: small
  claude-opus-* -> first: big, second: claude-opus-5
  * -> first: big, second: claude-opus-5

WARNING: look here"""
    )


@pytest.mark.parametrize(
    ("auth", "clients"),
    [
        (Auth(), "no key needed"),
        (Auth(mode="strict"), "auth strict, keys: none, so every request is refused"),
        (Auth(mode="strict", keys={"ci": SECRET}), "auth strict, keys: ci"),
    ],
)
def test_access_line(auth: Auth, clients: str) -> None:
    lines = summary(Config(auth=auth, upstreams=(SECOND,))).splitlines()
    assert lines[0] == "The configuration is valid."
    assert f"clients          {clients}" in lines


def test_models_that_no_upstream_serves() -> None:
    config = Config(models={"fast": "small"}, upstreams=(FIRST,))
    assert summary(config).splitlines()[-4:] == [
        "  fast -> not served (404)",
        "  exact -> first: unchanged",
        "  claude-opus-* -> first: big",
        "  * -> not served (404)",
    ]


def test_upstreams_of_a_model_in_order() -> None:
    config = Config(models={"haiku": "second/small", "any": "exact"}, upstreams=(SECOND, FIRST))
    assert describe_model(config, "claude-opus-5") == (
        True,
        "claude-opus-5 is served by\n"
        "  first: big, priority 0, accounts a@example.com, b@example.com\n"
        "  else second: claude-opus-5, priority 1, accounts g@example.com, none",
    )
    assert describe_model(config, "haiku") == (
        True,
        "haiku, by [models] second/small, is served by\n"
        "  second: small, priority 1, accounts g@example.com, none",
    )
    served, text = describe_model(Config(upstreams=(FIRST,)), "x")
    assert (served, text) == (False, 'model "x" is not served here; served are: exact, claude-opus-*')


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    (tmp_path / "junk.pem").write_text("-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n")
    lost = replace(FIRST, name="lost", ca_file=tmp_path / "lost.pem")
    junk = replace(FIRST, ca_file=tmp_path / "junk.pem")
    tls = Tls(certificate=tmp_path / "junk.pem", private_key=tmp_path / "junk.pem")
    found = problems(Config(server=Server(tls=tls), upstreams=(SECOND, lost, junk)))
    assert len(found) == 3
    assert found[0].startswith(f"server.tls: {tmp_path}/junk.pem and ")
    assert found[1].startswith(f"upstreams.lost.ca_file: {tmp_path}/lost.pem cannot be used: No such file")
    assert found[2].startswith(f"upstreams.first.ca_file: {tmp_path}/junk.pem cannot be used: ")
    assert problems(Config(upstreams=(SECOND,))) == []


def test_an_encrypted_key_does_not_prompt_for_a_passphrase(tmp_path: Path) -> None:
    issued = trustme.CA().issue_cert("localhost")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None)
    sealed = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (tmp_path / "c.pem").write_bytes(issued.cert_chain_pems[0].bytes())
    (tmp_path / "k.pem").write_bytes(sealed)
    (message,) = problems(
        Config(server=Server(tls=Tls(certificate=tmp_path / "c.pem", private_key=tmp_path / "k.pem")))
    )
    assert "cannot be used together" in message


@pytest.mark.parametrize(
    ("sharing", "line"),
    [
        (
            Sharing(url=Secret(f"rediss://user:{CANARY}@store.lan:6380/1"), secret=SECRET),
            "shares over      store.lan:6380, sealed",
        ),
        (
            Sharing(url=Secret(f"unix://:{CANARY}@/run/valkey.sock")),
            "shares over      /run/valkey.sock, not sealed: anyone who can read the store sees accounts' "
            "names and signatures",
        ),
    ],
)
def test_sharing_line(sharing: Sharing, line: str) -> None:
    text = summary(Config(sharing=sharing))
    assert line in text.splitlines()
    assert CANARY not in text
