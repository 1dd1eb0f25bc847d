"""A dialect of words, for tests of what stands around a decoder."""

from gateway.dialects.base import StreamFailure
from gateway.messages.stream import StreamWriter
from gateway.routing.failures import Failure, FailureKind

OVERLOADED = Failure(kind=FailureKind.STREAM_ERROR, status=529, type="overloaded_error", message="too much")
EARLY = Failure(kind=FailureKind.INCOMPLETE, status=502, message="cut short")
USAGE = {"input_tokens": 11, "output_tokens": 7}


class Words:
    """Each line is a word of text, but for `STOP`, `FAIL` and `START`."""

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
