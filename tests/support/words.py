"""A dialect of words, for tests of what stands around a decoder."""

from collections.abc import Callable
from typing import Any

from gateway.dialects.base import Decoder, StreamFailure
from gateway.http1.upstream_request import UpstreamError
from gateway.messages.stream import StreamWriter
from gateway.proxy.response_headers import upstream_head
from gateway.proxy.responses import Reader
from gateway.routing.failures import Failure, FailureKind
from tests.support.attempt import Recorder, head_of

OVERLOADED = Failure(kind=FailureKind.STREAM_ERROR, status=529, type="overloaded_error", message="too much")
EARLY = Failure(kind=FailureKind.INCOMPLETE, status=502, message="cut short")
USAGE = {"input_tokens": 11, "output_tokens": 7}


class Words:
    """Each line is a word of text, except `STOP`, `FAIL` and `START`."""

    def __init__(self, writer: StreamWriter) -> None:
        self.complete = False
        self._writer = writer
        self._line = b""

    def feed(self, data: bytes) -> None:
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._take(line.decode())

    def _take(self, word: str) -> None:
        if word == "FAIL":
            raise StreamFailure(OVERLOADED)
        if word == "STOP":
            self.complete = True
        elif word == "START":
            self._writer.start(USAGE)
        else:
            self._writer.text(word)

    def end(self) -> None:
        if not self.complete:
            raise StreamFailure(EARLY)
        self._writer.finish("end_turn", USAGE)


class Stage:
    """A client, and a reader of a translated response whose bytes are given by hand."""

    def __init__(
        self,
        reader: Callable[..., Reader],
        *,
        stream: bool,
        decoder: Callable[[StreamWriter], Decoder] = Words,
    ) -> None:
        self.attempt = Recorder(stream=stream)
        self.client = self.attempt.client
        head = head_of()
        self.attempt.about = upstream_head(head)
        writer = StreamWriter(message_id="msg_1", model="m")
        self.reader: Any = reader(self.attempt, head, decoder(writer), writer)
        assert self.reader.decode
        assert self.reader.can_ping()
        assert not self.reader.is_complete()

    @property
    def calls(self) -> list[str]:
        return self.attempt.calls

    def feed(self, *reads: bytes, ended: bool = False) -> None:
        """These reads, then the body's end with the last one."""
        for index, data in enumerate(reads):
            self.reader.body_received(b"", data, ended and index == len(reads) - 1)

    def fail(self, *, silent: bool = False) -> None:
        self.reader.failed(UpstreamError("it broke", timeout=silent))


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]
