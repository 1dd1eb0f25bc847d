"""Cures: changes to a request that an upstream refused, so that it serves it after all.

A refusal that names something in the request gets one more attempt on the same account with that thing changed. This
module has the known refusals, each with what must have been sent; the encoders of requests apply cures. A cure is a
name and a detail, so that it can be remembered and shown.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gateway.messages.json_values import as_dict, as_list
from gateway.messages.repair import mentions_signature
from gateway.patterns import LazyPattern, any_of
from gateway.routing.error_bodies import read_error
from gateway.routing.failures import Failure, FailureKind, message_of, status_of
from gateway.routing.meanings import LONGEST
from gateway.routing.paths import find_fields
from gateway.routing.sent import DOCUMENTS, IMAGES, Sent, kind_of
from gateway.routing.signals import REFUSALS, SIGNALS

MAX_CURES = 3
"""Cures for one request, at most: a host that still refuses has another reason."""

MAX_FIELDS = 8
"""Fields read from one refusal, at most: for each the whole document is searched."""

MARKS = 4
"""Blocks with `cache_control` that the API accepts in a request."""


class Cure(NamedTuple):
    """One change of a request."""

    name: str
    detail: str = ""
    """What is changed, where the name alone does not say it: paths of fields, names of betas, comma-separated."""


WITHOUT_THINKING = Cure("without_thinking")
"""The history is sent without thinking, after a signature was refused."""


class Refusal(NamedTuple):
    """The parts of a refusal."""

    status: int
    message: str
    param: str


Detail = Callable[[Refusal, Sent], str | None]
"""Returns a cure's detail, or None if what is refused was not sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CureRow:
    """One row of the table: the refusals that it covers, and the cure's detail."""

    name: str
    matches: Callable[[str], object]
    """Returns something true if a message (at most 8,192 characters) is such a refusal."""
    detail: Detail
    statuses: frozenset[int] = REFUSALS
    remembered: bool = True
    """Whether the cure is applied from the start to later requests; else it is for this request only."""


FindCure = Callable[[Sent, Sequence[Cure], frozenset[str]], tuple[Cure, bool] | None]
"""Finds the cure for a failure, given what was sent, the cures applied to it and the names that are turned off; also
returns whether to remember it."""


def find_cure(
    rows: Sequence[CureRow], failure: Failure, sent: Sent, applied: Sequence[Cure], never: frozenset[str]
) -> tuple[Cure, bool] | None:
    """Return the cure for a failure, and whether to remember it; None if there is none.

    `applied`: the request's cures so far; a second refusal of the same kind has no cure. `never`: names of cures that
    are turned off.
    """
    if failure.kind not in (FailureKind.STATUS, FailureKind.STREAM_ERROR):
        return None
    error = read_error(failure.body)
    refusal = Refusal(status_of(failure), message_of(failure)[:LONGEST], failure.param or error.param)
    for row in rows:
        if refusal.status not in row.statuses or row.name in never or not row.matches(refusal.message):
            continue
        detail = row.detail(refusal, sent)
        if detail is not None:
            cure = Cure(row.name, detail)
            return None if cure in applied else (cure, row.remembered)
    return None


# --- what must have been sent ----------------------------------------------------------------------


def _if(found: Callable[[Sent], object]) -> Detail:
    return lambda refusal, sent: "" if found(sent) else None


def _history(sent: Sent) -> bool:
    return any(message.get("role") == "assistant" for message in sent.messages())


def _system_message(sent: Sent) -> bool:
    return any(message.get("role") == "system" for message in sent.messages())


def _marks(sent: Sent) -> bool:
    blocks = [*as_list(sent.document.get("system")), *sent.tools(), *sent.blocks()]
    return sum(isinstance(block, dict) and "cache_control" in block for block in blocks) > MARKS


def _deferred(sent: Sent) -> bool:
    return any("defer_loading" in tool for tool in sent.tools()) or any(
        kind_of(block) == "tool_reference" for block in sent.blocks()
    )


def _user_id(sent: Sent) -> bool:
    return isinstance(as_dict(sent.document.get("metadata")).get("user_id"), str)


def _adaptive(sent: Sent) -> bool:
    return bool(as_dict(sent.document.get("thinking")).get("type") == "adaptive")


_PATTERN = LazyPattern(r"[`'\"](\^[^`'\"]{1,200})[`'\"]")


def _tool_ids(refusal: Refusal, sent: Sent) -> str | None:
    """Return the pattern that ids must match; "" if the refusal does not say it, None if no ids were sent."""
    if not any(kind_of(block) == "tool_use" for block in sent.blocks()):
        return None
    pattern = _PATTERN.compiled.search(refusal.message)
    return pattern[1] if pattern is not None else ""


def _named_betas(refusal: Refusal, sent: Sent) -> str | None:
    """Return the betas that the refusal names, or else all that were sent."""
    # No patterns: only the configuration has those. A client's, once remembered, would remove others' betas.
    betas = [beta for beta in sent.betas() if re.fullmatch(r"[\w.-]+", beta)]
    named = [beta for beta in betas if re.search(rf"(?<![\w-]){re.escape(beta)}(?![\w-])", refusal.message)]
    return ",".join(dict.fromkeys(named or betas)) or None


_FIELDS = (
    LazyPattern(r"([\w.\[\]-]+): Extra inputs are not permitted", re.IGNORECASE),
    LazyPattern(
        r"\b(?:unknown|unexpected|unrecognized|unsupported|additional|extra)(?: request)?"
        r" (?:fields?|propert(?:y|ies)|parameters?|arguments?|keys?|inputs?|name)(?: supplied| name)?"
        r"[^\w`'\".]{1,3}[`'\"]?([\w.\[\]-]+)",
        re.IGNORECASE,
    ),
    LazyPattern(
        r"[`'\"]([\w.\[\]-]+)[`'\"]\W+(?:is |was )?(?:unexpected|an? (?:unknown|unexpected|unrecognized)|not permitted"
        r"|not allowed|(?:is )?unsupported)",
        re.IGNORECASE,
    ),
)
"""Patterns of unknown fields in refusals: pydantic; Go, serde, OpenAI, Google; JSON schema validators."""

_EXTRA = any_of(
    r"extra inputs? (are|is) not permitted",
    *(form.text for form in _FIELDS[1:]),
)


def _fields(refusal: Refusal, sent: Sent) -> str | None:
    """Return the paths of the refused fields that were sent."""
    named = [match[1] for form in _FIELDS for match in form.compiled.finditer(refusal.message)]
    if refusal.param:
        named.append(refusal.param)
    few = list(dict.fromkeys(named))[:MAX_FIELDS]
    paths = dict.fromkeys(path for name in few for path in find_fields(sent.document, name))
    return ",".join(paths) or None


def _input(feature: str) -> CureRow:
    """Return the row for an unsupported kind of input, with the words of its signal."""
    (words,) = (
        one.words for one in SIGNALS if one.rule == "feature" and one.feature == feature and one.words
    )
    return CureRow(name=feature, matches=words.search, detail=_if(lambda sent: feature in sent.features()))


MESSAGES_CURES = (
    CureRow(name="fields", matches=_EXTRA.search, detail=_fields),
    CureRow(
        name="betas",
        matches=any_of(
            r"invalid beta\b", r"unexpected value\(s\).{1,400}`?anthropic-beta`?", r"unknown beta\b"
        ).search,
        detail=_named_betas,
    ),
    CureRow(
        name="adaptive_thinking",
        matches=any_of(r"\badaptive\b", r"\bthinking\.type\b").search,
        detail=_if(_adaptive),
    ),
    CureRow(
        name="without_thinking",
        matches=mentions_signature,
        statuses=frozenset({400}),
        detail=_if(_history),
        remembered=False,
    ),
    CureRow(
        name="user_id",
        matches=any_of(r"\buser_id\b.{0,200}\b(pattern|match|invalid|characters|length|longer)\b").search,
        detail=_if(_user_id),
    ),
    CureRow(
        name="cache_marks",
        matches=any_of(r"maximum of \d+ blocks with `?cache_control").search,
        detail=_if(_marks),
    ),
    CureRow(
        name="tool_ids",
        matches=any_of(
            r"\btool(_use|_call|_result)?\w*\W{0,3}\bids? must be unique",
            r"(\bid|tool_use_id)\b\W.{0,80}\bpattern\b",
            r"\btool[ _](call|use)[ _]id\b.{0,80}\bmust be\b",
        ).search,
        detail=_tool_ids,
    ),
    CureRow(
        name="system_role",
        matches=any_of(
            r"unexpected role\W+system",
            r"\brole\b.{0,80}\bsystem\b.{0,40}\b(not|unsupported|unexpected|invalid)\b",
            r"\bsystem\b.{0,40}\brole\b.{0,40}\b(not|unsupported|unexpected|invalid)\b",
            r"\brole\b.{0,60}(should be|must be|expected).{0,60}\buser\b.{0,30}\bassistant\b",
        ).search,
        detail=_if(_system_message),
    ),
    CureRow(
        name="deferred_tools",
        matches=any_of(r"\btool_reference\b", r"\bdefer_loading\b").search,
        detail=_if(_deferred),
    ),
    _input(IMAGES),
    _input(DOCUMENTS),
)
"""Refusals by hosts of the Messages protocol. The first row that fits counts."""
