"""The responses that a careful HTTP/1.1 server may give to what clients send: a table, without a test.

Each case is what one client sends on a fresh connection, and the outcomes that are right. It is followed by
`PROBE`, unless the case is cut (`cut`): then the client closes its side. The probe shows what became of the
connection: it is responded to where the outcome leaves the connection open, and must not be where it closes.
The table is written for `LIMITS`, and for a server whose application takes every request.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from gateway.http1.limits import Limits

LIMITS = Limits(max_body=64 * 1024, linger_timeout=0.2)

PROBE = b"GET /probe HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

Group = Literal["smuggling", "malformed", "rare"]
Received = tuple[str, str, bytes]
"""Method, target, body: what the application must have been given."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One correct outcome of a case."""

    statuses: tuple[int, ...]
    """Of the responses, in order; those of 1xx are not counted."""
    received: tuple[Received, ...]
    closes: bool
    """The server ends the connection after these responses, whatever follows."""


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    group: Group
    sent: bytes
    outcomes: tuple[Outcome, ...]
    cut: bool = False
    continues: int = 0
    """How many `100 Continue` may come."""


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
"""35 bytes (0x23) that must never be taken for a request where they are part of a body."""


def _post(fields: bytes, body: bytes = b"") -> bytes:
    return b"POST /here HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n" + body


def _chunked(body: bytes) -> bytes:
    return _post(b"Transfer-Encoding: chunked\r\n", body)


def _line(line: bytes) -> bytes:
    return line + b"\r\nHost: a\r\n\r\n"


def _host(value: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: " + value + b"\r\n\r\n"


def _field(line: bytes) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n"


def _refused(group: Group, cases: dict[str, bytes], *statuses: int, cut: bool = False) -> Iterable[Case]:
    """One of these statuses (400 without any; 0: no response), the end of the connection, and no request."""
    outcomes = tuple(Outcome((s,) if s else (), (), closes=True) for s in statuses or (400,))
    for name, sent in cases.items():
        yield Case(name, group, sent, outcomes, cut=cut)


def _served(
    name: str,
    sent: bytes,
    *received: Received,
    group: Group = "rare",
    closes: bool = False,
    continues: int = 0,
) -> Case:
    outcome = Outcome((200,) * len(received), received, closes)
    return Case(name, group, sent, (outcome,), continues=continues)


def _gets(cases: dict[str, tuple[bytes, str]]) -> Iterable[Case]:
    for name, (sent, target) in cases.items():
        yield _served(name, sent, ("GET", target, b""))


def _posts(cases: dict[str, tuple[bytes, bytes]]) -> Iterable[Case]:
    for name, (sent, body) in cases.items():
        yield _served(name, sent, ("POST", "/here", body))


_BOTH = {
    "length and chunked": _post(
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + SMUGGLED
    ),
    "chunked and length": _post(
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n" + SMUGGLED
    ),
    "chunked and a length that ends before it": _post(
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", b"2e\r\n" + SMUGGLED + b"\r\n0\r\n\r\n"
    ),
    "chunked and length zero": _post(
        b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + SMUGGLED
    ),
    "both in capitals": _post(
        b"CONTENT-LENGTH: 5\r\nTRANSFER-ENCODING: CHUNKED\r\n", b"0\r\n\r\n" + SMUGGLED
    ),
    "length and chunked in HTTP/1.0": (
        b"POST / HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED
    ),
    "length and a blank before the other's colon": _post(
        b"Content-Length: 5\r\nTransfer-Encoding : chunked\r\n", b"0\r\n\r\n" + SMUGGLED
    ),
    "length and chunked behind a bare LF": _post(
        b"Content-Length: 5\r\nX: y\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + SMUGGLED
    ),
    "length and chunked behind a bare CR": _post(
        b"Content-Length: 5\r\nX: y\rTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + SMUGGLED
    ),
    "length and chunked in a folded line": _post(
        b"Content-Length: 5\r\nX: y\r\n Transfer-Encoding: chunked\r\n", b"0\r\n\r\n" + SMUGGLED
    ),
}

_LENGTH_VALUES = {
    "list of equal": b"5, 5",
    "list of two": b"5, 6",
    "list that ends with a comma": b"5,",
    "list that begins with a comma": b",5",
    "plus": b"+5",
    "minus": b"-5",
    "hexadecimal": b"0x5",
    "hexadecimal digit": b"a",
    "underscored": b"1_0",
    "leading zero": b"05",
    "two zeros": b"00",
    "spaced": b"5 5",
    "decimal point": b"5.0",
    "exponent": b"5e0",
    "nothing": b"",
    "quoted": b'"5"',
    "semicolon": b"5;",
    "19 digits": b"9" * 19,
    "2 to the 64th and 5": b"18446744073709551621",
    "1,000 digits": b"1" * 1000,
    "arabic digit": b"\xd9\xa5",
    "superscript digit": b"\xb2",
    "NUL": b"5\x00",
    "vertical tab": b"\x0b5",
    "form feed": b"5\x0c",
    "word": b"chunked",
}

_LENGTHS = {
    **{
        f"length: {name}": _post(b"Content-Length: " + value + b"\r\n", b"hello" + SMUGGLED)
        for name, value in _LENGTH_VALUES.items()
    },
    "length twice, equal": _post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello" + SMUGGLED),
    "length twice, different": _post(b"Content-Length: 5\r\nContent-Length: 40\r\n", b"hello" + SMUGGLED),
    "length twice, one in capitals": _post(
        b"CONTENT-LENGTH: 0\r\ncontent-length: 5\r\n", b"hello" + SMUGGLED
    ),
    "length: blank before colon": _post(b"Content-Length : 5\r\n", b"hello" + SMUGGLED),
    "length: tab before colon": _post(b"Content-Length\t: 5\r\n", b"hello" + SMUGGLED),
    "length: blank before name": _post(b" Content-Length: 5\r\n", b"hello" + SMUGGLED),
    "length: value folded": _post(b"Content-Length:\r\n 5\r\n", b"hello" + SMUGGLED),
    "length: more digits folded": _post(b"Content-Length: 5\r\n 0\r\n", b"hello" + SMUGGLED),
    "length: NUL in name": _post(b"Content-Length\x00: 5\r\n", b"hello" + SMUGGLED),
    "length: hard blank in name": _post(b"Content-Length\xa0: 5\r\n", b"hello" + SMUGGLED),
    "length: underscored name": _post(b"Content_Length: 5\r\n", b"hello" + SMUGGLED),
    "length: name cut by CRLF": _post(b"Content-\r\nLength: 5\r\n", b"hello" + SMUGGLED),
}

_CODING_VALUES = {
    "gzip, chunked": b"gzip, chunked",
    "chunked, gzip": b"chunked, gzip",
    "identity": b"identity",
    "chunked, identity": b"chunked, identity",
    "chunked twice in a list": b"chunked, chunked",
    "almost chunked": b"xchunked",
    "chunked and more": b"chunkedx",
    "quoted": b'"chunked"',
    "single quotes": b"'chunked'",
    "parameter": b"chunked;q=1",
    "nothing": b"",
    "comma before": b",chunked",
    "comma behind": b"chunked,",
    "Kelvin sign": b"chun\xe2\x84\xaaed",
    "hard blank": b"\xa0chunked",
}

_CODINGS = {
    f"coding: {name}": _post(b"Transfer-Encoding: " + value + b"\r\n", b"0\r\n\r\n" + SMUGGLED)
    for name, value in _CODING_VALUES.items()
}

_CODING_LINES = {
    "coding: vertical tab": b"Transfer-Encoding: \x0bchunked",
    "coding: NUL": b"Transfer-Encoding: chunked\x00",
    "coding: twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "coding: twice, then identity": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "coding: blank before colon": b"Transfer-Encoding : chunked",
    "coding: blank before name": b" Transfer-Encoding: chunked",
    "coding: value folded": b"Transfer-Encoding:\r\n chunked",
    "coding: list folded": b"Transfer-Encoding: gzip,\r\n\tchunked",
    "coding: underscored name": b"Transfer_Encoding: chunked",
    "coding: colon on the next line": b"Transfer-Encoding\r\n: chunked",
    "coding: NUL in name": b"Transfer-\x00Encoding: chunked",
}

_CHUNKS = {
    "size: nothing": b"\r\nhello\r\n0\r\n\r\n",
    "size: blank before": b" 5\r\nhello\r\n0\r\n\r\n",
    "size: blank behind": b"5 \r\nhello\r\n0\r\n\r\n",
    "size: tab behind": b"5\t\r\nhello\r\n0\r\n\r\n",
    "size: 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "size: plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "size: minus": b"-5\r\nhello\r\n0\r\n\r\n",
    "size: underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "size: not hexadecimal": b"5g\r\nhello\r\n0\r\n\r\n",
    "size: arabic digit": b"\xd9\xa5\r\nhello\r\n0\r\n\r\n",
    "size: 17 digits": b"00000000000000005\r\nhello\r\n0\r\n\r\n",
    "size: overflows 64 bits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "size: NUL behind": b"5\x00\r\nhello\r\n0\r\n\r\n",
    "size: ends with LF": b"5\nhello\r\n0\r\n\r\n",
    "size: ends with CR": b"5\rhello\r\n0\r\n\r\n",
    "size: ends with CR CR LF": b"5\r\r\nhello\r\n0\r\n\r\n",
    "size: a request instead": SMUGGLED,
    "data: longer than its size": b"3\r\nhello\r\n0\r\n\r\n",
    "data: shorter than its size": b"6\r\nhello\r\n0\r\n\r\n",
    "data: followed by LF": b"5\r\nhello\n0\r\n\r\n",
    "data: followed by CR": b"5\r\nhello\r0\r\n\r\n",
    "data: followed by nothing": b"5\r\nhello0\r\n\r\n",
    "data: followed by an empty line": b"5\r\nhello\r\n\r\n0\r\n\r\n",
    "data: followed by two other bytes": b"5\r\nhelloXX0\r\n\r\n",
    "extension: NUL": b"5;a=\x00\r\nhello\r\n0\r\n\r\n",
    "extension: control byte": b"5;a=\x1b\r\nhello\r\n0\r\n\r\n",
    "extension: DEL": b"5;a=\x7f\r\nhello\r\n0\r\n\r\n",
    "extension: LF": b"5;a\nhello\r\n0\r\n\r\n",
    "extension: CR": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "extension: without semicolon": b"5 a=b\r\nhello\r\n0\r\n\r\n",
    "extension: blank before it": b"5 ;a=b\r\nhello\r\n0\r\n\r\n",
    "extension: 2 KiB": b"5;" + b"a" * 2048 + b"\r\nhello\r\n0\r\n\r\n",
    "extension: much in all": (b"1;" + b"a" * 900 + b"\r\nx\r\n") * 20 + b"0\r\n\r\n",
    "last chunk: 17 zeros": b"5\r\nhello\r\n00000000000000000\r\n\r\n",
    "last chunk: LF": b"5\r\nhello\r\n0\n\r\n",
    "last chunk: then LF": b"5\r\nhello\r\n0\r\n\n",
    "last chunk: then CR and more": b"5\r\nhello\r\n0\r\n\rX",
    "last chunk: then data": b"5\r\nhello\r\n0\r\nhello\r\n\r\n",
    "trailer: folded": b"0\r\nX: y\r\n z\r\n\r\n",
    "trailer: without colon": b"0\r\nnothing\r\n\r\n",
    "trailer: blank before colon": b"0\r\nX : y\r\n\r\n",
    "trailer: NUL": b"0\r\nX: y\x00\r\n\r\n",
    "trailer: CR": b"0\r\nX: y\rz\r\n\r\n",
    "trailer: ends with LF": b"0\r\nX: y\n\r\n",
    "trailer: 10 KiB": b"0\r\nX: " + b"y" * 10240 + b"\r\n\r\n",
    "trailer: 1,000 fields": b"0\r\n" + b"X: abcdefg\r\n" * 1000 + b"\r\n",
    "trailer: underscored length": b"0\r\nContent_Length: 5\r\n\r\n",
    **{
        f"trailer: {name.decode()}": b"0\r\n" + name + b": 5\r\n\r\n"
        for name in (
            *(b"Content-Length", b"Transfer-Encoding", b"Host"),
            *(b"Authorization", b"Content-Encoding", b"content-TYPE"),
        )
    },
}

_NOT_HTTP = {
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x07" * 60,
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
}

_REQUEST_LINES = {
    "line: no version": b"GET /",
    "line: version in lower case": b"GET / http/1.1",
    "line: version of three digits": b"GET / HTTP/1.10",
    "line: version without minor": b"GET / HTTP/1",
    "line: version with a comma": b"GET / HTTP/1,1",
    "line: version with leading zero": b"GET / HTTP/01.1",
    "line: version and more": b"GET / HTTP/1.1x",
    "line: another protocol": b"GET / ICY/1.1",
    "line: blank behind": b"GET / HTTP/1.1 ",
    "line: two blanks": b"GET  / HTTP/1.1",
    "line: two blanks before version": b"GET /  HTTP/1.1",
    "line: tabs": b"GET\t/\tHTTP/1.1",
    "line: form feeds": b"GET\x0c/\x0cHTTP/1.1",
    "line: blank before": b" GET / HTTP/1.1",
    "line: byte order mark": b"\xef\xbb\xbfGET / HTTP/1.1",
    "line: one word": b"GET",
    "line: a status line": b"HTTP/1.1 200 OK",
    "line: JSON": b'{"model": "x"}',
    "line: NUL behind": b"GET / HTTP/1.1\x00",
    "method: none": b"/ HTTP/1.1",
    "method: parenthesis": b"G(T / HTTP/1.1",
    "method: colon": b"GET: / HTTP/1.1",
    "method: 8 bits": b"G\xc9T / HTTP/1.1",
    "method: NUL": b"G\x00T / HTTP/1.1",
    "method: CONNECT": b"CONNECT a:80 HTTP/1.1",
    "method: CONNECT with a path": b"CONNECT / HTTP/1.1",
    "target: blank": b"GET /a b HTTP/1.1",
    "target: nothing": b"GET  HTTP/1.1",
    "target: control byte": b"GET /\x01 HTTP/1.1",
    "target: NUL": b"GET /\x00 HTTP/1.1",
    "target: DEL": b"GET /\x7f HTTP/1.1",
    "target: tab": b"GET /\t HTTP/1.1",
    "target: 8 bits": b"GET /\xff HTTP/1.1",
    "target: UTF-8": "GET /ä HTTP/1.1".encode(),
    "target: bare CR": b"GET /\r HTTP/1.1",
    "target: fragment": b"GET /a#b HTTP/1.1",
    "target: only a fragment": b"GET # HTTP/1.1",
    "target: star for GET": b"GET * HTTP/1.1",
    "target: relative": b"GET a/b HTTP/1.1",
    "target: question mark": b"GET ?a HTTP/1.1",
    "target: authority": b"GET a:80 HTTP/1.1",
    "target: backslashes": b"GET \\\\a\\b HTTP/1.1",
    "target: another scheme": b"GET ftp://a/ HTTP/1.1",
    "target: file": b"GET file:///etc/passwd HTTP/1.1",
    "target: URL of another host": b"GET http://b/ HTTP/1.1",
    "target: URL of a longer host": b"GET http://a.b/ HTTP/1.1",
    "target: URL of another port": b"GET http://a:81/ HTTP/1.1",
    "target: URL with user": b"GET http://u@a/ HTTP/1.1",
    "target: URL with Host as user": b"GET http://a@b/ HTTP/1.1",
    "target: URL without host": b"GET http:///x HTTP/1.1",
    "target: URL with one slash": b"GET http:/a HTTP/1.1",
    "target: URL with backslash": b"GET http://b\\@a/ HTTP/1.1",
}

_HOSTS = {
    "empty": b"",
    "path": b"a/b",
    "query": b"a?",
    "fragment": b"a#",
    "user": b"u@a",
    "list": b"a, b",
    "blank": b"a b",
    "empty port": b"a:",
    "word for port": b"a:http",
    "port above 65535": b"a:65536",
    "port of six digits": b"a:000080",
    "negative port": b"a:-1",
    "two ports": b"a:80:80",
    "IPv6 without brackets": b"::1",
    "IPv6 unclosed": b"[::1",
    "IPv6 and more": b"[::1]a",
    "IPv6 with nine groups": b"[1:2:3:4:5:6:7:8:9]",
    "IPv6 with two gaps": b"[1::2::3]",
    "IPv6 with zone": b"[fe80::1%25eth0]",
    "not IPv6": b"[abc]",
    "IPv4 out of range": b"127.0.0.256",
    "IPv4 of five parts": b"127.0.0.0.1",
    "IPv4 in short": b"127.1",
    "IPv4 as one number": b"2130706433",
    "empty label": b"a..b",
    "only a dot": b".",
    "backslash": b"a\\b",
    "percent": b"a%00",
    "8 bits": b"\xe4",
    "254 characters": b"a." * 126 + b"bb",
    "quoted": b'"a"',
}

_FIELDS = {
    "name: none": b": x",
    "name: blank in it": b"X Y: z",
    "name: 8 bits": b"\xe9: x",
    "name: NUL": b"X\x00: y",
    "name: parenthesis": b"(X): y",
    "name: blank before colon": b"X : y",
    "name: tab before colon": b"X\t: y",
    "name: alone": b"nothing",
    "value: NUL": b"X: y\x00z",
    "value: NUL at its end": b"X: y\x00",
    "value: 0x01": b"X: \x01",
    "value: escape": b"X: \x1b[31m",
    "value: vertical tab": b"X: y\x0bz",
    "value: form feed": b"X: y\x0cz",
    "value: DEL": b"X: y\x7f",
    "value: backspace": b"X: y\x08",
    "value: bare CR": b"X: y\rz",
    "value: CR before CRLF": b"X: y\r",
    "value: bare LF": b"X: y\nZ: a",
    "value: bare LF and a blank": b"X: y\n z",
    "folded with a blank": b"X: y\r\n z",
    "folded with a tab": b"X: y\r\n\tz",
    "folded into nothing": b"X: y\r\n ",
    "host twice": b"Host: a",
    "host twice, different": b"Host: b",
    "host once more, blank before colon": b"Host : b",
}

_HEADS = {
    "host missing": b"GET / HTTP/1.1\r\n\r\n",
    "host missing, others there": b"GET / HTTP/1.1\r\nAccept: */*\r\n\r\n",
    "URL, but no host": b"GET http://a/ HTTP/1.1\r\n\r\n",
    "HTTP/1.0 with two hosts": b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
    "HTTP/1.0 with a bad host": b"GET / HTTP/1.0\r\nHost: a/b\r\n\r\n",
    "chunked in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "first field begins with a blank": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "first field begins with a tab": b"GET / HTTP/1.1\r\n\tHost: a\r\nHost: a\r\n\r\n",
    "every line ends with LF": b"GET / HTTP/1.1\nHost: a\n\n",
    "request line ends with LF": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "a field ends with LF": b"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
    "last field ends with LF": b"GET / HTTP/1.1\r\nHost: a\n\r\n",
    "blank line ends with LF": b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    "every line ends with CR": b"GET / HTTP/1.1\rHost: a\r\r" + b"\r\n\r\n",
    "LF CR": b"GET / HTTP/1.1\n\rHost: a\n\r\n\r" + b"\r\n\r\n",
    "begins with LF": b"\n" + _line(b"GET / HTTP/1.1"),
    "begins with a tab": b"\t" + _line(b"GET / HTTP/1.1"),
    "begins with NUL": b"\x00" + _line(b"GET / HTTP/1.1"),
    "a blank in the blank line": b"GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n",
}

_CUT = {
    "cut in the method": b"PO",
    "cut in the request line": b"POST /here HT",
    "cut before LF": b"POST /here HTTP/1.1\r",
    "cut in a field": b"POST /here HTTP/1.1\r\nHost: a\r\nContent-Le",
    "cut before the blank line": b"POST /here HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n",
    "cut in the blank line": b"POST /here HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r",
    "cut before the body": _post(b"Content-Length: 5\r\n"),
    "cut in the body": _post(b"Content-Length: 5\r\n", b"hell"),
    "cut in a chunk's size": _chunked(b"1"),
    "cut behind a chunk's size": _chunked(b"5\r\n"),
    "cut in a chunk": _chunked(b"5\r\nhel"),
    "cut behind a chunk's data": _chunked(b"5\r\nhello"),
    "cut between CR and LF": _chunked(b"5\r\nhello\r"),
    "cut between chunks": _chunked(b"5\r\nhello\r\n"),
    "cut in the last chunk": _chunked(b"5\r\nhello\r\n0\r\n"),
    "cut in a trailer": _chunked(b"5\r\nhello\r\n0\r\nX: y"),
    "cut behind a trailer": _chunked(b"5\r\nhello\r\n0\r\nX: y\r\n"),
}

_HUGE_LINES = {
    "request line of 9 KiB": _line(b"GET /" + b"a" * 9216 + b" HTTP/1.1"),
    "request line of 9 KiB, method": _line(b"A" * 9216 + b" / HTTP/1.1"),
    "request line without end": b"GET /" + b"a" * 12000,
}

_HUGE_HEADS = {
    "field of 40 KiB": _field(b"X: " + b"y" * 40960),
    "4,000 fields": _field(b"\r\n".join([b"X: abcdef"] * 4000)),
    "head without end": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: abcdef\r\n" * 4000,
}

_HUGE_BODIES = {
    "length over the limit": _post(b"Content-Length: 65537\r\n"),
    "length of 18 digits": _post(b"Content-Length: 999999999999999999\r\n", b"hello"),
    "length over the limit, 100-continue": _post(b"Content-Length: 65537\r\nExpect: 100-continue\r\n"),
    "chunks over the limit": _chunked((b"1000\r\n" + b"x" * 4096 + b"\r\n") * 17 + b"0\r\n\r\n"),
    "a chunk over the limit": _chunked(b"10001\r\n" + b"x" * 65537 + b"\r\n0\r\n\r\n"),
}

_EXPECTATIONS = {
    "expect: something else": _post(b"Expect: 200-ok\r\nContent-Length: 35\r\n", SMUGGLED),
    "expect: a list": _post(b"Expect: 100-continue, x\r\nContent-Length: 35\r\n", SMUGGLED),
    "expect: nothing": _post(b"Expect:\r\nContent-Length: 35\r\n", SMUGGLED),
    "expect: with a parameter": _post(b"Expect: 100-continue;q=1\r\nContent-Length: 35\r\n", SMUGGLED),
    "expect: twice": _post(b"Expect: 100-continue\r\nExpect: x\r\nContent-Length: 35\r\n", SMUGGLED),
}

_TARGETS = {
    "query": ("/a?b=c&d", "/a?b=c&d"),
    "two question marks": ("/a?b?c", "/a?b?c"),
    "begins with two slashes": ("//b/c", "//b/c"),
    "dots": ("/../a/./b", "/../a/./b"),
    "percent": ("/%00%2e%2E%zz", "/%00%2e%2E%zz"),
    "odd characters": ("/\"<>\\^`{|}~!$&'()*+,;=:@[]", "/\"<>\\^`{|}~!$&'()*+,;=:@[]"),
    "7 KB": ("/" + "a" * 7000, "/" + "a" * 7000),
    "URL": ("http://a/b?c", "/b?c"),
    "URL in capitals": ("HTTP://A/B", "/B"),
    "URL with default port": ("http://a:80/b", "/b"),
    "URL without path": ("http://a", "/"),
    "URL with only a query": ("http://a?b", "/?b"),
    "URL with an address in its query": ("http://a/?u=http://b/", "/?u=http://b/"),
    "path that looks like a URL": ("/http://b/", "/http://b/"),
}

_GOOD_HOSTS = {
    "name and port": b"a.example:8045",
    "capitals": b"LocalHost",
    "final dot": b"a.",
    "underscore": b"my_service",
    "IPv4": b"127.0.0.1:1",
    "IPv6": b"[::1]",
    "IPv6 and port": b"[2001:db8::192.0.2.1]:65535",
    "253 characters": b"a." * 126 + b"b",
    "blanks around": b" \ta\t ",
}

_GOOD_FIELDS = {
    "value: empty": b"X:",
    "value: only blanks": b"X: \t ",
    "value: no blank before": b"X:y",
    "value: many blanks around": b"X:  \t y \t ",
    "value: tabs inside": b"X: y\tz",
    "value: 8 bits": b"X: \xe4\xff\x80",
    "value: colons": b"X: :y: z:",
    "value: 7 KB": b"X: " + b"y" * 7000,
    "name: every character": b"!#$%&'*+-.^_`|~09AZaz: x",
    "name: underscore": b"x_y: z",
    "name: twice": b"X: y\r\nX: z",
    "name: 2 KB": b"X" * 2000 + b": y",
    "300 fields": b"\r\n".join(b"X-%d: y" % n for n in range(300)),
    "cookies": b"Cookie: a=b\r\nCookie: c=d",
    "connection: list": b"Connection: keep-alive, TE",
    "connection: names a field": b"Connection: X\r\nX: y",
    "connection: nothing": b"Connection:",
    "connection: almost close": b"Connection: closed",
    "upgrade to HTTP/2": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
    "upgrade to WebSocket": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13",
    "TE: trailers": b"TE: trailers\r\nConnection: TE",
    "length zero": b"Content-Length: 0",
    "100-continue without a body": b"Expect: 100-continue",
}

_BODIES = {
    "length": (_post(b"Content-Length: 5\r\n", b"hello"), b"hello"),
    "length with blanks around": (_post(b"Content-Length: \t 5 \r\n", b"hello"), b"hello"),
    "length without blank": (_post(b"content-length:5\r\n", b"hello"), b"hello"),
    "no length, no body": (_post(b""), b""),
    "length zero, POST": (_post(b"Content-Length: 0\r\n"), b""),
    "length at the limit": (_post(b"Content-Length: 65536\r\n", b"x" * 65536), b"x" * 65536),
    "body that looks like a request": (_post(b"Content-Length: 35\r\n", SMUGGLED), SMUGGLED),
    "body that looks like chunks": (_post(b"Content-Length: 5\r\n", b"0\r\n\r\n"), b"0\r\n\r\n"),
    "body of line ends": (_post(b"Content-Length: 4\r\n", b"\r\n\r\n"), b"\r\n\r\n"),
    "body of every byte": (_post(b"Content-Length: 256\r\n", bytes(range(256))), bytes(range(256))),
    "chunks": (_chunked(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"), b"hello world"),
    "chunks of one byte": (_chunked(b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n"), b"abc"),
    "chunks, none": (_chunked(b"0\r\n\r\n"), b""),
    "chunks: capitals": (_chunked(b"A\r\n0123456789\r\n0\r\n\r\n"), b"0123456789"),
    "chunks: small letters": (_chunked(b"a\r\n0123456789\r\n0\r\n\r\n"), b"0123456789"),
    "chunks: leading zeros": (_chunked(b"0005\r\nhello\r\n000\r\n\r\n"), b"hello"),
    "chunks: 16 digits": (_chunked(b"0000000000000005\r\nhello\r\n0\r\n\r\n"), b"hello"),
    "chunks: extension": (_chunked(b"5;a=b\r\nhello\r\n0;c\r\n\r\n"), b"hello"),
    "chunks: quoted extension": (_chunked(b'5;a="b; c"\r\nhello\r\n0\r\n\r\n'), b"hello"),
    "chunks: extension of 8 bits": (_chunked(b"5;a=\xe4\r\nhello\r\n0\r\n\r\n"), b"hello"),
    "chunks: trailers": (_chunked(b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n"), b"hello"),
    "chunks: data of line ends": (_chunked(b"4\r\n\r\n\r\n\r\n0\r\n\r\n"), b"\r\n\r\n"),
    "chunks: data that looks like their end": (_chunked(b"5\r\n0\r\n\r\n\r\n0\r\n\r\n"), b"0\r\n\r\n"),
    "chunks: data that looks like a request": (_chunked(b"23\r\n" + SMUGGLED + b"\r\n0\r\n\r\n"), SMUGGLED),
    "chunks: at the limit": (_chunked(b"10000\r\n" + b"x" * 65536 + b"\r\n0\r\n\r\n"), b"x" * 65536),
    "coding in capitals": (_post(b"TRANSFER-ENCODING: CHUNKED\r\n", b"1\r\na\r\n0\r\n\r\n"), b"a"),
    "coding without blank": (_post(b"Transfer-Encoding:chunked\r\n", b"1\r\na\r\n0\r\n\r\n"), b"a"),
}

_FORGIVEN = (
    Case(
        "an empty line before the request line",
        "rare",
        b"\r\n" + _line(b"GET / HTTP/1.1"),
        (Outcome((200,), (("GET", "/", b""),), closes=False), Outcome((400,), (), closes=True)),
    ),
    Case(
        "an empty line behind a body",
        "rare",
        _post(b"Content-Length: 5\r\n", b"hello") + b"\r\n" + _line(b"GET /next HTTP/1.1"),
        (
            Outcome((200, 200), (("POST", "/here", b"hello"), ("GET", "/next", b"")), closes=False),
            Outcome((200, 400), (("POST", "/here", b"hello"),), closes=True),
        ),
    ),
)

_GET = ("GET", "/", b"")
_HELLO = ("POST", "/here", b"hello")
_NEXT = ("GET", "/next", b"")

_SEQUENCES = (
    _served("two requests at once", _line(b"GET / HTTP/1.1") + _line(b"GET /next HTTP/1.1"), _GET, _NEXT),
    _served("twenty requests at once", _line(b"GET / HTTP/1.1") * 20, *[_GET] * 20),
    _served(
        "a body, then a request",
        _post(b"Content-Length: 5\r\n", b"hello") + _line(b"GET /next HTTP/1.1"),
        _HELLO,
        _NEXT,
    ),
    _served(
        "chunks, then a request",
        _chunked(b"5\r\nhello\r\n0\r\n\r\n") + _line(b"GET /next HTTP/1.1"),
        _HELLO,
        _NEXT,
    ),
    _served(
        "chunks with trailers, then a request",
        _chunked(b"5\r\nhello\r\n0\r\nX: y\r\n\r\n") + _line(b"GET /next HTTP/1.1"),
        _HELLO,
        _NEXT,
    ),
    _served(
        "three kinds of body in a row",
        _post(b"Content-Length: 5\r\n", b"hello") + _chunked(b"5\r\nhello\r\n0\r\n\r\n") + _post(b""),
        _HELLO,
        _HELLO,
        ("POST", "/here", b""),
    ),
    _served("GET with a body", _field(b"Content-Length: 35") + SMUGGLED, ("GET", "/", SMUGGLED)),
    _served(
        "DELETE with chunks",
        b"DELETE /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        ("DELETE", "/x", b"a"),
    ),
    _served("HEAD", _line(b"HEAD /x HTTP/1.1"), ("HEAD", "/x", b"")),
    _served(
        "HEAD, then GET", _line(b"HEAD / HTTP/1.1") + _line(b"GET /next HTTP/1.1"), ("HEAD", "/", b""), _NEXT
    ),
    _served(
        "HEAD with a body",
        b"HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 35\r\n\r\n" + SMUGGLED,
        ("HEAD", "/", SMUGGLED),
    ),
    _served("OPTIONS about everything", _line(b"OPTIONS * HTTP/1.1"), ("OPTIONS", "*", b"")),
    _served("OPTIONS about everything, as a URL", _line(b"OPTIONS http://a HTTP/1.1"), ("OPTIONS", "*", b"")),
    _served("OPTIONS about a path", _line(b"OPTIONS /x HTTP/1.1"), ("OPTIONS", "/x", b"")),
    _served("method in lower case", _line(b"get / HTTP/1.1"), ("get", "/", b"")),
    _served("method unheard of", _line(b"BREW / HTTP/1.1"), ("BREW", "/", b"")),
    _served("method with a hyphen", _line(b"M-SEARCH / HTTP/1.1"), ("M-SEARCH", "/", b"")),
    _served("close", _field(b"Connection: close"), _GET, closes=True),
    _served("close among others", _field(b"Connection: TE, Close"), _GET, closes=True),
    _served("close on a second line", _field(b"Connection: TE\r\nConnection: close"), _GET, closes=True),
    _served(
        "close with a body",
        _post(b"Connection: close\r\nContent-Length: 5\r\n", b"hello"),
        _HELLO,
        closes=True,
    ),
    _served("HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", _GET, closes=True),
    _served("HTTP/1.0 without host", b"GET / HTTP/1.0\r\n\r\n", _GET, closes=True),
    _served(
        "HTTP/1.0 with keep-alive", b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", _GET, closes=True
    ),
    _served(
        "HTTP/1.0 with a body",
        b"POST /here HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello",
        _HELLO,
        closes=True,
    ),
    _served(
        "HTTP/1.0 does not wait for 100-continue",
        b"POST /here HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
        _HELLO,
        closes=True,
    ),
    _served(
        "100-continue",
        _post(b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"hello"),
        _HELLO,
        continues=1,
    ),
    _served(
        "100-continue in capitals, chunks",
        _post(b"EXPECT: 100-CONTINUE\r\nTransfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n"),
        _HELLO,
        continues=1,
    ),
    _served(
        "100-continue, then a request",
        _post(b"Expect: 100-continue\r\nContent-Length: 5\r\n", b"hello") + _line(b"GET /next HTTP/1.1"),
        _HELLO,
        _NEXT,
        continues=1,
    ),
)

_REFUSED_LATER = (
    Case(
        "a good request, then a bad one",
        "smuggling",
        _line(b"GET / HTTP/1.1") + _post(b"Content-Length: 5, 5\r\n", b"hello") + SMUGGLED,
        (Outcome((200, 400), (_GET,), closes=True),),
    ),
    Case(
        "a body longer than its length",
        "smuggling",
        _post(b"Content-Length: 5\r\n", b"hello, you") + SMUGGLED,
        (Outcome((200, 400), (_HELLO,), closes=True),),
    ),
    Case(
        "bytes behind the last chunk",
        "smuggling",
        _chunked(b"5\r\nhello\r\n0\r\n\r\n") + b"5\r\nhello\r\n0\r\n\r\n",
        (Outcome((200, 400), (_HELLO,), closes=True),),
    ),
    Case(
        "bad chunks behind a good request",
        "smuggling",
        _line(b"GET / HTTP/1.1") + _chunked(b"5\r\nhelloX\r\n") + SMUGGLED,
        (Outcome((200, 400), (_GET,), closes=True),),
    ),
    Case(
        "nothing is read behind close",
        "smuggling",
        _field(b"Connection: close") + SMUGGLED,
        (Outcome((200,), (_GET,), closes=True),),
    ),
    Case(
        "nothing is read behind HTTP/1.0",
        "smuggling",
        b"GET / HTTP/1.0\r\n\r\n" + SMUGGLED,
        (Outcome((200,), (_GET,), closes=True),),
    ),
)

CASES: tuple[Case, ...] = (
    *_refused("smuggling", _BOTH),
    *_refused("smuggling", _LENGTHS),
    *_refused("smuggling", _CODINGS, 400, 501),
    *_refused(
        "smuggling", {n: _post(line + b"\r\n", b"0\r\n\r\n" + SMUGGLED) for n, line in _CODING_LINES.items()}
    ),
    *_refused("smuggling", {name: _chunked(body) + SMUGGLED for name, body in _CHUNKS.items()}),
    *_REFUSED_LATER,
    *_refused("malformed", _NOT_HTTP, 0, 400, 505),
    *_refused("malformed", {name: _line(line) for name, line in _REQUEST_LINES.items()}),
    *_refused(
        "malformed",
        {f"version {v}": _line(f"GET / HTTP/{v}".encode()) for v in ("2.0", "1.2", "0.9", "3.0", "9.9")},
        505,
    ),
    *_refused("malformed", {"method of 100 letters": _line(b"A" * 100 + b" / HTTP/1.1")}, 400, 501),
    *_refused("malformed", {f"host: {name}": _host(value) for name, value in _HOSTS.items()}),
    *_refused("malformed", {name: _field(line) for name, line in _FIELDS.items()}),
    *_refused("malformed", _HEADS),
    *_refused("malformed", _EXPECTATIONS, 417, 400),
    *_refused("malformed", _CUT, 0, 400, 408, cut=True),
    *_refused("malformed", {"two empty lines before": b"\r\n\r\n" + _line(b"GET / HTTP/1.1")}),
    *_refused("malformed", _HUGE_LINES, 414),
    *_refused("malformed", _HUGE_HEADS, 431),
    *_refused("malformed", _HUGE_BODIES, 413),
    *_gets(
        {
            f"target: {name}": (_line(b"GET " + sent.encode() + b" HTTP/1.1"), target)
            for name, (sent, target) in _TARGETS.items()
        }
    ),
    *_gets({f"host: {name}": (_host(value), "/") for name, value in _GOOD_HOSTS.items()}),
    *_gets({name: (_field(line), "/") for name, line in _GOOD_FIELDS.items()}),
    *_posts(_BODIES),
    *_SEQUENCES,
    *_FORGIVEN,
)
