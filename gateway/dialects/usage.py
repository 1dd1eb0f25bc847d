"""Estimates token counts that a host does not report: a client that reads 0 never compacts its history."""

from collections.abc import Mapping
from typing import Any

from gateway.messages.request import MessagesRequest
from gateway.messages.token_estimate import estimate

CHARACTERS_A_TOKEN = 4

INPUT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
"""Keys of a `usage` object that together count the prompt."""

Place = tuple[str, str]
"""A host and a wire model."""

PLACES_KEPT = 1000
"""Places known to report usage, at most: wildcards pass on any name of a model."""


def prompt_tokens(
    request: MessagesRequest, document: dict[str, Any], place: Place, reporting: set[Place]
) -> int:
    """Estimate a request's tokens.

    A place that reports usage hardly needs the estimate, so there it is made from the size alone, unless the request
    may hold pictures, whose size says nothing.
    """
    if place in reporting and b'"base64"' not in request.raw:
        return tokens_of(len(request.raw))
    return estimate(document)


def completed(
    found: Mapping[str, Any], input_tokens: int, characters: int, place: Place, reporting: set[Place]
) -> tuple[dict[str, Any], bool]:
    """Return a response's `usage` object, and whether some of it is estimated because the host did not report it.

    `found`: the counts that it reported. 0 tokens for a prompt, or for an output that has `characters`, count as not
    reported. `input_tokens`: the prompt's estimate. `reporting` learns whether the place reports usage.
    """
    estimated = {}
    if not any(found.get(key) for key in INPUT):
        # Then the cache's counts are unknown, too.
        found = {key: count for key, count in found.items() if key not in INPUT}
        estimated["input_tokens"] = input_tokens
    if characters and not found.get("output_tokens"):
        estimated["output_tokens"] = tokens_of(characters)
    if estimated:
        reporting.discard(place)
    elif len(reporting) < PLACES_KEPT:
        reporting.add(place)
    return {"output_tokens": 0, **found, **estimated}, bool(estimated)


def tokens_of(characters: int) -> int:
    """Return roughly the tokens of a text of so many characters or bytes."""
    return -(-characters // CHARACTERS_A_TOKEN)


def count(usage: Mapping[str, Any], key: str) -> int:
    """Return a count; 0 if it is not one."""
    value = usage.get(key)
    return value if type(value) is int and value > 0 else 0
