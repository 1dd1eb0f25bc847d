"""A connection that knows the last head reads the next one as a connection that knows nothing does."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.http1.grammar import head_end
from gateway.http1.heads import (
    RequestFacts,
    RequestHead,
    ResponseHead,
    parse_request_head,
    parse_response_head,
)
from gateway.http1.limits import Limits
from gateway.http1.request_heads import RequestHeadReader
from gateway.http1.template import HOLES, MAX_HEAD, HeadTemplate
from tests.http1.conformance import CASES
from tests.http1.heads import (
    ACCEPTABLE,
    ANY,
    BASES,
    CHANGES,
    EDITS,
    ENDS,
    NO_CONTENT,
    REQUEST,
    REQUEST_IN_CHUNKS,
    RESPONSE,
    Text,
    edited,
    fields_of,
    head,
    is_response,
    learnt,
    parse,
    reading,
)


class Shared:
    """State shared by the connections of a server."""

    template: HeadTemplate[RequestFacts] | None = None


def new_reader(shared: Shared | None = None) -> RequestHeadReader:
    return RequestHeadReader(shared or Shared(), Limits())


def by_template(first: bytes, raw: bytes) -> RequestHead | ResponseHead:
    """Read a head when another one was read before it."""
    if is_response(first):
        return parse_response_head(raw, parse_response_head(first).template)
    return parse_request_head(raw, parse_request_head(first).template)


def alone(first: bytes, raw: bytes) -> RequestHead | ResponseHead:
    return parse_response_head(raw) if is_response(first) else parse_request_head(raw)


def assert_warm_equals_cold(first: bytes, raw: bytes) -> object:
    """`first` was accepted before. Return the reading."""
    cold = reading(lambda: alone(first, raw))
    assert reading(lambda: by_template(first, raw)) == cold
    if not is_response(first):
        reader = new_reader()
        reader.read(first)
        assert_read_alike(reader, raw)
    return cold


def assert_read_alike(reader: RequestHeadReader, raw: bytes) -> None:
    """A reader that has read other heads reads this one as a new one does; there may be more than one in `raw`."""
    found = reader.recall(raw + b"GET")
    if found is None:
        assert reading(lambda: reader.read(raw)) == reading(lambda: parse_request_head(raw))
    else:
        known, size = found
        assert size == head_end(raw)
        assert fields_of(known) == reading(lambda: parse_request_head(raw[:size]))


# Matching heads.


@pytest.mark.parametrize("text", BASES)
def test_the_same_head_again(text: Text) -> None:
    raw = head(*text)
    template = learnt(text)
    again = by_template(raw, raw)
    assert_warm_equals_cold(raw, raw)
    assert again.template is not None
    assert repr(again.template) == repr(template)
    holes = sum(1 for line in text[1:] if line.partition(b":")[0].lower() in HOLES)
    assert repr(template) == f"<HeadTemplate [{len(text) - 1} fields, {holes} holes]>"


OTHERS = {
    b"x-api-key": b"another key",
    b"authorization": b"Basic x",
    b"x-request-id": b"2",
    b"content-length": b"123456789012345678",
    b"cookie": b"a=b; c=d",
    b"date": b"Tue, 01 Oct 2030 10:10:11 GMT",
    b"request-id": b"~",
    b"set-cookie": b"x",
    b"anthropic-ratelimit-requests-remaining": b"4: 3",
    b"retry-after": b"0",
    b"age": b"4",
}


@pytest.mark.parametrize("text", BASES)
def test_the_values_in_the_holes_are_those_of_each_head(text: Text) -> None:
    changed = []
    for line in text:
        name, _, value = line.partition(b": ")
        changed.append(b"%b: %b" % (name, OTHERS.get(name.lower(), value)) if value else line)
    first, raw = head(*text), head(*changed)
    assert raw != first
    template = alone(first, first).template
    found = by_template(first, raw)
    assert_warm_equals_cold(first, raw)
    assert found.template is not None
    assert found.template.match(first) is not None
    assert template is not None
    assert template.match(raw) is not None
    for name, value in found.headers:
        assert value == OTHERS.get(name, value)


@pytest.mark.parametrize("line", [b"User-Agent: claude-cli/2.2", b"Host: localhost", b"Connection: close"])
def test_another_constant_line_is_another_template(line: bytes) -> None:
    name = line.partition(b":")[0]
    other = [line if each.startswith(name + b":") else each for each in REQUEST]
    assert learnt(REQUEST).match(head(*other)) is None
    assert_warm_equals_cold(head(*REQUEST), head(*other))


# Lines that do not matter.


def is_refusal(read: object) -> bool:
    return isinstance(read, tuple) and len(read) == 2


@pytest.mark.parametrize("text", [*BASES, NO_CONTENT])
def test_each_line_changed(text: Text) -> None:
    found = [
        is_refusal(assert_warm_equals_cold(head(*text), head(*change(text, at))))
        for at in range(1, len(text))
        for change in CHANGES
    ]
    assert 50 < sum(found) < len(found) - 50


@pytest.mark.parametrize("text", BASES)
@pytest.mark.parametrize("end", ENDS)
def test_heads_with_other_line_ends(text: Text, end: Callable[[bytes], bytes]) -> None:
    raw = end(head(*text))
    assert_warm_equals_cold(head(*text), raw)


@pytest.mark.parametrize(
    "usual", [head(*REQUEST), head(*REQUEST_IN_CHUNKS), head(b"GET / HTTP/1.1", b"Host: a"), b""]
)
def test_the_conformance_table(usual: bytes) -> None:
    """Each of its heads behind a usual one, and behind itself."""
    for case in CASES:
        end = case.sent.find(b"\r\n\r\n") + 4
        for raw in (case.sent[:20_000], case.sent[:end]):
            if not is_refusal(reading(partial(parse_request_head, usual or raw))):
                assert_warm_equals_cold(usual or raw, raw)


@settings(max_examples=100)
@given(ACCEPTABLE, EDITS)
def test_any_head_that_is_edited(first: bytes, edits: list[tuple[int, int, bytes]]) -> None:
    assume(not is_refusal(reading(lambda: parse(first))))
    assert_warm_equals_cold(first, edited(first, edits))


@settings(max_examples=100)
@given(st.sampled_from(BASES), ANY)
def test_any_head_after_a_usual_one(text: Text, raw: bytes) -> None:
    assert_warm_equals_cold(head(*text), raw)


@settings(max_examples=100)
@given(
    st.lists(st.one_of(ACCEPTABLE, st.sampled_from([head(*REQUEST), head(*REQUEST_IN_CHUNKS)])), max_size=6)
)
def test_one_head_after_the_other_on_a_connection(raws: list[bytes]) -> None:
    """Any heads may have been read before, accepted or refused."""
    requests, template = new_reader(), None
    for raw in raws:
        if is_response(raw):
            cold = reading(partial(parse_response_head, raw))
            assert reading(partial(parse_response_head, raw, template)) == cold
            if not is_refusal(cold):
                template = parse_response_head(raw, template).template or template
        else:
            assert_read_alike(requests, raw)


# The last head again.


@pytest.mark.parametrize("length", [b"5", b"0", b"17", b"123456789012345678"])
def test_the_last_head_with_another_length(length: bytes) -> None:
    reader = new_reader()
    first = reader.read(head(*REQUEST))
    first.known = known = object()
    raw = head(*REQUEST[:-1], b"Content-Length: " + length)
    for _ in range(2):
        found = reader.recall(raw + b"GET")
        assert found is not None
        again, size = found
        assert size == len(raw)
        assert fields_of(again) == fields_of(parse_request_head(raw))
        assert (again.known, again.template) == (known, first.template)
    assert first.content_length == 5


@pytest.mark.parametrize("length", [b"", b"05", b"+5", b"5 ", b"1" * 19, b"1" * 30, b"5\x00", b"5, 5"])
def test_a_length_that_is_not_plain_is_not_recalled(length: bytes) -> None:
    reader = new_reader()
    reader.read(head(*REQUEST))
    assert reader.recall(head(*REQUEST[:-1], b"Content-Length: " + length)) is None


def test_a_head_that_is_not_complete_is_not_recalled() -> None:
    for text in (REQUEST, (b"GET / HTTP/1.1", b"Host: a")):
        reader = new_reader()
        raw = head(*text)
        assert reader.recall(raw) is None
        reader.read(raw)
        assert all(reader.recall(raw[:size]) is None for size in range(len(raw)))
        assert reader.recall(raw) is not None


def test_a_reader_that_has_refused_a_head_recalls_nothing() -> None:
    reader = new_reader()
    reader.read(head(*REQUEST))
    assert is_refusal(reading(lambda: reader.read(head(b"GET / HTTP/1.1"))))
    assert reader.recall(head(*REQUEST)) is not None


def test_a_head_without_a_template_is_not_recalled() -> None:
    reader = new_reader()
    reader.read(head(*REQUEST))
    template = reader.template
    odd = head(b"GET / HTTP/1.1", b"Host: a", b"X-Api-Key:k")
    assert reader.read(odd).template is None
    assert (reader.recall(odd), reader.recall(head(*REQUEST))) == (None, None)
    assert reader.template is template


def test_connections_that_were_made_before_any_head_came_share_its_template() -> None:
    shared = Shared()
    first, second = new_reader(shared), new_reader(shared)
    first.read(head(*REQUEST))
    assert second.recall(head(*REQUEST)) is None
    other = head(*(line.replace(b"s3cret-1", b"another") for line in REQUEST))
    assert second.read(other).template is first.template


# Which lines are kept.


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"X-Api-Key:x",
            b"X-Api-Key:  x",
            b"X-Api-Key: x ",
            b"X-Api-Key: a\tb",
            b"X-Api-Key: \xff",
            b"X-Api-Key:",
        ),
        *(b"Content-Length:5", b"Content-Length: 5 ", b"X-Token:", b"X-Note:Bearer s3cret"),
        b"X-Long: " + b"x" * MAX_HEAD,
        # Lines that decide about the message, and would vary.
        *(b"Connection: keep-alive, key=s3cret", b"Connection: Bearer s3cret"),
    ],
)
def test_heads_that_have_no_template(line: bytes) -> None:
    assert parse_request_head(head(b"GET / HTTP/1.1", b"Host: a", line)).template is None


def test_a_host_that_looks_like_a_secret_has_no_template() -> None:
    """As a hole it would be passed unread."""
    first = head(b"GET / HTTP/1.1", b"Host: aizasy.test")
    assert parse_request_head(first).template is None
    assert_warm_equals_cold(first, head(b"GET / HTTP/1.1", b"Host: a/b"))


@pytest.mark.parametrize(
    "query", [b"key=s3cret", b"a=b&access_token=s3cret", b"x=bearer s3cret".replace(b" ", b"%20")]
)
def test_a_target_with_a_secret(query: bytes) -> None:
    template = parse_request_head(head(b"GET /?%b HTTP/1.1" % query, b"Host: a")).template
    assert (template is None) == (b"=s3cret" in query)


def test_interim_heads_have_no_template() -> None:
    assert parse_response_head(head(b"HTTP/1.1 103 Early Hints", b"Link: </a>")).template is None


def kept(thing: object) -> Iterator[bytes]:
    """All bytes that a template holds."""
    if isinstance(thing, bytes):
        yield thing
    elif isinstance(thing, str):
        yield thing.encode()
    elif isinstance(thing, dict):
        yield from kept((*thing, *thing.values()))
    elif isinstance(thing, tuple | list | frozenset):
        for part in thing:
            yield from kept(part)
    elif isinstance(thing, HeadTemplate):
        for slot in HeadTemplate.__slots__:
            yield from kept(getattr(thing, slot))


SECRET_LINES = [
    *(
        b"Authorization: Basic s3cret",
        b"Proxy-Authorization: s3cret",
        b"X-Api-Key: s3cret",
        b"x-goog-api-key: s3cret",
    ),
    *(b"Cookie: s3cret", b"Set-Cookie: s3cret", b"X-Auth: s3cret", b"My-Token: s3cret", b"X-Secret: s3cret"),
    *(b"Referer: http://a/?s3cret", b"X-Signature: s3cret", b"X-Password: s3cret", b"X-Credential: s3cret"),
    *(b"X-Note: Bearer s3cret", b"X-Note: a sk-s3cret", b"X-Url: /?key=s3cret", b"X-Note: AIzaSys3cret"),
    *(b"X-Any: access_token=s3cret", b"X-Any: password=s3cret", b"Date: s3cret", b"Request-Id: s3cret"),
]


@pytest.mark.parametrize("line", SECRET_LINES)
@pytest.mark.parametrize("start", [b"GET / HTTP/1.1", b"HTTP/1.1 200 OK"])
def test_no_secret_and_no_value_that_varies_is_kept(start: bytes, line: bytes) -> None:
    raw = head(start, b"Host: a", b"X-Open: kept", line, b"Content-Length: 4711")
    found = parse(raw)
    assert found.template is not None
    values = list(kept(found.template))
    assert b"kept" in values
    assert not any(b"s3cret" in value or b"4711" in value for value in values)
    assert b"s3cret" not in repr(found.template).encode()
    assert_warm_equals_cold(raw, raw.replace(b"s3cret", b"other"))


def test_holes_and_their_names() -> None:
    template = learnt(RESPONSE)
    assert template.hole_names == {
        *(b"date", b"request-id", b"set-cookie", b"anthropic-ratelimit-requests-remaining"),
        *(b"retry-after", b"content-length"),
    }
    values = template.match(head(*RESPONSE))
    assert values is not None
    assert values[template.holes[2]] == b"req_1"
    assert (values[template.length], template.length_at) == (b"5", 8)
    without = learnt(REQUEST_IN_CHUNKS)
    assert (without.length, without.length_at, sorted(without.hole_names)) == (-1, -1, [b"cookie"])
