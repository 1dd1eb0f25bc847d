"""messages/request.py: what a request must be, its model exchanged in place, whose conversation it is."""

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.messages.errors import RequestError
from gateway.messages.json_documents import write_document
from gateway.messages.request import (
    Thread,
    conversation_id,
    read_request,
    splice_model,
    thread_of,
)
from tests.messages.samples import client_requests, data, documents

CLIENTS = client_requests()

SESSION = "00000000-0000-4000-8000-000000000000"


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}


def test_a_clients_request_is_read() -> None:
    for name, document in CLIENTS:
        raw = orjson.dumps(document)
        read = read_request(raw)
        assert read.raw is raw, name
        assert read.document == document, name
        assert (read.model, read.stream) == (document["model"], document.get("stream", False)), name
        assert read.exact() is read.document, name


@pytest.mark.parametrize(
    ("stream", "expected"), [(True, True), (False, False), (None, False), (1, False), ("true", False)]
)
def test_stream_is_only_true_for_true(stream: object, expected: bool) -> None:
    assert read_request(orjson.dumps(body(stream=stream))).stream is expected


@pytest.mark.parametrize(
    "document",
    [
        {"model": "m", "messages": []},
        {"model": "m", "messages": [{}]},
        {"model": "m" * 1024, "messages": []},
        {"model": "m", "messages": [{"role": 5, "content": [{"type": "unheard of"}, 7]}], "new": {"a": 1}},
    ],
)
def test_unknown_fields_pass(document: dict[str, Any]) -> None:
    assert read_request(orjson.dumps(document)).document == document


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"{", "line 1 column 2"),
        (b"\xff", "not UTF-8"),
        (b"[" * 10_000 + b"]" * 10_000, "nested deeper than 200 levels"),
        (b"[]", "must be a JSON object, not an array"),
        (b"null", "must be a JSON object, not null"),
        (b"5", "must be a JSON object, not a number"),
        (b'{"messages":[]}', "model: is required and must be a string"),
        (b'{"model":null,"messages":[]}', "model: must be a string, not null"),
        (b'{"model":5,"messages":[]}', "model: must be a string, not a number"),
        (b'{"model":"","messages":[]}', "model: must not be empty"),
        (
            b'{"model":"%b","messages":[]}' % (b"m" * 1025),
            "model: must have at most 1024 characters, not 1025",
        ),
        (b'{"model":"m"}', "messages: is required and must be an array"),
        (b'{"model":"m","messages":"hi"}', "messages: must be an array, not a string"),
        (b'{"model":"m","messages":{}}', "messages: must be an array, not an object"),
        (b'{"model":"m","messages":[{},true]}', "messages.1: must be an object, not a boolean"),
    ],
)
def test_invalid_requests_name_the_field(raw: bytes, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_request(raw)
    assert caught.value.status == 400
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (b"{}," * 100_000, "messages: 100,001 messages are too many: at most 100,000 are served"),
        (
            b'{"content":[%b0]},' % (b"0," * 50_000) * 2,
            "messages: 100,002 content blocks are too many: at most 100,000 are served",
        ),
        (
            b'{"content":[%b0]},' % (b"0," * 1_000_000),
            "cannot be served: it holds more than 1,000,000 values",
        ),
    ],
    ids=["messages", "blocks", "values"],
)
def test_too_many_messages_or_blocks_is_413(messages: bytes, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_request(b'{"model":"m","messages":[%b{}]}' % messages)
    assert (caught.value.status, caught.value.type) == (413, "request_too_large")
    assert message in caught.value.message


def test_a_long_request_that_a_client_may_send_is_read() -> None:
    messages = b'{"content":[{},{}]},{"content":"a"},' * 40_000
    assert len(read_request(b'{"model":"m","messages":[%b{}]}' % messages).document["messages"]) == 80_001


@pytest.mark.parametrize(
    ("thread", "expected"),
    [
        (None, None),
        ({"type": "create"}, Thread("start")),
        ({"type": "continue", "previous_message_id": "msg_1"}, Thread("continue", "msg_1")),
        ({"type": "continue"}, Thread("continue")),
        ({"type": "continue", "previous_message_id": 5}, Thread("continue")),
        ({}, Thread("start")),
        ("odd", Thread("start")),
    ],
)
def test_a_thread_is_started_or_continued(thread: Any, expected: Thread | None) -> None:
    assert thread_of(body(thread=thread)) == expected


def test_a_request_without_a_thread_has_its_whole_history() -> None:
    assert thread_of(body()) is None


def test_nesting_is_measured_from_the_document() -> None:
    def at(levels: int) -> bytes:
        return b'{"model":"m","messages":[],"x":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    assert read_request(at(200)).raw == at(200)
    with pytest.raises(RequestError, match="nested deeper than 200 levels"):
        read_request(at(201))


def test_a_byte_order_mark_is_dropped() -> None:
    raw = orjson.dumps(body())
    assert read_request(b"\xef\xbb\xbf" + raw).raw == raw


def test_json_that_only_lenient_parsers_accept_keeps_its_bytes() -> None:
    raw = b'{"model":"m","messages":[{"role":"user","content":"\\ud83d"}],"n":NaN,"i":36893488147419103232}'
    read = read_request(raw)
    assert read.raw == raw
    assert read.document["messages"][0]["content"] == "\ud83d"
    assert read.document["i"] == 2**65
    assert read.exact() is read.document
    assert splice_model(read, "x") == raw.replace(b'"m"', b'"x"')


def test_exact_numbers_for_rewriting() -> None:
    read = read_request(b'{"model":"m","messages":[],"i":36893488147419103233,"f":0.5}')
    assert read.document["i"] == 2.0**65
    assert read.exact() == {"model": "m", "messages": [], "i": 2**65 + 1, "f": 0.5}


def test_repr_does_not_show_the_body() -> None:
    read = read_request(b'{"model":"m","messages":[],"secret":"sesame"}')
    assert f"{read!r} {read}" == " ".join(["MessagesRequest(model='m', stream=False, 45 bytes)"] * 2)


FORMS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "as sent": orjson.dumps,
    "model last": lambda document: orjson.dumps(
        {**{key: value for key, value in document.items() if key != "model"}, "model": document["model"]}
    ),
    "spaced": lambda document: json.dumps(document, ensure_ascii=False).encode(),
    "indented": lambda document: json.dumps(document, indent=1).encode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_splicing_changes_a_clients_model_and_nothing_else(form: str) -> None:
    for name, document in CLIENTS:
        raw = FORMS[form](document)
        spliced = splice_model(read_request(raw), 'glm-"4.7"é')

        assert orjson.loads(spliced) == {**document, "model": 'glm-"4.7"é'}, name
        old, new = orjson.dumps(document["model"]), orjson.dumps('glm-"4.7"é')
        changed = next(at for at in range(len(raw)) if raw[at] != spliced[at])
        start = raw.rindex(b'"', 0, changed + 1)
        assert raw[:start] == spliced[:start], name
        assert raw[start + len(old) :] == spliced[start + len(new) :], name


@pytest.mark.parametrize(
    ("raw", "spliced"),
    [
        (b'{"model":"m","messages":[]}', b'{"model":"NEW","messages":[]}'),
        (b'{"messages":[],"model":"m"}', b'{"messages":[],"model":"NEW"}'),
        (b'{"model":"m","messages":[],"model":"m"}', b'{"model":"NEW","messages":[],"model":"NEW"}'),
        (
            b'{"model":"m","messages":[],"\\u006dodel":"m"}',
            b'{"model":"NEW","messages":[],"\\u006dodel":"NEW"}',
        ),
        (
            b'{"model":"\\"m\\\\","messages":[{"model":"\\"m\\\\"}]}',
            b'{"model":"NEW","messages":[{"model":"\\"m\\\\"}]}',
        ),
        (
            b'{"messages":[],"a":{"model":"m"},"model":"m","b":{"model":"m"}}',
            b'{"messages":[],"a":{"model":"m"},"model":"NEW","b":{"model":"m"}}',
        ),
        (
            b' { "model" : "m" , "messages" : [ ] } \n',
            b' { "model" : "NEW" , "messages" : [ ] } \n',
        ),
        (
            b'{"messages":[],\t"x":"\\"model\\": \\"m\\"","model":\r\n"m"}',
            b'{"messages":[],\t"x":"\\"model\\": \\"m\\"","model":\r\n"NEW"}',
        ),
        (
            b'{"m\\u006fdel":"m","messages":[{"model":"m"}]}',
            b'{"m\\u006fdel":"NEW","messages":[{"model":"m"}]}',
        ),
        (
            b'{"model":7,"messages":[],"model":{"model":"m"},"model":"m"}',
            b'{"model":"NEW","messages":[],"model":"NEW","model":"NEW"}',
        ),
        (b'{"model":"\\u006d","messages":[]}', b'{"model":"NEW","messages":[]}'),
        (
            '{"é😀":"model","model":"m","messages":[],"\\ud800":1} '.encode(),
            '{"é😀":"model","model":"NEW","messages":[],"\\ud800":1} '.encode(),
        ),
        (
            b'{"x":"ends in \\"model","model":"m","messages":[]}',
            b'{"x":"ends in \\"model","model":"NEW","messages":[]}',
        ),
        (
            b'{"model":7, "messages":[], "model":"m"}',
            b'{"model":"NEW", "messages":[], "model":"NEW"}',
        ),
        (
            b'{"messages":[], "t":{"model" :{}}, "model":"m"}',
            b'{"messages":[], "t":{"model" :{}}, "model":"NEW"}',
        ),
        (
            b'{"model": "m", "messages":[], "\\"model":"m"}',
            b'{"model": "NEW", "messages":[], "\\"model":"m"}',
        ),
        (
            b'{"messages":[], "x":{"model":"m"}, "\\u006Dodel":"m"}',
            b'{"messages":[], "x":{"model":"m"}, "\\u006Dodel":"NEW"}',
        ),
        (b'{"model": "a\\/b", "messages":[]}', b'{"model": "NEW", "messages":[]}'),
        (
            b'{"model":"m","messages":[{"model":["}",{"\\"]":1}]},{"x":"model"}],"tools":[{"model":{}}]}',
            b'{"model":"NEW","messages":[{"model":["}",{"\\"]":1}]},{"x":"model"}],"tools":[{"model":{}}]}',
        ),
        # Long nested values before and after the model, and many nested keys of the same name.
        (
            b'{"x":{"model":1,"y":[%b0]},"model":"m","messages":[]}' % (b"[]," * 200),
            b'{"x":{"model":1,"y":[%b0]},"model":"NEW","messages":[]}' % (b"[]," * 200),
        ),
        (
            b'{"messages":[],"model":"m","x":{"model":1,"y":[%b0]}}' % (b"[]," * 200),
            b'{"messages":[],"model":"NEW","x":{"model":1,"y":[%b0]}}' % (b"[]," * 200),
        ),
        (
            b'{"model":"m","messages":[%b{}]}' % (b'{"model":1},' * 40),
            b'{"model":"NEW","messages":[%b{}]}' % (b'{"model":1},' * 40),
        ),
    ],
)
def test_splicing_finds_the_top_level_model_only(raw: bytes, spliced: bytes) -> None:
    assert splice_model(read_request(raw), "NEW") == spliced


def test_the_same_model_needs_no_splice() -> None:
    read = read_request(b'{"model" : "m", "messages":[]}')
    assert splice_model(read, "m") is read.raw


def test_one_copy_is_kept_for_all_models() -> None:
    raw = b'{"model":"m","messages":[],"i":36893488147419103233}'
    read = read_request(raw)
    for model in ("first", "second", "second", "m"):
        spliced = splice_model(read, model)
        assert spliced == raw.replace(b'"m"', b'"%b"' % model.encode())
        assert spliced is read.raw
        # Reading it again, or exactly, gives what the client sent.
        read.forget()
        read.recall()
        assert (read.model, read.document["model"], read.exact()) == ("m", "m", json.loads(raw))


@given(documents(), data, st.integers(0, 9), st.sampled_from([None, 1]), st.booleans(), st.text(min_size=1))
def test_splicing_any_request_changes_its_model_and_nothing_else(
    document: dict[str, Any], extra: Any, place: int, indent: int | None, escape: bool, model: str
) -> None:
    items = [(key, value) for key, value in document.items() if key != "model"]
    items.append(("metadata", {"model": "m", "data": extra}))
    items.insert(place, ("model", "m"))
    separators = None if indent else (",", ":")
    raw = json.dumps(dict(items), indent=indent, ensure_ascii=escape, separators=separators).encode()
    spliced = splice_model(read_request(raw), model)
    assert list(json.loads(spliced).items()) == list(dict(items, model=model).items())
    assert len(spliced) == len(raw) - len(b'"m"') + len(write_document(model))


KEYS = ['"model"', '"m\\u006fdel"', '"\\u006Dodel"', '"\\"model"', '"x"', '"y"', '"z"']
VALUES = ['"m"', '"m"', '"\\u006d"', '"other"', "7", "1e1", '"\\"model\\": \\"m\\""', '"model"']


@st.composite
def objects(draw: st.DrawFn, values: st.SearchStrategy[str], *members: str) -> str:
    """The text of an object whose keys and values look like a model's name and like each other."""
    drawn = draw(st.lists(st.tuples(st.sampled_from(KEYS), values), max_size=3))
    blank = draw(st.sampled_from(["", "", " ", "\n\t"]))
    items = draw(st.permutations([*drawn, *(tuple(member.split(":", 1)) for member in members)]))
    return f"{{{blank}{f'{blank},'.join(f'{key}{blank}:{blank}{value}' for key, value in items)}{blank}}}"


simple = st.sampled_from(VALUES)


def pairs(raw: bytes) -> Any:
    return json.loads(raw, object_pairs_hook=list)


@given(objects(simple | objects(simple), '"model":"m"', '"messages":[]'))
def test_splicing_finds_each_model_at_the_top_however_it_is_written(text: str) -> None:
    raw = text.encode()
    try:
        read = read_request(raw)
    except RequestError:
        assume(False)
    spliced = splice_model(read, "NEW")
    assert pairs(spliced) == [(key, "NEW" if key == "model" else value) for key, value in pairs(raw)]
    # As orjson would write it, or not: the value is found in two ways.
    assert splice_model(read_request(b" " + raw), "NEW") == b" " + spliced


@pytest.mark.parametrize(
    ("user_id", "session"),
    [
        (json.dumps({"device_id": "d", "account_uuid": "", "session_id": SESSION}), SESSION),
        (f"user_{'0' * 64}_account__session_{SESSION}", SESSION),
        (f"user_0_account_1_session_2_session_{SESSION}", SESSION),
    ],
)
def test_a_conversation_is_the_session_in_its_metadata(user_id: str, session: str) -> None:
    assert conversation_id(body(metadata={"user_id": user_id})) == session


def test_a_conversation_is_the_session_in_its_head_first() -> None:
    document = body(metadata={"user_id": f"user_0_session_{SESSION}"})
    assert conversation_id(document, b"from the head") == "from the head"


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {},
        7,
        {"user_id": None},
        {"user_id": "someone"},
        {"user_id": "user_0_account_1_session_"},
        {"user_id": "{broken"},
        {"user_id": '{"session_id":5}'},
        {"user_id": '{"other":"x"}'},
    ],
)
def test_without_a_session_a_conversation_is_how_it_began(metadata: object) -> None:
    expected = conversation_id(body())
    assert conversation_id(body(metadata=metadata), b"") == expected


def test_a_long_name_is_hashed() -> None:
    assert conversation_id(body(), b"x" * 128) == "x" * 128
    names = [conversation_id(body(), b"x" * 200 + end) for end in (b"1", b"2")]
    assert len({*names}) == 2
    assert max(map(len, names)) < 32
    assert conversation_id(body(metadata={"user_id": "user_session_" + "é" * 200}))


FIRST = [
    {"type": "text", "text": "<system-reminder>\nx\n</system-reminder>"},
    {"type": "text", "text": "run it"},
]
PROMPT = [
    {"type": "text", "text": "x-anthropic-billing-header: cc_version=2; cch=1"},
    {"type": "text", "text": "You are", "cache_control": {"type": "ephemeral"}},
]
IMAGE = {"type": "image", "source": {"data": "aaaa"}, "cache_control": {"type": "ephemeral"}}


def conversation(system: Any, first: Any, *later: Any) -> str:
    document = body(
        system=system, messages=[{"role": "system", "content": "env"}, {"role": "user", "content": first}]
    )
    document["messages"] += later
    return conversation_id(document)


@pytest.mark.parametrize(
    ("system", "first"),
    [
        (PROMPT, [FIRST[0], {**FIRST[1], "cache_control": {"type": "ephemeral"}}]),
        (deepcopy(PROMPT[1:]), FIRST),
        ([{"type": "text", "text": "x-anthropic-billing-header: cc_version=3"}, *PROMPT[1:]], FIRST),
    ],
)
def test_a_hash_is_the_same_over_the_turns_of_a_conversation(system: Any, first: Any) -> None:
    later = [{"role": "assistant", "content": "done"}, {"role": "user", "content": "and now?"}]
    assert conversation(system, first, *later) == conversation(PROMPT, FIRST)


def test_a_string_is_one_text_block() -> None:
    assert conversation("You are", "run it") == conversation(PROMPT[1:], FIRST[1:])


def test_a_block_that_is_no_text_counts_without_its_cache_mark() -> None:
    bare = {key: value for key, value in IMAGE.items() if key != "cache_control"}
    assert conversation(PROMPT, [IMAGE]) == conversation(PROMPT, [bare])
    assert conversation(PROMPT, [IMAGE]) != conversation(PROMPT, [{**IMAGE, "source": {}}])


def test_a_hash_differs_between_conversations() -> None:
    beginnings: list[tuple[Any, Any]] = [
        (PROMPT, FIRST),
        (PROMPT, FIRST[1:]),
        (PROMPT, "run"),
        (PROMPT, ["ru", "n"]),
        ("You are not", FIRST),
        (None, FIRST),
        ([], FIRST),
        ([PROMPT[1], PROMPT[0]], FIRST),
        (PROMPT, "\ud800"),
        (PROMPT, None),
        (PROMPT, [None, 5]),
        ([PROMPT[1]], [FIRST[0]]),
        ([PROMPT[1], FIRST[0]], []),
    ]
    assert len({conversation(*beginning) for beginning in beginnings}) == len(beginnings)


def test_only_the_first_blocks_of_a_conversation_are_hashed() -> None:
    many: list[Any] = [0] * 1000
    assert conversation(None, many) == conversation(None, [*many, "x"]) != conversation(None, ["x", *many])


def test_a_user_id_that_is_itself_a_document_is_not_read() -> None:
    session = {"session_id": "s", "x": "x" * 4096}
    assert conversation_id(body(metadata={"user_id": json.dumps(session)})) == conversation_id(body())


def test_a_conversation_without_a_user_has_a_hash_too() -> None:
    assert conversation_id({"model": "m", "messages": []})


def test_a_document_that_was_forgotten_is_read_again() -> None:
    read = read_request(b'{"model":"m","messages":[],"n":18446744073709551617}')
    document, exact = read.document, read.exact()
    read.recall()
    assert read.document is document
    read.forget()
    read.forget()
    assert not read.document
    read.recall()
    assert read.document == document
    assert read.document is not document
    assert read.exact() == exact == {"model": "m", "messages": [], "n": 18446744073709551617}
