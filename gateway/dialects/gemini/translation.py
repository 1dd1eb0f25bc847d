"""Translates requests to Gemini, and its responses back.

Imported as a whole with the first request: when its response arrives there may be no descriptor left to read files.
"""

from collections.abc import Callable, Collection
from typing import cast

from gateway.config import Upstream
from gateway.dialects.base import WITHOUT_THINKING, Cure, Decoder, Incoming, Outgoing
from gateway.dialects.gemini.cures import apply_cures
from gateway.dialects.gemini.families import family
from gateway.dialects.gemini.places import COUNT, GENERATE, count_request, target, wrap_in_envelope
from gateway.dialects.gemini.request import Encoding, gemini_request
from gateway.dialects.gemini.response import EncodedRequest, GeminiDecoder
from gateway.dialects.gemini.schema.clean import Schemas
from gateway.dialects.gemini.signatures import MARK, Signatures
from gateway.dialects.json_schema.cache import SchemaCache
from gateway.dialects.request_fields import check_fields
from gateway.dialects.usage import Place, prompt_tokens
from gateway.dialects.warn_once import WarnOnce
from gateway.messages.json_documents import write_document
from gateway.messages.repair import apply
from gateway.messages.stream import StreamWriter

LOWERED = "max_tokens"
"""The repair's name in the log line when `max_tokens` is lowered to the model's limit."""


def encode(
    upstream: Upstream,
    wire_model: str,
    incoming: Incoming,
    *,
    cures: Collection[Cure],
    listed: int,
    schemas: SchemaCache,
    signatures: Signatures,
    warn: WarnOnce,
    reporting: set[Place],
) -> Outgoing:
    """Encode a request for an upstream, always for a stream. Raises RequestError(400).

    `listed`: the model's output limit in tokens by the upstream's model list; 0 if unknown. `reporting`: places that
    report usage.
    """
    original = incoming.parsed.exact()
    check_fields(original)
    document, repairs = apply(original, upstream.repairs, own_mark=MARK)
    strip = WITHOUT_THINKING in cures
    if strip:
        signatures.refuse(document["messages"])
    known = family(wire_model)
    limit = upstream.options.max_output_tokens or listed
    kind = apply_cures(known._replace(max_output=limit) if limit else known, cures)
    encoding = Encoding(
        upstream=upstream,
        kind=kind,
        schemas=Schemas(schemas, upstream.options.schema, warn),
        signatures=None if strip else signatures,
        warn=warn,
    )
    body, names = gemini_request(document, original, encoding)
    if (document.get("max_tokens") or 0) > kind.max_output:
        repairs += (LOWERED,)
    counts = incoming.purpose == "count_tokens"
    place = upstream.base_url, wire_model
    wrapped = (
        count_request(body, upstream, wire_model) if counts else wrap_in_envelope(body, upstream, wire_model)
    )
    return Outgoing(
        target=target(upstream, wire_model, COUNT if counts else GENERATE),
        body=write_document(wrapped, finite=incoming.parsed.by_orjson),
        repairs=repairs,
        state=EncodedRequest(
            names, place, 0 if counts else prompt_tokens(incoming.parsed, original, place, reporting)
        ),
    )


def new_decoder(
    writer: StreamWriter,
    outgoing: Outgoing,
    signatures: Signatures,
    random: Callable[[], float],
    reporting: set[Place],
    *,
    streams: bool,
) -> Decoder:
    """Return a decoder for the response to `outgoing`."""
    sent = cast(EncodedRequest, outgoing.state)
    return GeminiDecoder(writer, sent, signatures, random, reporting, streams=streams)
