"""Strategies for what a peer may send: valid bytes, with some of them replaced, and cut anywhere.

It is drawn from what clients and upstreams really send, so that most of it is nearly right. No contract in here.
"""

import json
from itertools import pairwise

import orjson
from hypothesis import strategies as st

from gateway.config.starter import STARTER
from gateway.messages.json_documents import BOM
from tests.fakes.messages import chunked, event, message_start, text_events
from tests.http1.conformance import CASES
from tests.messages.samples import documents

CUTS = st.lists(st.integers(0, 600), max_size=5)
"""Where bytes are cut into reads."""


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    """The reads; each has at least a byte."""
    ends = [0, *sorted(at for at in set(cuts) if 0 < at < len(data)), len(data)]
    return [data[start:end] for start, end in pairwise(ends) if start < end]


def singly(data: bytes) -> list[bytes]:
    """A read for each byte."""
    return [bytes([byte]) for byte in data]


def edited(data: st.SearchStrategy[bytes], junk: list[bytes]) -> st.SearchStrategy[bytes]:
    """Bytes of the strategy, unchanged or with some replaced, by junk of the kind that matters, or by any."""
    edit = st.tuples(st.integers(0, 10_000), st.integers(0, 8), st.sampled_from(junk) | st.binary(max_size=3))
    return data | st.builds(_apply, data, st.lists(edit, min_size=1, max_size=3))


def _apply(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for place, drop, junk in edits:
        at = place % (len(data) + 1)
        data = data[:at] + junk + data[at + drop :]
    return data


# Clients' bytes: requests of the conformance table.

REQUESTS = edited(
    st.lists(st.sampled_from([case.sent for case in CASES if len(case.sent) < 500]), max_size=4).map(
        b"".join
    ),
    [b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b":", b"0", b"5", b"\x00", b"\x16", b";", b"close"],
)

# Upstreams' responses.

_STARTS = [
    *[b"HTTP/1.1 200 OK\r\n"] * 2,
    *(b"HTTP/1.1 429 \r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 304 X\r\n"),
]
_BEFORE = [b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"]
_FIELDS = [b"content-length: 5\r\n", b"transfer-encoding: chunked\r\n", b"connection: close\r\n", b"x: y\r\n"]
_BODIES = [b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nsum: 1\r\n\r\n", b""]

_WHOLE = [
    b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1;a=b\r\n!\r\n0\r\n\r\n",
    b"HTTP/1.1 204 \r\n\r\n",
]

METHODS = st.sampled_from(["GET", "GET", "HEAD"])
RESPONSES = edited(
    st.sampled_from(_WHOLE)
    | st.builds(
        lambda before, start, fields, body, behind: b"".join([before, start, *fields, b"\r\n", body, behind]),
        *map(st.sampled_from, (_BEFORE, _STARTS)),
        st.lists(st.sampled_from(_FIELDS), max_size=3, unique=True),
        st.sampled_from(_BODIES),
        st.sampled_from([b"", b"", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]),
    ),
    [b"\r\n", b"\n", b"\r", b" ", b":", b";", b"0", b"5", b"f", b"\x00", b"100", b"204", b"304", b"close"],
)

# Event streams, and their payload.

_LINES = [
    *(b"data: a", b"data:b", b"data:  c ", b"data", b"data: " + b"d" * 30, b"", b""),
    *(b"event: x", b"event:", b": note", b"id: 1", b"retry: 5"),
]
EVENT_STREAMS = edited(
    st.lists(st.sampled_from(_LINES), max_size=12).map(b"\n".join),
    [b"\n", b"\r", b"\r\n", b"\n\n", b":", b" ", b"data", b"event: e\n", b"id", BOM, b"\xc3", b"\x00"],
)

_CALL = {"type": "tool_use", "id": "t", "name": "rm", "input": {}}
_EVENTS = [
    *(message_start(), b": a comment\r\n\r\n", *text_events()[1:-2]),
    event("content_block_start", index=1, content_block=_CALL),
    event("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": '{"a": 1}'}),
    event("content_block_stop", index=1),
    *text_events(stop_reason="tool_use")[-2:],
]
_PARTS = [
    {"text": "Hi"},
    {"text": "hm", "thought": True},
    {"functionCall": {"name": "Read", "args": {"a": 1}}},
]
_CHUNKS = [
    *({"candidates": [{"content": {"role": "model", "parts": [part]}}]} for part in _PARTS),
    {
        "candidates": [{"finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2},
    },
]
_BAD_CHUNKS = [
    {"candidates": [{"finishReason": "SAFETY"}]},
    {"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}},
]
_GOOD = {
    "anthropic": _EVENTS,
    "gemini": [b"data: " + orjson.dumps(chunk) + b"\r\n\r\n" for chunk in _CHUNKS],
}
_BAD = {
    "anthropic": [event("error", error={"type": "overloaded_error", "message": "busy"})],
    "gemini": [b"data: " + orjson.dumps(chunk) + b"\r\n\r\n" for chunk in _BAD_CHUNKS],
}
_STREAM_JUNK = [b"\n", b"\n\n", b"\r", b"{", b"}", b'"', b"[", b"]", b"null", b"0", b"data: ", b":"]
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"


def streams(kind: str) -> st.SearchStrategy[list[bytes]]:
    """The reads of a streamed response of an upstream of that kind: in chunks or until the close, whole or not."""
    events = st.lists(st.sampled_from([*_GOOD[kind], *_BAD[kind]]), max_size=12).map(b"".join)
    payloads = edited(st.just(b"".join(_GOOD[kind])) | events, [*_STREAM_JUNK, b"event: error\n"])
    return st.builds(_reads, payloads, CUTS, CUTS, st.sampled_from([0, 0, 0, 0, 0, 1, 5, 100]))


def _reads(payload: bytes, chunks: list[int], cuts: list[int], missing: int) -> list[bytes]:
    coding, body = b"", payload
    if chunks:
        coding, body = b"transfer-encoding: chunked\r\n", chunked(cut(payload, chunks))
    return [_STREAM_HEAD + coding + b"\r\n", *cut(body[: max(0, len(body) - missing)], cuts)]


# Bodies of requests.

_VALUES = [
    b"null",
    b"NaN",
    b"-0",
    b"1e999",
    b"18446744073709551616",
    b"0.1",
    b'"\\ud800"',
    b"[]",
    b"{}",
    b'""',
]
_MARKS = [b'"', b",", b":", b"{", b"}", b"[", b"]", b"\\", b" ", b"\n", b"\xff", b"\xc3", b'"model":"x",']
_KEYS = [b'"\\u006dodel":"y",', b'"type":"text"', b'"type":"tool_result"', b'"content":', b'"messages":']
_BEGINNINGS = [
    b'"\\u006dodel":"y",',
    b'"model" : "x",',
    b'"x":{"model":"z"},',
    b'"stream":true,"thread":{},',
    b'"stop_sequences":["1","2","3","4","5","6"],',
    *(b'"odd":%b,' % value for value in _VALUES),
]
"""Members that the object may have in front of the others."""

MODELS = st.sampled_from(["m", 'é"\\'])
BODIES = edited(
    st.builds(
        lambda beginning, document, ascii_only, spaces: (
            json.dumps(document, ensure_ascii=ascii_only, indent=spaces)
            .encode()
            .replace(b"{", b"{" + b"".join(beginning), 1)
        ),
        st.lists(st.sampled_from(_BEGINNINGS), max_size=2),
        documents(),
        st.booleans(),
        st.sampled_from([None, 1]),
    ),
    [*_VALUES, *_MARKS, *_KEYS],
)


# Configuration files.

CANARY = "canary-51d0"
ENVIRON = dict.fromkeys(("GATEWAY_API_KEY", "ANTHROPIC_KEY_1", "ZAI_KEY_1", "LAPTOP_KEY"), CANARY)
_STARTER = [line for line in STARTER.splitlines() if line and not line.startswith("# ")]
_SETTINGS = [
    *('""', f'"{CANARY}"', '"${ZAI_KEY_1}"', '"${NOT_SET}"', '"${file:/}"', '["a"]', "[]", "{}", "{ a = 1 }"),
    *("0", "-1", "1e400", "nan", "true", '"0s"', '"1GiB"', "1979-05-27", '"*"', '"a/b"', '"\\u0000"'),
    *('"::"', '"0.0.0.0"', f'"https://u:{CANARY}@h"', '"http://1.1.1.1"', '"gemini"', '"zai"', '"anthropic"'),
]
_MORE = [
    *(
        "[upstreams.zai]",
        '[upstreams."a b"]',
        "[[upstreams.zai.accounts]]",
        "[server]",
        "[",
        "x = 1",
        "host = ",
    ),
]
_MAY_HOLD_SECRETS = ("api_key", "proxy", "base_url")
"""In other keys a secret would be none: they are shown."""


def _rewritten(edits: list[tuple[int, str, str, str]]) -> str:
    lines = list(_STARTER)
    for at, manner, value, other in edits:
        line = lines[at].removeprefix("#")
        if not line.startswith(_MAY_HOLD_SECRETS):
            value = value.replace(CANARY, "plain")
        lines[at] = {
            "uncommented": line,
            "with another value": f"{line.partition(' = ')[0]} = {value}",
            "exchanged": other,
            "followed": f"{line}\n{other}",
        }[manner]
    return "\n".join(lines)


CONFIGURATIONS = st.lists(
    st.tuples(
        st.integers(0, len(_STARTER) - 1),
        st.sampled_from(["uncommented", "uncommented", "with another value", "exchanged", "followed"]),
        st.sampled_from(_SETTINGS) | st.text(max_size=4),
        st.sampled_from([*_STARTER, *_MORE]),
    ),
    max_size=6,
).map(_rewritten)
"""The starter file with some of its lines changed. CANARY stands for a secret in it, and is one in ENVIRON."""
