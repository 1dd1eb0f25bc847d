"""The log's lines: their fields, and that no client can forge one."""

from typing import Any, Literal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.access_log import (
    LONGEST,
    MAX_ONCE,
    AccessLog,
    Place,
    Record,
    json_line,
    message_line,
    timestamp,
)
from gateway.telemetry.access_log import text as text_at
from tests.support.calls import calls

TIME = 1_800_000_000.25


def record(**changes: Any) -> Record:
    return Record(
        **{"time": TIME, "request_id": "req_1", "method": "POST", "path": "/v1/messages", **changes}
    )


def text(record: Record) -> str:
    return text_at(record, timestamp(record.time))


FULL: dict[str, Any] = {
    "key": "laptop",
    "model": "claude-opus-4-5",
    "wire_model": "glm-4.7",
    "upstream": "zai",
    "account": "work@example.com",
    "attempts": 2,
    "tried": ("dead@example.com:401", "full@example.com:429"),
    "status": 200,
    "bytes_in": 49_123,
    "bytes_out": 3_210,
    "first_byte": 0.83,
    "duration": 12.4,
    "input_tokens": 1_200,
    "output_tokens": 560,
    "cache_read_tokens": 48_000,
    "cache_creation_tokens": 0,
    "estimated": False,
    "cache": "lost:changed",
    "cache_lost_tokens": 52_000,
    "cache_changed_at": "messages.3.content.0",
    "repairs": ("empty_text", "merge_roles"),
    "outcome": "ok",
    "error": "",
}

HEAD = "2027-01-15T08:00:00.250Z req_1"

LINES: list[tuple[dict[str, Any], str]] = [
    ({"status": 200, "outcome": "ok"}, f"{HEAD} - POST /v1/messages 200 ok in=0B out=0B took=0.0ms"),
    (
        FULL,
        f"{HEAD} laptop POST /v1/messages claude-opus-4-5 -> glm-4.7 zai/work@example.com 200 ok attempts=2"
        " tried=dead@example.com:401,full@example.com:429"
        " in=49.1kB out=3210B first=830.0ms took=12.40s"
        " input=1200 output=560 cache_read=48000 cache_creation=0"
        " cache=lost:changed lost=52000 at=messages.3.content.0 repairs=empty_text,merge_roles",
    ),
    (
        {"model": "m", "wire_model": "m", "upstream": "u", "account": "a b", "attempts": 1, "status": 200}
        | {"outcome": "ok", "duration": 0.0004},
        f'{HEAD} - POST /v1/messages m u/"a b" 200 ok in=0B out=0B took=0.4ms',
    ),
    (
        {"model": "m", "status": 404, "outcome": "refused", "error": 'model "m" is not served\nhere'},
        f"{HEAD} - POST /v1/messages m 404 refused in=0B out=0B took=0.0ms"
        ' error="model \\"m\\" is not served\\nhere"',
    ),
    (
        {"status": 200, "outcome": "ok", "input_tokens": 900, "output_tokens": 2, "estimated": True},
        f"{HEAD} - POST /v1/messages 200 ok in=0B out=0B took=0.0ms input=900 output=2 usage=estimated",
    ),
    (
        {"status": 200, "outcome": "ok", "cache": "hit"},
        f"{HEAD} - POST /v1/messages 200 ok in=0B out=0B took=0.0ms cache=hit",
    ),
    (
        {"status": 503, "outcome": "refused", "tried": ("a b:429",)},
        f'{HEAD} - POST /v1/messages 503 refused tried="a b:429" in=0B out=0B took=0.0ms',
    ),
    (
        {"status": 499, "outcome": "canceled", "bytes_in": 12_345_678, "bytes_out": 9_999, "duration": 61.0},
        f"{HEAD} - POST /v1/messages 499 canceled in=12.3MB out=9999B took=61.00s",
    ),
]


@pytest.mark.parametrize(("fields", "line"), LINES)
def test_text(fields: dict[str, Any], line: str) -> None:
    assert text(record(**fields)) == line


def test_json_has_every_field() -> None:
    line = json_line(record(**FULL))
    assert orjson.loads(line) == {
        "time": TIME,
        "request_id": "req_1",
        "method": "POST",
        "path": "/v1/messages",
        **FULL,
        "tried": ["dead@example.com:401", "full@example.com:429"],
        "repairs": ["empty_text", "merge_roles"],
    }
    assert orjson.loads(json_line(record())).keys() == orjson.loads(line).keys()
    assert set(orjson.loads(line)) == set(Record.__slots__) - {"conversation"}


FORGERIES = [
    ("a\nb", '"a\\nb"'),
    ("a\r\n2027 forged", '"a\\r\\n2027 forged"'),
    ("\x1b[31mred", '"\\x1b[31mred"'),
    ("a\x00b", '"a\\x00b"'),
    ("a\x85b", '"a\\x85b"'),
    ("a\u2028b", '"a\\u2028b"'),
    ("a\u202eb", '"a\\u202eb"'),
    ("\ud800", '"\\ud800"'),
    ("m 200 ok", '"m 200 ok"'),
    ("status=200", '"status=200"'),
    ('a"b', '"a\\"b"'),
    ("a\\nb", '"a\\\\nb"'),
    ("modèle-模型", "modèle-模型"),
    ("x" * LONGEST, "x" * LONGEST),
    ("x" * 100_000, '"' + "x" * LONGEST + '..."'),
]


@pytest.mark.parametrize(("value", "shown"), FORGERIES)
def test_values_are_escaped(value: str, shown: str) -> None:
    line = f"{HEAD} - POST /v1/messages {shown} 0  in=0B out=0B took=0.0ms"
    assert text(record(model=value)) == line
    assert f" {shown} POST " in text(record(key=value))
    assert f" {shown} 0 " in text(record(path=value))
    assert f" {shown} /v1" in text(record(method=value))
    assert f"-> {shown} 0" in text(record(model="m", wire_model=value))
    assert f" u/{shown} 0" in text(record(upstream="u", account=value))


def test_an_empty_value_is_seen() -> None:
    assert ' POST "" 0 ' in text(record(path=""))


names = st.sampled_from(["key", "method", "path", "model", "wire_model", "account", "error"])
anything = st.text(st.characters(codec=None), max_size=20)


@given(fields=st.dictionaries(names, anything))
def test_a_record_is_one_line_in_both_formats(fields: dict[str, str]) -> None:
    made = record(**fields)
    line = text(made)
    assert line.isprintable()
    assert line.encode()
    found = orjson.loads(json_line(made))
    for name, value in fields.items():
        assert found[name] == value.encode("utf-8", "backslashreplace").decode()


def test_times_in_json_have_three_decimals() -> None:
    made = orjson.loads(json_line(record(time=TIME + 0.0001234, first_byte=0.12345, duration=1.23456)))
    assert (made["time"], made["first_byte"], made["duration"]) == (TIME, 0.123, 1.235)
    assert message_line("json", "info", "m", TIME + 0.0001234) == (
        '{"time":1800000000.25,"level":"info","message":"m"}'
    )


def test_long_values_are_cut_in_json() -> None:
    assert orjson.loads(json_line(record(model="é" * 5000)))["model"] == "é" * LONGEST + "..."


class Sink:
    """A log whose lines are kept, and whose clock stands still."""

    def __init__(self, format: Literal["text", "json"] = "text", level: str = "info") -> None:
        self.lines: list[str] = []
        self.flushed: list[int] = []
        """How many lines there were when they were to be written at once."""
        self.log = AccessLog(self.lines.append, format, level, lambda: TIME, self.flush)

    def flush(self) -> None:
        self.flushed.append(len(self.lines))


def test_log_format() -> None:
    for format, line in (("text", text(record())), ("json", json_line(record()))):
        sink = Sink("json" if format == "json" else "text")
        sink.log.log(record())
        assert sink.lines == [line]


MESSAGES: list[tuple[Literal["text", "json"], str]] = [
    ("text", "2027-01-15T08:00:00.250Z warning: two\\nlines"),
    ("json", '{"time":1800000000.25,"level":"warning","message":"two\\nlines"}'),
]


@pytest.mark.parametrize(("format", "line"), MESSAGES)
def test_messages(format: Literal["text", "json"], line: str) -> None:
    sink = Sink(format)
    sink.log.warning("two\nlines")
    assert sink.lines == [line]


LEVELS = [
    ("debug", ["debug", "info", "warning", "error", "record"]),
    ("info", ["info", "warning", "error", "record"]),
    ("warning", ["warning", "error"]),
    ("error", ["error"]),
]


@pytest.mark.parametrize(("level", "expected"), LEVELS)
def test_levels(level: str, expected: list[str]) -> None:
    sink = Sink("json", level)
    sink.log.debug("m")
    sink.log.info("m")
    sink.log.warning("m")
    sink.log.error("m")
    sink.log.log(record())
    assert [orjson.loads(line).get("level", "record") for line in sink.lines] == expected
    for name in ("debug", "info", "warning", "error"):
        assert sink.log.enabled(name) is (name in expected)


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(KeyError):
        Sink("text", "loud")


def test_once() -> None:
    sink = Sink("text", "debug")
    for say in (sink.log.debug, sink.log.info, sink.log.warning, sink.log.error):
        say("again")
        say("again")
    assert len(sink.lines) == 8
    sink.lines.clear()
    for say in (sink.log.debug, sink.log.info, sink.log.warning, sink.log.error):
        say("once", once=True)
    assert sink.lines == ["2027-01-15T08:00:00.250Z debug: once"]


def test_once_after_a_level_that_is_not_written() -> None:
    sink = Sink("text", "warning")
    sink.log.info("m", once=True)
    sink.log.warning("m", once=True)
    assert len(sink.lines) == 1


def test_memory_of_once_is_bounded() -> None:
    sink = Sink()
    for index in range(MAX_ONCE + 1):
        sink.log.info(f"m{index}", once=True)
    sink.log.info("m0", once=True)
    assert len(sink.lines) == MAX_ONCE + 2


def test_the_clock_is_unix_time() -> None:
    lines: list[str] = []
    AccessLog(lines.append, "json", "info").info("m")
    assert orjson.loads(lines[0])["time"] > TIME - 20 * 365 * 86_400


def test_warnings_and_errors_do_not_wait_for_other_lines() -> None:
    sink = Sink()
    sink.log.info("m")
    sink.log.log(record())
    assert sink.flushed == []
    sink.log.warning("m")
    sink.log.error("m")
    assert sink.flushed == [3, 4]


def test_records_of_one_second_and_of_others_have_their_own_times() -> None:
    sink = Sink()
    for seconds in (0.0, 0.5, 1.0, 0.0):
        sink.log.log(record(time=TIME + seconds))
    assert [line[:24] for line in sink.lines] == [
        "2027-01-15T08:00:00.250Z",
        "2027-01-15T08:00:00.750Z",
        "2027-01-15T08:00:01.250Z",
        "2027-01-15T08:00:00.250Z",
    ]


CLOSINGS = [
    (Place("zai"), "upstream", "warning", "zai"),
    (Place("zai", "work@example.com"), "account", "warning", "zai/work@example.com"),
    (Place("zai", "work@example.com", "glm-4.7"), "model", "info", "zai/work@example.com model=glm-4.7"),
    (Place("zai", "", "a b", "fast"), "feature", "info", 'zai model="a b" feature=fast'),
]


@pytest.mark.parametrize(("place", "about", "level", "shown"), CLOSINGS)
def test_closed_and_opened_lines(place: Place, about: str, level: str, shown: str) -> None:
    sink = Sink()
    sink.log.log_closed(
        place, about=about, rule="login", status=401, words='your "key"\nis wrong', seconds=600.0
    )
    sink.log.log_closed(place, about=about, rule="connect", seconds=0.0)
    sink.log.log_opened(place)
    assert sink.lines == [
        f"2027-01-15T08:00:00.250Z {level}: closed {shown} about={about} rule=login status=401"
        ' until=2027-01-15T08:10:00.250Z error="your \\"key\\"\\nis wrong"',
        f"2027-01-15T08:00:00.250Z {level}: closed {shown} about={about} rule=connect"
        " until=2027-01-15T08:00:00.250Z",
        f"2027-01-15T08:00:00.250Z info: opened {shown}",
    ]
    sink = Sink("json")
    sink.log.log_closed(place, about=about, rule="login", status=401, words="é" * 500, seconds=600.0)
    sink.log.log_opened(place)
    closed, opened = map(orjson.loads, sink.lines)
    fields = place._asdict()
    assert opened.items() >= {"level": "info", "event": "opened", **fields}.items()
    more = {"about": about, "rule": "login", "status": 401, "until": TIME + 600}
    assert closed.items() >= {"level": level, "event": "closed", **more, **fields}.items()
    assert closed["error"] == "é" * LONGEST + "..."


def test_the_line_of_an_ordinary_request_costs_few_calls() -> None:
    lines: list[str] = []
    log = AccessLog(lines.append)
    made = record(**{**FULL, "tried": (), "repairs": ()})
    log.log(made)
    python, c = calls(log.log, made)
    # `log`, `text`, and the size of a body above 10 kB; a match, and the own `append` of this test.
    assert (python, c) == (3, 2)
    assert len(lines) == 2
