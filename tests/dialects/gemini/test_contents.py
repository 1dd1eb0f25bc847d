from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.base import WITHOUT_THINKING
from gateway.dialects.gemini.contents import gemini_contents
from gateway.dialects.gemini.families import family
from gateway.dialects.gemini.signatures import BYPASS, Signatures
from gateway.dialects.gemini.tools import NAMES
from gateway.dialects.tool_names import ToolNames
from gateway.messages.errors import RequestError
from tests.dialects.gemini.support import MODEL, body, upstream, validate_request
from tests.fakes.gemini.models import ability
from tests.fakes.gemini.rules import check_contents, check_signatures

VERTEX = upstream(path="/x/{model}:generate")
PNG = {"type": "base64", "media_type": "image/png", "data": "aWs="}
INLINE = {"inlineData": {"mimeType": "image/png", "data": "aWs="}}
SIGNATURE = "c2lnbmF0dXJl"


def contents(
    *messages: dict[str, Any],
    store: Signatures | None = None,
    without: bool = False,
    warnings: list[str] | None = None,
    model: str = MODEL,
    by_user: bool = False,
) -> list[dict[str, Any]]:
    """The turns for messages that nothing has repaired."""
    return gemini_contents(
        messages,
        messages,
        kind=family(model),
        names=ToolNames(NAMES),
        signatures=None if without else store or Signatures(),
        warn=(warnings if warnings is not None else []).append,
        by_user=by_user,
    )


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def assistant(*content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(content)}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def call(id: str, name: str = "Bash", **input: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "input": input}


def result(id: str, content: Any = "ok", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, "content": content, **more}


def function_call(id: str, signature: str = BYPASS, name: str = "Bash", **args: Any) -> dict[str, Any]:
    part: dict[str, Any] = {"functionCall": {"name": name, "args": args, "id": id}}
    return {**part, "thoughtSignature": signature} if signature else part


def response(
    id: str, value: str = "ok", *, key: str = "result", name: str = "Bash", **more: Any
) -> dict[str, Any]:
    return {"functionResponse": {"name": name, "id": id, "response": {key: value}, **more}}


def model(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


def turn(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "parts": list(parts)}


HI = {"text": "hi"}
FROM = {"text": "[from tool result Bash:]"}
BEFORE = turn({"text": "(continued)"})
FIELDS = {"cache_control": {"type": "ephemeral"}, "thought": True, "signature": "s", "type": "text"}
NO_RESULT = "no result was provided"

HISTORIES: list[tuple[str, list[dict[str, Any]], list[dict[str, Any]]]] = [
    ("nothing", [], []),
    ("a string", [{"role": "user", "content": "hi"}], [turn(HI)]),
    ("a string in a list", [user("hi")], [turn(HI)]),
    ("a list", [user(text("hi"), text("ho"))], [turn(HI, {"text": "ho"})]),
    ("blank text", [user(text("hi"), text(" \n"), text(""))], [turn(HI)]),
    (
        "blank messages",
        [user(text(" ")), {"role": "user", "content": " "}, {"role": "user"}, user(text("hi"))],
        [turn(HI)],
    ),
    (
        "invalid text",
        [user({"type": "text", "text": None}, {"type": "text"}, None, text("hi"))],
        [turn(HI)],
    ),
    ("roles", [user("hi"), assistant("hi"), user("hi")], [turn(HI), model(HI), turn(HI)]),
    (
        "one role twice",
        [user("hi"), user("hi"), assistant("hi"), assistant("hi")],
        [turn(HI, HI), model(HI, HI)],
    ),
    ("the model speaks first", [assistant("hi"), user("hi")], [BEFORE, model(HI), turn(HI)]),
    ("a role of another kind", [{"role": "system", "content": "hi"}], [turn(HI)]),
    ("an image", [user({"type": "image", "source": PNG})], [turn(INLINE)]),
    (
        "a document",
        [
            user(
                {
                    "type": "document",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": "eA=="},
                }
            )
        ],
        [turn({"inlineData": {"mimeType": "application/pdf", "data": "eA=="}})],
    ),
    ("a text document", [user({"type": "document", "source": {"type": "text", "data": "hi"}})], [turn(HI)]),
    (
        "a blank document",
        [user("hi", {"type": "document", "source": {"type": "text", "data": " "}})],
        [turn(HI)],
    ),
    (
        "images by URL",
        [user({"type": "image", "source": {"type": "url", "url": "https://x/a.PNG?size=1"}})],
        [turn({"fileData": {"fileUri": "https://x/a.PNG?size=1", "mimeType": "image/png"}})],
    ),
    (
        "an image by a URL without an ending",
        [user({"type": "image", "source": {"type": "url", "url": "https://x/a"}})],
        [turn({"fileData": {"fileUri": "https://x/a", "mimeType": "image/jpeg"}})],
    ),
    (
        "a document by URL",
        [user({"type": "document", "source": {"type": "url", "url": "https://x/a"}})],
        [turn({"fileData": {"fileUri": "https://x/a", "mimeType": "application/pdf"}})],
    ),
    (
        "thinking of others and without a signature",
        [
            user("hi"),
            assistant(
                {"type": "thinking", "thinking": "t", "signature": "EqQB"},
                {"type": "thinking", "thinking": "t"},
                {"type": "redacted_thinking", "data": "x"},
                text("hi"),
            ),
        ],
        [turn(HI), model(HI)],
    ),
    (
        "thinking of a user",
        [user({"type": "thinking", "thinking": "t", "signature": "gemini:x"}, "hi")],
        [turn(HI)],
    ),
    (
        "own thinking",
        [
            user("hi"),
            assistant(
                {"type": "thinking", "thinking": " t\n", "signature": f"gemini:{SIGNATURE}"}, text("hi")
            ),
        ],
        [turn(HI), model({"text": " t\n", "thought": True, "thoughtSignature": SIGNATURE}, HI)],
    ),
    (
        "own thinking without text",
        [user("hi"), assistant({"type": "thinking", "signature": f"gemini:{SIGNATURE}"})],
        [turn(HI), model({"text": "", "thought": True, "thoughtSignature": SIGNATURE})],
    ),
    (
        "a call and its result",
        [user("hi"), assistant(text("hi"), call("1", command="ls")), user(result("1"))],
        [turn(HI), model(HI, function_call("1", command="ls")), turn(response("1"))],
    ),
    (
        "results come first, in the order of the calls",
        [user("hi"), assistant(call("1"), call("2")), user(text("hi"), result("2", "b"), result("1", "a"))],
        [
            turn(HI),
            model(function_call("1"), function_call("2", "")),
            turn(response("1", "a"), response("2", "b")),
            turn(HI),
        ],
    ),
    (
        "an error",
        [assistant(call("1")), user(result("1", "boom", is_error=True))],
        [BEFORE, model(function_call("1")), turn(response("1", "boom", key="error"))],
    ),
    (
        "results of several texts",
        [assistant(call("1")), user(result("1", [text("a"), text("b")]))],
        [BEFORE, model(function_call("1")), turn(response("1", "a\nb"))],
    ),
    (
        "results without content",
        [assistant(call("1"), call("2")), user({"type": "tool_result", "tool_use_id": "1"}, result("2", []))],
        [
            BEFORE,
            model(function_call("1"), function_call("2", "")),
            turn(response("1", ""), response("2", "")),
        ],
    ),
    (
        "images stand inside their result",
        [
            assistant(call("1"), call("2")),
            user(result("1", [text("a"), {"type": "image", "source": PNG}]), result("2", "b"), text("hi")),
        ],
        [
            BEFORE,
            model(function_call("1"), function_call("2", "")),
            turn(response("1", "a", parts=[INLINE]), response("2", "b")),
            turn(HI),
        ],
    ),
    (
        "a reference to a loaded tool",
        [assistant(call("1")), user(result("1", [{"type": "tool_reference", "tool_name": "Grep"}]))],
        [BEFORE, model(function_call("1")), turn(response("1", "Tool loaded: Grep"))],
    ),
    (
        "a call without a result",
        [assistant(call("1"), call("2")), user(result("2"), text("hi"))],
        [
            BEFORE,
            model(function_call("1"), function_call("2", "")),
            turn(response("1", NO_RESULT, key="error"), response("2")),
            turn(HI),
        ],
    ),
    (
        "a call at the end",
        [user("hi"), assistant(call("1"))],
        [turn(HI), model(function_call("1")), turn(response("1", NO_RESULT, key="error"))],
    ),
    (
        "a turn of two messages",
        [assistant(call("1")), user(text(" ")), assistant(text("hi")), user(result("1"))],
        [BEFORE, model(function_call("1"), HI), turn(response("1"))],
    ),
    (
        "an interrupted turn",
        [assistant(call("1")), user("hi"), assistant(text("hi"))],
        [BEFORE, model(function_call("1")), turn(response("1", NO_RESULT, key="error")), turn(HI), model(HI)],
    ),
    (
        "a late result",
        [
            assistant(call("1")),
            user("hi"),
            assistant("hi"),
            user(result("1", [text("late"), {"type": "image", "source": PNG}])),
        ],
        [
            BEFORE,
            model(function_call("1")),
            turn(response("1", NO_RESULT, key="error")),
            turn(HI),
            model(HI),
            turn({"text": "late"}, FROM, INLINE),
        ],
    ),
    (
        "a second result",
        [assistant(call("1")), user(result("1", "a"), result("1", "b"), result("1", ""))],
        [BEFORE, model(function_call("1")), turn(response("1", "a")), turn({"text": "b"})],
    ),
    (
        "two calls with one id",
        [assistant(call("1", "Read"), call("1", "Read")), user(result("1", "a"), result("1", "b"))],
        [
            BEFORE,
            model(function_call("1", name="Read"), function_call("1", "", name="Read")),
            turn(response("1", "a", name="Read"), response("1", "b", name="Read")),
        ],
    ),
    (
        "a call without id",
        [assistant({"type": "tool_use", "name": "Bash"}), user({"type": "tool_result", "content": "a"})],
        [
            BEFORE,
            model({"functionCall": {"name": "Bash", "args": {}}, "thoughtSignature": BYPASS}),
            turn({"functionResponse": {"name": "Bash", "response": {"result": "a"}}}),
        ],
    ),
    (
        "input that is no object",
        [assistant({**call("1"), "input": [1]}), user(result("1"))],
        [BEFORE, model(function_call("1", input=[1])), turn(response("1"))],
    ),
    (
        "arguments with the names of fields",
        [assistant({**call("1"), "input": FIELDS}), user(result("1"))],
        [
            BEFORE,
            model({**function_call("1"), "functionCall": {"name": "Bash", "args": FIELDS, "id": "1"}}),
            turn(response("1")),
        ],
    ),
    (
        "a web search of earlier turns",
        [
            user("hi"),
            assistant(
                {
                    "type": "server_tool_use",
                    "id": "srvtoolu_1",
                    "name": "web_search",
                    "input": {"query": "q"},
                },
                {
                    "type": "web_search_tool_result",
                    "tool_use_id": "srvtoolu_1",
                    "content": [
                        {
                            "type": "web_search_result",
                            "url": "https://a",
                            "title": "A",
                            "encrypted_content": "x",
                        },
                        {"type": "web_search_result", "url": "https://b", "encrypted_content": "x"},
                        {"type": "web_search_result", "url": 5},
                        5,
                    ],
                },
                text("hi"),
            ),
        ],
        [turn(HI), model({"text": "A\nhttps://a\nhttps://b\n"}, HI)],
    ),
    (
        "what other blocks say",
        [
            user(
                {"type": "search_result", "title": "S", "source": "https://s", "content": [text("found")]},
                {"type": "container_upload", "file_id": "f"},
                "hi",
            ),
            assistant(
                {"type": "compaction", "content": "in short", "encrypted_content": "x"},
                {"type": "mcp_tool_result", "tool_use_id": "1", "content": [text("done")]},
            ),
        ],
        [
            turn({"text": "S\nhttps://s\nfound\n"}, HI),
            model({"text": "in short\n"}, {"text": "done\n"}),
        ],
    ),
    (
        "a document of blocks",
        [
            user(
                {
                    "type": "document",
                    "source": {"type": "content", "content": [text("hi"), {"type": "image", "source": PNG}]},
                },
                {"type": "document", "source": {"type": "content", "content": "hi"}},
            )
        ],
        [turn(HI, INLINE, HI)],
    ),
    (
        "a search that failed, and other tools of the provider",
        [
            user("hi"),
            assistant(
                {"type": "web_search_tool_result", "content": {"error_code": "max_uses_exceeded"}},
                {"type": "code_execution_tool_result", "content": {"encrypted_stdout": "x"}},
                {"type": "mcp_tool_use", "id": "1", "name": "x"},
                text("hi"),
            ),
        ],
        [turn(HI), model(HI)],
    ),
    ("an unknown block", [user({"type": "new", "a": 1})], [turn({"text": '{"type":"new","a":1}'})]),
    ("an unknown block with data", [user({"type": "new", "x": [{"type": "base64"}]}, "hi")], [turn(HI)]),
    ("an unknown block with media", [user({"a": {"data": "x", "media_type": "y"}}, "hi")], [turn(HI)]),
    (
        "a call of the user's",
        [user(call("1"))],
        [turn({"text": '{"type":"tool_use","id":"1","name":"Bash","input":{}}'})],
    ),
]


@pytest.mark.parametrize(
    ("messages", "expected"), [case[1:] for case in HISTORIES], ids=[case[0] for case in HISTORIES]
)
def test_contents(messages: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    before = orjson.dumps(messages)
    found = contents(*messages)
    assert found == expected
    assert orjson.dumps(messages) == before
    validate_request({"contents": found} if found else {})


THINKING = {"type": "thinking", "thinking": "t", "signature": "gemini:dGhpbms="}


def test_an_orphan_keeps_its_id_as_name() -> None:
    assert contents(user(text("hi"), result("toolu_9", "a"))) == [
        turn(response("toolu_9", "a", name="toolu_9")),
        turn(HI),
    ]


class TestSignatures:
    """For each call the first hit: remembered, the thinking before it, the bypass value for the first of a turn."""

    def signatures(self, *blocks: dict[str, Any], **how: Any) -> list[str | None]:
        turns = contents(assistant(*blocks), **how)
        return [part.get("thoughtSignature") for part in turns[1]["parts"]]

    def test_remembered(self) -> None:
        store = Signatures()
        store.remember_call("1", "b25l")
        assert self.signatures(THINKING, call("1"), store=store) == ["dGhpbms=", "b25l"]

    def test_of_the_thinking_before_the_first_call(self) -> None:
        found = self.signatures(THINKING, text("x"), call("1"), call("2"))
        assert found == ["dGhpbms=", None, "dGhpbms=", None]

    def test_the_nearest_thinking_counts(self) -> None:
        later = {**THINKING, "signature": "gemini:bGF0ZXI="}
        foreign = {**THINKING, "signature": "EqQB"}
        found = self.signatures(THINKING, later, foreign, call("1"))
        assert found == ["dGhpbms=", "bGF0ZXI=", "bGF0ZXI="]

    def test_not_of_another_message(self) -> None:
        turns = contents(assistant(THINKING), assistant(call("1")))
        assert turns[1]["parts"][1]["thoughtSignature"] == BYPASS

    def test_thinking_that_gemini_did_not_sign_is_left_out(self) -> None:
        assert self.signatures({**THINKING, "signature": "gemini:"}, call("1")) == [BYPASS]

    def test_siblings_of_a_signed_call_need_no_signature(self) -> None:
        store = Signatures()
        store.remember_call("2", "dHdv")
        assert self.signatures(call("1"), call("2"), call("3"), store=store) == [None, "dHdv", None]

    def test_each_turn_without_a_signed_call_gets_the_bypass_value_once(self) -> None:
        turns = contents(
            user("hi"),
            assistant(call("1"), call("2")),
            user(result("1"), result("2")),
            assistant(text("x"), call("3")),
            assistant(call("4")),
        )
        found = [[part.get("thoughtSignature") for part in turn["parts"]] for turn in turns]
        assert found == [[None], [BYPASS, None], [None, None], [None, BYPASS, None], [None, None]]

    def test_of_a_text(self) -> None:
        store = Signatures()
        store.remember_text("signed", "dGV4dA==")
        assert self.signatures(text("signed"), text("other"), store=store) == ["dGV4dA==", None]

    def test_without_thinking_every_call_gets_the_bypass_value(self) -> None:
        store = Signatures()
        store.remember_call("1", "b25l")
        store.remember_text("signed", "dGV4dA==")
        blocks = (THINKING, text("signed"), call("1"), call("2"))
        assert self.signatures(*blocks, store=store, without=True) == [None, BYPASS, BYPASS]

    def test_refused_signatures_are_forgotten_and_later_ones_kept(self) -> None:
        store = Signatures()
        store.remember_call("1", "b25l")
        store.remember_text("signed", "dGV4dA==")
        blocks = [THINKING, text("signed"), call("1")]
        store.refuse([assistant(*blocks), user(text("signed")), {"role": "assistant", "content": "x"}])
        store.remember_call("2", "dHdv")
        assert self.signatures(*blocks, call("2"), store=store) == [None, None, "dHdv"]
        assert self.signatures(*blocks, store=store) == [None, BYPASS]
        later = {**THINKING, "signature": "gemini:bGF0ZXI="}
        assert self.signatures(later, call("3"), store=store) == ["bGF0ZXI=", "bGF0ZXI="]


@pytest.mark.parametrize("model", ["gemini-2.5-pro", "gemini-2.0-flash", "gemma-3-27b-it", "gemma-4-31b-it"])
def test_older_families_get_neither_signatures_nor_ids_nor_thinking(model: str) -> None:
    store = Signatures()
    store.remember_call("1", "b25l")
    store.remember_text("hi", "dGV4dA==")
    messages = [user("hi"), assistant(THINKING, text("hi"), call("1")), user(result("1"))]
    for without in (False, True):
        assert contents(*messages, store=store, model=model, without=without) == [
            turn(HI),
            {"role": "model", "parts": [HI, {"functionCall": {"name": "Bash", "args": {}}}]},
            turn({"functionResponse": {"name": "Bash", "response": {"result": "ok"}}}),
        ]


def media(mime: str, kind: str = "image") -> dict[str, Any]:
    return {"type": kind, "source": {"type": "base64", "media_type": mime, "data": "aWs="}}


def inline(mime: str) -> dict[str, Any]:
    return {"inlineData": {"mimeType": mime, "data": "aWs="}}


class TestMediaInResults:
    CALLS = assistant(call("1"), call("2", "Read"))

    def turns(self, *content: Any, model: str = MODEL) -> list[dict[str, Any]]:
        return contents(self.CALLS, user(*content), model=model)[2:]

    @pytest.mark.parametrize(
        ("mime", "kind"),
        [
            ("image/png", "image"),
            ("image/jpeg", "image"),
            ("image/webp", "image"),
            ("application/pdf", "document"),
            ("text/plain", "document"),
        ],
    )
    def test_inside_for_newer_families(self, mime: str, kind: str) -> None:
        assert self.turns(result("2", [text("a"), media(mime, kind)]), result("1")) == [
            turn(response("1"), response("2", "a", name="Read", parts=[inline(mime)]))
        ]

    @pytest.mark.parametrize("mime", ["image/heic", "audio/wav", "video/mp4"])
    def test_behind_for_other_types(self, mime: str) -> None:
        found = self.turns(result("1"), result("2", [media("image/png"), media(mime)]), text("hi"))
        assert found == [
            turn(response("1"), response("2", "(see below)", name="Read", parts=[inline("image/png")])),
            turn({"text": "[from tool result Read:]"}, inline(mime), HI),
        ]

    @pytest.mark.parametrize("model", ["gemini-2.5-pro", "gemma-4-31b-it"])
    def test_behind_for_older_families(self, model: str) -> None:
        found = self.turns(
            result("1", [media("image/png")]),
            result("2", [text("a"), media("application/pdf", "document")]),
            text("hi"),
            model=model,
        )
        assert found == [
            turn(
                {"functionResponse": {"name": "Bash", "response": {"result": "(see below)"}}},
                {"functionResponse": {"name": "Read", "response": {"result": "a"}}},
            ),
            turn(
                FROM, inline("image/png"), {"text": "[from tool result Read:]"}, inline("application/pdf"), HI
            ),
        ]

    def test_by_url_behind(self) -> None:
        source = {"type": "url", "url": "https://x/a.png"}
        found = self.turns(result("1", [{"type": "image", "source": source}]), result("2"))
        assert found[1] == turn(FROM, {"fileData": {"fileUri": "https://x/a.png", "mimeType": "image/png"}})


def test_a_history_that_ends_with_the_model() -> None:
    history = [user("hi"), assistant("hi")]
    assert contents(*history) == [turn(HI), model(HI)]
    assert contents(*history, by_user=True) == [turn(HI), model(HI), turn({"text": "(continue)"})]
    assert contents(user("hi"), by_user=True) == [turn(HI)]
    assert contents(by_user=True) == []


def test_warnings_name_the_block_types() -> None:
    warnings: list[str] = []
    contents(user({"type": "new"}, {"type": "file", "source": {"type": "base64"}}), warnings=warnings)
    assert warnings == [
        "content blocks of type new are unknown: sent as their JSON",
        "content blocks of type file cannot be translated: left out",
    ]


def image(source: Any) -> dict[str, Any]:
    return {"type": "image", "source": source}


SOURCES: list[tuple[dict[str, Any], str]] = [
    (
        user("hi", image({"type": "file", "file_id": "f"})),
        r"messages\.1\.content\.1: .*image \(type 'file'\)",
    ),
    (
        user("hi", {"type": "document", "source": {"type": "file", "file_id": "f"}}),
        r"messages\.1\.content\.1: .*document \(type 'file'\)",
    ),
    (user(image({"type": "base64", "media_type": "image/png"})), r"messages\.1\.content\.0: .*'base64'"),
    (user(image({"type": "base64", "data": "x"})), r"messages\.1\.content\.0: "),
    (user(image({"type": "url"})), r"messages\.1\.content\.0: "),
    (user("hi", image(None)), r"messages\.1\.content\.1: .*None"),
    (user(result("1", ["hi", image({"type": "file"})])), r"messages\.1\.content\.0\.content\.1: "),
]


@pytest.mark.parametrize(("message", "expected"), SOURCES)
def test_sources_that_cannot_be_sent(message: dict[str, Any], expected: str) -> None:
    with pytest.raises(RequestError, match=expected) as caught:
        contents({"role": "user", "content": "hi"}, message)
    assert caught.value.status == 400


def test_the_place_is_the_one_the_client_knows() -> None:
    messages = [user("hi"), user({**image({"type": "file"}), "cache_control": {"type": "ephemeral"}})]
    with pytest.raises(RequestError, match=r"^messages\.1\.content\.0: "):
        body({"messages": messages})


def test_the_place_may_be_lost() -> None:
    with pytest.raises(RequestError, match=r"^messages: "):
        gemini_contents(
            [user(image({"type": "file"}))],
            [user("x", {"content": [5]})],
            kind=family(MODEL),
            names=ToolNames(NAMES),
            signatures=None,
            warn=print,
        )


def validate_history(turns: list[dict[str, Any]]) -> None:
    """Raise for turns that Vertex AI would refuse, which refuses most."""
    if turns:
        check_contents(turns, ability(MODEL), vertex=True)
        check_signatures(turns, known=False)


def any_history(rng: Random) -> list[dict[str, Any]]:
    """Messages as no client should send them."""
    ids = ["a", "b", "c", "d"]
    blocks: list[Any] = [
        text("hi"),
        text(" "),
        call(rng.choice(ids), rng.choice(("Bash", "my tool")), x=1),
        call(rng.choice(ids)),
        result(rng.choice(ids)),
        result(rng.choice(ids), [text("x"), image(PNG)]),
        result(rng.choice(ids), is_error=True),
        {"type": "thinking", "thinking": "t", "signature": rng.choice(("gemini:eA==", "EqQB", ""))},
        {"type": "redacted_thinking", "data": "x"},
        image(PNG),
        {"type": "new"},
        "odd",
        None,
    ]
    messages = []
    for _ in range(rng.randint(0, 8)):
        role = rng.choice(("user", "assistant", "user", "assistant", "system"))
        content = rng.choice((None, "", "hi", *[rng.choices(blocks, k=rng.randint(0, 5))] * 6))
        messages.append({"role": role, "content": content})
    return messages


@given(st.integers(0, 2**64))
def test_any_history_keeps_the_rules(seed: int) -> None:
    rng = Random(seed)
    for _ in range(10):
        messages = any_history(rng)
        cures = rng.choice(((), (), (), (WITHOUT_THINKING,)))
        found = body({"messages": messages}, VERTEX, cures=cures)
        assert found.keys() <= {"contents", "generationConfig"}
        validate_history(found["contents"])


def a_session(rng: Random) -> list[dict[str, Any]]:
    """Messages as an agent sends them: turns, parallel calls, results with pictures, reminders, an interruption."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]
    for turn_number in range(rng.randint(2, 6)):
        ids = [f"toolu_{turn_number}_{n}" for n in range(rng.randint(0, 3))]
        spoken = [THINKING] * rng.randint(0, 1) + [text("so")] * rng.randint(0, 1)
        messages.append(assistant(*(spoken or [text("x")]), *map(call, ids)))
        responses: list[Any] = [result(id, rng.choice(("ok", [text("x"), image(PNG)]))) for id in ids]
        rng.shuffle(responses)
        if rng.random() < 0.3:
            del responses[1:]
        more = rng.choice(
            ([], [text("<system-reminder>r</system-reminder>")], [text("[Request interrupted by user]")])
        )
        messages.append(user(*responses, *(more or ([] if responses else [text("go on")]))))
        if rng.random() < 0.3:
            messages.append({"role": "system", "content": "a new rule"})
    return messages


@given(st.integers(0, 2**64))
def test_sent_turns_stay_the_same_in_later_requests(seed: int) -> None:
    """Caches of prompts go by what requests begin with."""
    rng = Random(seed)
    messages = a_session(rng)
    ends = [n for n, message in enumerate(messages, 1) if message["role"] == "user" and n < len(messages)]
    whole = body({"messages": messages}, VERTEX)["contents"]
    for end in ends:
        if messages[end]["role"] == "assistant":
            sent = body({"messages": messages[:end]}, VERTEX)["contents"]
            assert whole[: len(sent)] == sent


@given(st.integers(0, 2**64))
def test_even_without_repairs(seed: int) -> None:
    messages = any_history(Random(seed))
    called: set[str] = set()
    for message in messages:
        if isinstance(message["content"], list):
            if message["role"] == "assistant":
                called.update(str(b["id"]) for b in message["content"] if isinstance(b, dict) and "id" in b)
            message["content"] = [b for b in message["content"] if not is_orphan(b, called)]
    validate_history(
        body({"messages": messages}, upstream(repairs=frozenset(), path="/x/{model}:g"))["contents"]
    )


def is_orphan(block: Any, called: set[str]) -> bool:
    """Whether it is the result of a call that never was: the API has no place for one."""
    return (
        isinstance(block, dict) and block.get("type") == "tool_result" and block["tool_use_id"] not in called
    )
