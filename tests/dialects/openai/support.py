"""Shared by the tests of this package: an upstream, ways to encode and to decode."""

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from gateway.config import Secret, Upstream
from gateway.config.openai_presets import PRESETS
from gateway.config.values import REPAIRS_OF_KIND
from gateway.dialects.base import WITHOUT_THINKING, Cure, Decoder, Headers, Outgoing, StreamFailure
from gateway.dialects.openai.dialect import OpenAIDialect
from gateway.messages.json_documents import write_document
from gateway.messages.request import read_request
from gateway.messages.stream import StreamWriter
from gateway.routing.credentials import Credential
from gateway.routing.failures import Failure
from gateway.routing.sent import Sent as ClientSent
from tests.dialects.gemini.support import check_grammar, read_events
from tests.fakes.openai.host import traits_of
from tests.support.incoming import Incoming

__all__ = ["check_grammar", "read_events"]

KEY = Credential("api_key", Secret("sk-1"))
MODEL = "m-1"


def upstream(preset: str = "", *, base_url: str = "", **traits: Any) -> Upstream:
    """An openai upstream: a preset's, or one at h.example; `traits` over it."""
    known = PRESETS.get(preset)
    options: Any = traits_of(preset, **traits)
    return Upstream(
        name="o",
        kind="openai",
        base_url=base_url or (known.base_url if known else "") or "https://h.example/v1",
        auth_header=known.auth_header if known else "authorization",
        repairs=REPAIRS_OF_KIND["openai"],
        options=options,
    )


def incoming(document: Mapping[str, Any], headers: Headers = (), **how: Any) -> Incoming:
    """A client's request."""
    parsed = read_request(write_document({"model": "claude", "messages": [], **document}))
    return Incoming(parsed=parsed, headers=headers, **how)


def dialect(warnings: list[str] | None = None) -> OpenAIDialect:
    """Return a new dialect, with randomness that repeats."""
    return OpenAIDialect(random.Random(1).random, (warnings if warnings is not None else []).append)


def encoded(
    document: Mapping[str, Any],
    to: Upstream | None = None,
    *,
    by: OpenAIDialect | None = None,
    model: str = MODEL,
    cures: Sequence[Cure] = (),
    headers: Headers = (),
) -> Outgoing:
    """The request that goes to the upstream."""
    request = incoming(document, headers)
    return (by or dialect()).encode(to or upstream(), model, request, stream=True, cures=cures)


def body(document: Mapping[str, Any], to: Upstream | None = None, **how: Any) -> dict[str, Any]:
    """The body of that request."""
    read = json.loads(encoded(document, to, **how).body)
    assert isinstance(read, dict)
    return read


def cure_from(
    by: OpenAIDialect, failure: Failure, outgoing: Outgoing, applied: Sequence[Cure] = (), *never: str
) -> Cure | None:
    """The cure for a refusal."""
    found = by.cure(failure, outgoing, ClientSent(), applied, frozenset(never))
    assert found is None or found[1] is (found[0] != WITHOUT_THINKING)
    return found[0] if found else None


def user(content: object) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(*content: object) -> dict[str, Any]:
    return {"role": "assistant", "content": list(content)}


def text(text: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **fields}


def tool_use(id: str, name: str = "Read", **input: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": name, "input": input}


def tool_result(id: str, content: object = "ok", **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, "content": content, **fields}


def tool(name: str = "Read", **fields: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"path": {"type": "string"}}}
    return {"name": name, "description": f"the tool {name}", "input_schema": schema, **fields}


# Responses.


def sse(*chunks: Any, done: bool = True) -> bytes:
    """Return chunks as hosts stream them; a str is data, unchanged."""
    datas = [chunk.encode() if isinstance(chunk, str) else orjson.dumps(chunk) for chunk in chunks]
    return b"".join(b"data: " + data + b"\n\n" for data in [*datas, *([b"[DONE]"] if done else [])])


def chunk(delta: Mapping[str, Any] | None = None, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    """One chunk; `fields` of the chunk itself."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice], **fields}


def call(
    index: int | None = 0, id: str | None = None, name: str | None = None, arguments: object = None
) -> Any:
    """Return a chunk with a piece of a call; fields that are None are left out."""
    function = {k: v for k, v in (("name", name), ("arguments", arguments)) if v is not None}
    piece = {k: v for k, v in (("index", index), ("id", id), ("function", function)) if v is not None}
    return chunk({"tool_calls": [piece]})


USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
FINISH = chunk(finish="stop")


class Response:
    """A response being decoded."""

    def __init__(
        self, outgoing: Outgoing | None = None, by: OpenAIDialect | None = None, **sent: Any
    ) -> None:
        """`sent` replaces the decoder's knowledge of the request."""
        outgoing = outgoing or encoded({"messages": [user("hi")]})
        state: Any = outgoing.state
        outgoing.state = state._replace(**sent)
        self.writer = StreamWriter(message_id="msg_1", model="claude")
        self.decoder: Decoder = (by or dialect()).decoder(incoming({}), outgoing, self.writer)

    def feed(self, *pieces: bytes) -> "Response":
        for piece in pieces:
            self.decoder.feed(piece)
        return self

    def end(self) -> list[dict[str, Any]]:
        """The whole response's events, checked."""
        self.decoder.end()
        events = self.events()
        check_grammar(events)
        return events

    def events(self) -> list[dict[str, Any]]:
        return read_events(self.writer.take())


def decoded(*chunks: Any, **how: Any) -> list[dict[str, Any]]:
    """The events for a complete response."""
    return Response(**how).feed(sse(*chunks)).end()


def message(events: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The message that a client makes of the events; a call that was cut has its text as `input`."""
    out: dict[str, Any] = {}
    block: dict[str, Any] = {}
    keys = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "json"}
    for event in events:
        kind = event["type"]
        if kind == "message_start":
            out = event["message"]
        elif kind == "content_block_start":
            block = {**event["content_block"], "json": ""}
            out["content"].append(block)
        elif kind == "content_block_delta" and event["delta"]["type"] in keys:
            key = keys[event["delta"]["type"]]
            block[key] += event["delta"].get(key, event["delta"].get("partial_json"))
        elif kind == "content_block_delta" and event["delta"]["type"] == "citations_delta":
            block.setdefault("citations", []).append(event["delta"]["citation"])
        elif kind == "content_block_delta":
            block["signature"] = event["delta"]["signature"]
        elif kind == "content_block_stop":
            text = block.pop("json")
            if "input" in block:
                try:
                    block["input"] = json.loads(text)
                except ValueError:
                    block["input"] = text
        elif kind == "message_delta":
            out.update(event["delta"])
            out["usage"] = {**out["usage"], **event["usage"]}
    return out


def message_of(*chunks: Any, **how: Any) -> dict[str, Any]:
    """The message for a complete response."""
    return message(decoded(*chunks, **how))


def failure_of(pieces: Iterable[bytes], **how: Any) -> tuple[StreamFailure, list[dict[str, Any]]]:
    """The failure that a response ends in, and the events before it."""
    response = Response(**how)
    try:
        response.feed(*pieces)
        response.decoder.end()
    except StreamFailure as failure:
        events = response.events()
        check_grammar(events, broken=True)
        return failure, events
    raise AssertionError("it did not fail")


def blocks(*chunks: Any, **how: Any) -> list[dict[str, Any]]:
    """The content blocks of a complete response."""
    content: list[dict[str, Any]] = message_of(*chunks, **how)["content"]
    return content
