"""Work of the OpenAI dialect on histories, schemas and responses; tests/support/growth.py says how its growth is
counted."""

from collections.abc import Callable
from typing import Any

from gateway.dialects.base import StreamFailure
from gateway.messages.errors import RequestError
from tests.dialects.gemini.growth import HISTORIES
from tests.dialects.json_schema.growth import SCHEMAS, Make
from tests.dialects.openai.support import FINISH, Response, call, chunk, encoded, sse, upstream
from tests.messages.growth import HISTORIES as DOCUMENTS
from tests.support.growth import Row


def encode(preset: str) -> Callable[[dict[str, Any]], None]:
    def work(document: dict[str, Any]) -> None:
        try:
            encoded(document, upstream(preset))
        except RequestError:
            pass

    return work


def history(make: Make) -> Make:
    return lambda n: {"messages": make(n)}


def tools(make: Make) -> Make:
    return lambda n: {
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"name": "t", "input_schema": make(n)}],
    }


CHUNKS: dict[str, Make] = {
    "text": lambda n: sse(*[chunk({"content": "a"})] * n, FINISH),
    "reasoning": lambda n: sse(*[chunk({"reasoning_content": "a"})] * n, FINISH),
    "tags": lambda n: sse(*[chunk({"content": "<think>"})] * n, FINISH),
    "half a tag": lambda n: sse(*[chunk({"content": "<"})] * n, FINISH),
    "calls": lambda n: sse(*(call(k, f"c{k}", "Read", "{}") for k in range(n)), FINISH),
    "pieces of one call": lambda n: sse(
        call(0, "c", "Read", '{"a":"'), *[call(0, None, None, "x")] * n, FINISH
    ),
    "one document": lambda n: sse(chunk({"content": "a" * n * 10}, "stop")),
    "nothing known": lambda n: sse(*[{"x": [{}] * 10}] * n, FINISH),
    "no events": lambda n: b"x" * n * 10,
    "comments": lambda n: b": ping\n\n" * n,
}


def decode(size: int) -> Callable[[bytes], None]:
    def work(body: bytes) -> None:
        response = Response()
        try:
            for at in range(0, len(body), size):
                response.feed(body[at : at + size])
                response.writer.take()
            response.decoder.end()
        except StreamFailure:
            pass

    return work


PLAIN = ("rounds", "system messages")
SOME = ("results in reverse order", "one id in every turn", "names", "thinking")
MULTIPLIED = ("doubling references", "references beside restrictions")
"""Schemas that multiply small parts are stopped by the budget only, which the tests of cleaning cover."""

ROWS = [
    *(Row(f"a document for chat: {kind}", encode("deepseek-openai"), DOCUMENTS[kind]) for kind in PLAIN),
    *(
        Row(f"a history for chat: {name}", encode("deepseek-openai"), history(make))
        for name, make in HISTORIES.items()
    ),
    *(Row(f"a history for responses: {name}", encode("openai"), history(HISTORIES[name])) for name in SOME),
    *(
        Row(f"a history with strict ids: {name}", encode("mistral"), history(HISTORIES[name]))
        for name in SOME
    ),
    *(
        Row(f"a schema for chat: {name}", encode("groq"), tools(make), 20)
        for name, make in SCHEMAS.items()
        if name not in MULTIPLIED
    ),
    *(Row(f"a chat response: {name}", decode(65536), make) for name, make in CHUNKS.items()),
    *(
        Row(f"a chat response in pieces: {name}", decode(64), CHUNKS[name])
        for name in ("text", "one document")
    ),
]
