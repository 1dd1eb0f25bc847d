"""The client's own dialect: bytes pass, and only what must change is spliced or repaired.

Serves Anthropic and every host that speaks the Messages protocol itself.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import orjson

from gateway import __version__
from gateway.config import Upstream
from gateway.dialects.base import Decoder, Headers, Incoming, Outgoing
from gateway.http1.forms import MAX_FORMS, Form
from gateway.http1.lines import VARYING
from gateway.messages.json_documents import write_document
from gateway.messages.repair import apply, without_thinking
from gateway.messages.request import MessagesRequest, splice_model
from gateway.messages.stream import StreamWriter
from gateway.routing.credentials import Credential
from gateway.routing.failures import Failure, error_in

DEFAULT_VERSION = (b"anthropic-version", b"2023-06-01")

USER_AGENT = (b"user-agent", f"messages-gateway/{__version__}".encode())

FORWARDED = frozenset({b"content-type", b"accept", b"user-agent", b"x-app"})
"""Client fields that go upstream by their whole name."""

FORWARDED_PREFIXES = (b"anthropic-", b"x-stainless-", b"x-claude-code-")

PATHS = {"messages": "/v1/messages", "count_tokens": "/v1/messages/count_tokens"}


@lru_cache(maxsize=64)
def base_path(base_url: str) -> str:
    """The path of an upstream's base URL, "" for none."""
    return urlsplit(base_url).path


def forwarded_headers(headers: Headers) -> list[tuple[bytes, bytes]]:
    """What of a client's head an upstream gets to see; never a credential, a cookie or a hop's own fields."""
    named: tuple[bytes, ...] = ()
    for name, value in headers:
        if name == b"connection":
            named += tuple(option.strip().lower() for option in value.split(b","))
    kept = [
        field
        for field in headers
        if (field[0] in FORWARDED or field[0].startswith(FORWARDED_PREFIXES)) and field[0] not in named
    ]
    names = {name for name, _ in kept}
    if b"anthropic-version" not in names:
        kept.append(DEFAULT_VERSION)
    if b"user-agent" not in names:
        kept.append(USER_AGENT)
    if b"content-type" not in names:
        kept.append((b"content-type", b"application/json"))
    kept.append((b"accept-encoding", b"identity"))
    return kept


def credential_header(upstream: Upstream, credential: Credential) -> tuple[tuple[bytes, bytes], ...]:
    """The field that pays; none for a local upstream without a key."""
    if credential.kind == "none":
        return ()
    secret = credential.secret.reveal().encode()
    if upstream.auth_header == "authorization" or credential.kind == "bearer":
        return ((b"authorization", b"Bearer " + secret),)
    return ((b"x-api-key", secret),)


def encoded_body(
    request: MessagesRequest, upstream: Upstream, wire_model: str, incoming: Incoming
) -> tuple[bytes, tuple[str, ...]]:
    """The body for an upstream, and the repairs that changed it. Without any it is the client's own bytes
    with the model's name exchanged."""
    document, repairs = _changed(request.document, request, upstream, incoming)
    if document is request.document:
        return splice_model(request, wire_model), repairs
    exact = request.exact()
    if exact is not request.document:
        document, repairs = _changed(exact, request, upstream, incoming)
    return write_document({**document, "model": wire_model}, finite=request.by_orjson), repairs


def _changed(
    document: dict[str, Any], request: MessagesRequest, upstream: Upstream, incoming: Incoming
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The document as the upstream needs it but for the model, and the repairs that it took. The very same
    object if it needs none."""
    if incoming.without_thinking:
        document = without_thinking(document)
    document, repairs = apply(document, upstream.repairs)
    if incoming.without_thinking:
        repairs = (*repairs, "without_thinking")
    if incoming.purpose == "messages" and incoming.stream != request.stream:
        document = {**document, "stream": incoming.stream}
    return document, repairs


def addressed(
    upstream: Upstream, credential: Credential, incoming: Incoming
) -> tuple[str, list[tuple[bytes, bytes]]]:
    """The target and the header fields of a client's request to this upstream."""
    target = base_path(upstream.base_url) + PATHS[incoming.purpose]
    if incoming.query:
        target = f"{target}?{incoming.query}"
    return target, [*forwarded_headers(incoming.headers), *credential_header(upstream, credential)]


def is_constant(form: Form) -> bool:
    """Whether what goes upstream of a head is the same in all heads of this form."""
    return not any(name in VARYING and name.startswith(FORWARDED_PREFIXES) for name in form.index)


class AnthropicDialect:
    """Keeps nothing of a request but the header fields that the next of its form has, too."""

    relays = True

    def __init__(self) -> None:
        self._known: dict[tuple[Form, int, int], tuple[Upstream, Credential, str, Headers]] = {}
        """By form and the identities of what else the target and the fields follow from."""

    def encode(
        self, upstream: Upstream, credential: Credential, wire_model: str, incoming: Incoming
    ) -> Outgoing:
        """The client's request, for this upstream and account."""
        body, repairs = encoded_body(incoming.request, upstream, wire_model, incoming)
        target, headers = self._addressed(upstream, credential, incoming)
        return Outgoing(method="POST", target=target, headers=headers, body=body, repairs=repairs)

    def _addressed(
        self, upstream: Upstream, credential: Credential, incoming: Incoming
    ) -> tuple[str, Headers]:
        """`addressed`, found out once a form; the fields are a tuple then."""
        form = incoming.form
        if form is None:
            return addressed(upstream, credential, incoming)
        key = (form, id(upstream), id(credential))
        known = self._known.get(key)
        if known is None:
            target, headers = addressed(upstream, credential, incoming)
            if not is_constant(form):
                return target, headers
            if len(self._known) >= MAX_FORMS:
                self._known.clear()
            # What is kept by its identity must itself be kept, so that nothing else gets to have it.
            known = self._known[key] = (upstream, credential, target, tuple(headers))
        return known[2], known[3]

    def decoder(self, incoming: Incoming, outgoing: Outgoing, writer: StreamWriter) -> Decoder:
        """Never asked for, since bytes are relayed."""
        raise TypeError("an answer of the client's own dialect is relayed, not decoded")

    def failure(self, failure: Failure) -> Failure:
        """The same failure with the type and message that its body names."""
        if failure.type or not failure.body:
            return failure
        type, message = error_in(failure.body)
        return replace(failure, type=type, message=failure.message or message)

    def count(self, body: bytes) -> int | None:
        """`input_tokens` of a count_tokens answer."""
        try:
            count = orjson.loads(body)["input_tokens"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return None
        return count if type(count) is int and count >= 0 else None

    def models_request(self, upstream: Upstream, credential: Credential) -> Outgoing:
        """One page holds every model that a host has."""
        return Outgoing(
            method="GET",
            target=f"{base_path(upstream.base_url)}/v1/models?limit=1000",
            headers=[
                (b"accept", b"application/json"),
                DEFAULT_VERSION,
                USER_AGENT,
                (b"accept-encoding", b"identity"),
                *credential_header(upstream, credential),
            ],
            body=b"",
        )

    def models(self, body: bytes) -> list[tuple[str, str]]:
        """`data[].id` with `display_name`; OpenAI-like lists, which have only ids, are understood too."""
        try:
            entries = orjson.loads(body)["data"]
            return [
                (entry["id"], _text(entry.get("display_name")) or entry["id"])
                for entry in entries
                if _text(entry.get("id"))
            ]
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            return []


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
