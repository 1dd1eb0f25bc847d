"""Values: secrets that do not show, defaults that are the documented ones, what counts as loopback."""

from typing import Literal

import pytest

from gateway.config.kinds import ALWAYS_REPAIRED
from gateway.config.values import (
    REPAIRS,
    REPAIRS_OF_KIND,
    Account,
    Auth,
    Config,
    ConfigError,
    Secret,
    Server,
    Upstream,
    is_loopback,
)
from gateway.messages import repair

CANARY = "canary-51d0"


def test_repr_of_a_secret() -> None:
    secret = Secret(CANARY)
    assert secret.reveal() == CANARY
    upstream = Upstream(
        name="u", kind="anthropic", base_url="https://h", accounts=(Account(name="a", api_key=secret),)
    )
    config = Config(auth=Auth(keys={"laptop": secret}), upstreams=(upstream,))
    for shown in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>20}",
        f"{secret}",
        repr(config),
    ):
        assert CANARY not in shown
    assert (repr(secret), str(secret)) == ("Secret(***)", "***")


def test_defaults_are_the_documented_ones() -> None:
    config = Config()
    assert (config.server.host, config.server.port, config.server.expose) == ("127.0.0.1", 8045, "full")
    assert (config.retry.max_attempts, config.retry.max_wait, config.stream.ping_after) == (3, 20.0, 15.0)
    assert (config.intercept.warmup, config.intercept.quota_probe) == (True, False)
    assert (config.auth.mode, config.count_tokens) == ("auto", "auto")


@pytest.mark.parametrize("field", ["port", "host"])
def test_values_cannot_be_changed(field: str) -> None:
    with pytest.raises(AttributeError):
        setattr(Server(), field, 1)


@pytest.mark.parametrize(
    ("host", "near"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("app.localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("0:0:0:0:0:0:0:1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example.com", False),
        ("mylocalhost", False),
        ("example.com", False),
        ("", False),
    ],
)
def test_loopback(host: str, near: bool) -> None:
    assert is_loopback(host) is near


@pytest.mark.parametrize(
    ("mode", "host", "effective"),
    [
        ("auto", "127.0.0.1", "off"),
        ("auto", "localhost", "off"),
        ("auto", "0.0.0.0", "all_except_health"),
        ("strict", "127.0.0.1", "strict"),
        ("off", "0.0.0.0", "off"),
        ("all_except_health", "127.0.0.1", "all_except_health"),
    ],
)
def test_auto_is_off_on_loopback_only(
    mode: Literal["auto", "strict", "off", "all_except_health"], host: str, effective: str
) -> None:
    assert Auth(mode=mode).effective_mode(host) == effective


def test_an_error_lists_its_problems() -> None:
    error = ConfigError(["a: wrong", "b: missing"])
    assert error.problems == ["a: wrong", "b: missing"]
    assert str(error) == "a: wrong\nb: missing"


def test_every_repair_exists_and_every_default_is_a_repair() -> None:
    assert set(repair.REPAIRS) == {*REPAIRS, *ALWAYS_REPAIRED}
    for names in REPAIRS_OF_KIND.values():
        assert names <= {*REPAIRS, *ALWAYS_REPAIRED}
        assert names >= ALWAYS_REPAIRED
