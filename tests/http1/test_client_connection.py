"""A connection to an upstream, as transcripts: what the upstream says, and what the receiver and the pool are told."""

import asyncio
import gc
from collections.abc import Callable
from dataclasses import replace
from weakref import ref

import pytest

from gateway.http1.client_connection import BodyReceiver, ClientConnection
from gateway.http1.heads import ResponseHead
from gateway.http1.limits import Limits
from tests.http1.wire import Sink, Wire
from tests.support.clock import run
from tests.support.loops import settle

LIMITS = replace(Limits(), max_head=200)


class Talk:
    """A request under way. The pool's notes stand among the receiver's, in order."""

    def __init__(
        self,
        sink: Sink | None = None,
        *,
        method: str = "POST",
        wire: Wire | None = None,
        limits: Limits = LIMITS,
    ) -> None:
        self.sink = sink or Sink()
        self.notes = self.sink.notes
        self.wire = wire or Wire()
        self.connection = ClientConnection("http://up", limits)
        self.connection.on_idle = lambda _: self.notes.append("idle")
        self.connection.on_closed = lambda _: self.notes.append("closed")
        self.wire.join(self.connection)
        self.ask(self.sink, method)

    def ask(self, sink: Sink, method: str = "POST") -> bytes:
        """Send a request; what went out."""
        self.connection.send(method, b"HEAD.", b"BODY." if method == "POST" else b"", sink, 300.0)
        return self.wire.heard()

    async def hear(self, *said: bytes | str) -> None:
        """What the upstream does: it says something, or `leave`, or `reset`."""
        for what in said:
            if isinstance(what, bytes):
                self.wire.say(what)
            else:
                await {"leave": self.wire.leave, "reset": self.wire.reset}[what]()
        await settle()


def ok(*fields: bytes, status: int = 200, version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([b"HTTP/%b %d X" % (version, status), *fields, b"", b""])


FIVE = ok(b"content-length: 5")
CHUNKED = ok(b"transfer-encoding: chunked")
UNTIL_CLOSE = ok()
UNTRUSTED = "the upstream's answer cannot be trusted"
BROKEN = "the upstream's body is broken"
BAD_SIZE = f"{BROKEN}: a chunk's size line is not 1 to 16 hexadecimal digits and CRLF"
CUT = f"{BROKEN}: the connection was closed before the end of the body"
TOO_LARGE = "head: the upstream's answer has too large a head"

Case = tuple[list[bytes | str], list[str]]

WHOLE: list[str] = ["head 200", "idle", "end 'hello'"]
DROPPED: list[str] = ["head 200", "closed", "end 'hello'"]

AS_IT_IS: dict[str, Case] = {
    "of known length": ([FIVE + b"hello"], WHOLE),
    "of known length, in reads": (
        [FIVE[:20], FIVE[20:], b"he", b"llo"],
        ["head 200", "body 'he'", "idle", "end 'llo'"],
    ),
    "of length zero": ([ok(b"content-length: 0")], ["head 200", "idle", "end ''"]),
    "without a body": ([ok(status=204)], ["head 204", "idle", "end ''"]),
    "not modified": ([ok(b"content-length: 5", status=304)], ["head 304", "idle", "end ''"]),
    "chunks as they are": (
        [CHUNKED + b"2\r\nhe\r\n", b"3\r\nllo\r\n0\r", b"\n\r\n"],
        ["head 200", "body '2\\r\\nhe\\r\\n'", "body '3\\r\\nllo\\r\\n0\\r'", "idle", "end '\\n\\r\\n'"],
    ),
    "until close": (
        [UNTIL_CLOSE + b"he", b"llo", "leave"],
        ["head 200", "body 'he'", "body 'llo'", "closed", "end ''"],
    ),
    "until close, empty": ([UNTIL_CLOSE, "leave"], ["head 200", "closed", "end ''"]),
    # The connection may not be used again.
    "close is announced": ([ok(b"content-length: 5", b"connection: close") + b"hello"], DROPPED),
    "HTTP/1.0": ([ok(b"content-length: 5", version=b"1.0") + b"hello"], DROPPED),
    "HTTP/1.0 until close": (
        [ok(version=b"1.0") + b"hello", "leave"],
        ["head 200", "body 'hello'", "closed", "end ''"],
    ),
    "bytes behind the body": ([FIVE + b"helloHTTP/1.1"], DROPPED),
    "bytes behind no body": ([ok(status=204) + b"\r\n"], ["head 204", "closed", "end ''"]),
    "bytes behind length zero": ([ok(b"content-length: 0") + b"oops"], ["head 200", "closed", "end ''"]),
    "bytes behind the last chunk": (
        [CHUNKED + b"0\r\n\r\noops"],
        ["head 200", "closed", "end '0\\r\\n\\r\\n'"],
    ),
    "bytes behind the answer, later": ([FIVE + b"hello", b"oops"], [*WHOLE, "closed"]),
    "a second answer": ([FIVE + b"hello", FIVE + b"hello"], [*WHOLE, "closed"]),
    "it leaves behind its answer": ([FIVE + b"hello", "leave"], [*WHOLE, "closed"]),
    "it resets behind its answer": ([FIVE + b"hello", "reset"], [*WHOLE, "closed"]),
    # Heads that tell nothing yet.
    "continue": ([ok(status=100) + FIVE + b"hello"], WHOLE),
    "early hints": ([ok(b"link: </a>", status=103), ok(status=102), FIVE[:5], FIVE[5:] + b"hello"], WHOLE),
    # No head.
    "it leaves at once": (
        ["leave"],
        ["closed", "head: the upstream closed the connection before it answered"],
    ),
    "it leaves inside the head": (
        [FIVE[:-2], "leave"],
        ["closed", "head: the upstream closed the connection before it answered"],
    ),
    "it leaves behind a continue": (
        [ok(status=100), "leave"],
        ["closed", "head: the upstream closed the connection before it answered"],
    ),
    "it resets": (["reset"], ["closed", "head: the upstream reset the connection before it answered"]),
    "another protocol": (
        [ok(status=101)],
        ["closed", f"head: {UNTRUSTED}: it switches protocols without being asked"],
    ),
    "not HTTP": (
        [b"SSH-2.0-x\r\n\r\n"],
        ["closed", f"head: {UNTRUSTED}: its status line is not one of HTTP/1.1 or HTTP/1.0"],
    ),
    "two lengths": (
        [ok(b"content-length: 5", b"content-length: 6") + b"hello"],
        ["closed", f"head: {UNTRUSTED}: content-length is given more than once"],
    ),
    "length and chunks": (
        [ok(b"content-length: 5", b"transfer-encoding: chunked") + b"hello"],
        [
            "closed",
            f"head: {UNTRUSTED}: content-length and transfer-encoding are both given; send one of them",
        ],
    ),
    "too large a head, cut": ([b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 40], ["closed", TOO_LARGE]),
    "too large a head, whole": ([ok(b"x: " + b"y" * 200, b"content-length: 0")], ["closed", TOO_LARGE]),
    "a head that never ends": ([b"HTTP/1.1 200 OK\r\n", *[b"x: y\r\n"] * 40], ["closed", TOO_LARGE]),
    # Broken bodies.
    "cut": ([FIVE + b"hell", "leave"], ["head 200", "body 'hell'", "closed", f"body: {CUT}"]),
    "cut behind the head": ([FIVE, "leave"], ["head 200", "closed", f"body: {CUT}"]),
    "cut chunks": (
        [CHUNKED + b"2\r\nhe\r\n", "leave"],
        ["head 200", "body '2\\r\\nhe\\r\\n'", "closed", f"body: {CUT}"],
    ),
    "reset": (
        [FIVE + b"hell", "reset"],
        ["head 200", "body 'hell'", "closed", "body: the upstream reset the connection"],
    ),
    "reset where close is the end": (
        [UNTIL_CLOSE + b"hell", "reset"],
        ["head 200", "body 'hell'", "closed", "body: the upstream reset the connection"],
    ),
    "a bad chunk": (
        [CHUNKED + b"2\r\nhe\r\n", b"zz\r\n"],
        ["head 200", "body '2\\r\\nhe\\r\\n'", "closed", f"body: {BAD_SIZE}"],
    ),
    "a bad chunk behind the head": ([CHUNKED + b"zz\r\n"], ["head 200", "closed", f"body: {BAD_SIZE}"]),
}

DECODED: dict[str, Case] = {
    "of known length": ([FIVE + b"hello"], WHOLE),
    "chunks": (
        [CHUNKED + b"2\r\nhe\r\n1\r\nl\r\n", b"2\r\nlo\r\n", b"0\r\n\r\n"],
        ["head 200", "body 'hel'", "body 'lo'", "idle", "end ''"],
    ),
    "chunks in one read": ([CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"], WHOLE),
    "reads without payload": (
        [CHUNKED, b"5\r", b"\nhel", b"lo\r\n", b"0\r\n\r", b"\n"],
        ["head 200", "body 'hel'", "body 'lo'", "idle", "end ''"],
    ),
    "until close": (
        [UNTIL_CLOSE + b"he", b"llo", "leave"],
        ["head 200", "body 'he'", "body 'llo'", "closed", "end ''"],
    ),
    "bytes behind the body": ([FIVE + b"helloHTTP/1.1"], DROPPED),
    "bytes behind the last chunk": ([CHUNKED + b"5\r\nhello\r\n0\r\n\r\noops"], DROPPED),
    "a bad chunk": ([CHUNKED + b"2\r\nhe\r\nzz\r\n"], ["head 200", "closed", f"body: {BAD_SIZE}"]),
}


async def check(sink: Sink, case: Case, method: str = "POST") -> None:
    said, notes = case
    talk = Talk(sink, method=method)
    await talk.hear(*said)
    open_still = "closed" not in notes
    assert talk.notes == notes
    assert repr(talk.connection) == (
        f"<ClientConnection [http://up, {'IDLE' if open_still else 'CLOSED'}, Request Count: 1]>"
    )
    assert (talk.wire.state == "OPEN") == open_still


@pytest.mark.parametrize("name", AS_IT_IS)
async def test_transcripts(name: str) -> None:
    await check(Sink(), AS_IT_IS[name])


@pytest.mark.parametrize("name", DECODED)
async def test_transcripts_of_the_payload(name: str) -> None:
    await check(Sink(decode=True), DECODED[name])


@pytest.mark.parametrize("said", [[FIVE], [ok()], [CHUNKED], [FIVE[:9], FIVE[9:]]])
async def test_no_body_behind_HEAD(said: list[bytes | str]) -> None:
    await check(Sink(), (said, ["head 200", "idle", "end ''"]), "HEAD")


async def test_a_body_behind_HEAD_is_not_read() -> None:
    await check(Sink(), ([FIVE + b"hello"], ["head 200", "closed", "end ''"]), "HEAD")


@pytest.mark.parametrize("name", ["of known length", "continue", "chunks in one read"])
async def test_byte_by_byte(name: str) -> None:
    (said,), _ = {**AS_IT_IS, **DECODED}[name]
    assert isinstance(said, bytes)
    talk = Talk(Sink(decode=True))
    await talk.hear(*[said[at : at + 1] for at in range(len(said))])
    bodies = [note.partition(" ")[2].strip("'") for note in talk.notes[1:] if note != "idle"]
    assert "".join(bodies) == "hello"
    assert talk.connection.state == "IDLE"


@pytest.mark.parametrize(("size", "note"), [(200, "idle"), (201, TOO_LARGE)])
async def test_how_large_a_head_may_be(size: int, note: str) -> None:
    head = ok(b"content-length: 5", b"x: ")
    head = head[:-4] + b"x" * (size - len(head)) + head[-4:]
    for said in ([head + b"hello"], [head[:100], head[100:-1], head[-1:] + b"hello"]):
        talk = Talk(Sink(decode=True))
        await talk.hear(*said)
        assert note in talk.notes


# Sending.


async def test_what_goes_out() -> None:
    talk = Talk()
    assert repr(talk.connection) == "<ClientConnection [http://up, ACTIVE, Request Count: 1]>"
    await talk.hear(FIVE + b"hello")
    assert talk.ask(Sink()) == b"HEAD.BODY."
    assert repr(talk.connection) == "<ClientConnection [http://up, ACTIVE, Request Count: 2]>"


async def test_before_anything_is_sent() -> None:
    connection = ClientConnection("http://up", LIMITS)
    assert repr(connection) == "<ClientConnection [http://up, NEW, Request Count: 0]>"
    wire = Wire()
    assert wire.join(connection) == b""
    connection.send("GET", b"HEAD.", b"", Sink(), 300.0)
    assert wire.heard() == b"HEAD."


async def test_bytes_that_nobody_asked_for() -> None:
    connection = ClientConnection("http://up", LIMITS)
    wire = Wire()
    wire.join(connection)
    wire.say(FIVE)
    assert (connection.state, wire.state) == ("CLOSED", "ABORTED")


async def test_one_request_after_the_other() -> None:
    talk = Talk()
    await talk.hear(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n")
    sinks = [Sink(), Sink(decode=True), Sink()]
    for sink in sinks:
        talk.ask(sink)
        assert not talk.connection.answered
        await talk.hear(FIVE + b"hello")
        assert talk.connection.answered
        assert sink.notes == ["head 200", "end 'hello'"]
    assert talk.connection.requests == 4


async def test_a_request_sent_when_the_answer_before_it_ends() -> None:
    """The connection is free before the receiver hears of the end."""
    talk = Talk()
    second = Sink()
    talk.sink.on_body = lambda: talk.connection.send("GET", b"NEXT.", b"", second, 300.0)
    assert talk.wire.say(FIVE + b"hello") == b"NEXT."
    assert talk.wire.say(FIVE + b"again") == b""
    assert second.notes == ["head 200", "end 'again'"]


async def test_an_answer_before_the_request_has_left() -> None:
    """An upstream that refuses a large body early may not read the rest of it."""
    talk = Talk()
    await talk.hear(FIVE + b"hello")
    talk.wire.takes = False
    early = Sink()
    talk.ask(early)
    await talk.hear(FIVE + b"hello")
    assert early.notes == ["head 200", "end 'hello'"]
    assert (talk.connection.state, talk.wire.state) == ("CLOSED", "LOST")


# Whether a dead connection had begun to answer.


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        ([], False),
        ([b"H"], True),
        ([ok(status=100)], True),
        ([b"SSH-2.0-x\r\n\r\n"], True),
        ([FIVE], True),
        ([FIVE + b"he"], True),
    ],
)
async def test_whether_it_had_begun_to_answer(said: list[bytes | str], answered: bool) -> None:
    talk = Talk()
    await talk.hear(FIVE + b"hello")
    talk.ask(Sink())
    await talk.hear(*said, "leave")
    assert talk.connection.answered is answered


# Nobody wants it.


@pytest.mark.parametrize("said", [[], [FIVE[:9]], [FIVE], [FIVE + b"he"]])
async def test_an_abort_says_no_word(said: list[bytes | str]) -> None:
    talk = Talk()
    await talk.hear(*said)
    notes = list(talk.notes)
    talk.connection.abort()
    assert talk.notes == [*notes, "closed"]
    assert (talk.connection.state, talk.wire.state) == ("CLOSED", "ABORTED")
    await settle()
    talk.connection.abort()
    assert (talk.notes, talk.wire.state) == ([*notes, "closed"], "LOST")


async def test_an_abort_in_the_middle_of_a_read() -> None:
    talk = Talk(Sink(decode=True))
    talk.sink.on_body = talk.connection.abort
    await talk.hear(CHUNKED + b"2\r\nhe\r\n", b"3\r\nllo\r\n0\r\n\r\n")
    assert talk.notes == ["head 200", "body 'he'", "closed"]


async def test_bytes_that_still_come_behind_an_abort() -> None:
    """Over TLS, bytes that were read already may still be delivered."""
    talk = Talk()
    await talk.hear(FIVE)
    talk.connection.abort()
    talk.connection.data_received(b"hello")
    assert talk.notes == ["head 200", "closed"]


@pytest.mark.parametrize("said", [FIVE, FIVE + b"hello", ok(b"content-length: 0"), UNTIL_CLOSE])
async def test_a_body_that_is_not_wanted(said: bytes) -> None:
    talk = Talk(Sink(wanted=False))
    await talk.hear(said)
    assert talk.notes == ["head 200", "closed"]
    assert talk.wire.state == "LOST"


class Hasty(Sink):
    """Cancels when it has seen the head, and all the same says that it would take the body."""

    def head_received(self, connection: ClientConnection, head: ResponseHead) -> BodyReceiver | None:
        connection.abort()
        return super().head_received(connection, head)


async def test_an_abort_at_the_head() -> None:
    talk = Talk(Hasty())
    await talk.hear(FIVE + b"hello")
    assert talk.notes == ["closed", "head 200"]


async def test_nobody_needs_to_be_told() -> None:
    talk = Talk()
    talk.connection.on_idle = talk.connection.on_closed = None
    await talk.hear(FIVE + b"hello", "leave")
    assert talk.notes == ["head 200", "end 'hello'"]
    assert talk.connection.state == "CLOSED"


class Lost(Wire):
    """Like the TLS transport, which does not know that it is closing when it is lost."""

    def is_closing(self) -> bool:
        return False


async def test_an_answer_that_ends_with_the_connection_leaves_none() -> None:
    talk = Talk(wire=Lost())
    await talk.hear(UNTIL_CLOSE + b"hello", "leave")
    assert talk.notes == ["head 200", "body 'hello'", "closed", "end ''"]


async def test_framing_tells_how_the_body_goes_on() -> None:
    talk = Talk()
    await talk.hear(CHUNKED + b"5\r\nhe")
    assert repr(talk.connection.framing) == "<Framing [chunked, 3 left]>"


# The receiver's pace.


async def test_pausing() -> None:
    talk = Talk()
    await talk.hear(FIVE)
    talk.connection.pause()
    talk.connection.pause()
    assert not talk.wire.reading
    await talk.hear(b"hello")
    assert talk.notes == ["head 200"]
    talk.connection.resume()
    talk.connection.resume()
    await settle()
    assert talk.notes == WHOLE


async def test_pausing_is_for_answers_under_way() -> None:
    talk = Talk()
    await talk.hear(FIVE + b"hello")
    talk.connection.pause()
    assert talk.wire.reading


async def test_what_still_came_while_paused() -> None:
    """A connection is handed back reading, also where the last bytes were on their way to the receiver."""
    talk = Talk()
    await talk.hear(FIVE)
    talk.connection.pause()
    talk.connection.data_received(b"hello")
    assert (talk.notes, talk.wire.reading) == (WHOLE, True)


async def test_resuming_a_connection_that_is_lost() -> None:
    talk = Talk()
    await talk.hear(FIVE)
    talk.connection.pause()
    await talk.hear("reset")
    talk.connection.resume()
    assert talk.notes == ["head 200", "closed", "body: the upstream reset the connection"]


# Times.

Step = tuple[float, bytes | Callable[[Talk], None]]
NOT_BEGUN = "silent head: the upstream did not begin to answer in time"
SILENT = "silent body: the upstream fell silent inside its answer"


def pause(talk: Talk) -> None:
    talk.connection.pause()


def resume(talk: Talk) -> None:
    talk.connection.resume()


TIMES: dict[str, tuple[list[Step], float, str]] = {
    "nothing": ([], 300, NOT_BEGUN),
    "half a head": ([(100, FIVE[:-2])], 300, NOT_BEGUN),
    "a head that trickles": ([(100, FIVE[:9]), (100, FIVE[9:12]), (90, FIVE[12:-2])], 300, NOT_BEGUN),
    "only hints": ([(100, ok(status=103)), (100, ok(status=103))], 300, NOT_BEGUN),
    "no body": ([(100, FIVE)], 400, SILENT),
    "half a body": ([(100, FIVE + b"hel")], 400, SILENT),
    "a body that trickles": ([(100, FIVE), (250, b"h"), (250, b"e"), (250, b"l")], 1150, SILENT),
    "chunks without payload": ([(100, CHUNKED), (250, b"5\r"), (250, b"\nhe")], 900, SILENT),
    "paused, then silent": ([(100, FIVE + b"h"), (0, pause), (1000, resume)], 1400, SILENT),
    "paused for short": ([(100, FIVE + b"h"), (100, pause), (100, resume)], 600, SILENT),
    "idle": ([(100, FIVE + b"hello")], 160, "end 'hello'"),
}


@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize("name", TIMES)
def test_times(name: str, decode: bool) -> None:
    steps, lost, note = TIMES[name]

    async def talk() -> None:
        talk = Talk(Sink(decode=decode), limits=Limits())
        loop = asyncio.get_running_loop()
        began = loop.time()
        for wait, step in steps:
            await asyncio.sleep(wait)
            if isinstance(step, bytes):
                talk.wire.say(step)
            else:
                step(talk)
        await talk.wire.gone.wait()
        assert loop.time() - began == pytest.approx(lost, abs=0.5)
        assert [line for line in talk.notes if line != "closed"][-1] == note
        assert talk.connection.state == "CLOSED"

    run(talk())


def test_each_request_has_its_own_time() -> None:
    async def talk() -> None:
        talk = Talk(limits=Limits())
        talk.wire.say(FIVE + b"hello")
        await asyncio.sleep(50)
        second = Sink()
        talk.ask(second)
        began = asyncio.get_running_loop().time()
        await talk.wire.gone.wait()
        assert second.notes == [NOT_BEGUN]
        assert asyncio.get_running_loop().time() - began == pytest.approx(300, abs=0.5)

    run(talk())


@pytest.mark.parametrize("said", [[], [FIVE], [FIVE + b"hel"], [FIVE + b"hello"]])
async def test_a_connection_that_is_lost_is_let_go(said: list[bytes | str]) -> None:
    """No timer holds it, and what it knows."""
    talk = Talk()
    await talk.hear(*said, "reset")
    whole = ref(talk)
    del talk
    gc.collect()
    assert whole() is None
