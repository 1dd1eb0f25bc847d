"""Cures: changes to a request that make a host accept what it has refused.

A cure is a trait with another value (`Cure("echo", "none")`), a field that is left out (`without`), or the history
without opaque reasoning. A table maps refusals to cures; other modules decide when one is tried and how long it is
remembered.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, NamedTuple

from gateway.config.openai_traits import DEFAULTS, EFFORTS, Traits
from gateway.dialects.base import WITHOUT_THINKING, Cure
from gateway.dialects.limits import LONGEST, limit_in
from gateway.dialects.openai.encoded_request import EncodedRequest
from gateway.patterns import LazyPattern
from gateway.routing.error_bodies import ErrorBody
from gateway.routing.failures import Failure, error_of

STATUSES = frozenset({400, 404, 415, 422, 500})
"""Statuses of refusals; 500 since chat templates raise errors, and for llama.cpp's refusal of pictures."""

ENOUGH_TOKENS = 1024
"""Tokens for models that think before they write: what their thinking needs."""

WITHOUT = "without"
"""The name of the cure that leaves out the field in its detail."""

_NO = (
    r"(?:unsupported|unknown|unrecogni[sz]ed|unexpected|extra|invalid|forbidden|unavailable|no endpoints"
    r"|not (?:be )?(?:supported|permitted|allowed|available)|(?:does|do)(?: not|n.t) support"
    r"|is not|isn't|cannot|only|no longer)"
)
"""Phrases that mean that something is not accepted."""

_FIELD = LazyPattern(r"[`'\"]?([a-z][a-z_]{2,40})[`'\"]?")

_LISTED = LazyPattern(
    r"(?:(?:supported|allowed|valid) values|one of|should be|must be|expected)\b", re.IGNORECASE
)
"""Phrases in front of a list of accepted words."""

Change = Callable[[ErrorBody, EncodedRequest], Cure | None]


class RefusalRow(NamedTuple):
    """One row: a refusal with these words, of something that was sent, and the change that cures it."""

    words: LazyPattern[str]
    """Matched in `param` and message."""
    needs: tuple[str, ...]
    """Body fields or features of the messages, one of which must have been sent; empty: any request."""
    change: Change


def _to(name: str, detail: str) -> Change:
    """Return a Change that gives a trait one value."""

    def change(said: ErrorBody, sent: EncodedRequest) -> Cure | None:
        return Cure(name, detail) if _format(getattr(sent.traits, name)) != detail else None

    return change


def _down(name: str, *steps: str) -> Change:
    """Return a Change that gives a trait its next value."""

    def change(said: ErrorBody, sent: EncodedRequest) -> Cure | None:
        now = getattr(sent.traits, name)
        later = steps[steps.index(now) + 1 :] if now in steps else steps
        return Cure(name, later[0]) if later else None

    return change


def _other_limit(said: ErrorBody, sent: EncodedRequest) -> Cure | None:
    other = {"max_tokens": "max_completion_tokens"}.get(sent.traits.max_tokens_field, "max_tokens")
    return Cure("max_tokens_field", other)


def _efforts(said: ErrorBody, sent: EncodedRequest) -> Cure | None:
    """Use the efforts that the refusal lists; if it lists none, leave the field out."""
    text = said.message[:LONGEST]
    listed = _LISTED.compiled.search(text)
    quoted = re.findall(r"[`'\"]([a-z]+)[`'\"]", text[listed.end() :]) if listed else []
    words = [word for word in EFFORTS if word in quoted]
    if words and tuple(words) != sent.traits.efforts:
        return Cure("efforts", " ".join(words))
    return (
        Cure(WITHOUT, "reasoning_effort") if "reasoning_effort" in sent.fields else Cure("thinking", "none")
    )


def _echo_required(said: ErrorBody, sent: EncodedRequest) -> Cure | None:
    is_so = sent.traits.echo == "reasoning_content" and sent.traits.echo_required
    return None if is_so else Cure("echo", "reasoning_content")


def _tool_choice(said: ErrorBody, sent: EncodedRequest) -> Cure | None:
    return Cure("tool_choice", "words" if "tool_choice.object" in sent.fields else "auto")


def _tool_ids(said: ErrorBody, sent: EncodedRequest) -> Cure | None:
    if re.search(r"length of 9|3280", " ".join((said.message, *said.codes))):
        return _to("tool_ids", "alnum9")(said, sent)
    return _down("tool_ids", "40", "alnum9")(said, sent)


def _optional(said: ErrorBody, sent: EncodedRequest) -> Cure | None:
    """Leave out the field that the refusal names, if it was sent and is optional."""
    named = [said.param.split(".")[-1].split("[")[0], said.param.split(".")[0].split("[")[0]]
    named += _FIELD.compiled.findall(said.message[:LONGEST])
    for name in named:
        if name in sent.fields and name not in NEEDED:
            return Cure(WITHOUT, name)
    return None


NEEDED = frozenset(
    {
        *("model", "messages", "input", "instructions", "stream", "tools"),
        *("max_tokens", "max_completion_tokens", "max_output_tokens", "store", "text"),
    }
)
"""Fields that cannot be left out without changing the request's meaning."""


def _row(words: str, needs: str, change: Change) -> RefusalRow:
    pattern = words.replace("NO", _NO).replace("...", r"(?s:.{0,200}?)")
    return RefusalRow(LazyPattern(pattern, re.IGNORECASE), tuple(needs.split()), change)


THINKING_FIELDS = "reasoning_effort reasoning thinking enable_thinking chat_template_kwargs reasoning_split"
"""All fields by which hosts turn thinking on."""

_LIMITS = "max_tokens max_completion_tokens"

REFUSALS: tuple[RefusalRow, ...] = (
    _row(r"max_tokens...max_completion_tokens|max_completion_tokens...max_tokens", _LIMITS, _other_limit),
    _row(r"NO...\bmax_(?:completion_)?tokens|\bmax_(?:completion_)?tokens\b...NO", _LIMITS, _other_limit),
    _row(
        r"(?:max_(?:completion_)?tokens|output limit)...reached|could not finish the message",
        f"{_LIMITS} max_output_tokens",
        _to("least_tokens", str(ENOUGH_TOKENS)),
    ),
    _row(
        r"reasoning.?summar",
        "reasoning",
        lambda said, sent: Cure(WITHOUT, "reasoning.summary"),
    ),
    _row(r"(?:does not|doesn.t) support (?:thinking|reasoning)\b", THINKING_FIELDS, _to("thinking", "none")),
    _row(r"tools?...reasoning_effort|reasoning_effort...\btools?\b", "tools", _to("tool_effort", "none")),
    _row(r"reasoning_effort|reasoning\.effort|\beffort\b", "reasoning_effort reasoning", _efforts),
    _row(r"verified...organi[sz]ation|organi[sz]ation...verified", "stream", _to("stream", "false")),
    _row(
        r"reasoning(?:_content)?\b...(?:missing|must be (?:passed|provided)|passed back|required)"
        r"|(?:missing|must (?:contain|include|have))...reasoning_content",
        "messages.assistant",
        _echo_required,
    ),
    _row(
        r"signature|encrypted|reasoning item|required following item|item\b...not found",
        "messages.opaque",
        lambda said, sent: WITHOUT_THINKING,
    ),
    _row(
        r"reasoning(?:_content|_details)?\b...NO|NO...\breasoning(?:_content|_details)?\b",
        "messages.echo",
        _to("echo", "none"),
    ),
    _row(r"cache.?control", "", _to("cache_control", "false")),
    _row(r"image|vision|multi-?modal", "messages.image_url", _to("images", "note")),
    _row(r"\bfiles?\b|document|pdf", "messages.file", _to("documents", "note")),
    _row(r"tool_choice|tool choice", "tool_choice", _tool_choice),
    _row(
        r"role\W*user\b...after...tool|user...after role\W*tool|after tool",
        "messages.user_after_tool",
        _to("after_tool", "assistant"),
    ),
    _row(
        r"(?:system|developer)(?: role| message|\W)...(?:NO|first|beginning)"
        r"|(?:NO|first)...\b(?:system|developer)\b|roles? must alternate",
        "messages.system",
        _to("prompt_role", "user"),
    ),
    _row(r"tool.?call.?ids?\b|tool_calls?\b...(?:\bid\b|too long)|\b3280\b", "messages.calls", _tool_ids),
    _row(
        r"response_format|text\.format|json_schema|json schema mode",
        "response_format text",
        _down("json", "schema", "object", "prompt"),
    ),
    _row(
        r"grammar|regex|pattern|schema...(?:too complex|unsupported|not supported|invalid)|NO...schema"
        r"|\bitems: missing",
        "tools response_format text",
        _to("schema", "plain"),
    ),
    _row(r"\bstop\b(?! sequence)...NO|NO...\bstop\b", "stop", _to("stop", "cut")),
    _row(r"NO", "", _optional),
)
"""The first row counts whose words match, whose need was sent and whose change has an effect."""


def cure_of(failure: Failure, sent: EncodedRequest, never: Collection[str] = ()) -> Cure | None:
    """Return the cure for a refusal, which is in the host's own form; None if there is none.

    `never`: names of cures that are turned off.
    """
    if failure.status not in STATUSES:
        return None
    said = error_of(failure)
    if limit_in(said, failure.status, sent.max_tokens) is not None:
        return None
    text = f"{said.param} {said.message[:LONGEST]} {' '.join(said.codes)}"
    for refusal in REFUSALS:
        if not refusal.words.search(text):
            continue
        if refusal.needs and sent.fields.isdisjoint(refusal.needs):
            continue
        cure = refusal.change(said, sent)
        if cure is not None and cure.name not in never:
            return cure
    return None


def apply_cures(traits: Traits, cures: Collection[Cure]) -> Traits:
    """Return the traits after cures, applied in order."""
    for cure in cures:
        if cure.name == WITHOUT:
            traits = replace(traits, strip=(*traits.strip, cure.detail))
        elif cure.name in DEFAULTS:
            changes: dict[str, Any] = {cure.name: _parse(cure.detail, DEFAULTS[cure.name])}
            if cure.name == "echo":
                changes["echo_required"] = cure.detail != "none"
            traits = replace(traits, **changes)
    return traits


def _parse(detail: str, default: object) -> object:
    """Parse a cure's detail as a value of the trait's type."""
    if isinstance(default, bool):
        return detail == "true"
    if isinstance(default, int):
        return int(detail) if detail.isdecimal() else default
    return tuple(detail.split()) if isinstance(default, tuple) else detail


def _format(value: object) -> str:
    """Format a trait's value as a cure's detail."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return " ".join(value) if isinstance(value, tuple) else str(value)
