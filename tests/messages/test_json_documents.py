"""messages/json_documents.py: documents are written exactly as they were read, by either parser."""

import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.messages import json_documents
from gateway.messages.json_documents import (
    MAX_DEPTH,
    MAX_LENIENT,
    MAX_VALUES,
    TooLarge,
    compile_key,
    first_difference,
    member_values,
    read_document,
    read_quickly,
    with_every_digit,
    write_document,
)


def nested(levels: int, open: bytes = b"[", close: bytes = b"]") -> bytes:
    return open * levels + close * levels


AS_WRITTEN = [
    b"{}",
    b"[]",
    b"1",
    b'"a"',
    b"null",
    b'{"a":[1,-2,0.5,true,null,"\\n\xc3\xa9"]}',
    b"18446744073709551615",
    b"-9223372036854775808",
    nested(MAX_DEPTH),
    nested(MAX_DEPTH, close=b"]").replace(b"[]", b"[1]"),
]


@pytest.mark.parametrize("raw", AS_WRITTEN)
def test_documents_are_written_as_they_were_read(raw: bytes) -> None:
    document, by_orjson = read_quickly(raw)
    assert by_orjson
    assert with_every_digit(document, raw) is document
    assert read_document(raw) == document
    assert write_document(document) == write_document(document, finite=True) == raw


OTHER = [
    (b' {"a": 1}', {"a": 1}),
    (b'{"a":1}\n', {"a": 1}),
    (b'{"\\u0061":1}', {"a": 1}),
    (b'{"a":1,"a":2}', {"a": 2}),
    (b"1.0e2", 100.0),
    (b"9.3e18", 9.3e18),
    (b"12345678901234567890123", 12345678901234567890123),
    (b'{"id":18446744073709551616}', {"id": 18446744073709551616}),
    (b"[-9223372036854775809]", [-9223372036854775809]),
    (b'[1.5,{"a":-9999999999999999999}]', [1.5, {"a": -9999999999999999999}]),
    (b'"\\ud800"', "\ud800"),
    (b'["\\udc00\\ud800",1]', ["\udc00\ud800", 1]),
    (b"[1e400]", [math.inf]),
    (b"[-Infinity]", [-math.inf]),
    (nested(MAX_DEPTH - 1, b"[ "), json.loads(nested(MAX_DEPTH - 1))),
]


@pytest.mark.parametrize(("raw", "expected"), OTHER)
def test_everything_else_is_read_as_exactly(raw: bytes, expected: object) -> None:
    document = read_document(raw)
    assert document == expected
    assert repr(document) == repr(expected)
    assert json.loads(write_document(document)) == expected


@pytest.mark.parametrize(
    ("raw", "is_exact"),
    [
        (b'{"id":18446744073709551616}', False),
        (b"[[],[1.5,-9223372036854775809]]", False),
        (b'{"id":18446744073709551615, "x":0.5}', True),
        (b"9223372036854775807.0e0", True),
    ],
)
def test_a_quick_reading_may_lack_digits(raw: bytes, is_exact: bool) -> None:
    document, by_orjson = read_quickly(raw)
    exact = with_every_digit(document, raw)
    assert by_orjson
    assert (repr(document) == repr(json.loads(raw))) is is_exact
    assert repr(exact) == repr(read_document(raw)) == repr(json.loads(raw))


def test_documents_that_orjson_refuses_are_read_exactly() -> None:
    assert read_quickly(b'["\\ud800",18446744073709551616]') == (["\ud800", 2**64], False)


def test_nan_is_read_and_written() -> None:
    document = read_document(b'{"a":[NaN,null,"x"]}')
    assert math.isnan(document["a"][0])
    assert write_document(document) == b'{"a":[NaN,null,"x"]}'


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "Expecting value: line 1 column 1"),
        (b"{", "line 1 column 2"),
        (b'{"a":1,}', r"line 1 column \d"),
        (b'{\n"a" 1}', "line 2 column 5"),
        (b"[1] 2", r"Extra data: line 1 column 5 \(char 4\)"),
        (b'"\x01"', "control character"),
        (b'{"a":"\xff"}', "not UTF-8: invalid start byte at byte 6"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        (b'"a', "Unterminated string"),
        (b"1" * 5000, "more than 4,300 digits"),
        (b"[NaN," + b"1" * 5000 + b"]", "more than 4,300 digits"),
        (nested(MAX_DEPTH + 1), "nested deeper than 200 levels"),
        (b"[1,{}," + nested(MAX_DEPTH) + b"]", "nested deeper than 200 levels"),
        (nested(MAX_DEPTH + 1, b"[ "), "nested deeper than 200 levels"),
        (nested(MAX_DEPTH + 1, b'{"a":', b"}").replace(b":}", b":1}"), "nested deeper than 200 levels"),
        (b"[NaN," + nested(MAX_DEPTH) + b"]", "nested deeper than 200 levels"),
        (nested(500), "nested deeper than 200 levels"),
        (nested(10_000), "nested deeper than 200 levels"),
        (nested(10_000, b'{"a":[', b"]}"), "nested deeper than 200 levels"),
        (b"[" * 100_000, "nested deeper than 200 levels"),
    ],
)
def test_json_errors_name_the_position(raw: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_document(raw)


def array(item: bytes, count: int, values: int) -> bytes:
    """An array of `count` items with `values` values each; the array itself is one more."""
    assert count % values == 0
    return b"[" + b",".join([item] * (count // values)) + b"]"


@pytest.mark.parametrize(
    ("most", "item", "values"),
    [(MAX_VALUES, b"0", 1), (10_000, b'{"a":"\\",","b" :\n[1]}', 4), (10_000, b"[[\t]]", 2)]
    + [(10_000, item, 1) for item in (b"0", b"[]", b"{ }", b'",[{"')],
)
def test_a_document_holds_a_million_values_at_most(
    monkeypatch: pytest.MonkeyPatch, most: int, item: bytes, values: int
) -> None:
    """And in each form with a lower limit, so that no time goes into the making of millions of lists."""
    monkeypatch.setattr(json_documents, "MAX_VALUES", most)
    fits = most - values
    assert len(read_quickly(array(item, fits, values))[0]) == fits // values
    with pytest.raises(TooLarge, match=f"more than {most:,} values"):
        read_quickly(array(item, most, values))


@pytest.mark.parametrize(
    "text", [b"well, {this} is [prose], so ", b'\\"a\\": [1, 2], ', b"\\\\,", b",\xf0\x9f\x98\x80"]
)
def test_commas_and_brackets_in_strings_are_not_counted(text: bytes) -> None:
    raw = b'{"a":["' + text * MAX_VALUES + b'","",0]}'
    assert len(read_quickly(raw)[0]["a"]) == 3


@pytest.mark.parametrize("end", [b"", b'"', b'"}', b'" "" "" "" ', b"[]{}[] "])
def test_invalid_documents_are_counted_in_one_pass(end: bytes) -> None:
    with pytest.raises(ValueError, match="line 1"):
        read_quickly(b'{"a":"' + b"," * (3 * MAX_VALUES) + end * 10_000)


def test_the_slow_parser_bounds_non_ascii_documents() -> None:
    for text in ("a", "é"):
        raw = b"[NaN,%b]" % orjson.dumps(text * (MAX_LENIENT // len(text.encode()) - 10))
        assert read_quickly(raw)[0][1][0] == text
    with pytest.raises(TooLarge, match="more than 16 MiB and is not strictly JSON, or not UTF-8"):
        read_quickly(raw + b" " * 20)
    assert read_quickly(b'[NaN,"%b"]' % (b"a" * MAX_LENIENT))[1] is False


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        (b"{}", []),
        (b' { "key" : [1, {"key": 2}] , "a":{"key":"}"}} ', [b'[1, {"key": 2}]']),
        (
            b'{"a":"\\"key\\":1","key":"\\\\","k\\u0065y":[[]],"\\u006B\\u0065\\u0079":null}',
            [b'"\\\\"', b"[[]]", b"null"],
        ),
        (b'{"a":[[[1],{"key":1}],{}],"key":{"a":[]},"key":-1.5e3}', [b'{"a":[]}', b"-1.5e3"]),
        (b'{"ke":1,"keyy":2,"KEY":3,"a":"key","":{"key":"\\\\"},"key":true}', [b"true"]),
    ],
)
def test_values_of_a_key_are_found_at_the_top(raw: bytes, values: list[bytes]) -> None:
    assert [raw[start:end] for start, end in member_values(raw, compile_key("key"))] == values


def test_nesting_depth_ignores_siblings() -> None:
    document = read_document(b"[" + b",".join([nested(MAX_DEPTH - 1, b"[ ")] * 300) + b"]")
    assert len(document) == 300


@pytest.mark.parametrize(
    ("document", "raw"),
    [
        ({"a": "é"}, '{"a":"é"}'.encode()),
        ({"a": "é\ud800"}, b'{"a":"\\u00e9\\ud800"}'),
        ([2**64], b"[18446744073709551616]"),
        ([None, {"a": [0.5]}], b'[null,{"a":[0.5]}]'),
        ([None, {"a": [math.nan]}], b'[null,{"a":[NaN]}]'),
        ([math.inf], b"[Infinity]"),
        (math.nan, b"NaN"),
        ("null", b'"null"'),
    ],
)
def test_write(document: object, raw: bytes) -> None:
    assert write_document(document) == raw


def test_write_of_a_finite_document() -> None:
    assert write_document([math.nan], finite=True) == b"[null]"
    assert write_document([2**64, "\ud800"], finite=True) == b'[18446744073709551616,"\\ud800"]'


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(2**62, 2**66)
    | st.floats(allow_nan=False)
    | st.text()
    | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(values, st.booleans(), st.sampled_from([None, 1]))
def test_reading_agrees_with_the_standard_library(value: Any, escape: bool, indent: int | None) -> None:
    try:
        raw = json.dumps(value, ensure_ascii=escape, indent=indent).encode()
    except UnicodeEncodeError:
        raw = json.dumps(value).encode()
    document = read_document(raw)
    assert document == value
    assert repr(document) == repr(json.loads(raw))
    assert read_document(write_document(document)) == value


DIFFERENCES: list[tuple[Any, Any, str | None]] = [
    ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}, None),
    ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, "a.1.b"),
    ({"a": 1, "b": 2}, {"b": 3, "a": 1}, "b"),
    ({"a": 1}, {"a": 1, "b": 2}, "b"),
    ({"a": 1, "b": 2}, {"a": 1}, "b"),
    ({"a": [1, 2]}, {"a": [1, 2, 3]}, "a.2"),
    ({"a": [1, 2]}, {"a": []}, "a.0"),
    ({"a": "x"}, {"a": ["x"]}, "a"),
    ({"a": 1}, {"a": True}, "a"),
    (1, 2, ""),
]


@pytest.mark.parametrize(("before", "after", "path"), DIFFERENCES)
def test_the_first_place_where_documents_differ(before: Any, after: Any, path: str | None) -> None:
    assert first_difference(before, after) == path


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(before=json_values, after=json_values)
def test_documents_differ_where_the_path_leads(before: Any, after: Any) -> None:
    path = first_difference(before, after)
    assert (path is None) is (json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True))
    for step in (path or "").split(".") if path else ():
        # The parents have the same type in both; the last step may be missing in one.
        assert type(before) is type(after)
        if isinstance(before, dict):
            before, after = before.get(step), after.get(step)
        else:
            before, after = (dict(enumerate(value)).get(int(step)) for value in (before, after))
