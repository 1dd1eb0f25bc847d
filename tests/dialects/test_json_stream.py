import orjson
import pytest

from gateway.dialects.json_stream import JsonStream
from gateway.dialects.sniffer import Sniffer
from gateway.messages.json_documents import BOM

OBJECTS = [
    {"a": 1},
    {"text": 'say "hi" \\ } ] {', "list": [[], {}, ["]"]]},
    {},
    {"é": '\\"', "end": "\\"},
]
WRITTEN = [orjson.dumps(one) for one in OBJECTS]


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b",".join(WRITTEN) + b"]",
        b"[" + b"\r\n,\r\n".join(WRITTEN) + b"\r\n]\n",
        b"".join(WRITTEN),
        b"\n".join(WRITTEN),
        BOM + b" [" + b", ".join(WRITTEN),
    ],
    ids=["array", "array as Google writes it", "objects", "a line each", "an array that breaks off"],
)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_objects_are_found_wherever_the_bytes_are_cut(body: bytes, size: int) -> None:
    decoder = Sniffer()
    found = [data for at in range(0, len(body), size) for _, data in decoder.feed(body[at : at + size])]
    assert [orjson.loads(data) for data in found] == OBJECTS
    assert not decoder.end()


@pytest.mark.parametrize(
    "body", [b"data: {}\n\ndata: []", b"\n\n: ping\n\ndata: {}\n\ndata: []", BOM + b"data:{}\n\ndata:[]"]
)
@pytest.mark.parametrize("size", [1, 1000])
def test_an_event_stream_stays_one(body: bytes, size: int) -> None:
    decoder = Sniffer()
    found = [data for at in range(0, len(body), size) for _, data in decoder.feed(body[at : at + size])]
    assert found + [data for _, data in decoder.end()] == [b"{}", b"[]"]


def test_nothing() -> None:
    assert (*Sniffer().feed(b" \n"), *Sniffer().end()) == ()


@pytest.mark.parametrize("body", [b"[]", b"[5, null]", b"]}"])
def test_no_objects(body: bytes) -> None:
    assert not Sniffer().feed(body)


def test_an_object_is_bounded() -> None:
    decoder = JsonStream(10)
    assert decoder.feed(b'[{"a":"12"},  ') == [b'{"a":"12"}']
    with pytest.raises(ValueError, match="more than 10 bytes"):
        decoder.feed(b'{"a":"12345')
