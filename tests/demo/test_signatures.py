"""Signatures that prove themselves."""

import subprocess
import sys

import pytest

from gateway.demo.signatures import MARK, is_signed, sign
from gateway.messages.thinking import DIALECT_MARKS


@pytest.mark.parametrize("text", ["", "I think so.", "дa", "\ud800"])
def test_what_was_signed_is_known_again(text: str) -> None:
    assert is_signed({"type": "thinking", "thinking": text, "signature": sign(text)})


@pytest.mark.parametrize(
    "block",
    [
        {"thinking": "a", "signature": sign("b")},
        {"thinking": "a", "signature": sign("a") + "x"},
        {"thinking": "a", "signature": ""},
        {"thinking": "a"},
        {"signature": sign("")},
        {"thinking": 1, "signature": sign("1")},
        {"thinking": "a", "signature": ["demo-"]},
    ],
)
def test_anything_else_is_not(block: dict[str, object]) -> None:
    assert not is_signed({"type": "thinking", **block})


def test_another_process_makes_the_same_signature() -> None:
    code = "from gateway.demo.signatures import sign; print(sign('I think so.'), end='')"

    assert subprocess.check_output([sys.executable, "-c", code], text=True) == sign("I think so.")


def test_no_gateway_takes_it_for_another_dialects() -> None:
    assert sign("a").startswith(MARK)
    assert not MARK.startswith(DIALECT_MARKS)
