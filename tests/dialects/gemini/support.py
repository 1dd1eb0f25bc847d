"""Shared by the tests of this package: an upstream, ways to encode and decode, and the response's grammar."""

import random
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import orjson

from gateway.config import Secret, Upstream
from gateway.config.values import REPAIRS_OF_KIND, GeminiOptions
from gateway.dialects.base import Cure, Outgoing, Purpose, StreamFailure
from gateway.dialects.gemini.dialect import GeminiDialect, new_dialect
from gateway.dialects.gemini.response import EncodedRequest, GeminiDecoder
from gateway.dialects.gemini.signatures import Signatures
from gateway.dialects.gemini.tools import NAMES
from gateway.dialects.tool_names import ToolNames
from gateway.messages.request import read_request
from gateway.messages.sse import EventDecoder
from gateway.messages.stream import StreamWriter
from gateway.routing.credentials import Credential
from gateway.routing.failures import FailureKind
from tests.fakes.gemini.rules import check_request
from tests.support.incoming import Incoming

KEY = Credential("api_key", Secret("k-1"))
HI = [{"role": "user", "parts": [{"text": "hi"}]}]
MODEL = "gemini-3.1-pro-preview"


def upstream(
    *,
    base_url: str = "https://generativelanguage.googleapis.com",
    repairs: frozenset[str] = REPAIRS_OF_KIND["gemini"],
    **options: Any,
) -> Upstream:
    """A gemini upstream; `options` are fields of GeminiOptions."""
    return Upstream(
        name="g", kind="gemini", base_url=base_url, repairs=repairs, options=GeminiOptions(**options)
    )


def incoming(document: Mapping[str, Any], *, purpose: Purpose = "messages") -> Incoming:
    """A client's request."""
    raw = orjson.dumps({"model": "claude", "messages": [], **document})
    return Incoming(parsed=read_request(raw), purpose=purpose, query="beta=true")


def dialect(warnings: list[str] | None = None) -> GeminiDialect:
    """Return a new dialect, with randomness that repeats."""
    return new_dialect(random.Random(1).random, (warnings if warnings is not None else []).append)


def encoded(
    document: Mapping[str, Any],
    to: Upstream | None = None,
    *,
    by: GeminiDialect | None = None,
    model: str = MODEL,
    purpose: Purpose = "messages",
    cures: Collection[Cure] = (),
) -> Outgoing:
    """The request that goes to the upstream."""
    request = incoming(document, purpose=purpose)
    return (by or dialect()).encode(to or upstream(), model, request, stream=True, cures=cures)


def body(document: Mapping[str, Any], to: Upstream | None = None, **how: Any) -> dict[str, Any]:
    """The body of that request."""
    read = orjson.loads(encoded(document, to, **how).body)
    assert isinstance(read, dict)
    return read


def validate_request(found: dict[str, Any], model: str = MODEL, *, vertex: bool = False) -> None:
    """Raise for a body that Google would refuse; one of no messages is left to it."""
    check_request(found if found.get("contents") else {**found, "contents": HI}, model, vertex=vertex)


def sse(*chunks: Any) -> bytes:
    """Chunks as the API streams them."""
    return b"".join(b"data: " + orjson.dumps(chunk) + b"\r\n\r\n" for chunk in chunks)


def chunk(*parts: Mapping[str, Any], finish: str = "", usage: Any = None, **candidate: Any) -> dict[str, Any]:
    """One chunk of a response."""
    one: dict[str, Any] = {**candidate}
    if parts:
        one["content"] = {"role": "model", "parts": list(parts)}
    if finish:
        one["finishReason"] = finish
    out: dict[str, Any] = {"candidates": [one]}
    if usage is not None:
        out["usageMetadata"] = usage
    return out


class Translated:
    """A response being decoded."""

    def __init__(
        self,
        names: ToolNames | None = None,
        signatures: Signatures | None = None,
        seed: int = 1,
        *,
        streams: bool = True,
    ) -> None:
        self.writer = StreamWriter(message_id="msg_1", model="claude")
        self.signatures = signatures or Signatures()
        self.decoder = GeminiDecoder(
            self.writer,
            EncodedRequest(names or ToolNames(NAMES)),
            self.signatures,
            random.Random(seed).random,
            set(),
            streams=streams,
        )

    def feed(self, *pieces: bytes) -> "Translated":
        for piece in pieces:
            self.decoder.feed(piece)
        return self

    def end(self) -> list[dict[str, Any]]:
        """Return the whole response's events, checked; also of an empty response."""
        events = self.rest()
        check_grammar(events)
        return events

    def rest(self) -> list[dict[str, Any]]:
        """The events that are left at the response's end."""
        try:
            self.decoder.end()
        except StreamFailure as failure:
            if failure.failure.kind is not FailureKind.EMPTY:
                raise
            self.decoder.end()
        return self.events()

    def events(self) -> list[dict[str, Any]]:
        return read_events(self.writer.take())


def decoded(*chunks: Any, **how: Any) -> list[dict[str, Any]]:
    """The events for a complete response."""
    return Translated(**how).feed(sse(*chunks)).end()


def read_events(data: bytes) -> list[dict[str, Any]]:
    """Events of a Messages stream."""
    found = EventDecoder().feed(data)
    for event in found:
        assert orjson.loads(event.data)["type"] == event.name
    return [orjson.loads(event.data) for event in found]


def message(events: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The message that a client makes of the events."""
    out: dict[str, Any] = {}
    for event in events:
        kind = event["type"]
        if kind == "message_start":
            out = event["message"]
        elif kind == "content_block_start":
            block = dict(event["content_block"])
            out["content"].append(block)
            json = ""
        elif kind == "content_block_delta":
            delta = event["delta"]
            if delta["type"] == "text_delta":
                block["text"] += delta["text"]
            elif delta["type"] == "thinking_delta":
                block["thinking"] += delta["thinking"]
            elif delta["type"] == "signature_delta":
                block["signature"] = delta["signature"]
            elif delta["type"] == "citations_delta":
                block.setdefault("citations", []).append(delta["citation"])
            else:
                json += delta["partial_json"]
                block["input"] = orjson.loads(json)
        elif kind == "message_delta":
            out.update(event["delta"])
            out["usage"] = {**out["usage"], **event["usage"]}
    return out


def check_grammar(events: list[dict[str, Any]], *, broken: bool = False) -> None:
    """message_start first, blocks one after the other with rising indexes, one end. A `broken` stream may
    stop anywhere before."""
    kinds = [event["type"] for event in events if event["type"] != "ping"]
    if not kinds and broken:
        return
    assert kinds[0] == "message_start"
    assert kinds.count("message_start") == 1
    usage = events[0]["message"]["usage"]
    assert {"input_tokens", "output_tokens"} <= usage.keys()
    index, is_open, delta_of = -1, False, ""
    for event in events[1:]:
        kind = event["type"]
        if kind == "content_block_start":
            assert not is_open
            index += 1
            assert event["index"] == index
            is_open, delta_of = True, event["content_block"]["type"]
        elif kind == "content_block_delta":
            assert is_open
            assert event["index"] == index
            allowed = {
                "text": {"text_delta", "citations_delta"},
                "thinking": {"thinking_delta", "signature_delta"},
                "tool_use": {"input_json_delta"},
                "server_tool_use": {"input_json_delta"},
            }[delta_of]
            assert event["delta"]["type"] in allowed
        elif kind == "content_block_stop":
            assert is_open
            assert event["index"] == index
            is_open = False
    if broken:
        assert "message_delta" not in kinds
        return
    assert not is_open
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds.count("message_delta") == kinds.count("message_stop") == 1
    assert {"input_tokens", "output_tokens"} <= events[-2]["usage"].keys()
