"""The OpenAI dialect: what holds the parts together for every openai upstream.

What a request says is translation.py's work, and so is what a response means; errors are failures.py's. The former is
loaded with the first request: until then a gateway starts sooner and stays smaller without.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit

import orjson

from gateway.config import Upstream
from gateway.config.openai_traits import Traits
from gateway.dialects.base import (
    NO_STORES,
    USER_AGENT,
    WITHOUT_THINKING,
    Cure,
    Decoder,
    Headers,
    Incoming,
    ListedModel,
    Outgoing,
    credential_fields,
)
from gateway.dialects.json_schema.cache import SchemaCache
from gateway.dialects.openai.cures import cure_of
from gateway.dialects.openai.failures import translated
from gateway.dialects.openai.sent import Sent, sent_of
from gateway.dialects.signature_store import SignatureStore
from gateway.dialects.warn_once import WarnOnce
from gateway.messages.errors import RequestError
from gateway.messages.json_documents import write_document
from gateway.messages.json_values import as_text, dicts_in, json_in
from gateway.messages.stream import StreamWriter
from gateway.routing.credentials import Credential
from gateway.routing.failures import Failure
from gateway.routing.sent import Sent as ClientSent

ACCEPT = {True: (b"accept", b"text/event-stream"), False: (b"accept", b"application/json")}


WINDOW_KEYS = ("context_length", "max_model_len", "max_context_length")
"""Where a list says how large a model's window is: OpenRouter, vLLM, LM Studio."""

HOSTS_KEPT = 1000
"""Hosts with a wire model of which it is known that they report usage; wildcards pass any name."""


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
        own = traits_of_upstream(upstream).headers
        return [
            USER_AGENT,
            *credential_fields(credential, upstream.auth_header),
            *((name.encode(), value.encode()) for name, value in own.items()),
        ]

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
        from gateway.dialects.openai.translation import encode

        return encode(
            upstream,
            wire_model,
            incoming,
            stream=stream,
            cures=cures,
            schemas=self._schemas,
            warn=self._warn,
            kept=self._known,
            counting=self._counting,
        )

    def decoder(self, incoming: Incoming, outgoing: Outgoing, writer: StreamWriter) -> Decoder:
        """Return a decoder for the response to `outgoing`."""
        from gateway.dialects.openai.translation import new_decoder

        sent = sent_of(outgoing)
        return new_decoder(writer, sent, self._random, partial(self._keep, sent), partial(self._count, sent))

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
        document = json_in(body)
        found = []
        for model in dicts_in(document.get("data") if isinstance(document, dict) else document):
            id = as_text(model.get("id"))
            if not id:
                continue
            parameters = model.get("supported_parameters")
            if isinstance(parameters, list) and "tools" not in parameters:
                continue
            windows = [model[key] for key in WINDOW_KEYS if type(model.get(key)) is int]
            fields = {"max_input_tokens": windows[0]} if windows else {}
            found.append(ListedModel(id, as_text(model.get("name")) or id, fields))
        return found

    def _known(self, host: str, model: str, id: str) -> Mapping[str, Any]:
        """Return what a call of this host and model must bring back; nothing for another's."""
        written = self._kept.get(id)
        kept = orjson.loads(written) if written else {}
        return kept if (kept.get("h"), kept.get("m")) == (host, model) else {}

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


def base_path(upstream: Upstream) -> str:
    """Return the path of the base URL; one without any gets the version that the OpenAI SDKs would name."""
    return urlsplit(upstream.base_url).path.rstrip("/") or "/v1"
