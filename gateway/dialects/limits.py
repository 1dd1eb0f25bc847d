"""Three limits, each with the API's message by which clients recover, and all hosts' messages for them.

Clients compact their history, or ask for less output, when they read one of these messages (`prompt is too long`,
``input length and `max_tokens` exceed context limit``, `max_tokens: A > B`); the host's own message follows. Limits of
rate and quota, whose messages are similar, are excluded first.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from gateway.patterns import LazyPattern
from gateway.routing.error_bodies import ErrorBody

_NUMBER = r"[`'\"]?(?P<{}>\d[\d,_]*)[`'\"]?"


def _pattern(text: str) -> LazyPattern[str]:
    """Return a pattern in which <n> is a number of that name, and `...` a few words."""
    text = re.sub(r"<(\w)>", lambda found: _NUMBER.format(found[1]), text)
    return LazyPattern(text.replace("...", r".{0,160}?"), re.IGNORECASE | re.DOTALL)


class Wording(NamedTuple):
    """The message of one or several hosts."""

    source: str
    pattern: LazyPattern[str]
    """Groups: n, m; or a, b, m (t: a and b together); or a, b."""


def _wordings(*rows: tuple[str, str]) -> tuple[Wording, ...]:
    return tuple(Wording(source, _pattern(text)) for source, text in rows)


SPLIT = _wordings(
    ("OpenAI, DeepSeek", r"maximum context length is <m>...<a> in the messages, <b> in the completion"),
    ("OpenRouter", r"maximum context length is <m>...requested about <t> tokens \(...<b> in the output"),
    ("SGLang", r"maximum context length of <m>...<a> tokens from the input messages and <b> tokens for"),
    ("vLLM", r"\(<b> > <m> - <a>\)"),
    ("vLLM", r"maximum context length is <m>...<b> output tokens...<a> input tokens"),
    ("vLLM", r"maximum context length is <m>...<a> input tokens...<b> (?:output tokens|['`\"]?max_)"),
    ("vLLM", r"<a> input tokens...<b> (?:output tokens|['`\"]?max_\w+)...(?:length|limit)\D{0,20}<m>"),
    ("Together", r"must be <= <m>\. given: <a> [`']?inputs[`']? tokens and <b>"),
)  # fmt: skip
"""Prompt and completion together do not fit, and the host names both."""

TOO_LONG = _wordings(
    (
        "OpenAI, OpenRouter, vLLM",
        r"maximum context length (?:is|of) <m>...(?:requested|resulted in|has|contains?)\D{0,30}<n>",
    ),
    ("OpenAI", r"configured limit of <m>...resulted in <n>"),
    ("xAI", r"maximum prompt length is <m>...request contains <n>"),
    ("SGLang, Together", r"input \(<n> tokens\) is longer than the model'?s context length \(<m>"),
    ("vLLM", r"prompt \(length <n>\) is longer than...<m>"),
    ("llama.cpp", r"request \(<n> tokens\) exceeds the available context size \(<m>"),
    ("Mistral", r"prompt contains <n> tokens...<m> maximum context length"),
    ("Mistral", r"prompt contains <n> tokens...maximum context length\D{0,20}<m>"),
    ("Kimi", r"model token limit:? <m> \(requested:? <n>"),
    ("Qwen", r"range of input length should be \[\d+, ?<m>\]"),
    ("GLM", r"<n> input tokens exceeds?...<m>"),
    ("Poolside", r"input length <n> exceeds(?:...<m>)?"),
    ("Copilot", r"token count of <n> exceeds the limit of <m>"),
    ("LM Studio", r"tokens to keep...n_keep: ?<n> ?>= ?n_ctx: ?<m>"),
    ("LM Studio", r"keep the first <n> tokens...context length of only <m>"),
    ("Fireworks", r"prompt is too long: <n>, model maximum context length: <m>"),
    ("Cerebras", r"reduce the length of the messages...current length is <n> while limit is <m>"),
    ("TGI", r"inputs[`']? must have less than <m> tokens\. given: <n>"),
    ("OpenAI", r"exceeds the context window"),
    ("Groq", r"reduce the length of the messages"),
    ("MiniMax", r"context window exceeds limit"),
    ("Ollama", r"exceeded max context length by"),
    ("GLM", r"prompt exceeds max length"),
)
"""The prompt alone does not fit."""

TOO_LONG_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error", "1261"})

TOO_MANY_CODE = "array_above_max_length"
"""Too many messages if the error mentions those; otherwise too many tools."""

TOO_MUCH = _wordings(
    ("DeepSeek", r"valid range of max_tokens is \[\d+, ?<b>\]"),
    ("Qwen", r"range of max_tokens should be \[\d+, ?<b>\]"),
    ("OpenAI", r"(?:too large:? <a>)...supports at most <b> completion tokens"),
    ("OpenAI", r"supports at most <b> completion tokens"),
    ("Groq", r"max_(?:completion_)?tokens[`'\"]? must be less than or equal to <b>"),
    ("Ollama", r"max_tokens \(<a>\) exceeds model'?s maximum output tokens \(<b>\)"),
    ("OpenRouter", r"max_tokens limit exceeded: <a> > <b>"),
    ("OpenRouter", r"requested up to <a> tokens, but can only afford <b>"),
)
"""More output was requested than the model, or the account, allows."""

GROQ_TOO_LARGE = _pattern(r"request too large...limit <m>, requested <t>")
"""A limit per minute that this one request exceeds: `max_tokens` counts, too."""

RATE_WORDS = LazyPattern(
    r"per[ -]?(?:minute|day|hour|second)|throttl|rate.?limit|\btpm\b|\brpm\b|\btpd\b|too many (?:requests|tokens)",
    re.IGNORECASE,
)
"""Matches messages about limits that pass with time."""

RATE_CODES = LazyPattern(r"rate.?limit|throttl|too_many_requests|quota")
"""The same for codes and types."""

LONGEST = 4000
"""Characters of an error text that are searched."""


class Limit(NamedTuple):
    """One of the three limits."""

    text: str
    """The API's message, followed by the host's."""
    status: int = 400


def limit_in(error: ErrorBody, status: int, max_tokens: int) -> Limit | None:
    """Return the limit that an error is about; None for any other error.

    `max_tokens`: the request's, for hosts that do not repeat it.
    """
    text = error.message[:LONGEST]
    if status == 413 and error.type == "tokens":
        return _groq(text, max_tokens)
    if _is_about_rate(error, status, text):
        return None
    for wording in SPLIT:
        numbers = _numbers(wording.pattern.search(text))
        if numbers:
            a, b, m = numbers.get("a", numbers.get("t", 0) - numbers["b"]), numbers["b"], numbers["m"]
            return _split(a, b, m, text) if a < m else _too_long(a, m, text)
    for wording in TOO_MUCH:
        numbers = _numbers(wording.pattern.search(text))
        if numbers:
            a = numbers.get("a") or max_tokens
            heading = (
                f"max_tokens: {a} > {numbers['b']}, which is the maximum allowed number of output tokens"
            )
            return Limit(f"{heading}. {text}")
    for wording in TOO_LONG:
        found = wording.pattern.search(text)
        if found:
            numbers = _numbers(found)
            return _too_long(numbers.get("n", 0), numbers.get("m", 0), text)
    return _by_code(error, text)


def _by_code(error: ErrorBody, text: str) -> Limit | None:
    if not TOO_LONG_CODES.isdisjoint(error.words):
        return _too_long(*error.tokens, text)
    if TOO_MANY_CODE in error.words and (
        "messages" in error.param.split(".")[0] or "messages" in text.lower()
    ):
        return _too_long(0, 0, text)
    return None


def _groq(text: str, max_tokens: int) -> Limit | None:
    numbers = _numbers(GROQ_TOO_LARGE.compiled.search(text))
    prompt = numbers["t"] - max_tokens if numbers else 0
    return _split(prompt, max_tokens, numbers["m"], text) if numbers and 0 < prompt < numbers["m"] else None


def _is_about_rate(error: ErrorBody, status: int, text: str) -> bool:
    if status == 429 or RATE_WORDS.compiled.search(text):
        return True
    return any(RATE_CODES.compiled.search(word) for word in error.words)


def _too_long(n: int, m: int, text: str) -> Limit:
    heading = f"prompt is too long: {n} tokens > {m} maximum. " if n and m else "prompt is too long: "
    return Limit(heading + text)


def _split(a: int, b: int, m: int, text: str) -> Limit:
    return Limit(f"input length and `max_tokens` exceed context limit: {a} + {b} > {m}. {text}")


def _numbers(found: re.Match[str] | None) -> Mapping[str, int]:
    if found is None:
        return {}
    return {name: int(re.sub(r"\D", "", text)) for name, text in found.groupdict().items() if text}
