"""Work of the Gemini dialect on histories, names, schemas and responses; tests/support/growth.py says how its
growth is counted."""

from collections.abc import Callable
from typing import Any

import orjson

from gateway.dialects.base import StreamFailure
from gateway.dialects.gemini.contents import gemini_contents
from gateway.dialects.gemini.families import family
from gateway.dialects.gemini.schema.clean import Schemas
from gateway.dialects.gemini.signatures import Signatures
from gateway.dialects.gemini.tools import NAMES
from gateway.dialects.json_schema.cache import SchemaCache
from gateway.dialects.request_fields import check_fields
from gateway.dialects.sniffer import Sniffer
from gateway.dialects.tool_names import ToolNames, tool_names
from gateway.messages.errors import RequestError
from tests.dialects.gemini.support import MODEL, Translated, chunk, dialect, incoming, sse, upstream
from tests.dialects.json_schema.growth import SCHEMAS, Make
from tests.messages.growth import HISTORIES as DOCUMENTS
from tests.support.growth import Counted, Row


def ignore(warning: str) -> None:
    """Discard a warning."""


# Histories.


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def call(id: object) -> dict[str, Any]:
    return {"type": "tool_use", "id": Counted(id), "name": "Bash", "input": {}}


def result(id: object, *blocks: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": Counted(id), "content": list(blocks) or "ok"}


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/heic", "data": "aWs="}}
THINKING = {"type": "thinking", "thinking": "t", "signature": "gemini:eA=="}

HISTORIES: dict[str, Make] = {
    "results in reverse order": lambda n: [
        assistant(*map(call, range(n))),
        user(*map(result, reversed(range(n)))),
    ],
    "one id repeated": lambda n: [assistant(*[call("i")] * n), user(*[result("i")] * n)],
    "one id in every turn": lambda n: [assistant(call("i")), user(result("i"))] * n,
    "late results": lambda n: [assistant(call("i")), user("x"), assistant("x"), user(*[result("i")] * n)],
    "orphans": lambda n: [user(*(result(f"o{k}") for k in range(n)))],
    "calls without results": lambda n: [assistant(*map(call, range(n)))],
    "small turns": lambda n: [user("a"), assistant("b")] * n,
    "one role": lambda n: [user("a")] * n,
    "blocks": lambda n: [user(*[{"type": "text", "text": "a"}] * n)],
    "blocks in a result": lambda n: [
        assistant(call(1)),
        user(result(1, *[IMAGE, {"type": "text", "text": "a"}] * n)),
    ],
    "thinking": lambda n: [assistant(*[THINKING] * n, call(1)), user(result(1))],
    "unknown blocks": lambda n: [user(*({"type": f"t{k}", "x": [{}] * 5} for k in range(n)))],
    "names": lambda n: [assistant(*({**call(k), "name": f"a b {k}"} for k in range(n)))],
}


def encode(messages: list[Any]) -> None:
    check_fields({"messages": messages})
    signatures = Signatures()
    signatures.remember_text("a", "x")
    try:
        gemini_contents(
            messages,
            messages,
            kind=family(MODEL),
            names=ToolNames(NAMES),
            signatures=signatures,
            warn=ignore,
        )
    except RequestError:
        pass
    signatures.refuse(messages)


HISTORIES["a mistake at the end"] = lambda n: [
    *[user("a")] * n,
    user({"type": "image", "source": {"type": "file"}}),
]


def encode_document(document: dict[str, Any]) -> None:
    dialect().encode(upstream(), MODEL, incoming(document), stream=True)


# Names.

TOOLS: dict[str, Make] = {
    "illegal": lambda n: [f"a b {k}" for k in range(n)],
    "long, with one beginning": lambda n: [f"{'x' * 100}{k}" for k in range(n)],
    "what others would get": lambda n: (
        [ToolNames(NAMES).wire(f"a b {k}") for k in range(n)] + [f"a b {k}" for k in range(n)]
    ),
    "empty": lambda n: [""] * n,
    "one long": lambda n: ["é" * n * 100],
}


def wire(names: list[str]) -> None:
    known = tool_names(NAMES, [{"name": name} for name in names])
    for name in names:
        known.original(known.wire(name))


# Schemas.


def parameters(schema: object) -> None:
    Schemas(SchemaCache(), "openapi", ignore).parameters(schema)


# Responses.

CHUNKS: dict[str, Make] = {
    "text": lambda n: sse(*[chunk({"text": "a"})] * n, chunk(finish="STOP")),
    "parts of one event": lambda n: sse(chunk(*[{"text": "a"}] * n, finish="STOP")),
    "a reason with each event": lambda n: sse(*[chunk({"text": "a"}, finish="STOP")] * n),
    "calls": lambda n: sse(*[chunk({"functionCall": {"name": f"x:{'y.' * 20}z"}})] * n, chunk(finish="STOP")),
    "thoughts and texts": lambda n: sse(*[chunk({"text": "a", "thought": True}), chunk({"text": "a"})] * n),
    "grounding": lambda n: sse(
        *(
            chunk(
                {"text": "a"},
                groundingMetadata={
                    "webSearchQueries": [f"q{k}"],
                    "groundingChunks": [{"web": {"uri": f"u{k}"}}],
                },
            )
            for k in range(n)
        )
    ),
    "an array": lambda n: orjson.dumps([chunk({"text": "a]"})] * n + [chunk(finish="STOP")]),
    "nothing known": lambda n: sse(*[{"x": [{}] * 10}] * n),
}


def decode(size: int) -> Callable[[bytes], None]:
    def work(body: bytes) -> None:
        response = Translated()
        for at in range(0, len(body), size):
            response.feed(body[at : at + size])
            response.writer.take()
        try:
            response.decoder.end()
        except StreamFailure:
            pass

    return work


def feed(body: bytes) -> None:
    decoder = Sniffer()
    for byte in body:
        decoder.feed(bytes([byte]))


MULTIPLIED = ("doubling references", "references beside restrictions")
"""Schemas that multiply small parts are stopped by the budget only, which the tests of cleaning cover."""

PLAIN = ("turns", "rounds", "messages of one role", "system messages")

ROWS = [
    *(Row(f"a document for Gemini: {kind}", encode_document, DOCUMENTS[kind]) for kind in PLAIN),
    *(Row(f"a history for Gemini: {name}", encode, make) for name, make in HISTORIES.items()),
    *(Row(f"names of tools for Gemini: {name}", wire, make) for name, make in TOOLS.items()),
    # Into the older form by way of the other one.
    *(
        Row(f"a schema for Gemini: {name}", parameters, make)
        for name, make in SCHEMAS.items()
        if name not in MULTIPLIED
    ),
    *(Row(f"a response of Gemini's: {name}", decode(65536), make) for name, make in CHUNKS.items()),
    *(
        Row(f"a response of Gemini's in pieces: {name}", decode(64), CHUNKS[name])
        for name in ("text", "an array")
    ),
    Row("a JSON array that comes byte by byte", feed, lambda n: orjson.dumps([{"a": "x" * n}]), 250),
]
