"""Converts hosts' token counts to those of the Messages protocol."""

from collections.abc import Mapping
from typing import Any

from gateway.messages.json_values import as_dict

CHARACTERS_A_TOKEN = 4
"""Estimates usage that a host does not report: a client that reads 0 never compacts its history."""

INPUT = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
"""Keys of a `usage` object that together count the prompt."""


def usage_in(chunk: Mapping[str, Any], choice: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the usage in a chunk, wherever the host puts it; None if there is none."""
    for place in (chunk, choice, as_dict(chunk.get("x_groq"))):
        usage = place.get("usage")
        if isinstance(usage, dict) and usage:
            return usage
    return None


def messages_usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return a `usage` object of the Messages protocol for one of chat.completions or of Responses.

    Cached tokens are among those of the prompt. Reasoning is among those of the completion, except where the
    total shows that it comes on top (xAI).
    """
    prompt = count(usage, "prompt_tokens") or count(usage, "input_tokens")
    completion = count(usage, "completion_tokens") or count(usage, "output_tokens")
    details = as_dict(usage.get("prompt_tokens_details")) or as_dict(usage.get("input_tokens_details"))
    cached = (
        count(details, "cached_tokens")
        or count(usage, "prompt_cache_hit_tokens")
        or count(usage, "cached_tokens")
    )
    written = count(details, "cache_write_tokens")
    reasoning = count(as_dict(usage.get("completion_tokens_details")), "reasoning_tokens")
    if reasoning and count(usage, "total_tokens") == prompt + completion + reasoning:
        completion += reasoning
    return {
        "input_tokens": max(prompt - cached - written, 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "output_tokens": completion,
    }


def completed(
    usage: Mapping[str, Any] | None, input_tokens: int, characters: int
) -> tuple[dict[str, Any], bool]:
    """Return a `usage` object, and whether some of it is estimated because the host did not report it.

    0 tokens for a prompt, or for an output that has `characters`, count as not reported.
    """
    found = messages_usage(usage) if usage is not None else {}
    estimate = {}
    if not any(found.get(key) for key in INPUT):
        # Then the cache's counts are unknown, too.
        found = {key: count for key, count in found.items() if key not in INPUT}
        estimate["input_tokens"] = input_tokens
    if characters and not found.get("output_tokens"):
        estimate["output_tokens"] = tokens_of(characters)
    return {"output_tokens": 0, **found, **estimate}, bool(estimate)


def tokens_of(characters: int) -> int:
    """Return roughly the tokens of a text of so many characters or bytes."""
    return -(-characters // CHARACTERS_A_TOKEN)


def count(usage: Mapping[str, Any], key: str) -> int:
    """Return a count; 0 if it is not one."""
    value = usage.get(key)
    return value if type(value) is int and value > 0 else 0
