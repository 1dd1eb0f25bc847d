"""The OpenAI dialect: target and headers of requests, choice of the wire format, and cures.

`request` writes bodies, `response` reads responses, `failures` reads errors. The body is a pure function of the
request, the upstream's traits and the cures.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any, cast
from urllib.parse import quote, urlsplit

import orjson

from gateway import __version__
from gateway.config import Upstream
from gateway.config.openai_traits import Traits
from gateway.dialects.base import (
    NO_STORES,
    WITHOUT_THINKING,
    Cure,
    Decoder,
    Headers,
    Incoming,
    ListedModel,
    Outgoing,
)
from gateway.dialects.json_schema.cache import SchemaCache
from gateway.dialects.openai.cures import apply_cures, cure_of
from gateway.dialects.openai.encoded_request import EncodedRequest, encoded_request_of
from gateway.dialects.openai.failures import translate_failure
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
from gateway.dialects.signature_store import SignatureStore
from gateway.dialects.tool_names import tool_names
from gateway.dialects.warn_once import WarnOnce
from gateway.messages.errors import RequestError
from gateway.messages.json_documents import write_document
from gateway.messages.repair import apply
from gateway.messages.request import SESSION_FIELD, conversation_id
from gateway.messages.stream import StreamWriter
from gateway.messages.token_estimate import estimate
from gateway.routing.credentials import Credential
from gateway.routing.failures import Failure
from gateway.routing.sent import Sent

USER_AGENT = (b"user-agent", f"messages-gateway/{__version__}".encode())
JSON = (b"content-type", b"application/json")
ACCEPT = {True: (b"accept", b"text/event-stream"), False: (b"accept", b"application/json")}

CREDENTIAL_FIELDS: Mapping[str, tuple[bytes, bytes]] = {
    "authorization": (b"authorization", b"Bearer "),
    "api-key": (b"api-key", b""),
    "x-api-key": (b"x-api-key", b""),
}
"""`auth_header` -> field, and the prefix of the key."""

PATHS: Mapping[str, str] = {"chat": "/chat/completions", "responses": "/responses"}
"""`wire` of the traits -> path after the base URL."""

WINDOW_KEYS = ("context_length", "max_model_len", "max_context_length")
"""Fields of a model list with the size of a context window: OpenRouter, vLLM, LM Studio."""

LOWERED = "max_tokens"
"""The repair's name in the log line when `max_tokens` is lowered to the host's limit."""

HOSTS_KEPT = 1000
"""Pairs of host and wire model known to report usage, at most: wildcards pass on any name."""

HEADER_KEY = "header:"
"""Prefix of a header field's name in `cache_key`."""

KEY_LENGTH = 32
"""Characters of the hash of a conversation in a cache key."""


class OpenAIDialect:
    """The dialect, shared by all openai upstreams: it caches schemas and values to send back with calls."""

    relays = False
    stores = NO_STORES
    """Those values contain the model's own text, so that each process keeps its own."""
    counts = False
    """No host has an endpoint that counts tokens."""

    def __init__(self, random: Callable[[], float], warn: Callable[[str], None]) -> None:
        """`random` returns [0, 1); `warn` gets each warning once."""
        self._random = random
        self._warn = WarnOnce(warn)
        self._schemas = SchemaCache()
        self._kept = SignatureStore()
        self._counting: set[tuple[str, str]] = set()
        """Pairs of host and wire model that report usage: for others each request is estimated."""

    def fields(self, upstream: Upstream, credential: Credential) -> Headers:
        """Return user-agent, the credential's field, and the configured fields."""
        headers = [USER_AGENT]
        if credential.kind != "none":
            name, before = CREDENTIAL_FIELDS[_auth_header(upstream, credential)]
            headers.append((name, before + credential.secret.reveal().encode()))
        own = traits_of_upstream(upstream).headers
        return [*headers, *((name.encode(), value.encode()) for name, value in own.items())]

    def forwarded(self, headers: Headers) -> Headers:
        """Return no fields: the client's session, device and account do not concern the host."""
        return ()

    def encode(
        self,
        upstream: Upstream,
        wire_model: str,
        incoming: Incoming,
        *,
        stream: bool,
        cures: Collection[Cure] = (),
    ) -> Outgoing:
        """Encode the request for this upstream. Raises RequestError(400), or (501) for one that counts tokens."""
        if incoming.purpose != "messages":
            raise RequestError(501, f"the upstream {upstream.name!r} cannot count tokens")
        traits = apply_cures(traits_of_upstream(upstream), cures)
        by_responses = traits.wire == "responses"
        traits = responses_traits(traits) if by_responses else traits
        original = incoming.parsed.exact()
        check_fields(original)
        document, repairs = apply(original, repairs_of(upstream, traits), own_mark=MARK)
        tool_name = tool_names(NAMES, document.get("tools"))
        schemas = Schemas(traits.schema, self._schemas, self._warn)
        host = urlsplit(upstream.base_url).netloc
        known = partial(self._known, host, wire_model)
        opaque = WITHOUT_THINKING not in cures
        history = History(traits, host, wire_model, tool_name.wire, known, self._warn, opaque=opaque)
        chat = chat_request(
            document,
            original,
            traits=traits,
            wire_model=wire_model,
            history=history,
            tools=Tools(document.get("tools"), traits, tool_name, schemas, upstream.name, self._warn),
            schemas=schemas,
            stream=stream and traits.stream,
        )
        limit = max_tokens(document, traits, wire_model)
        if limit < (document.get("max_tokens") or 0):
            repairs += (LOWERED,)
        key = conversation_key(original, incoming.headers) if traits.cache_key else ""
        body = finish_body(responses_body(chat, document, traits) if by_responses else chat, traits, key)
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
                input_tokens=0 if (host, wire_model) in self._counting else estimate(original),
            ),
        )

    def decoder(self, incoming: Incoming, outgoing: Outgoing, writer: StreamWriter) -> Decoder:
        """Return a decoder for the response to `outgoing`."""
        sent = encoded_request_of(outgoing)
        output = Output(writer, sent, self._random, partial(self._keep, sent), partial(self._count, sent))
        return (
            ResponsesDecoder(output, sent) if sent.traits.wire == "responses" else ChatDecoder(output, sent)
        )

    def failure(self, failure: Failure, upstream: Upstream, wire_model: str, outgoing: Outgoing) -> Failure:
        """Return the failure with status, type and message of the Messages protocol."""
        return translate_failure(failure, encoded_request_of(outgoing))

    def cure(
        self,
        failure: Failure,
        outgoing: Outgoing,
        sent: Sent,
        applied: Sequence[Cure],
        never: frozenset[str],
    ) -> tuple[Cure, bool] | None:
        """Return the cure for a refusal, and whether to remember it; None if there is none."""
        cure = cure_of(failure, encoded_request_of(outgoing), never)
        if cure is None or cure in applied:
            return None
        # Signatures depend on the conversation, everything else on the host.
        return cure, cure != WITHOUT_THINKING

    def count(self, body: bytes) -> int | None:
        """Return None: no host counts tokens."""
        return None

    def models_request(self, upstream: Upstream) -> Outgoing | None:
        """Return a GET for the upstream's model list; None if `path` fixes one model."""
        if traits_of_upstream(upstream).path:
            return None
        return Outgoing(method="GET", target=f"{base_path(upstream)}/models", headers=[ACCEPT[False]])

    def models(self, body: bytes) -> list[ListedModel]:
        """Read the models that accept tools, as far as the list says; [] if it is not a list."""
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            return []
        listed = document.get("data") if isinstance(document, dict) else document
        found = []
        for model in listed if isinstance(listed, list) else ():
            id = model.get("id") if isinstance(model, dict) else None
            if not isinstance(id, str) or not id:
                continue
            parameters = model.get("supported_parameters")
            if isinstance(parameters, list) and "tools" not in parameters:
                continue
            name = model.get("name")
            windows = [model[key] for key in WINDOW_KEYS if type(model.get(key)) is int]
            fields = {"max_input_tokens": windows[0]} if windows else {}
            found.append(ListedModel(id, name if isinstance(name, str) and name else id, fields))
        return found

    def _known(self, host: str, model: str, id: str) -> Mapping[str, Any]:
        """Return the values to send back with a call; {} if another host or model made it."""
        written = self._kept.get(id)
        kept = orjson.loads(written) if written else {}
        return kept if (kept.get("h"), kept.get("m")) == (host, model) else {}

    def _count(self, sent: EncodedRequest) -> None:
        if len(self._counting) < HOSTS_KEPT:
            self._counting.add((sent.host, sent.model))

    def _keep(self, sent: EncodedRequest, id: str, kept: Mapping[str, Any]) -> None:
        self._kept.remember(id, write_document({"h": sent.host, "m": sent.model, **kept}).decode())


def new_dialect(random: Callable[[], float], warn: Callable[[str], None]) -> OpenAIDialect:
    """Return the dialect of all openai upstreams. `random` returns [0, 1); `warn` gets each warning once."""
    return OpenAIDialect(random, warn)


def traits_of_upstream(upstream: Upstream) -> Traits:
    """Return the upstream's options."""
    return cast(Traits, upstream.options)


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


def base_path(upstream: Upstream) -> str:
    """Return the path of the base URL; without one, the version that the OpenAI SDKs use."""
    return urlsplit(upstream.base_url).path.rstrip("/") or "/v1"


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


def _auth_header(upstream: Upstream, credential: Credential) -> str:
    return "authorization" if credential.kind == "bearer" else upstream.auth_header
