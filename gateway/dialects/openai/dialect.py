"""The OpenAI dialect: where requests go and with which headers; which wire and which cures.

What a request says is request.py's work, what a response means response.py's, errors are failures.py's.
The body is a pure function of the request, the upstream's traits and the cures.
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
from gateway.dialects.openai.cures import cure_of, cured
from gateway.dialects.openai.failures import translated
from gateway.dialects.openai.history import History
from gateway.dialects.openai.output import Output
from gateway.dialects.openai.reasoning import MARK
from gateway.dialects.openai.request import chat_request, finished, max_tokens, stop_sequences
from gateway.dialects.openai.response import ChatDecoder
from gateway.dialects.openai.responses_request import responses_body, responses_traits
from gateway.dialects.openai.responses_response import ResponsesDecoder
from gateway.dialects.openai.schema import Schemas
from gateway.dialects.openai.sent import Sent, sent_of
from gateway.dialects.openai.tools import NAMES, Tools
from gateway.dialects.openai.usage import tokens_of
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
from gateway.routing.sent import Sent as ClientSent

USER_AGENT = (b"user-agent", f"messages-gateway/{__version__}".encode())
JSON = (b"content-type", b"application/json")
ACCEPT = {True: (b"accept", b"text/event-stream"), False: (b"accept", b"application/json")}

CREDENTIAL_FIELDS: Mapping[str, tuple[bytes, bytes]] = {
    "authorization": (b"authorization", b"Bearer "),
    "api-key": (b"api-key", b""),
    "x-api-key": (b"x-api-key", b""),
}
"""`auth_header` -> field and what stands before the key."""

PATHS: Mapping[str, str] = {"chat": "/chat/completions", "responses": "/responses"}
"""`wire` of the traits -> what follows the base URL."""

WINDOW_KEYS = ("context_length", "max_model_len", "max_context_length")
"""Where a list says how large a model's window is: OpenRouter, vLLM, LM Studio."""

LOWERED = "max_tokens"
"""The repair's name in the log line, where a request asks for more output than the host takes."""

PICTURES = frozenset({"image_url", "file"})
"""Features of a history in which there are pictures or documents as such."""

HOSTS_KEPT = 1000
"""Hosts with a wire model of which it is known that they report usage; wildcards pass any name."""

HEADER_KEY = "header:"
"""Before the name of a header field in `cache_key`."""

KEY_LENGTH = 32
"""Characters of a conversation's hash, as cache keys have them."""


class OpenAIDialect:
    """All openai upstreams share one: it holds schemas, and what calls must bring back."""

    relays = False
    stores = NO_STORES
    """What calls must bring back is the model's own text in part: each process keeps its own."""
    counts = False
    """No host has an endpoint that counts tokens."""

    def __init__(self, random: Callable[[], float], warn: Callable[[str], None]) -> None:
        """`random` gives [0, 1); `warn` gets each warning once."""
        self._random = random
        self._warn = WarnOnce(warn)
        self._schemas = SchemaCache()
        self._kept = SignatureStore()
        self._counting: set[tuple[str, str]] = set()
        """Hosts with a wire model that reported usage last: for others each request is estimated with care."""

    def fields(self, upstream: Upstream, credential: Credential) -> Headers:
        """Return the gateway's own name, the credential's field, and those of the configuration."""
        headers = [USER_AGENT]
        if credential.kind != "none":
            name, before = CREDENTIAL_FIELDS[_auth_header(upstream, credential)]
            headers.append((name, before + credential.secret.reveal().encode()))
        own = traits_of_upstream(upstream).headers
        return [*headers, *((name.encode(), value.encode()) for name, value in own.items())]

    def forwarded(self, headers: Headers) -> Headers:
        """Return nothing: the client's session, device and account are not the host's business."""
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
        traits = cured(traits_of_upstream(upstream), cures)
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
        body = finished(responses_body(chat, document, traits) if by_responses else chat, traits, key)
        target = target_of(upstream, traits, wire_model)
        return Outgoing(
            target=target,
            headers=headers_of(traits, key, stream=body["stream"]),
            body=(written := write_document(body, finite=incoming.parsed.by_orjson)),
            repairs=repairs,
            state=Sent(
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
                input_tokens=self._estimate(host, wire_model, original, history.features, len(written)),
            ),
        )

    def decoder(self, incoming: Incoming, outgoing: Outgoing, writer: StreamWriter) -> Decoder:
        """Return a decoder for the response to `outgoing`."""
        sent = sent_of(outgoing)
        output = Output(writer, sent, self._random, partial(self._keep, sent), partial(self._count, sent))
        return (
            ResponsesDecoder(output, sent) if sent.traits.wire == "responses" else ChatDecoder(output, sent)
        )

    def failure(self, failure: Failure, upstream: Upstream, wire_model: str, outgoing: Outgoing) -> Failure:
        """Return the same failure with status, type and message as the Messages protocol would say it."""
        return translated(failure, sent_of(outgoing))

    def cure(
        self,
        failure: Failure,
        outgoing: Outgoing,
        sent: ClientSent,
        applied: Sequence[Cure],
        never: frozenset[str],
    ) -> tuple[Cure, bool] | None:
        """Return what may be changed after a refusal, and whether to remember it; None: nothing."""
        cure = cure_of(failure, sent_of(outgoing), never)
        if cure is None or cure in applied:
            return None
        # Signatures are a conversation's own, all else is the host's.
        return cure, cure != WITHOUT_THINKING

    def count(self, body: bytes) -> int | None:
        """Return None: nobody was asked."""
        return None

    def models_request(self, upstream: Upstream) -> Outgoing | None:
        """Return a GET for the upstream's own model list; None where there is a path for one model only."""
        if traits_of_upstream(upstream).path:
            return None
        return Outgoing(method="GET", target=f"{base_path(upstream)}/models", headers=[ACCEPT[False]])

    def models(self, body: bytes) -> list[ListedModel]:
        """Read each model that takes tools, as far as the host tells; [] if it is no list."""
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
        """Return what a call of this host and model must bring back; nothing for another's."""
        written = self._kept.get(id)
        kept = orjson.loads(written) if written else {}
        return kept if (kept.get("h"), kept.get("m")) == (host, model) else {}

    def _estimate(
        self, host: str, model: str, document: dict[str, Any], features: Collection[str], size: int
    ) -> int:
        """Return a request's tokens: by its size where that will hardly be needed, unless pictures are part of it."""
        is_rough = (host, model) in self._counting and PICTURES.isdisjoint(features)
        return tokens_of(size) if is_rough else estimate(document)

    def _count(self, sent: Sent, reported: bool) -> None:
        if not reported:
            self._counting.discard((sent.host, sent.model))
        elif len(self._counting) < HOSTS_KEPT:
            self._counting.add((sent.host, sent.model))

    def _keep(self, sent: Sent, id: str, kept: Mapping[str, Any]) -> None:
        self._kept.remember(id, write_document({"h": sent.host, "m": sent.model, **kept}).decode())


def new_dialect(random: Callable[[], float], warn: Callable[[str], None]) -> OpenAIDialect:
    """Return the dialect of all openai upstreams. `random` gives [0, 1); `warn` gets each warning once."""
    return OpenAIDialect(random, warn)


def traits_of_upstream(upstream: Upstream) -> Traits:
    """Return the upstream's options."""
    return cast(Traits, upstream.options)


def repairs_of(upstream: Upstream, traits: Traits) -> frozenset[str]:
    """Return the repairs that are on: the one that takes cache marks away is not where they are passed."""
    return upstream.repairs - {"cache_control"} if traits.cache_control else upstream.repairs


def headers_of(traits: Traits, key: str, *, stream: bool) -> Headers:
    """Return the fields of a request, with the conversation's key where it goes into one."""
    headers = [JSON, ACCEPT[stream]]
    if traits.cache_key.startswith(HEADER_KEY):
        headers.append((traits.cache_key.removeprefix(HEADER_KEY).encode(), key.encode()))
    return headers


def target_of(upstream: Upstream, traits: Traits, wire_model: str) -> str:
    """Return the path and query that are asked."""
    if traits.path:
        return traits.path.replace("{model}", quote(wire_model, safe=""))
    return base_path(upstream) + PATHS[traits.wire]


def base_path(upstream: Upstream) -> str:
    """Return the path of the base URL; one without any gets the version that the OpenAI SDKs would name."""
    return urlsplit(upstream.base_url).path.rstrip("/") or "/v1"


def origin_of(upstream: Upstream) -> str:
    """Return scheme, host and port of the base URL."""
    parts = urlsplit(upstream.base_url)
    return f"{parts.scheme}://{parts.netloc}"


def fields_of(body: Mapping[str, Any], chat: Mapping[str, Any], features: Collection[str]) -> frozenset[str]:
    """Return the names of a body's fields, and what else of it a host may refuse.

    `chat` is the body for chat.completions, be it the same or not; `features` are those of the history.
    """
    names = {name for name in body if name != "stream" or body[name]}
    names |= {f"messages.{feature}" for feature in features}
    if any(message["role"] in ("system", "developer") for message in chat["messages"][:1]):
        names.add("messages.system")
    if isinstance(body.get("tool_choice"), dict):
        names.add("tool_choice.object")
    return frozenset(names)


def conversation_key(document: Mapping[str, Any], headers: Headers) -> str:
    """Return a hash of what stickiness goes by: the session, else how the conversation begins.

    It is the same every turn and after a restart, and tells nothing of what it was made of.
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
