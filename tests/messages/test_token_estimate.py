"""messages/tokens.py: the estimate against true counts, pictures, PDFs, odd requests; and its corrections."""

import math
from base64 import b64encode
from struct import pack
from typing import Any

import pytest
from hypothesis import given

from gateway.messages.token_estimate import Correction, estimate
from tests.messages.samples import documents, frozen

ENGLISH = """The committee met on Tuesday to discuss the harbour wall. Most of its members agreed that the stones had
moved over the winter, although nobody could say by how much. A surveyor was asked to measure the gap between the
quay and the old customs house, and to report before the spring tides. In the meantime, boats longer than twelve
metres were told to stay away from the northern steps, and the ferry company promised to land its passengers on the
other side. "We would rather be careful now," the chairman said, "than have to build the whole thing again."
"""

PYTHON = '''def longest_run(values: list[int], *, start: int = 0) -> tuple[int, int]:
    """The longest run of rising numbers: where it begins, and how many there are."""
    best_at, best_length = start, 0
    at = start
    while at < len(values):
        end = at + 1
        while end < len(values) and values[end] > values[end - 1]:
            end += 1
        if end - at > best_length:
            best_at, best_length = at, end - at
        at = end
    if not best_length:
        raise ValueError(f"no values after {start}")
    return best_at, best_length
'''

TYPESCRIPT = """export async function readSettings(path: string): Promise<Settings> {
  const text = await fs.readFile(path, "utf-8");
  const parsed = JSON.parse(text) as Partial<Settings>;
  if (parsed.version !== CURRENT_VERSION) {
    logger.warn(`settings in ${path} are of version ${parsed.version}`);
    return migrate(parsed, { keepUnknown: true });
  }
  return { ...defaultSettings, ...parsed };
}
"""

JSON = (
    '{"name":"Read","description":"Reads a file from the local filesystem.","input_schema":{"type":"objec'
    't","properties":{"file_path":{"type":"string","description":"The absolute path to the file"},"offset'
    '":{"type":"integer","minimum":0},"limit":{"type":"integer","exclusiveMinimum":0,"description":"How m'
    'any lines"}},"required":["file_path"],"additionalProperties":false}}'
)

SHELL = """$ git status --short
 M src/parser.c
 M src/parser.h
?? notes.txt
$ make -j4 test 2>&1 | tail -n 3
cc -O2 -Wall -o build/test_parser tests/test_parser.c src/parser.c
./build/test_parser
42 passed, 1 failed (0.31 s)
"""

RUSSIAN = (
    "Сегодня комиссия осмотрела старую стену порта. "
    "Камни за зиму сдвинулись, и теперь нужно решить, кто будет её чинить."
)

CHINESE = """请帮我修改这段代码,使它在处理空列表时不会崩溃。用户界面应当显示进度条,并允许取消操作。"""

TEXTS = {
    "english": (ENGLISH, 122),
    "python": (PYTHON, 155),
    "typescript": (TYPESCRIPT, 105),
    "json": (JSON, 83),
    "shell": (SHELL, 85),
    "russian": (RUSSIAN, 63),
    "chinese": (CHINESE, 41),
}
"""Texts, and their tokens by the tokenizer that Anthropic published."""


def request(content: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": content}], **more}


def text(text: Any) -> dict[str, Any]:
    return {"type": "text", "text": text}


def tokens(content: Any) -> int:
    """Return the tokens that content adds to a request."""
    return estimate(request(content)) - estimate(request(""))


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_within_15_percent(name: str) -> None:
    sample, true = TEXTS[name]
    assert abs(tokens(sample) / true - 1) < 0.15
    assert abs(tokens([text(sample)] * 50) / true / 50 - 1) < 0.15


def test_estimate_of_the_shortest_request() -> None:
    assert estimate(request("hi")) == 8


def test_more_text_is_more_tokens() -> None:
    assert tokens(ENGLISH) < tokens(ENGLISH + PYTHON) < tokens([text(ENGLISH), text(PYTHON), text("more")])


@pytest.mark.parametrize("sample", ["a " * 2_000_000, "あ" * 1_000_000])
def test_a_very_long_text_is_sampled(sample: str) -> None:
    part = len(sample) // 40
    assert tokens(sample) == pytest.approx(40 * tokens(sample[:part]), rel=0.01)


def test_very_many_blocks_are_not_all_looked_at() -> None:
    many, more = ([{"type": "tool_result", "content": [{"a": 1}] * count}] for count in (100_000, 200_000))
    assert tokens(more) == tokens(many)


@pytest.mark.parametrize(
    "content",
    [
        [text(ENGLISH)],
        [{"type": "thinking", "thinking": ENGLISH, "signature": "A" * 1000}],
        [{"type": "tool_result", "tool_use_id": "x" * 1000, "content": ENGLISH}],
        [{"type": "tool_result", "content": [text(ENGLISH)]}],
        [
            {
                "type": "tool_use",
                "id": "x" * 1000,
                "name": "Read",
                "input": {"text": ENGLISH.replace("\n", " ")},
            }
        ],
        [{"type": "document", "source": {"type": "text", "data": ENGLISH}, "title": "A"}],
        [{"type": "document", "source": {"type": "content", "content": [text(ENGLISH)]}}],
        [{"type": "search_result", "title": "A", "source": "b", "content": [text(ENGLISH)]}],
        [{"type": "unheard_of", "field": [ENGLISH.replace("\n", " ")]}],
    ],
)
def test_text_counts_wherever_it_is(content: Any) -> None:
    plain = tokens(ENGLISH)
    assert plain - 5 <= tokens(content) <= plain + 40


def test_system_and_tools_count() -> None:
    base = estimate(request("hi"))
    plain = tokens(ENGLISH)
    assert estimate(request("hi", system=ENGLISH)) == pytest.approx(base + plain, abs=2)
    assert estimate(request("hi", system=[text(ENGLISH)])) == pytest.approx(base + plain, abs=2)
    tool = {"name": "Read", "description": ENGLISH.replace("\n", " "), "input_schema": {"type": "object"}}
    assert base + 346 + plain < estimate(request("hi", tools=[tool])) < base + 346 + plain + 40
    assert estimate(request("hi", tools=[])) == base


def png(width: int, height: int) -> str:
    return b64encode(b"\x89PNG\r\n\x1a\n" + pack(">I4sII", 13, b"IHDR", width, height)).decode()


def picture(source: Any) -> list[Any]:
    return [{"type": "image", "source": source}]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"type": "base64", "data": png(200, 200)}, 54),
        ({"type": "base64", "data": png(1000, 1000)}, 1334),
        ({"type": "base64", "data": png(1092, 1092)}, 1590),
        ({"type": "base64", "data": png(4000, 4000)}, 1600),
        ({"type": "base64", "data": png(15680, 1568)}, 328),
        ({"type": "base64", "data": png(1, 1)}, 1),
        ({"type": "base64", "data": "broken"}, 1600),
        ({"type": "base64"}, 1600),
        ({"type": "url", "url": "https://example.com/" + "x" * 9999}, 1600),
        ("odd", 1600),
    ],
)
def test_a_picture_counts_by_its_size(source: Any, expected: int) -> None:
    assert tokens(picture(source)) == expected
    inside = [{"type": "tool_result", "content": picture(source)}]
    assert tokens(inside) - tokens([{"type": "tool_result"}]) == expected


def pdf(pages: int, filler: int = 0) -> str:
    objects = b"<< /Type /Pages >>" + b"<</Type/Page>>\n<< /Type /Page\n>>" * (pages // 2)
    return b64encode(b"%PDF-1.7\n" + objects + b"<</Type /Page>>" * (pages % 2) + b"\0" * filler).decode()


@pytest.mark.parametrize(
    ("source", "pages"),
    [
        ({"type": "base64", "data": pdf(1)}, 1),
        ({"type": "base64", "data": pdf(7, 1_000_000)}, 7),
        ({"type": "base64", "data": pdf(1000)}, 600),
        ({"type": "base64", "data": pdf(0, 150_000)}, 3),
        ({"type": "base64", "data": "no base64!é"}, 1),
        ({"type": "base64"}, 1),
        ({"type": "url", "url": "https://example.com/a.pdf"}, 1),
        ({"type": "file", "file_id": "file_1"}, 1),
        ("odd", 0),
    ],
)
def test_a_pdf_counts_by_its_pages(source: Any, pages: int) -> None:
    assert tokens([{"type": "document", "source": source}]) == 3000 * pages


def test_a_huge_pdf_is_sampled() -> None:
    page = b"<</Type /Page>>" + b"\0" * 200_000
    data = b64encode(b"%PDF-1.7\n" + page * 60).decode()
    assert tokens([{"type": "document", "source": {"type": "base64", "data": data}}]) == pytest.approx(
        180_000, rel=0.05
    )


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [{"type": "tool_result", "content": value}]
    return value


def deep(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = {"a": [value]}
    return value


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"messages": None, "system": 5, "tools": {}},
        {"messages": [None, 5, "text", {}, {"content": None}, {"content": {"type": "text", "text": None}}]},
        {
            "messages": [
                {"content": [None, 5, "x", {}, {"type": ["unhashable"]}, {"type": "text", "text": {"a": 1}}]}
            ]
        },
        {"messages": [{"content": nested(10_000)}]},
        {"messages": [{"content": [{"type": "tool_use", "input": deep(10_000)}]}], "tools": [deep(10_000)]},
        {
            "messages": [
                {"content": [{"type": "tool_use", "input": {1: {2}}}, text("\ud800"), text("\x00\x7f")]}
            ]
        },
        {"messages": [{"content": [{"type": "tool_use", "input": [math.nan, 2**70, "\ud800"]}]}]},
    ],
)
def test_odd_requests_are_estimated_too(document: dict[str, Any]) -> None:
    assert estimate(document) >= 3


@given(documents())
def test_any_request_is_estimated_and_left_alone(document: dict[str, Any]) -> None:
    before = frozen(document)
    assert estimate(document) >= 3
    assert frozen(document) == before


def test_without_observations_nothing_is_corrected() -> None:
    assert Correction().apply("m", 1000) == 1000


def test_the_first_observation_counts_in_full_and_later_ones_move_it() -> None:
    correction = Correction()
    correction.observe("m", 1000, 1200)
    assert correction.apply("m", 500) == 600
    assert correction.apply("other", 500) == 500
    correction.observe("m", 1000, 1700)
    assert correction.apply("m", 1000) == 1300
    for _ in range(50):
        correction.observe("m", 1000, 900)
    assert correction.apply("m", 1000) == 900


@pytest.mark.parametrize(("estimated", "actual"), [(199, 500), (1000, 0), (1000, -5), (0, 10)])
def test_uninformative_observations_are_ignored(estimated: int, actual: int) -> None:
    correction = Correction()
    correction.observe("m", estimated, actual)
    assert correction.apply("m", 1000) == 1000


@pytest.mark.parametrize(("actual", "expected"), [(10**9, 4000), (1, 250)])
def test_a_ratio_is_bounded(actual: int, expected: int) -> None:
    correction = Correction()
    correction.observe("m", 1000, actual)
    assert correction.apply("m", 1000) == expected


def test_the_model_that_was_observed_longest_ago_is_forgotten() -> None:
    correction = Correction()
    for number in range(Correction.MAX_MODELS):
        correction.observe(f"m{number}", 1000, 2000)
    correction.observe("m0", 1000, 2000)
    correction.observe("one more", 1000, 2000)
    assert correction.apply("m0", 1000) == 2000
    assert correction.apply("m1", 1000) == 1000
    assert correction.apply("m2", 1000) == 2000
    assert correction.apply("one more", 1000) == 2000
