"""messages/cures.py: how each cure changes a document, what it never touches, and that earlier turns stay."""

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.messages.cures import CURES, MANY_IMAGES, MAX_CACHE_MARKS
from gateway.messages.history_cures import GO_ON
from tests.messages.samples import (
    MARK,
    assistant,
    call,
    client_requests,
    documents,
    frozen,
    history,
    odd_documents,
    result,
    system,
    text,
    thought,
    user,
)

READ: dict[str, Any] = {"name": "Read", "input_schema": {"defer_loading": True, "max_uses": 1}}
DEFERRED = {**READ, "defer_loading": True}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}
FETCH = {"type": "web_fetch_20250910", "name": "web_fetch", "max_uses": 5}
ADAPTIVE = {"type": "adaptive", "display": "omitted"}
CITED = {"type": "document", "citations": {"enabled": True}, "source": {}}
CLEAR = {"edits": [{"type": "clear_thinking_20251015"}]}


def base(**fields: Any) -> dict[str, Any]:
    return history(user("a"), **fields)


def check(name: str, detail: str, before: dict[str, Any], after: dict[str, Any] | None) -> None:
    """The cure makes `after` of the document; None: it hands back the very same object."""
    was = frozen(before)
    cured = CURES[name](before, detail)
    if after is None:
        assert cured is before
    else:
        assert cured == after
        assert CURES[name](cured, detail) == after
    assert frozen(before) == was


FIELDS: list[tuple[str, dict[str, Any], dict[str, Any] | None]] = [
    ("tools.3.custom.defer_loading", base(tools=[DEFERRED, READ, DEFERRED]), base(tools=[READ] * 3)),
    ("tools.*.defer_loading", base(tools=[DEFERRED]), base(tools=[READ])),
    ("tools[0].defer_loading", base(tools=[DEFERRED]), base(tools=[READ])),
    ("body -> tools -> 0 -> defer_loading", base(tools=[DEFERRED]), base(tools=[READ])),
    ("tools.0.Tool.defer_loading", base(tools=[DEFERRED]), base(tools=[READ])),
    ("tools.0.function.defer_loading", base(tools=[DEFERRED]), base(tools=[READ])),
    (
        "tools.1.web_search_20250305.max_uses",
        base(tools=[READ, SEARCH, FETCH]),
        base(tools=[READ, {"type": "web_search_20250305", "name": "web_search"}, FETCH]),
    ),
    ("context_management", base(context_management=CLEAR), base()),
    ("context_management.edits", base(context_management=CLEAR), base()),
    (
        "context_management.edits",
        base(context_management={**CLEAR, "x": 1}),
        base(context_management={"x": 1}),
    ),
    ("thinking.adaptive.display", base(thinking=ADAPTIVE), base(thinking={"type": "adaptive"})),
    ("thinking", base(thinking=ADAPTIVE), base()),
    ("output_config.effort,speed", base(output_config={"effort": "low"}, speed="fast"), base()),
    (
        "messages.0.content.1.text.citations",
        history(user(text("a", citations=[]), CITED), assistant(text("b", citations=[]))),
        history(user(text("a"), CITED), assistant(text("b"))),
    ),
    (
        "messages.0.content.0.tool_result.content.0.text.cache_control.ttl",
        history(user(result(content=[text("a", cache_control={"type": "ephemeral", "ttl": "1h"})]))),
        history(user(result(content=[text("a", **MARK)]))),
    ),
    (
        "messages.1.output_config",
        history(user("a"), system("s", output_config={})),
        history(user("a"), system("s")),
    ),
    ("system.0.cache_control", base(system=[text("s", **MARK)]), base(system=[text("s")])),
    # Never a required field, never data, never a field that is absent.
    *(
        (path, base(max_tokens=5, stream=True, system="s", tools=[READ]), None)
        for path in (
            "model",
            "messages",
            "max_tokens",
            "system",
            "tools",
            "stream",
            "body.model",
            "messages.0",
        )
    ),
    ("tools.0.custom.input_schema", base(tools=[READ]), None),
    ("tools.0.custom.input_schema.defer_loading", base(tools=[READ]), None),
    ("tools.0.custom.input_schema.max_uses", base(tools=[READ]), None),
    ("messages.0.content", base(), None),
    ("messages.0.content.0.content", history(user(result())), None),
    ("messages.0.content.0.tool_use.input.cache_control", history(assistant(call(input=MARK))), None),
    ("messages.0.content.0.text", history(user(text("a"))), None),
    ("messages.0.role", base(), None),
    ("speed.x.y", base(speed="fast"), None),
    ("model.x", base(), None),
    ("", base(), None),
    (" -> .. [] ,", base(), None),
    (".".join("abcdefghijklm"), base(a=1), None),
]


@pytest.mark.parametrize(("path", "before", "after"), FIELDS)
def test_fields_are_left_out_wherever_the_paths_shape_matches(
    path: str, before: dict[str, Any], after: dict[str, Any] | None
) -> None:
    check("fields", path, before, after)


SESSION = '{"device_id":"d","session_id":"00000000-0000-4000-8000-000000000000"}'
PNG = {"type": "base64", "media_type": "image/png", "data": "aaaa" * 1024}
IMAGE = {"type": "image", "source": PNG}
IMAGE_NOTE = text("[An image was here, which this model cannot see: image/png, 3 KiB]")
PDF = {"type": "document", "title": "a.pdf", "source": {**PNG, "media_type": "application/pdf"}}
PDF_NOTE = text("[A document was here, which this model cannot read: a.pdf, application/pdf, 3 KiB]")
MARKED = text("m", **MARK)
OFF = {"type": "disabled"}


def document_of(**source: Any) -> dict[str, Any]:
    return {"type": "document", "source": source}


CASES: list[tuple[str, str, dict[str, Any], dict[str, Any] | None]] = [
    ("user_id", "", base(), None),
    ("user_id", "", base(metadata={"user_id": None}), None),
    ("user_id", "", base(metadata="odd"), None),
    ("cache_marks", "", base(system=[MARKED], tools=[{**READ, **MARK}], **MARK), None),
    (
        "cache_marks",
        "",
        history(user(MARKED), assistant(MARKED, text("x")), user(MARKED, MARKED), system=[MARKED]),
        history(user(text("m")), assistant(MARKED, text("x")), user(MARKED, MARKED), system=[MARKED]),
    ),
    (
        "cache_marks",
        "",
        history(
            user(result(content=[MARKED, MARKED], **MARK)), user(MARKED), **MARK, system=[MARKED, MARKED]
        ),
        history(user(result(content=[text("m"), text("m")])), user(MARKED), **MARK, system=[MARKED, MARKED]),
    ),
    (
        "cache_marks",
        "",
        base(system=[MARKED] * 3, tools=[{**READ, **MARK}] * 2),
        base(system=[MARKED] * 3, tools=[READ, {**READ, **MARK}]),
    ),
    ("cache_marks", "", base(system=[MARKED] * 6), base(system=[text("m")] * 2 + [MARKED] * 4)),
    (
        "tool_ids",
        "does not match pattern '^[a-zA-Z0-9]{9}$'",
        history(assistant(call("toolu_1"), call("x")), user(result("x"), result("toolu_1"))),
        history(
            assistant(call("call00001"), call("call00002")), user(result("call00002"), result("call00001"))
        ),
    ),
    (
        "tool_ids",
        "input[1].id: expected an ID that matches ^fc_",
        history(assistant(call()), user(result())),
        history(assistant(call("fc_00001")), user(result("fc_00001"))),
    ),
    ("tool_ids", "", base(), None),
    (
        "images",
        "",
        history(user(IMAGE, text("a")), user(result(content=[{**IMAGE, **MARK}]), result("t2", "b"))),
        history(
            user(IMAGE_NOTE, text("a")), user(result(content=[{**IMAGE_NOTE, **MARK}]), result("t2", "b"))
        ),
    ),
    (
        "images",
        "",
        history(user({"type": "image", "source": {"type": "url", "url": "https://x"}}, {"type": "image"})),
        history(
            user(
                text("[An image was here, which this model cannot see: url]"),
                text("[An image was here, which this model cannot see: unknown]"),
            )
        ),
    ),
    ("images", "", history(user(PDF, result(content=[text("a")])), assistant(call(input=IMAGE))), None),
    ("documents", "", history(user(PDF, IMAGE)), history(user(PDF_NOTE, IMAGE))),
    ("documents", "", history(user(result(content=[PDF]))), history(user(result(content=[PDF_NOTE])))),
    ("documents", "", history(user(document_of(type="text", data="hi"))), history(user(text("hi")))),
    (
        "documents",
        "",
        history(user({**document_of(type="content", content=[text("a"), IMAGE, text("b")]), "title": "T"})),
        history(user(text("T\n\na\n\nb"))),
    ),
    ("documents", "", history(user(document_of(type="content", content="hi"))), history(user(text("hi")))),
    (
        "documents",
        "",
        history(
            user(
                document_of(type="text", data=" "),
                document_of(type="content", content=5),
                {"type": "document"},
            )
        ),
        history(
            *[
                user(
                    text("[A document was here, which this model cannot read: text, 0 KiB]"),
                    text("[A document was here, which this model cannot read: content]"),
                    text("[A document was here, which this model cannot read: unknown]"),
                )
            ]
        ),
    ),
    ("adaptive_thinking", "", base(thinking=OFF, max_tokens=32_000), None),
    ("adaptive_thinking", "", base(thinking="adaptive"), None),
    *(
        (
            "adaptive_thinking",
            "",
            base(thinking=ADAPTIVE, max_tokens=most, output_config=config),
            base(max_tokens=most, output_config=config)
            | ({"thinking": {"type": "enabled", "budget_tokens": budget}} if budget else {}),
        )
        for most, config, budget in (
            (128_000, {"effort": "low"}, 4096),
            (128_000, {"effort": "medium"}, 10_240),
            (128_000, {}, 16_384),
            (128_000, "odd", 16_384),
            (128_000, {"effort": 5}, 16_384),
            (128_000, {"effort": "max"}, 31_999),
            (32_000, {"effort": "max"}, 16_000),
            (2048, {"effort": "low"}, 1024),
            (2047, {"effort": "low"}, 0),
            ("10", {}, 0),
            (True, {}, 0),
        )
    ),
    (
        "adaptive_thinking",
        "",
        base(thinking=ADAPTIVE, max_tokens=64_000, tool_choice={"type": "any"}, context_management=CLEAR),
        base(max_tokens=64_000, tool_choice={"type": "any"}),
    ),
    (
        "adaptive_thinking",
        "",
        history(assistant(text("a"), call()), user(result()), thinking=ADAPTIVE, max_tokens=64_000),
        history(assistant(text("a"), call()), user(result()), max_tokens=64_000),
    ),
    *(
        (
            "adaptive_thinking",
            "",
            history(user("a"), message, thinking=ADAPTIVE, max_tokens=64_000),
            history(
                user("a"), message, thinking={"type": "enabled", "budget_tokens": 16_384}, max_tokens=64_000
            ),
        )
        for message in (assistant(thought(), call()), assistant(text("a")), assistant("a"))
    ),
    *(
        (
            "enabled_thinking",
            "",
            base(thinking={"type": "enabled", "display": "omitted", "budget_tokens": budget}, **config),
            base(thinking=ADAPTIVE, **wanted),
        )
        for budget, config, wanted in (
            (1024, {}, {"output_config": {"effort": "low"}}),
            (4096, {"output_config": {"format": 1}}, {"output_config": {"format": 1, "effort": "low"}}),
            (10_000, {}, {"output_config": {"effort": "medium"}}),
            (31_999, {}, {}),
            (10**6, {}, {}),
            ("odd", {}, {}),
            (1024, {"output_config": {"effort": "max"}}, {"output_config": {"effort": "max"}}),
            (1024, {"output_config": "odd"}, {"output_config": "odd"}),
        )
    ),
    ("enabled_thinking", "", base(thinking=ADAPTIVE), None),
    ("enabled_thinking", "", base(thinking="enabled"), None),
    ("disabled_thinking", "", base(thinking={"type": "disabled"}), base()),
    ("disabled_thinking", "", base(thinking=ADAPTIVE), None),
    *(
        (
            "effort",
            detail,
            base(output_config={"effort": effort, "x": 1}),
            None if wanted == effort else base(output_config={"effort": wanted, "x": 1}),
        )
        for detail, effort, wanted in (
            ("high,low,medium", "max", "high"),
            ("high,low,medium", "medium", "medium"),
            ("medium", "low", "medium"),
            ("low,max", "xhigh", "low"),
            ("low,medium", "ultra", "medium"),
            ("low", 5, "low"),
        )
    ),
    (
        "thinking_off",
        "",
        base(thinking=ADAPTIVE, context_management=CLEAR),
        base(thinking={"type": "disabled"}),
    ),
    ("thinking_off", "", base(), base(thinking={"type": "disabled"})),
    ("thinking_off", "", base(thinking={"type": "disabled"}), None),
    ("prefill", "", base(), None),
    ("prefill", "", history(), None),
    ("prefill", "", history(user("a"), assistant("b")), history(user("a"), assistant("b"), user(GO_ON))),
    ("trailing_space", "", history(), None),
    ("trailing_space", "", history(assistant("b "), user("a ")), None),
    ("trailing_space", "", history(assistant("b")), None),
    ("trailing_space", "", history({"role": "assistant", "content": []}), None),
    (
        "trailing_space",
        "",
        history(assistant(thought(), text(" b\n"))),
        history(assistant(thought(), text(" b"))),
    ),
    ("trailing_space", "", history(assistant(" b \n")), history(assistant(" b"))),
    ("trailing_space", "", history(assistant(text("b "), call())), None),
    *(
        (
            "tool_inputs",
            "",
            history(assistant(text("a"), {**call(), "input": odd})),
            history(assistant(text("a"), wanted)),
        )
        for odd, wanted in (
            (None, call(input={})),
            ('{"a": 1}', call(input={"a": 1})),
            ("{", call(input={"input": "{"})),
            ("[1]", call(input={"input": "[1]"})),
            ([1], call(input={"input": [1]})),
        )
    ),
    ("tool_inputs", "", history(assistant(call(input={})), user(result())), None),
    ("tool_names", "", base(tools=[READ, SEARCH, DEFERRED, {}, {}]), base(tools=[READ, SEARCH, {}, {}])),
    ("tool_names", "", base(tools=[READ, SEARCH]), None),
    ("tool_names", "", base(), None),
    ("tool_schemas", "", base(), None),
    ("tool_schemas", "", base(tools=[{"name": "a", "input_schema": {"type": "object"}}, SEARCH]), None),
    *(
        (
            "tool_schemas",
            "",
            base(tools=[{"name": "a", "input_schema": odd}]),
            base(tools=[{"name": "a", "input_schema": flat}]),
        )
        for odd, flat in (
            ({}, {"type": "object", "properties": {}}),
            ({"anyOf": ["odd"]}, {"type": "object", "properties": {}}),
            (
                {"type": ["object"], "anyOf": "odd", "required": 5},
                {"type": "object", "properties": {}, "required": 5},
            ),
            (
                {
                    "type": "object",
                    "properties": {"x": {"type": "string"}},
                    "required": ["x"],
                    "oneOf": [
                        {"properties": {"k": {"const": 1}, "a": {}}, "required": ["k", "a"]},
                        {
                            "properties": {"k": {"const": 2}, "b": {}, "x": {"type": "string"}},
                            "required": ["k", 5],
                        },
                        "odd",
                    ],
                },
                {
                    "type": "object",
                    "properties": {
                        "x": {"type": "string"},
                        "k": {"anyOf": [{"const": 1}, {"const": 2}]},
                        "a": {},
                        "b": {},
                    },
                    "required": ["x", "k"],
                },
            ),
            (
                {"allOf": [{"required": ["a"]}, {"required": ["b", "a"]}, {"properties": []}], "title": "t"},
                {"type": "object", "title": "t", "properties": {}, "required": ["a", "b"]},
            ),
        )
    ),
    ("cache_control", "", base(tools=[{**READ, **MARK}], **MARK), base(tools=[READ])),
    ("cache_control", "", base(), None),
    ("effort", "", base(output_config={"effort": "max", "x": 1}), base(output_config={"x": 1})),
    ("effort", "", base(output_config={"effort": "max"}), base()),
    ("effort", "low", base(output_config={"x": 1}), None),
    ("effort", "low", base(output_config="max"), None),
    ("without_thinking", "", history(assistant(thought(), text("a"))), history(assistant(text("a")))),
    ("system_role", "", base(), None),
    ("deferred_tools", "", base(tools=[DEFERRED]), base(tools=[READ])),
]


@pytest.mark.parametrize(("name", "detail", "before", "after"), CASES)
def test_effects_of_cures(
    name: str, detail: str, before: dict[str, Any], after: dict[str, Any] | None
) -> None:
    check(name, detail, before, after)


def picture(side: int) -> dict[str, Any]:
    head = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + side.to_bytes(4, "big") + (9).to_bytes(4, "big")
    return {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": b64encode(head).decode()},
    }


def test_images_that_are_too_large_beside_many_others() -> None:
    def with_some(count: int, *others: dict[str, Any]) -> dict[str, Any]:
        odd = {"type": "image", "source": {"type": "url", "url": "https://a"}}
        return history(
            assistant(call()),
            user(result(content=[others[0]]), others[1], *[picture(800)] * (count - 3), odd),
        )

    few, many = (with_some(count, picture(2001), picture(2000)) for count in (MANY_IMAGES, MANY_IMAGES + 1))
    note = text("[An image was here, too large beside so many others: image/png, 0 KiB]")
    check("many_images", "2000", few, None)
    check("many_images", "odd", many, with_some(MANY_IMAGES + 1, note, picture(2000)))
    check("many_images", "1999", many, with_some(MANY_IMAGES + 1, note, note))
    check("many_images", "8000", many, None)


def test_a_hashed_user_is_the_same_every_turn_and_another_for_another_user() -> None:
    hashed = [
        CURES["user_id"](base(metadata={"user_id": id, "x": 1}), "")["metadata"]
        for id in (SESSION, SESSION, "someone", "\ud800")
    ]
    ids = [metadata["user_id"] for metadata in hashed]
    assert ids[0] == ids[1]
    assert len({*ids}) == 3
    assert all(len(id) == 32 and set(id) <= set("0123456789abcdef") for id in ids)
    assert hashed[0]["x"] == 1


DETAILS = st.sampled_from(
    [
        "",
        "thinking",
        "system.0.cache_control",
        "tools.0.custom.defer_loading",
        "messages.0.content.0.text.cache_control",
    ]
)


@given(odd_documents(), st.sampled_from(sorted(CURES)), DETAILS)
def test_cures_ignore_values_of_the_wrong_kind(document: dict[str, Any], name: str, detail: str) -> None:
    before = json.dumps(document)
    cured = CURES[name](document, detail)
    assert json.dumps(document) == before
    assert CURES[name](cured, detail) == cured or name == "user_id"
    assert (cured is document) == (json.dumps(cured) == before)


def grown(document: dict[str, Any]) -> list[dict[str, Any]]:
    """A client's request as it was after each turn of the assistant's."""
    messages = document["messages"]
    ends = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    return [{**document, "messages": messages[:end]} for end in [*ends, len(messages)]]


def without_marks(value: Any) -> Any:
    if isinstance(value, list):
        return [without_marks(item) for item in value]
    if isinstance(value, dict):
        return {key: without_marks(item) for key, item in value.items() if key != "cache_control"}
    return value


@pytest.mark.parametrize("name", CURES)
def test_a_cured_conversation_begins_the_same_every_turn(name: str) -> None:
    for client, document in client_requests():
        seen: list[Any] = []
        for request in grown(document):
            cured = CURES[name](request, "messages.0.content.0.cache_control")["messages"]
            if name == "cache_marks":
                # Cache marks move with each turn; the marked blocks do not change.
                cured = without_marks(cured)
            # More may be folded into the last message.
            settled = seen[:-1]
            assert cured[: len(settled)] == settled, client
            seen = cured


@given(documents())
def test_cache_marks_limit(document: dict[str, Any]) -> None:
    cured = CURES["cache_marks"](document, "")
    blocks = [*cured.get("tools", ()), *(cured["system"] if isinstance(cured.get("system"), list) else ())]
    for message in cured["messages"]:
        blocks += content_blocks(message)
    for block in list(blocks):
        blocks += content_blocks(block) if block.get("type") == "tool_result" else ()
    assert sum("cache_control" in block for block in [cured, *blocks]) <= MAX_CACHE_MARKS


def content_blocks(holder: dict[str, Any]) -> list[dict[str, Any]]:
    content = holder.get("content")
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
