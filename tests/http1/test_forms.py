"""Forms of heads: what is learnt and kept, and that a head read by its form is the head that was sent."""

from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.http1 import forms, heads, lines
from gateway.http1.forms import MAX_FORMS, MAX_LINES, Form, Forms, picker
from gateway.http1.heads import RequestHead, ResponseHead, parse_request_head, parse_response_head
from tests.http1.conformance import CASES
from tests.http1.readings import (
    LINES,
    RAW,
    STARTS,
    assert_equal_readings,
    assert_nothing_secret_is_kept,
    facts,
    forget,
    fresh_reading,
    head,
    kept,
    reading,
)


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    forget()
    yield
    forget()


Text = tuple[bytes, ...]

ASKED: Text = (
    *(b"POST /v1/messages?beta=true HTTP/1.1", b"Host: 127.0.0.1:8045", b"User-Agent: claude-cli/2.1"),
    *(b"X-Api-Key: s3cret-1", b"authorization: Bearer s3cret-2", b"X-Request-Id: 1", b"X-Empty:"),
    *(b"Content-Type: application/json", b"Connection: keep-alive", b"Content-Length: 5"),
)
ASKED_IN_CHUNKS: Text = (
    *(b"POST /v1/messages HTTP/1.1", b"TE: trailers", b"Expect: 100-continue", b"HOST: localhost"),
    *(b"Transfer-Encoding: chunked", b"X-A: b", b"Cookie: s3cret-3", b"Connection: close"),
)
ANSWERED: Text = (
    *(b"HTTP/1.1 200 OK", b"Date: Tue, 01 Oct 2030 10:10:10 GMT", b"Content-Type: application/json"),
    *(b"request-id: req_1", b"Set-Cookie: s3cret-4", b"anthropic-ratelimit-requests-remaining: 5"),
    *(b"X-Blank:   ", b"retry-after: 7", b"retry-after: 8", b"Content-Length: 5"),
)
ANSWERED_IN_CHUNKS: Text = (
    *(b"HTTP/1.1 529 ", b"transfer-encoding: chunked", b"Connection: close", b"age: 3", b"anthropic-a: b"),
)
BASES = [ASKED, ASKED_IN_CHUNKS, ANSWERED, ANSWERED_IN_CHUNKS]


def learnt(text: Text) -> RequestHead | ResponseHead:
    """The head as it is read when its form is known."""
    for _ in range(3):
        found = read(text)
    assert found.form is not None
    return found


def read(text: Text) -> RequestHead | ResponseHead:
    parse = parse_response_head if text[0].startswith(b"HTTP/") else parse_request_head
    return parse(head(*text))


def known() -> int:
    """How many forms are known."""
    return len(heads._requests) + len(heads._responses)


# Reading by a form.


@pytest.mark.parametrize("text", BASES)
def test_a_head_of_a_known_form(text: Text) -> None:
    assert (read(text).form, known()) == (None, 0)
    assert (read(text).form, known()) == (None, 1)
    found = read(text)
    assert found.form is not None
    assert facts(found) == fresh_reading(head(*text), isinstance(found, ResponseHead))


OTHERS = {
    b"x-api-key": b"another key",
    b"authorization": b"Basic x",
    b"x-request-id": b"2",
    b"content-length": b"123456789012345678",
    b"te": b"x",
    b"cookie": b"a=b; c=d",
    b"date": b"Tue, 01 Oct 2030 10:10:11 GMT",
    b"request-id": b"~",
    b"set-cookie": b"x",
    b"anthropic-ratelimit-requests-remaining": b"4: 3",
    b"retry-after": b"0",
    b"age": b"4",
}


@pytest.mark.parametrize("text", BASES)
def test_what_varies_is_read_afresh(text: Text) -> None:
    form = learnt(text).form
    changed = []
    for line in text:
        name, _, value = line.partition(b": ")
        changed.append(b"%b: %b" % (name, OTHERS[name.lower()]) if name.lower() in OTHERS else line)
    assert changed != list(text)
    found = read(tuple(changed))
    assert found.form is form
    assert facts(found) == fresh_reading(head(*changed), isinstance(found, ResponseHead))
    for name, value in found.headers:
        assert value == OTHERS.get(name, value)


@pytest.mark.parametrize("line", [b"User-Agent: claude-cli/2.2", b"Host: localhost", b"Connection: close"])
def test_other_constant_lines_are_another_form(line: bytes) -> None:
    form = learnt(ASKED).form
    name = line.partition(b":")[0]
    other = tuple(line if each.startswith(name + b":") else each for each in ASKED)
    assert read(other).form is None
    assert learnt(other).form is not form
    assert known() == 1


@pytest.mark.parametrize("start", [b"POST /v1/messages?beta=false HTTP/1.1", b"POST /v1/messages HTTP/1.1"])
def test_targets_are_kept_apart(start: bytes) -> None:
    other = (start, *ASKED[1:])
    first, second = learnt(ASKED), learnt(other)
    assert isinstance(first, RequestHead)
    assert isinstance(second, RequestHead)
    assert first.form is not second.form
    assert [first.target.encode(), second.target.encode()] == [ASKED[0].split()[1], start.split()[1]]
    assert [read(ASKED).form, read(other).form] == [first.form, second.form]


# What is learnt, and what is not.


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"X-Auth-Token: x",
            b"Referer: http://a",
            b"X-Note: Bearer x",
            b"X-Note: a sk-1",
            b"X-Url: /?key=1",
        ),
        b"X-Long: " + b"x" * lines.MAX_LINE,
        *(b"X-Api-Key:x", b"X-Api-Key:  x", b"X-Api-Key: x ", b"X-Api-Key: a\tb", b"X-Api-Key: \xff"),
        *(b"X-Api-Key:", b"Connection: X-A", b"Transfer-Encoding: Chunked", b"Host: [::1]"),
    ],
)
def test_heads_that_have_no_form(line: bytes) -> None:
    host = () if line.startswith(b"Host") else (b"Host: a",)
    text = (b"GET / HTTP/1.1", *host, line)
    for _ in range(4):
        assert read(text).form is None
    assert known() == 0


@pytest.mark.parametrize("query", [b"key=s3cret", b"a=b&access_token=s3cret", b"x=" + b"y" * lines.MAX_LINE])
def test_a_target_that_has_no_place_in_a_memory(query: bytes) -> None:
    text = (b"GET /?%b HTTP/1.1" % query, b"Host: a")
    for _ in range(4):
        assert read(text).form is None
    assert known() == 0


@pytest.mark.parametrize(
    ("line", "field"),
    [
        *((b"x-api-key:k", (b"x-api-key", b"k")), (b"x-api-key :k", (b"x-api-key", b"k"))),
        *((b"x-auth-token: k", (b"x-auth-token", b"k")), (b"x: Bearer k", (b"x", b"Bearer k"))),
    ],
)
def test_a_line_that_makes_a_head_unlearnable(line: bytes, field: lines.Field) -> None:
    met = Forms()
    met.learn([b"GET / HTTP/1.1", line, b"", b""], [field], ())
    assert len(met) == 0


@pytest.mark.parametrize(("count", "is_learnt"), [(MAX_LINES - 3, True), (MAX_LINES - 2, False)])
def test_heads_of_too_many_lines_are_not_learnt(count: int, is_learnt: bool) -> None:
    text = (b"GET / HTTP/1.1", b"Host: a", *(b"X-%d: y" % number for number in range(count - 1)))
    for _ in range(3):
        found = read(text)
    assert (found.form is not None, known()) == (is_learnt, is_learnt)


def test_forms_are_bounded() -> None:
    for number in range(3 * MAX_FORMS):
        learnt((b"GET /%d HTTP/1.1" % number, b"Host: a"))
        learnt((b"HTTP/1.1 200 %d" % number,))
        assert len(heads._requests) <= MAX_FORMS
        assert len(heads._responses) <= MAX_FORMS
    assert known() == 2 * MAX_FORMS


@pytest.mark.parametrize("text", BASES)
def test_no_value_that_varies_is_kept(text: Text) -> None:
    form = learnt(text).form
    assert form is not None
    held = list(kept(form))
    assert b"application/json" in held or b"b" in held
    assert not any(b"s3cret" in each or b"Oct" in each or b"req_1" in each for each in held)
    assert_nothing_secret_is_kept()
    assert repr(form) == f"<Form [{len(text) - 1} fields, {len(form._vary)} of them vary]>"


# By hand.


def made(*text: bytes) -> tuple[Form, Sequence[bytes]]:
    split = head(*text).split(b"\r\n")
    fields = [(name.lower(), value) for name, _, value in (line.partition(b": ") for line in text[1:])]
    return Form(split, fields, "says"), split


def test_a_form() -> None:
    form, text = made(b"GET / HTTP/1.1", b"x: 1", b"Age: 2", b"x: 3", b"age: 4", b"content-length: 5")
    assert form.says == "says"
    assert form.index == {b"x": 0, b"age": 1, b"content-length": 4}
    other = [*text[:2], b"Age: two", text[3], b"age: four", b"content-length: 55", b"", b""]
    assert form.fits(other)
    assert form.fields(other) == [
        *((b"x", b"1"), (b"age", b"two"), (b"x", b"3"), (b"age", b"four"), (b"content-length", b"55")),
    ]
    names = (b"x", b"age", b"content-length", b"y")
    assert [form.value(other, name) for name in names] == [b"1", b"two", b"55", None]
    assert (form.content_length(text), form.content_length(other)) == (5, 55)


def test_a_head_without_a_length() -> None:
    form, text = made(b"GET / HTTP/1.1", b"transfer-encoding: chunked")
    assert form.content_length(text) is None
    assert form.fits(text)


@pytest.mark.parametrize(("places", "taken"), [([], ()), ([2], (b"c",)), ([0, 2], (b"a", b"c"))])
def test_what_takes_lines_out(places: list[int], taken: tuple[bytes, ...]) -> None:
    assert picker(places)([b"a", b"b", b"c"]) == taken


# Memory makes no difference.


VALUES = [
    *(b"", b" ", b"  ", b" x", b"x ", b"\tx", b"x\t", b"a\tb", b"a  b", b"a: b", b"x"),
    *(b"a\x00", b"\x01", b"\x7f", b"\xff", b"\xc2\xa0", b"a\rb", b"a\nb", b"\r", b"\n", b"a\r\n b"),
    *(b"+5", b"-5", b"0x5", b"05", b"5, 5", b"5,5", b"0", b"5_0", b"5.0", b"5;", b"1" * 18, b"1" * 19),
    *(b"chunked", b"Chunked", b"chunked, chunked", b"gzip, chunked", b"identity", b"chunked\x0b"),
    *(b"close", b"Close", b"keep-alive", b"close, x", b"100-continue", b"100-Continue", b"200-ok"),
    *(b"a", b"localhost", b"a/b", b"127.0.0.1:0", b"[::1]"),
]

MORE = [
    *(b" folded", b"\tfolded", b"", b"X", b"X: y", b"X : y", b": y", b"X: y\nContent-Length: 7"),
    *(
        b"Content-Length: 5",
        b"Content-Length: 6",
        b"Transfer-Encoding: chunked",
        b"transfer-encoding : chunked",
    ),
    *(b"Transfer-Encoding:\x0bchunked", b"Host: b", b"Expect: 100-continue", b"Connection: close"),
]

Change = Callable[[Text, int], Text]


def with_line(*instead: Callable[[bytes], bytes]) -> Change:
    return lambda text, at: (*text[:at], *(make(text[at]) for make in instead), *text[at + 1 :])


def with_value(value: bytes, colon: bytes = b": ") -> Change:
    return with_line(lambda line: line.partition(b":")[0] + colon + value)


def with_name(spell: Callable[[bytes], bytes]) -> Change:
    return with_line(lambda line: spell(line.partition(b":")[0]) + b":" + line.partition(b":")[2])


def same(line: bytes) -> bytes:
    return line


def with_line_behind(more: bytes) -> Change:
    return with_line(same, lambda _: more)


def with_end(end: bytes) -> Change:
    return with_line(lambda line: line + end)


def swapped(text: Text, at: int) -> Text:
    text = (*text, b"X: last")
    return (*text[:at], text[at + 1], text[at], *text[at + 2 :])


CHANGES: list[Change] = [
    *(with_value(value) for value in VALUES),
    *(with_value(b"x", colon) for colon in (b":", b":  ", b" : ", b" :", b":\t", b"", b"::")),
    *(with_value(b"5", colon) for colon in (b":", b":  ", b" : ")),
    *(with_name(spell) for spell in (bytes.upper, bytes.lower, bytes.title, bytes.swapcase)),
    *(with_name(spell) for spell in (lambda name: name.replace(b"-", b"_"), lambda name: b" " + name)),
    *(with_line(same, same), with_line(), swapped),
    *(with_line_behind(more) for more in MORE),
    *(with_end(end) for end in (b" ", b"\t", b"\r", b"\n", b"\x00", b"\x85")),
]


@pytest.mark.parametrize("text", BASES)
def test_a_learnt_head_that_is_changed(text: Text) -> None:
    refused = 0
    response = text[0].startswith(b"HTTP/")
    for at in range(1, len(text)):
        for change in CHANGES:
            changed = change(text, at)
            forget()
            learnt(text)
            raw = head(*changed)
            expected = fresh_reading(raw, response)
            for _ in range(3):
                assert reading(raw, response) == expected
            refused += not isinstance(expected, tuple) or len(expected) == 2
            # What was read meanwhile has not changed what was learnt before.
            assert reading(head(*text), response) == fresh_reading(head(*text), response)
    assert 100 < refused < len(CHANGES) * len(text) - 100


@pytest.mark.parametrize("text", BASES)
@pytest.mark.parametrize(
    "ends",
    [
        lambda raw: raw[:-2],
        lambda raw: raw[:-1],
        lambda raw: raw + b"\r\n",
        lambda raw: raw + b"X",
        lambda raw: raw.replace(b"\r\n", b"\n"),
        lambda raw: raw.replace(b"\r\n", b"\r"),
        lambda raw: raw.replace(b"\r\n", b"\n", 2),
        lambda raw: raw.replace(b"\r\n", b"\r\n\r\n", 2),
        lambda raw: raw.replace(b"\r\n", b"\r\r\n", 2),
        lambda raw: b"\r\n" + raw,
        lambda raw: raw.replace(b"HTTP/1.1", b"HTTP/1.0"),
        lambda raw: raw.replace(b"/v1", b"/v1\x00").replace(b" 200", b" 204"),
        lambda raw: raw.replace(b"/v1", b"http://localhost/v1").replace(b"OK", b"ok"),
    ],
)
def test_a_learnt_head_with_other_ends(text: Text, ends: Callable[[bytes], bytes]) -> None:
    learnt(text)
    raw = ends(head(*text))
    assert_equal_readings(raw)
    assert_equal_readings(head(*text))


def test_both_framings_by_a_form_of_each() -> None:
    """A form has one kind of framing: its lines alone decide, never another form's."""
    with_length = (b"POST / HTTP/1.1", b"Host: a", b"Content-Length: 5")
    in_chunks = (b"POST / HTTP/1.1", b"Host: a", b"Transfer-Encoding: chunked")
    for text, length, chunked in ((with_length, 5, False), (in_chunks, None, True), (with_length, 5, False)):
        found = learnt(text)
        assert (found.content_length, found.chunked) == (length, chunked)


def test_memory_makes_no_difference_to_any_start_of_the_conformance_table() -> None:
    """Each case after all the others, which may have left anything."""
    for case in CASES:
        for end in (len(case.sent), case.sent.find(b"\r\n\r\n") + 4):
            if end >= 4:
                assert_equal_readings(case.sent[:end])
    assert known() > 0
    assert_nothing_secret_is_kept()


NEAR = st.builds(
    lambda text, at, change: head(*change(text, 1 + at % (len(text) - 1))),
    st.sampled_from(BASES),
    st.integers(0, 20),
    st.sampled_from(CHANGES),
)
FROM_LINES = st.builds(
    lambda start, text: head(start, b"Host: a", *text), STARTS, st.lists(LINES, max_size=4)
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(NEAR, NEAR, FROM_LINES, RAW), min_size=2, max_size=5))
def test_memory_makes_no_difference_to_heads_one_after_the_other(raws: list[bytes]) -> None:
    for text in BASES:
        learnt(text)
    for raw in raws:
        assert_equal_readings(raw)
    assert_nothing_secret_is_kept()


def test_what_may_vary_is_what_is_read_afresh() -> None:
    """Every field that `lines` never keeps varies, but for those that say whose a request is and what follows it."""
    stay = {name for name in lines.values if forms._stays(name)}
    assert stay == {b"host", b"connection"}
    assert {name for name in lines.JUDGED if not forms._stays(name)} == forms.FRAMING
