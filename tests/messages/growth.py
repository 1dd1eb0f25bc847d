"""Rows for tests/test_growth.py: what a client sends, and what an upstream of the same dialect sends back."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import orjson

from gateway.messages import warmup
from gateway.messages.collect import Collector
from gateway.messages.cures import CURES, without_fields
from gateway.messages.errors import RequestError
from gateway.messages.imagesize import image_size
from gateway.messages.json_documents import first_difference, read_document, write_document
from gateway.messages.prompt_cache import PromptCaches
from gateway.messages.prompt_prefix import prefix_of
from gateway.messages.repair import REPAIRS, apply
from gateway.messages.replay import message_events
from gateway.messages.request import conversation_id, read_request, splice_model
from gateway.messages.sse import Event, EventDecoder
from gateway.messages.stream import StreamWriter
from gateway.messages.thinking import mentions_signature
from gateway.messages.token_estimate import estimate
from gateway.telemetry.access_log import Record
from tests.messages.samples import (
    assistant,
    call,
    found,
    history,
    result,
    search,
    system,
    text,
    thought,
    user,
)
from tests.support.growth import Counted, Row

HUNDRED = b"x" * 100


def body(messages: bytes = b"", more: bytes = b"") -> bytes:
    return b'{"messages":[%b],"model":"m"%b}' % (messages, more)


BODIES: dict[str, Callable[[int], bytes]] = {
    "values": lambda n: body(more=b',"x":[%b0]' % (b"0," * n)),
    "empty arrays": lambda n: body(more=b',"x":[%b0]' % (b"[]," * n)),
    "arrays that nest": lambda n: body(more=b',"x":[%b0]' % (b"[[[]]]," * n)),
    "keys": lambda n: body(more=b',"x":{%b}' % b",".join(b'"k%d":1' % at for at in range(n))),
    "models": lambda n: body(more=b',"model" :"n"' * n),
    "nested models": lambda n: body(more=b',"x":{"model":"n"}' * n),
    "escaped models": lambda n: body(more=b',"m\\u006fdel":"n"' * n),
    "messages": lambda n: body(b'{"role":"user"},' * n + b"{}"),
    "blocks": lambda n: body(b'{"role":"user","content":[%b0]}' % (b'{"type":"text"},' * n)),
    "blanks": lambda n: body(b" " * n),
    "an escaped text": lambda n: body(more=b',"x":"%b"' % (b'\\n,,,\\"' * n)),
    "huge integers": lambda n: body(more=b',"x":[%b0]' % (b"18446744073709551616," * n)),
    "NaN": lambda n: body(more=b',"x":[%b0]' % (b"NaN," * n)),
    "no end": lambda n: b'{"x":["' + b"a," * n,
    "keys of tools": lambda n: body(more=b',"x":[%b0]' % (b'{"model":1},' * n)),
    "keys in keys": lambda n: body(more=b',"x":%b1%b' % (b'{"model":' * 20, b"}" * 20) + b" " * n),
    "quotes": lambda n: b'"' * n,
    "brackets": lambda n: b"[" * n,
    "a user's id": lambda n: body(more=b',"metadata":{"user_id":"{\\"a\\":[%b0]}"}' % (b"[]," * n)),
    "a user's session": lambda n: body(more=b',"metadata":{"user_id":"%b"}' % (b"_session_" * n)),
}


def served(raw: bytes) -> None:
    """Everything that looks at the bytes of a request."""
    try:
        request = read_request(raw)
    except RequestError:
        return
    conversation_id(request.document)
    splice_model(request, "other")
    write_document(request.exact())


def cured(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda document: CURES[name](document, "messages.0.content.0.cache_control")


def followed(document: dict[str, Any]) -> None:
    """All that finding out why a cache was lost does with a prompt."""
    caches = PromptCaches()
    for prefix in (prefix_of(document), prefix_of({**document, "tools": [{}]})):
        caches.judge("c", prefix, Record(0.0, cache_read_tokens=0, cache_creation_tokens=1000))


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "all repairs": lambda document: apply(document, REPAIRS),
    **REPAIRS,
    "cache": followed,
    **{f"cure {name}": cured(name) for name in CURES if name not in REPAIRS},
}
"""Everything that changes a history: the repairs in their order, and each change alone."""


def turns(*contents: Any) -> Callable[[int], dict[str, Any]]:
    """A history in which these messages come again and again, with ids that are compared by a counted function."""

    def make(n: int) -> dict[str, Any]:
        return history(*(counted(message, at) for at in range(n) for message in contents))

    return make


def counted(value: Any, at: int) -> Any:
    """A copy with the place in the history in its ids."""
    if isinstance(value, dict):
        return {
            key: Counted(inner.replace("N", str(at))) if key in ("id", "tool_use_id") else counted(inner, at)
            for key, inner in value.items()
        }
    return [counted(inner, at) for inner in value] if isinstance(value, list) else value


def many(*blocks: dict[str, Any], role: str = "user", backwards: bool = False) -> Callable[[int], list[Any]]:
    """A message in which these blocks come again and again."""

    def make(n: int) -> list[Any]:
        content = [counted(block, at) for at in range(n) for block in blocks]
        return [{"role": role, "content": content[::-1] if backwards else content}]

    return make


CALLED = many(call("tN"), role="assistant")

HISTORIES: dict[str, Callable[[int], dict[str, Any]]] = {
    "turns": turns(user("a"), assistant(text("b"))),
    "rounds": turns(assistant(thought("s"), call("tN")), user(result("tN"), text("a"))),
    "rounds of one id": turns(assistant(call("t")), user(result("t"))),
    "messages of one role": turns(user("a")),
    "lists of one role": turns(user(text("a"), result("tN"))),
    "failed results with pictures": turns(
        assistant(call("tN")), user(result("tN", [{"type": "image"}, text("a")], is_error=True), text("b"))
    ),
    "failed results with pictures in one turn": lambda n: history(
        *many(result("tN", [{"type": "image"}], is_error=True))(n)
    ),
    "system messages": lambda n: history(user("a"), *[system("s")] * n),
    "empty messages": turns(user(" "), assistant(text(""))),
    "foreign thinking": turns(user("a"), assistant(thought("gemini:x"))),
    "odd ids": turns(assistant(call("a:N"), call("toolu_N"), call("toolu_N_")), user(result("a:N"))),
    "calls without results": turns(assistant(call("tN")), user("a")),
    "calls, then system messages": lambda n: history(assistant(call()), *[system("s")] * n, user("a")),
    "results without calls": turns(user(result("tN", [text("a"), text(" ")]))),
    "results in order": lambda n: history(*CALLED(n), *many(result("tN"))(n)),
    "results in reverse": lambda n: history(*CALLED(n), *many(result("tN"), backwards=True)(n)),
    "results of one id": lambda n: history(*CALLED(n), *many(result("t"))(n)),
    "calls and results of one id": lambda n: history(
        *many(call("t"), role="assistant")(n), *many(result("t"))(n)
    ),
    "failed results": turns(assistant(call("tN")), user(result("tN", [text(" ")], is_error=True))),
    "references": turns(user({"type": "tool_reference", "tool_name": "x"})),
    "server tools": turns(assistant(search("sN"), found("sN"), search("uN")), user("a")),
    "server tools in one turn": lambda n: history(
        *many(search("sN"), role="assistant")(n),
        *many(found("sN"), role="assistant", backwards=True)(n),
        user("a"),
    ),
    "tools of both": turns(assistant(search("sN"), call("tN")), user(result("tN")), assistant(found("sN"))),
    "values that are no blocks": lambda n: history({"role": "user", "content": [0] * n}),
    "blocks without a type": lambda n: history({"role": "user", "content": [{}] * n}),
    "messages without a role": lambda n: history(*[{}] * n),
    "system blocks": lambda n: history(
        user("a"), system=[text(" "), text("x-anthropic-billing-header: a")] * n
    ),
    "tools": lambda n: history(
        user("a"), tools=[{"name": "DeferredToolPlaceholder"}, {"defer_loading": True}] * n
    ),
    "cache marks": turns(user(text("a", cache_control={})), assistant(thought("s", cache_control={}))),
    "inner blocks": lambda n: history(user(result(content=[text(" ", cache_control={})] * n))),
    "a continued thread": lambda n: {
        **turns(user("a"), user(result("tN")))(n),
        "thread": {"type": "continue"},
    },
}

REMINDER = "<system-reminder>x</system-reminder>"
SHORT = history(user(text("a")))
PICTURE = {"type": "image", "source": {"type": "base64", "data": "/9j/" + "////" * 1000}}
PDF = {"type": "document", "source": {"type": "base64", "data": "L1R5cGUg" * 1000}}

DOCUMENTS: list[tuple[str, Callable[[Any], object], Callable[[int], Any]]] = [
    ("reminders", warmup.is_warmup, lambda n: history(user(text(REMINDER * n), text("Warmup")))),
    ("blocks of reminders", warmup.is_warmup, lambda n: history(user(*[text(REMINDER)] * n, text("Warmup")))),
    ("blanks", warmup.is_warmup, lambda n: history(user(text(" " * n + REMINDER + " " * n), text("Warmup")))),
    (
        "failed warm-ups",
        warmup.is_warmup,
        lambda n: history(
            user("Warmup"), user(*[result(content="Warmup", is_error=True)] * n), *[system("s")] * n
        ),
    ),
    ("a quota probe", warmup.is_quota_probe, lambda n: history(user(" " * n + "quota"), max_tokens=1)),
    ("content of numbers", conversation_id, lambda n: history({"role": "user", "content": [0] * n})),
    ("a block of numbers", conversation_id, lambda n: history(user({"type": "odd", "x": [0] * n}))),
    ("no user", conversation_id, lambda n: history(*[system("s")] * n)),
    ("texts", estimate, lambda n: history(*[user(text("a b"))] * n)),
    ("a text", estimate, lambda n: history(user("a b" * n))),
    ("results", estimate, lambda n: history(user(result(content=[text("a"), {"type": "odd"}] * n)))),
    ("pictures", estimate, lambda n: history(user(*[PICTURE] * (n // 5)))),
    ("a picture", image_size, lambda n: "/9j/" + "////" * n),
    ("documents", estimate, lambda n: history(user(*[PDF] * n))),
    ("tools", estimate, lambda n: history(tools=[{"name": "x"}] * n)),
]


def events(*datas: Any) -> list[Event]:
    return [Event(data.get("type", ""), orjson.dumps(data)) for data in datas]


def delta(delta: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": delta}


START = {"type": "message_start", "message": {"usage": {}}}
STOP = {"type": "message_stop"}


def stream(block: dict[str, Any], piece: dict[str, Any], n: int) -> list[Event]:
    begin = {"type": "content_block_start", "index": 0, "content_block": block}
    return [*events(START, begin), *events(delta(piece)) * n, *events(STOP)]


STREAMS: dict[str, Callable[[int], list[Event]]] = {
    "texts": partial(stream, text(""), {"type": "text_delta", "text": "a" * 50}),
    "signatures": partial(stream, thought(), {"type": "signature_delta", "signature": "a" * 50}),
    "input": partial(stream, call(), {"type": "input_json_delta", "partial_json": " "}),
    "citations": partial(stream, text(""), {"type": "citations_delta", "citation": {"a": 1}}),
    "usage": lambda n: events(
        START, *({"type": "message_delta", "delta": {}, "usage": {f"k{at}": 1}} for at in range(n)), STOP
    ),
    "blocks": lambda n: events(
        START,
        *({"type": "content_block_start", "index": -at, "content_block": text("")} for at in range(n)),
        STOP,
    ),
    "an event of values": lambda n: events({**START, "x": [[]] * n}, STOP),
}


def collect(stream: list[Event]) -> None:
    collector = Collector()
    for event in stream:
        collector.feed(event)
    assert collector.complete


def decode(reads: list[bytes]) -> None:
    decoder = EventDecoder()
    for read in reads:
        decoder.feed(read)
    decoder.end()


READS: dict[str, Callable[[int], list[bytes]]] = {
    "bytes": lambda n: [b"d", b"a", b"t", b"a", b":", b"x", b"\n", b"\n"] * n,
    "a line in pieces": lambda n: [b"data: ", *[HUNDRED] * n, b"\n\n"],
    "a comment in pieces": lambda n: [b": ", *[HUNDRED] * n, b"\n\n"],
    "lines of one event": lambda n: [b"data: x\n"] * n,
    "events of one read": lambda n: [b"event: a\ndata: x\n\n" * n],
    "odd events of one read": lambda n: [b"data: x\ndata: y\n\n" * n],
    "blank lines": lambda n: [b"\n" * n],
    "returns": lambda n: [b"data: a\r\rdata: b\r\n\r" * n],
    "byte order marks": lambda n: [b"\xef\xbb\xbf" * n],
}


def written(n: int) -> None:
    writer = StreamWriter(message_id="msg", model="m")
    for _ in range(n):
        writer.text("a")
        writer.citation({"a": 1})
        writer.thinking("b")
        writer.signature("c")
        writer.block({"type": "server_tool_use", "id": "s", "input": {"a": [1]}})
    writer.finish("end_turn", {})
    writer.take()


REFUSALS: dict[str, Callable[[int], str]] = {
    "one word": lambda n: "thinking " * n,
    "signs": lambda n: "expected" + "-" * n,
    "letters": lambda n: "thought" + "_" * n,
}

LARGE = {"an escaped text": 350_000, "models": 20_000, "nested models": 20_000, "no end": 1_200_000}
"""Bodies in which a regular expression does the work, so large that it does, and not so large that they are refused."""


def differing(n: int) -> tuple[object, object]:
    """Two long documents."""
    return [{"a": [str(index)]} for index in range(n)], [{"a": [str(index)]} for index in range(n)] + [0]


def deep(n: int) -> tuple[object, object]:
    """Two documents whose size is in their keys and texts, as deep as a request may be."""
    pair: list[object] = [0, 1]
    for level in range(190):
        pair = [{"k" * (n // 10): value, str(level): "x" * n} for value in pair]
    return pair[0], pair[1]


ROWS = [
    *(Row(f"a body: {name}", served, make, 50, LARGE.get(name, 0)) for name, make in BODIES.items()),
    *(
        Row(f"a history of {kind}: {name}", change, make)
        for kind, made in HISTORIES.items()
        for make in [
            cache(made)
        ]  # nothing changes a history that it is given: see the tests of repairs and cures
        for name, change in CHANGES.items()
    ),
    *(Row(f"{function.__name__}: {kind}", function, make) for kind, function, make in DOCUMENTS),
    *(Row(f"a stream collected: {name}", collect, make, size=100) for name, make in STREAMS.items()),
    *(Row(f"a stream decoded: {name}", decode, make) for name, make in READS.items()),
    Row("a stream written", written, lambda n: n),
    Row("a message replayed", message_events, lambda n: {"content": [text("a", citations=[1]), call()] * n}),
    *(Row(f"a refusal: {name}", mentions_signature, make, in_c=1000) for name, make in REFUSALS.items()),
    Row(
        "paths of a refusal",
        lambda paths: without_fields(SHORT, paths),
        lambda n: "messages.0.content.1.x," * n,
    ),
    Row(
        "steps of a refusal",
        lambda paths: without_fields(SHORT, paths),
        lambda n: "messages.content." * n + "x",
    ),
    Row("documents that differ at their ends", lambda pair: first_difference(*pair), differing),
    Row("documents that differ far inside", lambda pair: first_difference(*pair), deep),
    Row("an upstream's document", read_document, lambda n: b"[%b0]" % (b"1e300," * n)),
]
