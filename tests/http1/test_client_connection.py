"""A connection to an upstream, as transcripts: what the upstream sends, and the calls to receiver and pool."""

import asyncio
import gc
from collections.abc import Callable
from weakref import ref

import pytest

from gateway.http1.client_connection import MAX_INTERIM, ClientConnection, State
from gateway.http1.heads import ResponseFacts
from gateway.http1.limits import Limits
from gateway.http1.template import HeadTemplate
from gateway.http1.upstream_request import UpstreamRequest
from tests.http1.wire import Sink
from tests.support.clock import run
from tests.support.loops import settle
from tests.support.wire import Wire

LIMITS = Limits()._replace(max_head=200)


class Talk:
    """A request under way, and the pool of its connection, whose notes stand among the request's, in order."""

    def __init__(
        self,
        sink: Sink | None = None,
        *,
        wire: Wire | None = None,
        limits: Limits = LIMITS,
        pooled: bool = True,
    ) -> None:
        self.sink = sink or Sink()
        self.notes = self.sink.notes
        self.wire = wire or Wire()
        self.template: HeadTemplate[ResponseFacts] | None = None
        self.connection = ClientConnection("http://up", limits)
        if pooled:
            self.connection.owner = self
        self.wire.join(self.connection)
        self.send(self.sink)

    def send(self, sink: Sink) -> bytes:
        """Send a request; return the bytes that were written."""
        self.connection.send(sink)
        return self.wire.written()

    async def upstream(self, *steps: bytes | str) -> None:
        """Have the upstream send bytes, or `leave`, or `reset`."""
        for what in steps:
            if isinstance(what, bytes):
                self.wire.feed(what)
            else:
                await {"leave": self.wire.leave, "reset": self.wire.reset}[what]()
        await settle()

    # The pool.

    def idle(self, connection: ClientConnection) -> None:
        self.notes.append("idle")

    def closed(self, connection: ClientConnection) -> None:
        self.notes.append("closed")

    def connect(self, request: UpstreamRequest) -> None:
        self.notes.append("connect")


def ok(*fields: bytes, status: int = 200, version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([b"HTTP/%b %d X" % (version, status), *fields, b"", b""])


FIVE = ok(b"content-length: 5")
CHUNKED = ok(b"transfer-encoding: chunked")
UNTIL_CLOSE = ok()
UNTRUSTED = "the upstream's response cannot be trusted"
BROKEN = "the upstream's body is broken"
BAD_SIZE = f"{BROKEN}: a chunk's size line is not 1 to 16 hexadecimal digits and CRLF"
CUT = f"{BROKEN}: the connection was closed before the end of the body"
TOO_LARGE = "failed: the upstream's response has too large a head"

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
    "chunks unchanged": (
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
    "bytes behind the response, later": ([FIVE + b"hello", b"oops"], [*WHOLE, "closed"]),
    "a second response": ([FIVE + b"hello", FIVE + b"hello"], [*WHOLE, "closed"]),
    "it leaves behind its response": ([FIVE + b"hello", "leave"], [*WHOLE, "closed"]),
    "it resets behind its response": ([FIVE + b"hello", "reset"], [*WHOLE, "closed"]),
    # Incomplete heads.
    "continue": ([ok(status=100) + FIVE + b"hello"], WHOLE),
    "early hints": ([ok(b"link: </a>", status=103), ok(status=102), FIVE[:5], FIVE[5:] + b"hello"], WHOLE),
    # No head.
    "it leaves at once": (
        ["leave"],
        ["closed", "failed: the upstream closed the connection before it responded"],
    ),
    "it leaves inside the head": (
        [FIVE[:-2], "leave"],
        ["closed", "failed: the upstream closed the connection before it responded"],
    ),
    "it leaves behind a continue": (
        [ok(status=100), "leave"],
        ["closed", "failed: the upstream closed the connection before it responded"],
    ),
    "it resets": (["reset"], ["closed", "failed: the upstream reset the connection before it responded"]),
    "another protocol": (
        [ok(status=101)],
        ["closed", f"failed: {UNTRUSTED}: it switches protocols without being asked"],
    ),
    "not HTTP": (
        [b"SSH-2.0-x\r\n\r\n"],
        ["closed", f"failed: {UNTRUSTED}: its status line is not one of HTTP/1.1 or HTTP/1.0"],
    ),
    "two lengths": (
        [ok(b"content-length: 5", b"content-length: 6") + b"hello"],
        ["closed", f"failed: {UNTRUSTED}: content-length is given more than once"],
    ),
    "length and chunks": (
        [ok(b"content-length: 5", b"transfer-encoding: chunked") + b"hello"],
        [
            "closed",
            f"failed: {UNTRUSTED}: content-length and transfer-encoding are both given; send one of them",
        ],
    ),
    "too large a head, cut": ([b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 40], ["closed", TOO_LARGE]),
    "too large a head, whole": ([ok(b"x: " + b"y" * 200, b"content-length: 0")], ["closed", TOO_LARGE]),
    "a head that never ends": ([b"HTTP/1.1 200 OK\r\n", *[b"x: y\r\n"] * 40], ["closed", TOO_LARGE]),
    # Broken bodies.
    "cut": ([FIVE + b"hell", "leave"], ["head 200", "body 'hell'", "closed", f"failed: {CUT}"]),
    "cut behind the head": ([FIVE, "leave"], ["head 200", "closed", f"failed: {CUT}"]),
    "cut chunks": (
        [CHUNKED + b"2\r\nhe\r\n", "leave"],
        ["head 200", "body '2\\r\\nhe\\r\\n'", "closed", f"failed: {CUT}"],
    ),
    "reset": (
        [FIVE + b"hell", "reset"],
        ["head 200", "body 'hell'", "closed", "failed: the upstream reset the connection"],
    ),
    "reset where close is the end": (
        [UNTIL_CLOSE + b"hell", "reset"],
        ["head 200", "body 'hell'", "closed", "failed: the upstream reset the connection"],
    ),
    "a bad chunk": (
        [CHUNKED + b"2\r\nhe\r\n", b"zz\r\n"],
        ["head 200", "body '2\\r\\nhe\\r\\n'", "closed", f"failed: {BAD_SIZE}"],
    ),
    "a bad chunk behind the head": ([CHUNKED + b"zz\r\n"], ["head 200", "closed", f"failed: {BAD_SIZE}"]),
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
        ["head 200", "body ''", "body 'hel'", "body 'lo'", "body ''", "idle", "end ''"],
    ),
    "until close": (
        [UNTIL_CLOSE + b"he", b"llo", "leave"],
        ["head 200", "body 'he'", "body 'llo'", "closed", "end ''"],
    ),
    "bytes behind the body": ([FIVE + b"helloHTTP/1.1"], DROPPED),
    "bytes behind the last chunk": ([CHUNKED + b"5\r\nhello\r\n0\r\n\r\noops"], DROPPED),
    "a bad chunk": ([CHUNKED + b"2\r\nhe\r\nzz\r\n"], ["head 200", "closed", f"failed: {BAD_SIZE}"]),
}


async def check(sink: Sink, case: Case) -> None:
    steps, notes = case
    talk = Talk(sink)
    await talk.upstream(*steps)
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


@pytest.mark.parametrize("steps", [[FIVE], [ok()], [CHUNKED], [FIVE[:9], FIVE[9:]]])
async def test_response_to_HEAD_has_no_body(steps: list[bytes | str]) -> None:
    await check(Sink(method="HEAD"), (steps, ["head 200", "idle", "end ''"]))


async def test_a_body_after_a_HEAD_response_is_not_read() -> None:
    await check(Sink(method="HEAD"), ([FIVE + b"hello"], ["head 200", "closed", "end ''"]))


@pytest.mark.parametrize("name", ["of known length", "continue", "chunks in one read"])
async def test_byte_by_byte(name: str) -> None:
    (steps,), _ = {**AS_IT_IS, **DECODED}[name]
    assert isinstance(steps, bytes)
    talk = Talk(Sink(decode=True))
    await talk.upstream(*[steps[at : at + 1] for at in range(len(steps))])
    bodies = [note.partition(" ")[2].strip("'") for note in talk.notes[1:] if note != "idle"]
    assert "".join(bodies) == "hello"
    assert talk.connection.state is State.IDLE


@pytest.mark.parametrize(("size", "note"), [(200, "idle"), (201, TOO_LARGE)])
async def test_response_head_size_limit(size: int, note: str) -> None:
    head = ok(b"content-length: 5", b"x: ")
    head = head[:-4] + b"x" * (size - len(head)) + head[-4:]
    for steps in ([head + b"hello"], [head[:100], head[100:-1], head[-1:] + b"hello"]):
        talk = Talk(Sink(decode=True))
        await talk.upstream(*steps)
        assert note in talk.notes


# Sending.


async def test_bytes_that_are_sent() -> None:
    talk = Talk()
    assert repr(talk.connection) == "<ClientConnection [http://up, ACTIVE, Request Count: 1]>"
    await talk.upstream(FIVE + b"hello")
    assert talk.send(Sink()) == b"HEAD.BODY."
    assert repr(talk.connection) == "<ClientConnection [http://up, ACTIVE, Request Count: 2]>"


async def test_a_connection_before_its_first_request() -> None:
    connection = ClientConnection("http://up", LIMITS)
    assert repr(connection) == "<ClientConnection [http://up, NEW, Request Count: 0]>"
    wire = Wire()
    assert wire.join(connection) == b""
    connection.send(Sink(body=b""))
    assert wire.written() == b"HEAD."


async def test_unasked_bytes_on_an_idle_connection() -> None:
    connection = ClientConnection("http://up", LIMITS)
    wire = Wire()
    wire.join(connection)
    wire.feed(FIVE)
    assert (connection.state, wire.state) == (State.CLOSED, "ABORTED")


async def test_keep_alive_requests_in_sequence() -> None:
    talk = Talk()
    await talk.upstream(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n")
    sinks = [Sink(), Sink(decode=True), Sink()]
    for sink in sinks:
        talk.send(sink)
        await talk.upstream(FIVE + b"hello")
        assert sink.notes == ["head 200", "end 'hello'"]
    assert talk.connection.requests == 4


async def test_a_request_sent_when_the_response_before_it_ends() -> None:
    """The connection is free before the receiver gets the end."""
    talk = Talk()
    second = Sink(b"NEXT.", b"")
    talk.sink.on_body = lambda: talk.connection.send(second)
    assert talk.wire.feed(FIVE + b"hello") == b"NEXT."
    assert talk.wire.feed(FIVE + b"again") == b""
    assert second.notes == ["head 200", "end 'again'"]


async def test_a_response_before_the_request_has_left() -> None:
    """An upstream that refuses a large body early may not read the rest of it."""
    talk = Talk()
    await talk.upstream(FIVE + b"hello")
    talk.wire.takes = False
    early = Sink()
    talk.send(early)
    await talk.upstream(FIVE + b"hello")
    assert early.notes == ["head 200", "end 'hello'"]
    assert (talk.connection.state, talk.wire.state) == (State.CLOSED, "LOST")


# A connection that dies under a later request.

NOT_STALE = "failed: the upstream closed the connection before it responded"


@pytest.mark.parametrize(
    ("steps", "note"),
    [
        ([], "connect"),
        ([b"H"], NOT_STALE),
        ([ok(status=100)], NOT_STALE),
        ([b"SSH-2.0-x\r\n\r\n"], f"failed: {UNTRUSTED}: its status line is not one of HTTP/1.1 or HTTP/1.0"),
        ([FIVE], f"failed: {CUT}"),
        ([FIVE + b"he"], f"failed: {CUT}"),
    ],
)
@pytest.mark.parametrize("pooled", [True, False])
async def test_a_request_is_resent_if_its_response_had_not_begun(
    steps: list[bytes | str], note: str, pooled: bool
) -> None:
    talk = Talk(pooled=pooled)
    await talk.upstream(FIVE + b"hello")
    second = Sink()
    talk.send(second)
    del talk.notes[:]
    assert (second.head, second.body) == (b"HEAD.", b"BODY.")
    await talk.upstream(*steps, "leave")
    notes = [line for line in talk.notes + second.notes if line[:4] not in ("clos", "head", "body")]
    assert notes == [note if pooled or note != "connect" else NOT_STALE]


async def test_a_request_is_released_once_it_will_not_be_resent() -> None:
    talk = Talk()
    assert (talk.sink.head, talk.sink.body) == (b"", b"")
    await talk.upstream(FIVE + b"hello")
    second = Sink()
    talk.send(second)
    await talk.upstream(FIVE)
    assert (second.head, second.body) == (b"", b"")


# Cancelled requests and unwanted bodies.


@pytest.mark.parametrize("steps", [[], [FIVE[:9]], [FIVE], [FIVE + b"he"]])
async def test_abort_calls_no_receiver(steps: list[bytes | str]) -> None:
    talk = Talk()
    await talk.upstream(*steps)
    notes = list(talk.notes)
    talk.connection.abort()
    assert talk.notes == [*notes, "closed"]
    assert (talk.connection.state, talk.wire.state) == (State.CLOSED, "ABORTED")
    await settle()
    talk.connection.abort()
    assert (talk.notes, talk.wire.state) == ([*notes, "closed"], "LOST")


async def test_an_abort_in_the_middle_of_a_read() -> None:
    talk = Talk(Sink(decode=True))
    talk.sink.on_body = talk.connection.abort
    await talk.upstream(CHUNKED + b"2\r\nhe\r\n", b"3\r\nllo\r\n0\r\n\r\n")
    assert talk.notes == ["head 200", "body 'he'", "closed"]


async def test_bytes_after_an_abort_are_ignored() -> None:
    """Over TLS, bytes that were read already may still be delivered."""
    talk = Talk()
    await talk.upstream(FIVE)
    talk.connection.abort()
    talk.connection.data_received(b"hello")
    assert talk.notes == ["head 200", "closed"]


@pytest.mark.parametrize("steps", [FIVE, FIVE + b"hello", ok(b"content-length: 0"), UNTIL_CLOSE])
async def test_a_body_that_is_not_wanted(steps: bytes) -> None:
    talk = Talk(Sink(wanted=False))
    await talk.upstream(steps)
    assert talk.notes == ["head 200", "closed"]
    assert talk.wire.state == "LOST"


async def test_an_abort_at_the_head() -> None:
    """The request returns a receiver for the body all the same."""
    talk = Talk()
    talk.sink.on_head = talk.connection.abort
    await talk.upstream(FIVE + b"hello")
    assert talk.notes == ["head 200", "closed"]


async def test_a_connection_without_a_pool() -> None:
    talk = Talk(pooled=False)
    await talk.upstream(FIVE + b"hello", "leave")
    assert talk.notes == ["head 200", "end 'hello'"]
    assert talk.connection.state is State.CLOSED


class Lost(Wire):
    """Like the TLS transport, which does not know that it is closing when it is lost."""

    def is_closing(self) -> bool:
        return False


async def test_a_response_until_close_leaves_no_idle_connection() -> None:
    talk = Talk(wire=Lost())
    await talk.upstream(UNTIL_CLOSE + b"hello", "leave")
    assert talk.notes == ["head 200", "body 'hello'", "closed", "end ''"]


async def test_framing_shows_the_rest_of_a_chunk() -> None:
    talk = Talk()
    await talk.upstream(CHUNKED + b"5\r\nhe")
    assert repr(talk.connection.framing) == "<Framing [chunked, 3 left]>"


@pytest.mark.parametrize("count", [MAX_INTERIM, MAX_INTERIM + 1])
@pytest.mark.parametrize("at_once", [True, False])
async def test_interim_heads_limit(count: int, at_once: bool) -> None:
    interim = [ok(status=103)] * count
    talk = Talk()
    for _ in range(2):
        talk.connection.send(talk.sink)
        del talk.notes[:]
        await talk.upstream(*([b"".join(interim)] if at_once else interim), FIVE + b"hello")
        if count > MAX_INTERIM:
            assert talk.notes == ["closed", "failed: the upstream sent more than 10 interim heads"]
            assert talk.wire.state == "LOST"
            return
        assert talk.notes == WHOLE


async def test_the_pool_learns_head_templates() -> None:
    talk = Talk()
    await talk.upstream(FIVE + b"hello")
    learnt = talk.template
    assert learnt is not None
    for steps, same in ((FIVE.replace(b"5", b"3") + b"you", True), (CHUNKED + b"0\r\n\r\n", False)):
        talk.send(Sink())
        await talk.upstream(steps)
        assert (talk.template is learnt, talk.connection.template is talk.template) == (same, True)


async def test_a_head_without_a_template_keeps_the_last_template() -> None:
    talk = Talk()
    await talk.upstream(FIVE + b"hello")
    learnt = talk.template
    talk.send(Sink())
    await talk.upstream(ok(b"content-length: 5", b"x:y") + b"hello")
    talk.send(Sink())
    await talk.upstream(ok(b"content-length:5") + b"hello")
    assert learnt is not talk.template is not None
    assert talk.notes.count("idle") == 3


# A request or a receiver that raises.


def fail() -> None:
    raise ValueError("oops")


CRASHES: dict[str, Case] = {
    "at the head": ([FIVE + b"hello"], ["head 200", "crash oops", "closed"]),
    "in the body": ([FIVE + b"he"], ["head 200", "body 'he'", "crash oops"]),
    "in the whole body": ([FIVE + b"hello"], ["head 200", "idle", "end 'hello'", "crash oops"]),
    "at its end": (
        [FIVE + b"he", b"llo"],
        ["head 200", "body 'he'", "crash oops", "idle", "end 'llo'", "crash oops"],
    ),
    "at the failure": (["leave"], ["closed", NOT_STALE, "crash oops"]),
}


@pytest.mark.parametrize("name", CRASHES)
async def test_an_exception_of_a_request_reaches_its_crashed(name: str) -> None:
    steps, notes = CRASHES[name]
    talk = Talk()
    if name == "at the head":
        talk.sink.on_head = fail
    talk.sink.on_body = talk.sink.on_failure = fail
    await talk.upstream(*steps)
    assert talk.notes == notes


async def test_a_receiver_that_aborts_and_raises() -> None:
    talk = Talk()

    def abort() -> None:
        talk.connection.abort()
        fail()

    talk.sink.on_body = abort
    await talk.upstream(FIVE + b"he")
    assert talk.notes == ["head 200", "body 'he'", "closed", "crash oops"]


# Another receiver for the rest.


async def test_handing_the_body_to_another_receiver() -> None:
    talk = Talk()
    rest = Sink()
    await talk.upstream(FIVE + b"he")
    assert talk.connection.serves(talk.sink)
    talk.connection.hand_over(rest)
    await talk.upstream(b"llo")
    assert talk.notes == ["head 200", "body 'he'", "idle"]
    assert rest.notes == ["end 'llo'"]
    assert not talk.connection.serves(talk.sink)


async def test_handing_over_at_the_end_of_the_body() -> None:
    talk = Talk()
    await talk.upstream(FIVE + b"hello")
    talk.connection.hand_over(Sink())
    assert talk.send(Sink()) == b"HEAD.BODY."
    await talk.upstream(FIVE + b"hello")
    assert talk.notes == [*WHOLE, "idle"]


async def test_a_large_body_goes_out_behind_its_head() -> None:
    talk = Talk()
    await talk.upstream(FIVE + b"hello")
    assert talk.send(Sink(body=b"x" * 100_000)) == b"HEAD." + b"x" * 100_000


# One response among others: what comes in many small chunks is read a part in each turn of the loop.

TINY = 10_000
CHUNKS = b"1\r\nx\r\n" * TINY + b"0\r\n\r\n"
ODD_CHUNKS = b"1;\r\nx\r\n" * 4000 + b"0\r\n\r\n"


def received(notes: list[str]) -> tuple[list[str], int]:
    """Notes other than of body that is not its end, and how much of a body of `x` was received in all."""
    bodies = [note for note in notes if note.startswith(("body", "end"))]
    others = [note for note in notes if not note.startswith(("body", "end"))]
    return others, sum(note.count("x") for note in bodies)


@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize(("body", "size"), [(CHUNKS, TINY), (ODD_CHUNKS, 4000)])
@pytest.mark.parametrize("cut", [1, 30_000])
async def test_many_small_chunks_in_one_read(decode: bool, body: bytes, size: int, cut: int) -> None:
    talk = Talk(Sink(decode=decode))
    steps = CHUNKED + body
    talk.wire.feed(steps[:cut])
    talk.wire.feed(steps[cut:])
    turns = 0
    while talk.connection.state is State.ACTIVE:
        await asyncio.sleep(0)
        turns += 1
    assert 1 < turns < 30
    assert received(talk.notes) == (["head 200", "idle"], size)
    assert talk.wire.reading
    second = Sink()
    talk.send(second)
    await talk.upstream(FIVE + b"hello")
    assert second.notes == ["head 200", "end 'hello'"]


async def test_a_receiver_gets_the_same_bytes_in_the_same_order() -> None:
    """The order is also kept if the transport delivers what it had read before it was paused, as TLS does."""
    talk = Talk()
    body = (
        b"".join(b"%x\r\n%b\r\n" % (len(text), text) for text in map(b"%d".__mod__, range(9000)))
        + b"0\r\n\r\n"
    )
    for at in range(0, len(body), 20_000):
        talk.connection.data_received((CHUNKED if not at else b"") + body[at : at + 20_000])
    await settle(20)
    got = "".join(note.partition(" ")[2].strip("'") for note in talk.notes if note[:4] in ("body", "end "))
    assert got.encode().decode("unicode_escape").encode() == body
    assert talk.connection.state is State.IDLE


@pytest.mark.parametrize("how", ["leave", "reset"])
@pytest.mark.parametrize(("body", "error"), [(CHUNKS, ""), (CHUNKS[:-5], "failed: ")])
async def test_an_upstream_that_leaves_while_chunks_wait(how: str, body: bytes, error: str) -> None:
    """Chunks that arrived before the end are still delivered."""
    talk = Talk(Sink(decode=True))
    talk.wire.feed(CHUNKED + body)
    await talk.upstream(how)
    others, size = received(talk.notes)
    assert (others[:2], size) == (["head 200", "closed"], TINY)
    assert len(others) == (3 if error else 2)
    assert all(note.startswith(error) for note in others[2:])
    assert (talk.connection.state, talk.wire.state) == (State.CLOSED, "LOST")


async def test_a_broken_chunk_among_those_that_wait() -> None:
    talk = Talk(Sink(decode=True))
    talk.wire.feed(CHUNKED + CHUNKS[:-5] + b"zz\r\n")
    assert talk.connection.state is State.ACTIVE
    await settle(20)
    others, size = received(talk.notes)
    assert others == ["head 200", "closed", f"failed: {BAD_SIZE}"]
    assert TINY - 4096 <= size <= TINY


async def test_an_abort_while_chunks_wait() -> None:
    talk = Talk(Sink(decode=True))
    talk.wire.feed(CHUNKED + CHUNKS)
    talk.connection.abort()
    notes = list(talk.notes)
    await settle(20)
    assert talk.notes == notes
    assert talk.wire.state == "LOST"


async def test_a_receiver_that_pauses_while_chunks_wait() -> None:
    talk = Talk(Sink(decode=True))
    talk.wire.feed(CHUNKED + CHUNKS)
    talk.connection.pause()
    notes = list(talk.notes)
    await settle(20)
    assert (talk.notes, talk.wire.reading) == (notes, False)
    for _ in range(2):
        talk.connection.resume()
        talk.connection.pause()
    talk.connection.resume()
    turns = 0
    while talk.connection.state is State.ACTIVE:
        await asyncio.sleep(0)
        turns += 1
    assert turns == 2
    assert received(talk.notes) == (["head 200", "idle"], TINY)
    assert talk.wire.reading


async def test_a_receiver_that_pauses_at_each_part() -> None:
    talk = Talk(Sink(decode=True))
    talk.sink.on_body = talk.connection.pause
    talk.wire.feed(CHUNKED + CHUNKS)
    for _ in range(20):
        await settle()
        talk.connection.resume()
    assert received(talk.notes) == (["head 200", "idle"], TINY)
    assert talk.wire.reading


# The receiver's pace.


async def test_pause_and_resume_reading() -> None:
    talk = Talk()
    await talk.upstream(FIVE)
    talk.connection.pause()
    talk.connection.pause()
    assert not talk.wire.reading
    await talk.upstream(b"hello")
    assert talk.notes == ["head 200"]
    talk.connection.resume()
    talk.connection.resume()
    await settle()
    assert talk.notes == WHOLE


async def test_pause_without_a_response_under_way() -> None:
    talk = Talk()
    await talk.upstream(FIVE + b"hello")
    talk.connection.pause()
    assert talk.wire.reading


async def test_bytes_that_arrive_while_paused() -> None:
    """A connection is handed back reading, also where the last bytes were on their way to the receiver."""
    talk = Talk()
    await talk.upstream(FIVE)
    talk.connection.pause()
    talk.connection.data_received(b"hello")
    assert (talk.notes, talk.wire.reading) == (WHOLE, True)


async def test_resuming_a_connection_that_is_lost() -> None:
    talk = Talk()
    await talk.upstream(FIVE)
    talk.connection.pause()
    await talk.upstream("reset")
    talk.connection.resume()
    assert talk.notes == ["head 200", "closed", "failed: the upstream reset the connection"]


# Times.

Step = tuple[float, bytes | Callable[[Talk], None]]
NOT_BEGUN = "silent: the upstream did not begin to respond in time"
SILENT = "silent: the upstream fell silent inside its response"


def pause(talk: Talk) -> None:
    talk.connection.pause()


def resume(talk: Talk) -> None:
    talk.connection.resume()


def linger(talk: Talk) -> None:
    talk.connection.linger(talk.sink, 1.0)


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
    "not needed": ([(100, FIVE + b"h"), (0, linger)], 101, "body 'h'"),
    "not needed, and trickles": ([(100, FIVE), (0, linger), *3 * [(0.4, b"h")]], 101, "head 200"),
    "not needed, and ends": ([(100, FIVE), (0, linger), (0.4, b"hello")], 160.4, "idle"),
    "not needed, while paused": ([(100, FIVE), (0, pause), (0, linger)], 101, "head 200"),
}


@pytest.mark.parametrize("decode", [False, True])
@pytest.mark.parametrize("name", TIMES)
def test_timeouts(name: str, decode: bool) -> None:
    steps, lost, note = TIMES[name]

    async def talk() -> None:
        talk = Talk(Sink(decode=decode), limits=Limits())
        loop = asyncio.get_running_loop()
        began = loop.time()
        for wait, step in steps:
            await asyncio.sleep(wait)
            if isinstance(step, bytes):
                talk.wire.feed(step)
            else:
                step(talk)
        await talk.wire.gone.wait()
        assert loop.time() - began == pytest.approx(lost, abs=0.5)
        assert [line for line in talk.notes if line != "closed"][-1] == note
        assert talk.connection.state is State.CLOSED

    run(talk())


def test_each_request_has_its_own_first_byte_timeout() -> None:
    async def talk() -> None:
        talk = Talk(limits=Limits())
        talk.wire.feed(FIVE + b"hello")
        await asyncio.sleep(50)
        second = Sink()
        talk.send(second)
        began = asyncio.get_running_loop().time()
        await talk.wire.gone.wait()
        assert second.notes == [NOT_BEGUN]
        assert asyncio.get_running_loop().time() - began == pytest.approx(300, abs=0.5)

    run(talk())


async def test_only_the_current_request_shortens_its_timeout() -> None:
    talk = Talk()
    talk.connection.linger(Sink(), 0.0)
    await asyncio.sleep(0.001)
    await talk.upstream(FIVE + b"hello")
    assert talk.notes[-1] == "end 'hello'"


@pytest.mark.parametrize("steps", [[], [FIVE], [FIVE + b"hel"], [FIVE + b"hello"]])
async def test_a_lost_connection_is_garbage_collected(steps: list[bytes | str]) -> None:
    """Afterwards no timer refers to the connection."""
    talk = Talk()
    await talk.upstream(*steps, "reset")
    whole = ref(talk)
    del talk
    gc.collect()
    assert whole() is None
