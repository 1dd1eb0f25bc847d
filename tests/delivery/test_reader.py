"""What readers and the attempt loop promise each other: every reader has it all, and so has the loop."""

import inspect

import pytest

from gateway.delivery.attempts import Delivery
from gateway.delivery.reader import Attempt, Reader
from gateway.delivery.relay import StreamRelay
from gateway.delivery.translate import Collection, Translation
from gateway.delivery.whole import WholeReader
from tests.support.attempt import Recorder


def promised(protocol: type) -> dict[str, list[str]]:
    """A protocol's methods with the names of their arguments."""
    return {
        name: list(inspect.signature(method).parameters)
        for name, method in vars(protocol).items()
        if inspect.isfunction(method) and not name.startswith("_")
    }


@pytest.mark.parametrize("reader", [StreamRelay, Translation, Collection, WholeReader])
def test_a_reader_takes_what_a_connection_gives(reader: type) -> None:
    methods = promised(Reader)
    assert set(methods) == {"body_received", "failed", "can_ping"}
    for name, arguments in methods.items():
        assert list(inspect.signature(getattr(reader, name)).parameters) == arguments
    assert "decode" in reader.__dict__["__slots__"]


@pytest.mark.parametrize("attempt", [Delivery, Recorder])
def test_an_attempt_can_be_told_everything(attempt: type) -> None:
    methods = promised(Attempt)
    assert {"abandon", "failed", "failed_early", "commit_stream", "commit_whole", "done", "broke"} == set(
        methods
    )
    for name, arguments in methods.items():
        assert list(inspect.signature(getattr(attempt, name)).parameters)[: len(arguments)] == arguments
