"""Converts hosts' token counts to those of the Messages protocol."""

from collections.abc import Mapping
from typing import Any

from gateway.dialects.usage import count
from gateway.messages.json_values import as_dict


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
