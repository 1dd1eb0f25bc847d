"""The Gemini dialect: what holds the parts together for every gemini upstream.

What a request says is translation.py's work, and so is what a response means; where it goes is places.py's, errors
are errors.py's. The former is loaded with the first request: until then a gateway starts sooner and stays smaller
without.
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
from gateway.dialects.gemini.errors import translated
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
"""The most that one page of the model list holds; 50 is the API's default."""

OUTPUTS_KEPT = 4 * MODELS_A_PAGE
"""Names of models whose limit is remembered: the lists of several upstreams."""

LIMITS = (("inputTokenLimit", "max_input_tokens"), ("outputTokenLimit", "max_tokens"))
"""What a model list says of tokens, and the Messages protocol's name for it."""


class GeminiDialect:
    """All gemini upstreams share one: it holds the schemas and signatures of every conversation."""

    relays = False
    counts = True

    def __init__(self, random: Callable[[], float], warn: Callable[[str], None]) -> None:
        """`random` gives [0, 1); `warn` gets each warning once."""
        self._random = random
        self._warn = WarnOnce(warn)
        self._schemas = SchemaCache()
        self._signatures = Signatures()
        self.stores = self._signatures.stores
        self._outputs: dict[str, int] = {}
        """Model -> tokens of output that it can write, as the upstream's list says."""

    def fields(self, upstream: Upstream, credential: Credential) -> Headers:
        """Return the gateway's own name, and the credential's field."""
        return [USER_AGENT, *credential_fields(credential, "x-goog-api-key")]

    def forwarded(self, headers: Headers) -> Headers:
        """Return the body's type; nothing of the client's head goes to Google."""
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
        """Encode the request for this upstream, always for a stream. Raises RequestError(400)."""
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
        )

    def decoder(self, incoming: Incoming, outgoing: Outgoing, writer: StreamWriter) -> Decoder:
        """Return a decoder for the response to `outgoing`."""
        from gateway.dialects.gemini.translation import new_decoder

        return new_decoder(writer, outgoing, self._signatures, self._random, streams=incoming.parsed.stream)

    def failure(self, failure: Failure, upstream: Upstream, wire_model: str, outgoing: Outgoing) -> Failure:
        """Return the same failure with status, type and message as the Messages protocol would say it."""
        return translated(failure)

    def cure(
        self,
        failure: Failure,
        outgoing: Outgoing,
        sent: Sent,
        applied: Sequence[Cure],
        never: frozenset[str],
    ) -> tuple[Cure, bool] | None:
        """Return what may be changed after a refusal, and whether to remember it; None: nothing."""
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
        """Return each model that can generate content, and remember how much it can write."""
        found = []
        for model in dicts_in(as_dict(json_in(body)).get("models")):
            name = model.get("name")
            if not isinstance(name, str):
                continue
            methods = model.get("supportedGenerationMethods")
            if isinstance(methods, list) and not {"generateContent", GENERATE} & set(map(str, methods)):
                continue
            told = {ours: model.get(theirs) for theirs, ours in LIMITS}
            limits = {name: limit for name, limit in told.items() if type(limit) is int and limit > 0}
            id = name.removeprefix("models/")
            found.append(ListedModel(id, as_text(model.get("displayName")) or id, limits))
            if "max_tokens" in limits and len(self._outputs) < OUTPUTS_KEPT:
                self._outputs[id] = self._outputs[name] = limits["max_tokens"]
        return found


def new_dialect(random: Callable[[], float], warn: Callable[[str], None]) -> GeminiDialect:
    """Return this dialect, with nothing remembered."""
    return GeminiDialect(random, warn)
