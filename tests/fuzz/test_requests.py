"""A client's request, whatever its body.

Contract: it is refused with a 400 in words, or read as Python's own JSON reader reads it. Then nothing that looks at it
raises, a spliced model changes the model's value and no other, and what the repairs make of it can be sent, read again,
and needs no repair. Each dialect encodes it, or refuses it with a 400.
"""

import json
from typing import Any

from hypothesis import strategies as st

from gateway.config import Upstream
from gateway.dialects.anthropic import AnthropicDialect
from gateway.dialects.base import Dialect, Incoming
from gateway.dialects.gemini.dialect import GeminiDialect
from gateway.dispatch.credentials import NO_CREDENTIAL
from gateway.messages import warmup
from gateway.messages.errors import RequestError, error_body
from gateway.messages.repair import REPAIRS, apply, without_thinking
from gateway.messages.request import (
    MessagesRequest,
    conversation_id,
    read_request,
    splice_model,
    write_document,
)
from gateway.messages.tokens import estimate
from tests.fuzz.fuzz import edited, fuzz
from tests.messages.samples import documents

VALUES = [
    b"null",
    b"NaN",
    b"-0",
    b"1e999",
    b"18446744073709551616",
    b"0.1",
    b'"\\ud800"',
    b"[]",
    b"{}",
    b'""',
]
MARKS = [b'"', b",", b":", b"{", b"}", b"[", b"]", b"\\", b" ", b"\n", b"\xff", b"\xc3", b'"model":"x",']
KEYS = [b'"\\u006dodel":"y",', b'"type":"text"', b'"type":"tool_result"', b'"content":', b'"messages":']
DIALECTS: dict[str, Dialect] = {
    "anthropic": AnthropicDialect(),
    "gemini": GeminiDialect(lambda: 0.5, lambda warning: None),
}
UPSTREAMS = [
    Upstream(name=kind, kind=kind, base_url="http://127.0.0.1:9", repairs=frozenset(repairs))
    for kind in ("anthropic", "gemini")
    for repairs in ((), REPAIRS)
]


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    ascii_only, spaces = draw(st.booleans()), draw(st.sampled_from([None, 1]))
    return json.dumps(draw(documents()), ensure_ascii=ascii_only, indent=spaces).encode()


def text(document: Any) -> str:
    """To compare documents in which NaN equals NaN and 1 is not 1.0."""
    return json.dumps(document)


def looked_at(request: MessagesRequest) -> None:
    document, before = request.document, text(request.document)
    conversation_id(document, [(b"x-claude-code-session-id", b"\xff")])
    conversation_id(document, [])
    assert estimate(document) >= 0
    warmup.is_warmup(document)
    warmup.is_quota_probe(document)
    error_body(404, ascii(request.model), "req_1")
    for history in (document, without_thinking(document)):
        repaired, _ = apply(history, REPAIRS)
        assert apply(repaired, REPAIRS) == (repaired, ())
        assert text(read_request(write_document(repaired)).document) == text(repaired)
    assert text(document) == before


def refused(error: RequestError) -> None:
    assert error.status == 400
    assert error.message
    error_body(error.status, error.message, "req_1")


def contract(raw: bytes, model: str) -> None:
    try:
        request = read_request(raw)
    except RequestError as error:
        refused(error)
        return
    assert text(request.document) == text(json.loads(raw.decode("utf-8-sig")))
    looked_at(request)
    spliced = read_request(splice_model(request, model))
    assert text(spliced.document) == text({**request.document, "model": model})
    incoming = Incoming(request=request, purpose="messages", query="", headers=(), stream=request.stream)
    for upstream in UPSTREAMS:
        try:
            json.loads(DIALECTS[upstream.kind].encode(upstream, NO_CREDENTIAL, model, incoming).body)
        except RequestError as error:
            refused(error)


def test_a_clients_request() -> None:
    fuzz(contract, edited(bodies(), [*VALUES, *MARKS, *KEYS]), st.sampled_from(["m", 'é"\\']), examples=150)
