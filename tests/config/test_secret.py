"""Secrets are equal by value, and only `reveal` returns them."""

from gateway.config.secret import Secret


def test_repr_of_a_secret() -> None:
    secret = Secret("canary-51d0")
    assert secret.reveal() == "canary-51d0"
    assert {repr(secret), str(secret), f"{secret}"} == {"Secret(***)", "***"}


def test_secrets_are_compared_by_value() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert not Secret("")
    assert Secret("a")
