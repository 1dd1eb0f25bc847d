"""What readers and the attempt loop promise each other: every reader has it all, and so has the loop."""

import inspect

import pytest

from gateway.proxy.forward import Forwarder
from gateway.proxy.responses.buffered import BufferedResponse
from gateway.proxy.responses.reader import Reader, ResponseSink
from gateway.proxy.responses.relay import StreamRelay
from gateway.proxy.responses.translate import Collection, Translation
from tests.support.attempt import Recorder


def promised(protocol: type) -> dict[str, list[str]]:
    """A protocol's methods with the names of their arguments."""
    return {
        name: list(inspect.signature(method).parameters)
        for name, method in vars(protocol).items()
        if inspect.isfunction(method) and not name.startswith("_")
    }


@pytest.mark.parametrize("reader", [StreamRelay, Translation, Collection, BufferedResponse])
def test_a_reader_takes_what_a_connection_gives(reader: type) -> None:
    methods = promised(Reader)
    assert set(methods) == {"body_received", "failed", "can_ping"}
    for name, arguments in methods.items():
        assert list(inspect.signature(getattr(reader, name)).parameters) == arguments
    assert "decode" in reader.__dict__["__slots__"]


@pytest.mark.parametrize("attempt", [Forwarder, Recorder])
def test_an_attempt_can_be_told_everything(attempt: type) -> None:
    methods = promised(ResponseSink)
    assert {"abandon", "failed", "failed_early", "commit_stream", "commit_whole", "done", "broke"} == set(
        methods
    )
    for name, arguments in methods.items():
        assert list(inspect.signature(getattr(attempt, name)).parameters)[: len(arguments)] == arguments
