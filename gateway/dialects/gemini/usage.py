"""Converts Gemini's token counts to those of the Messages protocol."""

from collections.abc import Mapping
from typing import Any

from gateway.dialects.usage import count


def messages_usage(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return Gemini's `usageMetadata` as a `usage` object.

    Thinking tokens are added to the candidates', unless the total shows that they are included.
    """
    prompt = count(metadata, "promptTokenCount") + count(metadata, "toolUsePromptTokenCount")
    cached = count(metadata, "cachedContentTokenCount")
    output = count(metadata, "candidatesTokenCount")
    thoughts = count(metadata, "thoughtsTokenCount")
    if thoughts and count(metadata, "totalTokenCount") != prompt + output:
        output += thoughts
    return {
        "input_tokens": max(prompt - cached, 0),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": output,
    }
