"""From a client's request to what Gemini takes, and back from its response.

Loaded with the first request, as a whole: its response may come when there is no descriptor left to read a file with.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import cast

from gateway.config import Upstream
from gateway.dialects.base import WITHOUT_THINKING, Cure, Decoder, Incoming, Outgoing
from gateway.dialects.gemini.cures import cured
from gateway.dialects.gemini.families import family
from gateway.dialects.gemini.places import COUNT, GENERATE, counted, enveloped, target
from gateway.dialects.gemini.request import Encoding, gemini_request
from gateway.dialects.gemini.response import GeminiDecoder
from gateway.dialects.gemini.schema.clean import Schemas
from gateway.dialects.gemini.signatures import MARK, Signatures
from gateway.dialects.json_schema.cache import SchemaCache
from gateway.dialects.request_fields import check_fields
from gateway.dialects.tool_names import ToolNames
from gateway.dialects.warn_once import WarnOnce
from gateway.messages.json_documents import write_document
from gateway.messages.repair import apply
from gateway.messages.stream import StreamWriter

LOWERED = "max_tokens"
"""The repair's name in the log line, where a request asks for more output than the model can write."""


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
) -> Outgoing:
    """Encode a request for an upstream, always for a stream. Raises RequestError(400).

    `listed`: tokens of output that the model can write, as the upstream's list says; 0 if it does not.
    """
    original = incoming.parsed.exact()
    check_fields(original)
    document, repairs = apply(original, upstream.repairs, own_mark=MARK)
    strip = WITHOUT_THINKING in cures
    if strip:
        signatures.refuse(document["messages"])
    known = family(wire_model)
    limit = upstream.options.max_output_tokens or listed
    kind = cured(replace(known, max_output=limit) if limit else known, cures)
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
    wrapped = counted(body, upstream, wire_model) if counts else enveloped(body, upstream, wire_model)
    return Outgoing(
        target=target(upstream, wire_model, COUNT if counts else GENERATE),
        body=write_document(wrapped, finite=incoming.parsed.by_orjson),
        repairs=repairs,
        state=names,
    )


def new_decoder(
    writer: StreamWriter,
    outgoing: Outgoing,
    signatures: Signatures,
    random: Callable[[], float],
    *,
    streams: bool,
) -> Decoder:
    """Return a decoder for the response to `outgoing`."""
    names = cast(ToolNames, outgoing.state)
    return GeminiDecoder(writer, names, signatures, random, streams=streams)
