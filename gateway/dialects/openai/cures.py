"""Refusals that name something we sent, and what is changed so that the host takes the request.

A cure is a trait with another value (`Cure("echo", "none")`), a field that is left out (`without`), or the
history without opaque reasoning. Which refusal calls for which is a table; when one is tried and how long
it is remembered is decided elsewhere.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, NamedTuple

from gateway.config.openai_traits import DEFAULTS, EFFORTS, Traits
from gateway.dialects.base import WITHOUT_THINKING, Cure
from gateway.dialects.limits import LONGEST, limit_in
from gateway.dialects.openai.sent import Sent
from gateway.dialects.said import Said, read_error
from gateway.patterns import Late
from gateway.routing.failures import Failure

STATUSES = frozenset({400, 404, 415, 422, 500})
"""Refusals; 500, because templates raise, and llama.cpp says it of pictures."""

ENOUGH_TOKENS = 1024
"""For models that think first: what they take before they say a word."""

WITHOUT = "without"
"""A cure's name: the field that is its detail is left out."""

_NO = (
    r"(?:unsupported|unknown|unrecogni[sz]ed|unexpected|extra|invalid|forbidden|unavailable|no endpoints"
    r"|not (?:be )?(?:supported|permitted|allowed|available)|(?:does|do)(?: not|n.t) support"
    r"|is not|isn't|cannot|only|no longer)"
)
"""Words that say that something is not taken."""

_FIELD = Late(r"[`'\"]?([a-z][a-z_]{2,40})[`'\"]?")

_LISTED = Late(r"(?:(?:supported|allowed|valid) values|one of|should be|must be|expected)\b", re.IGNORECASE)
"""What stands before the words that are taken."""

Change = Callable[[Said, Sent], Cure | None]


class Refusal(NamedTuple):
    """One row: a refusal in these words, of something that was sent, calls for this change."""

    words: Late[str]
    """In `param` and message."""
    needs: tuple[str, ...]
    """One of these was sent: body fields, or features of the messages; none: whatever was sent."""
    change: Change


def _to(name: str, detail: str) -> Change:
    """Return the change of a trait to one value."""

    def change(said: Said, sent: Sent) -> Cure | None:
        return Cure(name, detail) if _written(getattr(sent.traits, name)) != detail else None

    return change


def _down(name: str, *steps: str) -> Change:
    """Return the change of a trait to its next value."""

    def change(said: Said, sent: Sent) -> Cure | None:
        now = getattr(sent.traits, name)
        later = steps[steps.index(now) + 1 :] if now in steps else steps
        return Cure(name, later[0]) if later else None

    return change


def _other_limit(said: Said, sent: Sent) -> Cure | None:
    other = {"max_tokens": "max_completion_tokens"}.get(sent.traits.max_tokens_field, "max_tokens")
    return Cure("max_tokens_field", other)


def _efforts(said: Said, sent: Sent) -> Cure | None:
    """Take the words that the refusal lists; without any, the field goes."""
    text = said.message[:LONGEST]
    listed = _LISTED.compiled.search(text)
    quoted = re.findall(r"[`'\"]([a-z]+)[`'\"]", text[listed.end() :]) if listed else []
    words = [word for word in EFFORTS if word in quoted]
    if words and tuple(words) != sent.traits.efforts:
        return Cure("efforts", " ".join(words))
    return (
        Cure(WITHOUT, "reasoning_effort") if "reasoning_effort" in sent.fields else Cure("thinking", "none")
    )


def _echo_required(said: Said, sent: Sent) -> Cure | None:
    is_so = sent.traits.echo == "reasoning_content" and sent.traits.echo_required
    return None if is_so else Cure("echo", "reasoning_content")


def _tool_choice(said: Said, sent: Sent) -> Cure | None:
    return Cure("tool_choice", "words" if "tool_choice.object" in sent.fields else "auto")


def _tool_ids(said: Said, sent: Sent) -> Cure | None:
    if re.search(r"length of 9|3280", said.message + said.code):
        return _to("tool_ids", "alnum9")(said, sent)
    return _down("tool_ids", "40", "alnum9")(said, sent)


def _optional(said: Said, sent: Sent) -> Cure | None:
    """Leave out the field that is named, if we sent it and it is one that a request can do without."""
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
"""Fields without which it is another request."""


def _row(words: str, needs: str, change: Change) -> Refusal:
    pattern = words.replace("NO", _NO).replace("...", r"(?s:.{0,200}?)")
    return Refusal(Late(pattern, re.IGNORECASE), tuple(needs.split()), change)


THINKING_FIELDS = "reasoning_effort reasoning thinking enable_thinking chat_template_kwargs reasoning_split"
"""All by which some host is asked to think."""

_LIMITS = "max_tokens max_completion_tokens"

REFUSALS: tuple[Refusal, ...] = (
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
        r"grammar|regex|pattern|schema...(?:too complex|unsupported|not supported|invalid)|NO...schema",
        "tools response_format text",
        _to("schema", "plain"),
    ),
    _row(r"\bstop\b(?! sequence)...NO|NO...\bstop\b", "stop", _to("stop", "cut")),
    _row(r"NO", "", _optional),
)
"""The first row whose words are there, whose need was sent and whose change changes something."""


def cure_of(failure: Failure, sent: Sent, never: Collection[str] = ()) -> Cure | None:
    """Return what may be changed after a refusal, as it came from the host; None: nothing.

    `never`: names of cures that are turned off.
    """
    if failure.status not in STATUSES:
        return None
    said = read_error(failure.body)
    if limit_in(said, failure.status, sent.max_tokens) is not None:
        return None
    text = f"{said.param} {said.message[:LONGEST]} {said.code}"
    for refusal in REFUSALS:
        if not refusal.words.search(text):
            continue
        if refusal.needs and sent.fields.isdisjoint(refusal.needs):
            continue
        cure = refusal.change(said, sent)
        if cure is not None and cure.name not in never:
            return cure
    return None


def cured(traits: Traits, cures: Collection[Cure]) -> Traits:
    """Return the traits with cures applied, in their order."""
    for cure in cures:
        if cure.name == WITHOUT:
            traits = replace(traits, strip=(*traits.strip, cure.detail))
        elif cure.name in DEFAULTS:
            changes: dict[str, Any] = {cure.name: _read(cure.detail, DEFAULTS[cure.name])}
            if cure.name == "echo":
                changes["echo_required"] = cure.detail != "none"
            traits = replace(traits, **changes)
    return traits


def _read(detail: str, default: object) -> object:
    """Return a cure's detail as a value of the trait's type."""
    if isinstance(default, bool):
        return detail == "true"
    if isinstance(default, int):
        return int(detail) if detail.isdecimal() else default
    return tuple(detail.split()) if isinstance(default, tuple) else detail


def _written(value: object) -> str:
    """Return a trait's value as a cure's detail."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return " ".join(value) if isinstance(value, tuple) else str(value)
