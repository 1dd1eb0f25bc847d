"""The OpenAI dialect: combines the parts for all openai upstreams.

`translation` translates requests and responses, `failures` errors. The former is imported with the first request, so
that the gateway starts sooner and stays smaller until then.
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
from gateway.dialects.openai.encoded_request import EncodedRequest, encoded_request_of
from gateway.dialects.openai.failures import translate_failure
from gateway.dialects.signature_store import SignatureStore
from gateway.dialects.warn_once import WarnOnce
from gateway.messages.errors import RequestError
from gateway.messages.json_documents import write_document
from gateway.messages.json_values import as_text, dicts_in, json_in
from gateway.messages.stream import StreamWriter
from gateway.routing.credentials import Credential
from gateway.routing.failures import Failure
from gateway.routing.sent import Sent

ACCEPT = {True: (b"accept", b"text/event-stream"), False: (b"accept", b"application/json")}


WINDOW_KEYS = ("context_length", "max_model_len", "max_context_length")
"""Fields of a model list with the size of a context window: OpenRouter, vLLM, LM Studio."""


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
        self._reporting: set[tuple[str, str]] = set()
        """(host, wire model) pairs whose last response reported usage."""

    def fields(self, upstream: Upstream, credential: Credential) -> Headers:
        """Return user-agent, the credential's field, and the configured fields."""
        own = traits_of_upstream(upstream).headers
        return [
            USER_AGENT,
            *credential_fields(credential, upstream.auth_header),
            *((name.encode(), value.encode()) for name, value in own.items()),
        ]

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
            reporting=self._reporting,
        )

    def decoder(self, incoming: Incoming, outgoing: Outgoing, writer: StreamWriter) -> Decoder:
        """Return a decoder for the response to `outgoing`."""
        from gateway.dialects.openai.translation import new_decoder

        sent = encoded_request_of(outgoing)
        return new_decoder(writer, sent, self._random, partial(self._keep, sent), self._reporting)

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
        """Return the values to send back with a call; {} if another host or model made it."""
        written = self._kept.get(id)
        kept = orjson.loads(written) if written else {}
        return kept if (kept.get("h"), kept.get("m")) == (host, model) else {}

    def _keep(self, sent: EncodedRequest, id: str, kept: Mapping[str, Any]) -> None:
        self._kept.remember(id, write_document({"h": sent.host, "m": sent.model, **kept}).decode())


def new_dialect(random: Callable[[], float], warn: Callable[[str], None]) -> OpenAIDialect:
    """Return the dialect of all openai upstreams. `random` returns [0, 1); `warn` gets each warning once."""
    return OpenAIDialect(random, warn)


def traits_of_upstream(upstream: Upstream) -> Traits:
    """Return the upstream's options."""
    return cast(Traits, upstream.options)


def base_path(upstream: Upstream) -> str:
    """Return the path of the base URL; without one, the version that the OpenAI SDKs use."""
    return urlsplit(upstream.base_url).path.rstrip("/") or "/v1"
