"""The Gemini dialect: combines the parts for all gemini upstreams.

translation.py translates requests and responses, places.py builds addresses, errors.py reads errors. translation.py
is imported with the first request, so that a gateway starts sooner and an unused one stays smaller.
"""

from collections.abc import Callable, Collection, Sequence

from gateway.config import Upstream
from gateway.dialects.base import (
    JSON,
    USER_AGENT,
    Cure,
    Decoder,
    Headers,
    Incoming,
    ListedModel,
    Outgoing,
    credential_fields,
)
from gateway.dialects.gemini.cures import CURES
from gateway.dialects.gemini.errors import translate_failure
from gateway.dialects.gemini.places import GENERATE, base_path
from gateway.dialects.gemini.signatures import Signatures
from gateway.dialects.json_schema.cache import SchemaCache
from gateway.dialects.warn_once import WarnOnce
from gateway.messages.json_values import as_dict, as_text, dicts_in, json_in
from gateway.messages.stream import StreamWriter
from gateway.routing.credentials import Credential
from gateway.routing.cures import find_cure
from gateway.routing.failures import Failure
from gateway.routing.sent import Sent

MODELS_A_PAGE = 1000
"""The API's limit for a page of the model list; its default is 50."""

OUTPUTS_KEPT = 4 * MODELS_A_PAGE
"""Models whose output limit is remembered, at most: the lists of several upstreams."""

LIMITS = (("inputTokenLimit", "max_input_tokens"), ("outputTokenLimit", "max_tokens"))
"""Limits in a model list, and their names in the Messages protocol."""


class GeminiDialect:
    """The dialect, shared by all gemini upstreams: it has the schemas and signatures of all conversations."""

    relays = False
    counts = True

    def __init__(self, random: Callable[[], float], warn: Callable[[str], None]) -> None:
        """`random` returns [0, 1); `warn` gets each warning once."""
        self._random = random
        self._warn = WarnOnce(warn)
        self._schemas = SchemaCache()
        self._signatures = Signatures()
        self.stores = self._signatures.stores
        self._outputs: dict[str, int] = {}
        """Model -> its limit of output tokens, from the upstream's list."""
        self._reporting: set[tuple[str, str]] = set()
        """(base URL, wire model) pairs whose last response reported usage."""

    def fields(self, upstream: Upstream, credential: Credential) -> Headers:
        """Return user-agent and the credential's field."""
        return [USER_AGENT, *credential_fields(credential, "x-goog-api-key")]

    def forwarded(self, headers: Headers) -> Headers:
        """Return the content type; no field of the client's head goes to Google."""
        return (JSON,)

    def encode(
        self,
        upstream: Upstream,
        wire_model: str,
        incoming: Incoming,
        *,
        stream: bool,
        cures: Collection[Cure] = (),
    ) -> Outgoing:
        """Encode the request for this upstream, always as a stream. Raises RequestError(400)."""
        from gateway.dialects.gemini.translation import encode

        return encode(
            upstream,
            wire_model,
            incoming,
            cures=cures,
            listed=self._outputs.get(wire_model, 0),
            schemas=self._schemas,
            signatures=self._signatures,
            warn=self._warn,
            reporting=self._reporting,
        )

    def decoder(self, incoming: Incoming, outgoing: Outgoing, writer: StreamWriter) -> Decoder:
        """Return a decoder for the response to `outgoing`."""
        from gateway.dialects.gemini.translation import new_decoder

        streams = incoming.parsed.stream
        return new_decoder(writer, outgoing, self._signatures, self._random, self._reporting, streams=streams)

    def failure(self, failure: Failure, upstream: Upstream, wire_model: str, outgoing: Outgoing) -> Failure:
        """Return the failure with status, type and message of the Messages protocol."""
        return translate_failure(failure)

    def cure(
        self,
        failure: Failure,
        outgoing: Outgoing,
        sent: Sent,
        applied: Sequence[Cure],
        never: frozenset[str],
    ) -> tuple[Cure, bool] | None:
        """Return the cure for a refusal, and whether to remember it; None if there is none."""
        return find_cure(CURES, failure, sent, applied, never)

    def count(self, body: bytes) -> int | None:
        """Return the input tokens of a countTokens response; None if the body is not one."""
        total = as_dict(json_in(body)).get("totalTokens")
        return total if type(total) is int and total >= 0 else None

    def models_request(self, upstream: Upstream) -> Outgoing | None:
        """Return a GET for the upstream's own model list.

        None for Vertex AI and Code Assist, whose lists do not say what is served.
        """
        options = upstream.options
        if options.path is not None or options.envelope:
            return None
        path = f"{base_path(upstream)}/{options.version}/models?pageSize={MODELS_A_PAGE}"
        return Outgoing(method="GET", target=path, headers=())

    def models(self, body: bytes) -> list[ListedModel]:
        """Return the models that can generate content, and remember their output limits."""
        found = []
        for model in dicts_in(as_dict(json_in(body)).get("models")):
            name = model.get("name")
            if not isinstance(name, str):
                continue
            methods = model.get("supportedGenerationMethods")
            if isinstance(methods, list) and not {"generateContent", GENERATE} & set(map(str, methods)):
                continue
            listed = {ours: model.get(theirs) for theirs, ours in LIMITS}
            limits = {name: limit for name, limit in listed.items() if type(limit) is int and limit > 0}
            id = name.removeprefix("models/")
            found.append(ListedModel(id, as_text(model.get("displayName")) or id, limits))
            if "max_tokens" in limits and len(self._outputs) < OUTPUTS_KEPT:
                self._outputs[id] = self._outputs[name] = limits["max_tokens"]
        return found


def new_dialect(random: Callable[[], float], warn: Callable[[str], None]) -> GeminiDialect:
    """Return a dialect with empty caches."""
    return GeminiDialect(random, warn)
