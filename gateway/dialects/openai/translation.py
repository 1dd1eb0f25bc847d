"""Translates requests to OpenAI-compatible hosts, and their responses back.

Imported as a whole with the first request: when its response arrives there may be no descriptor left to read files.
A body is a pure function of the request, the host's traits and the cures.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlsplit

from gateway.config import Upstream
from gateway.config.openai_traits import Traits
from gateway.dialects.base import JSON, WITHOUT_THINKING, Cure, Decoder, Headers, Incoming, Outgoing
from gateway.dialects.json_schema.cache import SchemaCache
from gateway.dialects.openai.cures import apply_cures
from gateway.dialects.openai.dialect import ACCEPT, base_path, traits_of_upstream
from gateway.dialects.openai.encoded_request import EncodedRequest
from gateway.dialects.openai.history import History
from gateway.dialects.openai.output import Output
from gateway.dialects.openai.reasoning import MARK
from gateway.dialects.openai.request import chat_request, finish_body, max_tokens, stop_sequences
from gateway.dialects.openai.response import ChatDecoder
from gateway.dialects.openai.responses_request import responses_body, responses_traits
from gateway.dialects.openai.responses_response import ResponsesDecoder
from gateway.dialects.openai.schema import Schemas
from gateway.dialects.openai.tools import NAMES, Tools
from gateway.dialects.request_fields import check_fields
from gateway.dialects.tool_names import tool_names
from gateway.dialects.usage import Place, prompt_tokens
from gateway.dialects.warn_once import WarnOnce
from gateway.messages.json_documents import write_document
from gateway.messages.repair import apply
from gateway.messages.request import SESSION_FIELD, conversation_id
from gateway.messages.stream import StreamWriter

PATHS: Mapping[str, str] = {"chat": "/chat/completions", "responses": "/responses"}
"""`wire` of the traits -> path after the base URL."""

LOWERED = "max_tokens"
"""The repair's name in the log line when `max_tokens` is lowered to the host's limit."""

HEADER_KEY = "header:"
"""Prefix of a header field's name in `cache_key`."""

KEY_LENGTH = 32
"""Characters of the hash of a conversation in a cache key."""

Kept = Callable[[str, str, str], Mapping[str, Any]]
"""Returns the values to send back with a call, by host, model and id."""


def encode(
    upstream: Upstream,
    wire_model: str,
    incoming: Incoming,
    *,
    stream: bool,
    cures: Collection[Cure],
    schemas: SchemaCache,
    warn: WarnOnce,
    kept: Kept,
    reporting: set[Place],
) -> Outgoing:
    """Encode a request. `reporting`: places that report usage. Raises RequestError (400)."""
    traits = wire_traits(upstream, cures)
    original = incoming.parsed.exact()
    check_fields(original)
    document, repairs = apply(original, repairs_of(upstream, traits), own_mark=MARK)
    tool_name = tool_names(NAMES, document.get("tools"))
    cleaned = Schemas(traits.schema, schemas, warn)
    host = urlsplit(upstream.base_url).netloc
    known = partial(kept, host, wire_model)
    marked = WITHOUT_THINKING not in cures
    history = History(traits, host, wire_model, tool_name.wire, known, warn, opaque=marked)
    chat = chat_request(
        document,
        original,
        traits=traits,
        wire_model=wire_model,
        history=history,
        tools=Tools(document.get("tools"), traits, tool_name, cleaned, upstream.name, warn),
        schemas=cleaned,
        stream=stream and traits.stream,
    )
    limit = max_tokens(document, traits, wire_model)
    repairs += (LOWERED,) if limit < (document.get("max_tokens") or 0) else ()
    key = conversation_key(original, incoming.headers) if traits.cache_key else ""
    responses = traits.wire == "responses"
    body = finish_body(responses_body(chat, document, traits) if responses else chat, traits, key)
    target = target_of(upstream, traits, wire_model)
    return Outgoing(
        target=target,
        headers=headers_of(traits, key, stream=body["stream"]),
        body=write_document(body, finite=incoming.parsed.by_orjson),
        repairs=repairs,
        state=EncodedRequest(
            traits=traits,
            host=host,
            model=wire_model,
            url=origin_of(upstream) + target,
            names=tool_name.changed,
            fields=fields_of(body, chat, history.features),
            ids=frozenset(history.ids),
            stops=stop_sequences(document, traits)[1],
            stop_sequences=tuple(s for s in document.get("stop_sequences") or () if isinstance(s, str)),
            max_tokens=limit,
            input_tokens=prompt_tokens(incoming.parsed, original, (host, wire_model), reporting),
        ),
    )


def new_decoder(
    writer: StreamWriter,
    sent: EncodedRequest,
    random: Callable[[], float],
    keep: Callable[[str, Mapping[str, Any]], None],
    reporting: set[Place],
) -> Decoder:
    """Return a decoder for the response to a sent request. It calls `keep` with values to send back with a call."""
    output = Output(writer, sent, random, keep, reporting)
    return ResponsesDecoder(output, sent) if sent.traits.wire == "responses" else ChatDecoder(output, sent)


def wire_traits(upstream: Upstream, cures: Collection[Cure]) -> Traits:
    """Return the traits for a request: the upstream's, changed by cures and for the wire in use."""
    traits = apply_cures(traits_of_upstream(upstream), cures)
    return responses_traits(traits) if traits.wire == "responses" else traits


def repairs_of(upstream: Upstream, traits: Traits) -> frozenset[str]:
    """Return the repairs that are on. `cache_control` is off where the traits pass cache marks on."""
    return upstream.repairs - {"cache_control"} if traits.cache_control else upstream.repairs


def headers_of(traits: Traits, key: str, *, stream: bool) -> Headers:
    """Return the header fields of a request, with the conversation's key if a header carries it."""
    headers = [JSON, ACCEPT[stream]]
    if traits.cache_key.startswith(HEADER_KEY):
        headers.append((traits.cache_key.removeprefix(HEADER_KEY).encode(), key.encode()))
    return headers


def target_of(upstream: Upstream, traits: Traits, wire_model: str) -> str:
    """Return path and query of a request."""
    if traits.path:
        return traits.path.replace("{model}", quote(wire_model, safe=""))
    return base_path(upstream) + PATHS[traits.wire]


def origin_of(upstream: Upstream) -> str:
    """Return scheme, host and port of the base URL."""
    parts = urlsplit(upstream.base_url)
    return f"{parts.scheme}://{parts.netloc}"


def fields_of(body: Mapping[str, Any], chat: Mapping[str, Any], features: Collection[str]) -> frozenset[str]:
    """Return the names of a body's fields, and of the features that a host may refuse.

    `chat` is the chat.completions form of the body; `features` are those of the history.
    """
    names = {name for name in body if name != "stream" or body[name]}
    names |= {f"messages.{feature}" for feature in features}
    if any(message["role"] in ("system", "developer") for message in chat["messages"][:1]):
        names.add("messages.system")
    if isinstance(body.get("tool_choice"), dict):
        names.add("tool_choice.object")
    return frozenset(names)


def conversation_key(document: Mapping[str, Any], headers: Headers) -> str:
    """Return a hash of the session, or else of the conversation's beginning.

    It is the same in every turn and after a restart, and reveals nothing about its input.
    """
    session = next((value for name, value in headers if name == SESSION_FIELD), b"")
    unnamed: dict[str, Any] = {"messages": []}
    named = conversation_id({**unnamed, "metadata": document.get("metadata")}, session)
    if named == conversation_id(unnamed):
        contents = (m.get("content") for m in document.get("messages", ()) if m.get("role") == "user")
        named = write_document([document.get("system"), next(contents, None)]).decode()
    return sha256(named.encode()).hexdigest()[:KEY_LENGTH]
