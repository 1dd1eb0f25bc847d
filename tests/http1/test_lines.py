"""The memory of header lines: what it keeps, what it never keeps, and that its patterns are narrow."""

from collections.abc import Iterator

import pytest

from gateway.http1 import grammar as strict
from gateway.http1 import lines


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    forget()
    yield
    forget()


def forget() -> None:
    lines._read.clear()
    lines._written.clear()


def test_a_line_that_was_remembered_is_read() -> None:
    assert lines.read([b"X-App:  cli "]) is None
    lines.remember_read([b"X-App:  cli "], [(b"x-app", b"cli")])
    assert lines.read([b"X-App:  cli "]) == ([(b"x-app", b"cli")], {})
    assert lines.read([b"X-App: cli"]) is None


def test_one_line_more_costs_no_other_line() -> None:
    text, fields = [b"X: %d" % n for n in range(100)], [(b"x", b"%d" % n) for n in range(100)]
    lines.remember_read(text, fields)
    assert lines.read(text) == (fields, {})


def test_a_field_that_was_remembered_is_written() -> None:
    assert lines.write([(b"x-app", b"cli")]) is None
    lines.remember_written([(b"x-app", b"cli")], [b"x-app: cli\r\n"])
    assert lines.write([(b"x-app", b"cli")]) == ([b"x-app: cli\r\n"], {})
    assert lines.write([(b"x-app", b"bin")]) is None


AFRESH = [
    (b"Host: 127.0.0.1:8045", (b"host", b"127.0.0.1:8045")),
    (b"host: localhost", (b"host", b"localhost")),
    (b"HOST: 10.200.3.255", (b"host", b"10.200.3.255")),
    (b"Host: a-b.example:1", (b"host", b"a-b.example:1")),
    (b"Content-Length: 0", (b"content-length", b"0")),
    (b"content-length: 123456789012345678", (b"content-length", b"123456789012345678")),
    (b"Transfer-Encoding: chunked", (b"transfer-encoding", b"chunked")),
    (b"Connection: Keep-Alive", (b"connection", b"Keep-Alive")),
    (b"Connection: close", (b"connection", b"close")),
    (b"Expect: 100-continue", (b"expect", b"100-continue")),
]

FREE = [
    (b"Authorization: Bearer a b", (b"authorization", b"Bearer a b")),
    (b"X-API-Key: k", (b"x-api-key", b"k")),
    (b"date: Tue, 01 Oct 2030 10:10:10 GMT", (b"date", b"Tue, 01 Oct 2030 10:10:10 GMT")),
    (b"TE: trailers", (b"te", b"trailers")),
]


@pytest.mark.parametrize(("line", "field"), AFRESH)
def test_deciding_fields_are_read_and_written_without_memory(line: bytes, field: lines.Field) -> None:
    assert lines.read([line]) == ([field], dict([field]))
    assert lines.write([field]) == ([b"%b: %b\r\n" % field], dict([field]))
    assert lines.read([line, line]) is None
    assert lines.write([field, field]) is None


@pytest.mark.parametrize(("line", "field"), FREE)
def test_secret_and_varying_fields_are_read_and_written_without_memory(
    line: bytes, field: lines.Field
) -> None:
    assert lines.read([line, line]) == ([field, field], {})
    assert lines.write([field, field]) == ([b"%b: %b\r\n" % field] * 2, {})


@pytest.mark.parametrize(
    "line",
    [
        *(b"Host: a/b", b"Host: [::1]", b"Host: a.", b"Host: 1.2.3.256", b"Host: 127.1", b"Host: a:0"),
        *(
            b"Host: a:65536",
            b"Host:  a",
            b"Host: a ",
            b"Host:",
            b"Host:a",
            b"Host:a: b",
            b"Host : a",
            b" Host: a",
            b"Host",
            b"",
        ),
        *(
            b"Content-Length: 05",
            b"Content-Length: 5,5",
            b"Content-Length: +5",
            b"Content-Length: " + b"1" * 19,
        ),
        *(b"Transfer-Encoding: Chunked", b"Transfer-Encoding: gzip", b"Connection: Close", b"Expect: x"),
        *(b"x-api-key:", b"x-api-key: a\x00", b"x-api-key: a ", b"x-api-key: \xff", b"x-api-key: a\tb"),
    ],
)
def test_other_lines_take_the_long_way(line: bytes) -> None:
    assert lines.read([line]) is None


@pytest.mark.parametrize(
    "field",
    [
        *((b"Host", b"a"), (b"host", b"a/b"), (b"x-api-key", b""), (b"x-api-key", b"a\r\nb: c")),
        *((b"x-api-key", b" a"), (b"content-length", b"-1"), (b"transfer-encoding", b"gzip")),
    ],
)
def test_other_fields_take_the_long_way(field: lines.Field) -> None:
    assert lines.write([field]) is None


def test_both_framings_take_the_long_way() -> None:
    both = [(b"content-length", b"5"), (b"transfer-encoding", b"chunked")]
    assert lines.read([b"%b: %b" % field for field in both]) is None
    assert lines.write(both) is None


def test_host_is_written_first() -> None:
    written = lines.write([(b"te", b"a"), (b"host", b"a"), (b"date", b"b")])
    assert written == ([b"host: a\r\n", b"te: a\r\n", b"date: b\r\n"], {b"host": b"a"})


SECRETS = [
    *((name, b"s3cret") for name in lines.CREDENTIALS),
    *((b"x-%b-y" % word, b"s3cret") for word in lines.SECRET_NAMES),
    *(
        (b"x-note", b"%bs3cret" % word.strip())
        for word in lines.SECRET_VALUES
        if word.endswith((b"-", b"y", b"="))
    ),
    *((b"x-note", value) for value in (b"Bearer s3cret", b"basic s3cret", b"a sk-s3cret", b"AIzaSys3cret")),
    (b"x-url", b"/a?key=s3cret"),
]


def test_words_that_only_look_alike_are_no_secrets() -> None:
    lines.remember_read([b"X: task-budget, bearers"], [(b"x", b"task-budget, bearers")])
    assert len(lines._read) == 1


@pytest.mark.parametrize(("name", "value"), SECRETS)
def test_secrets_are_never_kept(name: bytes, value: bytes) -> None:
    for spelling in (name, name.title(), name.upper()):
        line = b"%b: %b" % (spelling, value)
        lines.remember_read([line], [(name, value)])
        lines.remember_written([(spelling, value)], [line + b"\r\n"])
    assert lines._read == {}
    assert lines._written == {}


@pytest.mark.parametrize("name", [*lines.JUDGED, *lines.VARYING])
def test_deciding_and_varying_fields_are_never_kept(name: bytes) -> None:
    lines.remember_read([name.title() + b": 1"], [(name, b"1")])
    lines.remember_written([(name.title(), b"1")], [name.title() + b": 1\r\n"])
    assert lines._read == {}
    assert lines._written == {}


def test_long_lines_are_not_kept() -> None:
    value = b"y" * (lines.MAX_LINE - 3)
    lines.remember_read([b"x: " + value], [(b"x", value)])
    assert len(lines._read) == 1
    lines.remember_read([b"x: z" + value], [(b"x", b"z" + value)])
    assert len(lines._read) == 1


def test_the_memory_is_bounded() -> None:
    for number in range(3 * lines.MAX_LINES):
        value = b"%d" % number
        lines.remember_read([b"x: " + value], [(b"x", value)])
        lines.remember_written([(b"x", value)], [b"x: " + value + b"\r\n"])
        assert len(lines._read) <= lines.MAX_LINES
        assert len(lines._written) <= lines.MAX_LINES
    assert lines.read([b"x: " + value]) == ([(b"x", value)], {})


def test_every_pattern_is_narrower_than_the_strict_rules() -> None:
    for line, field in AFRESH + FREE:
        assert strict.read_field(line) == field
    for line, (name, value) in AFRESH:
        if name == b"host":
            assert strict.split_host(value), line


def test_every_port_and_no_other_number_is_one() -> None:
    known = [number for number in range(100_000) if lines.read([b"Host: a:%d" % number]) is not None]
    assert known == list(range(1, 65536))
