"""Cures for refusals by Gemini models that lack an ability which their name suggests.

A cure removes one ability from the family of the request's model; the request is then encoded for a family without it.
So a new model that differs costs one refusal an hour, and needs no new release of the gateway.
"""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from gateway.dialects.gemini.errors import output_limit
from gateway.dialects.gemini.families import Family
from gateway.messages.json_values import as_dict
from gateway.patterns import any_of
from gateway.routing.cures import MESSAGES_CURES, Cure, CureRow, Detail, Refusal
from gateway.routing.sent import Sent, kind_of


class Ability(NamedTuple):
    """One ability of families, and its refusals."""

    name: str
    """The name of its cure."""
    words: tuple[str, ...]
    """Regular expressions, one of which matches the refusal."""
    was_sent: Callable[[Sent], bool]
    """Returns whether the request used it."""
    without: dict[str, Any]
    """The fields of a family without it."""


def _blocks(*kinds: str) -> Callable[[Sent], bool]:
    return lambda sent: any(kind_of(block) in kinds for block in sent.blocks())


def _has_form(sent: Sent) -> bool:
    document = sent.document
    return bool(document.get("output_format") or as_dict(document.get("output_config")).get("format"))


ABILITIES = (
    Ability(
        "call_ids",
        # "Unknown name "id" at 'contents[1].parts[0].function_call': Cannot find field."
        (r"unknown name .{0,3}\bid\b.{1,60}\bfunction_?(call|response)",),
        _blocks("tool_use", "tool_result"),
        {"ids": False},
    ),
    Ability(
        "result_media",
        # "`function_response.parts` is not supported for this model."
        (r"\bfunction_?response\.parts\b", r"unknown name .{0,3}\bparts\b.{1,60}\bfunction_?response"),
        _blocks("image", "document"),
        {"media_in_results": False},
    ),
    Ability(
        "signatures",
        # "Unknown name "thoughtSignature" at 'contents[1].parts[0]': Cannot find field."
        (r"unknown name .{0,3}\bthought_?signature\b",),
        _blocks("tool_use", "thinking", "text"),
        {"signatures": False},
    ),
    Ability(
        "form_beside_tools",
        # "Function calling with a response mime type: 'application/json' is unsupported"
        (r"\bfunction calling with (a )?response mime type\b",),
        _has_form,
        {"form_beside_tools": False},
    ),
    Ability(
        "thinking_config",
        # "Thinking level is not supported for this model.", "thinking_level MEDIUM is not supported by this model."
        (
            r"\bthinking[_ ]?(level|budget|config)\b.{0,60}\b(not supported|unsupported|not enabled|invalid)\b",
        ),
        lambda sent: True,
        {"levels": (), "has_budget": False},
    ),
)
"""Each is used by default for the families that have it by their names."""

MAX_TOKENS = "max_tokens"
"""The cure for more output than the model can write; its detail is the model's limit."""


def _lower(refusal: Refusal, sent: Sent) -> str | None:
    limit, requested = output_limit(refusal.message), sent.document.get("max_tokens")
    return str(limit) if isinstance(requested, (int, float)) and requested > limit else None


def _if_sent(ability: Ability) -> Detail:
    return lambda refusal, sent: "" if ability.was_sent(sent) else None


CURES = (
    *(
        CureRow(
            name=one.name, matches=any_of(*one.words).search, detail=_if_sent(one), statuses=frozenset({400})
        )
        for one in ABILITIES
    ),
    CureRow(name=MAX_TOKENS, matches=output_limit, detail=_lower, statuses=frozenset({400})),
    *(row for row in MESSAGES_CURES if row.name == "without_thinking"),
)
"""The first row that fits counts."""

_WITHOUT = {ability.name: ability.without for ability in ABILITIES}


def apply_cures(kind: Family, cures: Collection[Cure]) -> Family:
    """Return the family after cures."""
    for name, detail in cures:
        if name in _WITHOUT:
            kind = kind._replace(**_WITHOUT[name])
        elif name == MAX_TOKENS and detail.isdecimal():
            kind = kind._replace(max_output=int(detail))
    return kind
