"""The dialect of the client's own protocol: bytes pass, and only what must change is spliced or repaired.

Serves Anthropic and every host that speaks the Messages protocol itself.
"""

import re
from collections.abc import Callable, Collection, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import orjson

from gateway.config import Upstream
from gateway.dialects.base import (
    JSON,
    NO_STORES,
    USER_AGENT,
    Cure,
    Decoder,
    Headers,
    Incoming,
    ListedModel,
    Outgoing,
    credential_fields,
)
from gateway.dialects.limits import limit_in
from gateway.messages.cures import CURES
from gateway.messages.errors import error_body
from gateway.messages.json_documents import write_document
from gateway.messages.json_values import as_dict, as_text, dicts_in, json_in
from gateway.messages.repair import apply
from gateway.messages.request import splice_model
from gateway.messages.stream import StreamWriter
from gateway.routing.credentials import Credential
from gateway.routing.cures import MESSAGES_CURES, find_cure
from gateway.routing.failures import Failure, error_of
from gateway.routing.sent import Sent

DEFAULT_VERSION = (b"anthropic-version", b"2023-06-01")

FORWARDED = frozenset({b"content-type", b"accept", b"user-agent", b"x-app"})
"""Client fields that go upstream, by their whole name."""

FORWARDED_PREFIXES = (b"anthropic-", b"x-stainless-", b"x-claude-code-")

OWN_KEYS = frozenset({"id", "display_name", "object", "type", "created", "owned_by"})
"""Keys of a listed model for which the gateway has its own values."""

OWN_WORDS = re.compile(
    r"prompt is too long|exceed context limit|max_tokens: \d+ > \d+|input is too long", re.IGNORECASE
)
"""The API's own messages about a limit: they pass unchanged."""

PATHS = {"messages": "/v1/messages", "count_tokens": "/v1/messages/count_tokens"}


@lru_cache(maxsize=64)
def base_path(base_url: str) -> str:
    """Return the path of an upstream's base URL, "" for none. Cached: few configurations have 64 upstreams."""
    return urlsplit(base_url).path


def forwarded_headers(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the fields of a client's head that go upstream; no credential, cookie or hop-by-hop field is among
    them."""
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
        kept.append(JSON)
    return kept


def _change(
    document: dict[str, Any],
    upstream: Upstream,
    stream: bool | None,
    cures: Collection[Cure],
    cured: dict[str, None],
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the document as the upstream needs it, except for the model, and the repairs that changed it.

    `stream`: the value to set if it differs from the client's, else None. `cured` gets the names of the cures that
    changed something.
    """
    for name, detail in cures:
        before = document
        if name in CURES:
            document = CURES[name](document, detail)
        if document is not before:
            cured[name] = None
    document, repairs = apply(document, upstream.repairs)
    if stream is not None:
        document = {**document, "stream": stream}
    return document, repairs


def without_betas(headers: Headers, cures: Collection[Cure]) -> Headers | None:
    """Return a client's fields without the betas that cures name; None if nothing is left out."""
    # A cure without a detail removes all betas.
    left_out = {beta or "*" for name, detail in cures if name == "betas" for beta in detail.split(",")}
    kept, changed = [], False
    for name, value in headers:
        if left_out and name == b"anthropic-beta":
            betas = [beta.strip() for beta in value.decode("latin-1").split(",")]
            stay = [beta for beta in betas if not any(fnmatchcase(beta, pattern) for pattern in left_out)]
            if len(stay) < len(betas):
                changed = True
                value = ",".join(stay).encode("latin-1")
                if not value:
                    continue
        kept.append((name, value))
    return kept if changed else None


def _reword(failure: Failure, type: str, message: str) -> bytes:
    """Return an error body with another message, in the protocol's form."""
    document = as_dict(json_in(failure.body))
    error = document.get("error")
    if isinstance(error, dict) and type:
        return orjson.dumps({**document, "error": {**error, "message": message}})
    return error_body(failure.status, message, "", type=type or None)


class AnthropicDialect:
    """The dialect of the client's own protocol. Has no state."""

    relays = True
    stores = NO_STORES
    counts = True

    def fields(self, upstream: Upstream, credential: Credential) -> Headers:
        """Return the credential's field, and one that asks for an uncompressed body."""
        return [(b"accept-encoding", b"identity"), *credential_fields(credential, upstream.auth_header)]

    def forwarded(self, headers: Headers) -> Headers:
        """Return the fields of a client's head that go upstream."""
        return forwarded_headers(headers)

    def encode(
        self,
        upstream: Upstream,
        wire_model: str,
        incoming: Incoming,
        *,
        stream: bool,
        cures: Collection[Cure] = (),
    ) -> Outgoing:
        """Encode the client's request for this upstream.

        If nothing must change, the body is the client's own bytes with the model's name replaced.
        """
        request = incoming.parsed
        other = stream if incoming.purpose == "messages" and stream != request.stream else None
        document = request.document
        repairs: tuple[str, ...]
        cured: dict[str, None] = {}
        if cures or other is not None:
            document, repairs = _change(document, upstream, other, cures, cured)
        else:
            document, repairs = apply(document, upstream.repairs)
        if document is request.document:
            body = splice_model(request, wire_model)
        else:
            exact = request.exact()
            if exact is not request.document:
                document, repairs = _change(exact, upstream, other, cures, cured)
            body = write_document({**document, "model": wire_model}, finite=request.by_orjson)
        target = base_path(upstream.base_url) + PATHS[incoming.purpose]
        if incoming.query:
            target = f"{target}?{incoming.query}"
        headers = without_betas(incoming.headers, cures) if cures else None
        own = None
        if headers is not None:
            own = forwarded_headers(headers)
            cured["betas"] = None
        return Outgoing(target, "POST", own, body, repairs, cured, document.get("max_tokens"))

    def decoder(self, incoming: Incoming, outgoing: Outgoing, writer: StreamWriter) -> Decoder:
        """Raise TypeError: bytes are relayed, not decoded."""
        raise TypeError("a response of the client's own dialect is relayed, not decoded")

    def failure(self, failure: Failure, upstream: Upstream, wire_model: str, outgoing: Outgoing) -> Failure:
        """Return the failure with the type and message that its body names.

        A host's own message about a limit gets the API's in front: clients recover by that.
        """
        if failure.type or not failure.body:
            return failure
        error = error_of(failure)
        message = failure.message or error.message
        most = outgoing.state if isinstance(outgoing.state, int) else 0
        if failure.status >= 400 and not OWN_WORDS.search(error.message):
            limit = limit_in(error, failure.status, most)
            if limit is not None:
                message, failure = limit.text, failure._replace(body=_reword(failure, error.type, limit.text))
        return failure._replace(type=error.type, message=message)

    def cure(
        self,
        failure: Failure,
        outgoing: Outgoing,
        sent: Sent,
        applied: Sequence[Cure],
        never: frozenset[str],
    ) -> tuple[Cure, bool] | None:
        """Return the cure for a refusal, and whether to remember it; None if there is none."""
        return find_cure(MESSAGES_CURES, failure, sent, applied, never)

    def count(self, body: bytes) -> int | None:
        """Read `input_tokens` from a count_tokens response; None if the body is not one."""
        count = as_dict(json_in(body)).get("input_tokens")
        return count if type(count) is int and count >= 0 else None

    def models_request(self, upstream: Upstream) -> Outgoing:
        """Return the request for one page, which is long enough for all models of a host."""
        return Outgoing(
            method="GET",
            target=f"{base_path(upstream.base_url)}/v1/models?limit=1000",
            headers=[(b"accept", b"application/json"), DEFAULT_VERSION, USER_AGENT],
        )

    def models(self, body: bytes) -> list[ListedModel]:
        """Read `data[]` with all its fields; OpenAI-like lists, which have only ids, are understood, too."""
        found = []
        for entry in dicts_in(as_dict(json_in(body)).get("data")):
            id = as_text(entry.get("id"))
            if id:
                more = {key: value for key, value in entry.items() if key not in OWN_KEYS}
                found.append(ListedModel(id, as_text(entry.get("display_name")) or id, more))
        return found


def new_dialect(random: Callable[[], float], warn: Callable[[str], None]) -> AnthropicDialect:
    """Return this dialect; it needs neither `random` nor `warn`."""
    return AnthropicDialect()
