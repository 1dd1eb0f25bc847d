"""The calls of a small request without repairs in this package: counted, so they are the same on every machine."""

from typing import Any

import orjson
import pytest

from gateway.messages.repair import apply
from gateway.messages.request import conversation_id, read_request, splice_model
from gateway.messages.warmup import is_warmup
from tests.messages.samples import USUAL, assistant, text, user
from tests.support.calls import calls

SESSION = b"00000000-0000-4000-8000-000000000000"

PYTHON_CALLS = 12
C_CALLS = 33


def served(raw: bytes) -> bytes:
    """Everything that is done with a request for an upstream of its own dialect, under another model name."""
    request = read_request(raw)
    document = request.document
    assert not is_warmup(document)
    assert conversation_id(document, SESSION) == SESSION.decode()
    assert apply(document, USUAL) == (document, ())
    return splice_model(request, "another-model")


@pytest.mark.parametrize(
    "messages",
    [
        [user("x" * 2000)],
        [user("x" * 1000), assistant("y" * 1000), user("z")],
        [user(text("x" * 1000)), assistant(text("y" * 1000)), user(text("z"))],
    ],
    ids=["one string", "strings", "blocks"],
)
def test_a_small_request_that_needs_nothing_takes_few_calls(messages: list[dict[str, Any]]) -> None:
    fields = {
        "model": "m",
        "max_tokens": 100,
        "system": "You are",
        "stream": True,
        "metadata": {"user_id": "u"},
    }
    raw = orjson.dumps({**fields, "messages": messages})
    served(raw)
    python, c = calls(served, raw)
    # One of them is `served`.
    assert python - 1 <= PYTHON_CALLS
    assert c <= C_CALLS
