"""The limits of HTTP: their documented values, and a reason beside each."""

import ast
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.http1 import limits
from gateway.http1.limits import KIB, MIB, Limits

PROMISED: dict[str, float] = {
    "max_request_line": 8 * KIB,
    "max_head": 32 * KIB,
    "max_body": 64 * MIB,
    "header_timeout": 10,
    "body_timeout": 30,
    "keep_alive_timeout": 75,
    "max_connections": 1024,
    "write_timeout": 60,
    "connect_timeout": 10,
    "first_byte_timeout": 300,
    "first_byte_timeout_complete": 600,
    "idle_timeout": 300,
    "pool_idle_timeout": 60,
    "pool_max_idle": 32,
    "drain_timeout": 30,
}


@pytest.mark.parametrize(("name", "value"), PROMISED.items())
def test_documented_limits(name: str, value: float) -> None:
    assert getattr(Limits(), name) == value


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ("max_request_line", "max_head"),
        ("max_head", "high_water"),
        ("pool_idle_timeout", "keep_alive_timeout"),
        ("first_byte_timeout", "first_byte_timeout_complete"),
        ("linger_bytes", "max_body"),
        ("linger_timeout", "write_timeout"),
    ],
)
def test_order_of_limits(less: str, more: str) -> None:
    assert 0 < getattr(Limits(), less) < getattr(Limits(), more)


def test_each_limit_has_a_reason() -> None:
    tree = ast.parse(Path(limits.__file__).read_bytes())
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef))
    explained = {
        field.target.id
        for field, reason in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(reason, ast.Expr)
        and isinstance(reason.value, ast.Constant)
        and len(str(reason.value.value)) > 30
    }
    assert explained == set(Limits._fields)


def test_limits_are_immutable() -> None:
    ours = Limits()._replace(max_body=1)
    assert (ours.max_body, ours.max_head) == (1, Limits().max_head)
    name = "max_body"
    with pytest.raises(AttributeError):
        setattr(ours, name, 2)
