"""Cures: what is changed of a request that an upstream refused, so that it serves it after all.

A refusal that names something that we sent gets one more try on the same account with that thing changed. Here stand
the refusals that are known, each with what of the request it needs to have been there; what a cure does to a document
is the work of those who encode requests. A cure is a name and a detail, so that it can be remembered and shown.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gateway.messages.history_cures import is_flat
from gateway.messages.json_values import as_dict, as_list
from gateway.messages.repair import speaks_of_signature
from gateway.patterns import Late, any_of
from gateway.routing.error_bodies import read_error
from gateway.routing.failures import Failure, FailureKind, message_of, status_of
from gateway.routing.meanings import LONGEST
from gateway.routing.paths import find_fields
from gateway.routing.sent import DOCUMENTS, IMAGES, Sent, kind_of
from gateway.routing.signals import REFUSALS, SIGNALS

MAX_CURES = 3
"""Cures in one request: a host that still refuses then means something else."""

MAX_FIELDS = 8
"""Fields that one refusal may name: each is looked for in all of the document."""

MARKS = 4
"""Blocks with `cache_control` that a request may have."""


class Cure(NamedTuple):
    """One change of a request."""

    name: str
    detail: str = ""
    """What exactly is changed, where the name alone does not say: fields' paths, betas' names, with commas."""


WITHOUT_THINKING = Cure("without_thinking")
"""A signature was refused: the history is sent without thinking."""


class Refusal(NamedTuple):
    """What a refusal says."""

    status: int
    message: str
    param: str


Detail = Callable[[Refusal, Sent], str | None]
"""Returns a cure's detail, or None if what is refused was not sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CureRow:
    """One row of the table: which refusals, and what of our request they need to have been there."""

    name: str
    says: Callable[[str], object]
    """Tells whether a message (at most 8,192 characters) is such a refusal: anything true."""
    detail: Detail
    statuses: frozenset[int] = REFUSALS
    remembered: bool = True
    """What cured one request is applied from the start to those that follow; else it is for this request only."""


FindCure = Callable[[Sent, Sequence[Cure], frozenset[str]], tuple[Cure, bool] | None]
"""Finds the cure for a failure, from what was sent, what was changed of it already, and the names that are turned
off; also says whether to remember it."""


def find_cure(
    rows: Sequence[CureRow], failure: Failure, sent: Sent, applied: Sequence[Cure], never: frozenset[str]
) -> tuple[Cure, bool] | None:
    """Return the cure for a failure, and whether to remember it; None if there is none.

    `applied`: what was already changed of the request; a second refusal of the same kind has no cure. `never`: names of
    cures that are turned off.
    """
    if failure.kind not in (FailureKind.STATUS, FailureKind.STREAM_ERROR):
        return None
    error = read_error(failure.body)
    refusal = Refusal(status_of(failure), message_of(failure)[:LONGEST], failure.param or error.param)
    for row in rows:
        if refusal.status not in row.statuses or row.name in never or not row.says(refusal.message):
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


def _marks(sent: Sent) -> int:
    blocks = [*as_list(sent.document.get("system")), *sent.tools(), *sent.blocks(), sent.document]
    return sum(isinstance(block, Mapping) and "cache_control" in block for block in blocks)


def _deferred(sent: Sent) -> bool:
    return any("defer_loading" in tool for tool in sent.tools()) or any(
        kind_of(block) == "tool_reference" for block in sent.blocks()
    )


def _user_id(sent: Sent) -> bool:
    return isinstance(as_dict(sent.document.get("metadata")).get("user_id"), str)


def _thinking(kind: str) -> Detail:
    return _if(lambda sent: as_dict(sent.document.get("thinking")).get("type") == kind)


_EFFORT = Late(r"\b(low|medium|high|xhigh|max)\b", re.IGNORECASE)


def _effort(refusal: Refusal, sent: Sent) -> str | None:
    """Return the efforts that are named beside the one that was sent: those that are taken."""
    effort = as_dict(sent.document.get("output_config")).get("effort")
    if effort is None:
        return None
    named = dict.fromkeys(match[1].lower() for match in _EFFORT.compiled.finditer(refusal.message))
    taken = ",".join(word for word in named if word != effort)
    # A refusal that says nothing of the model is about this client's value.
    return taken if taken or "support" in refusal.message.lower() else None


_PATTERN = Late(r"[`'\"](\^[^`'\"]{1,200})[`'\"]")


def _tool_ids(refusal: Refusal, sent: Sent) -> str | None:
    """Return the pattern that ids must match, "" if it is not told."""
    if not any(kind_of(block) == "tool_use" for block in sent.blocks()):
        return None
    pattern = _PATTERN.compiled.search(refusal.message)
    return pattern[1] if pattern is not None else ""


def _named_betas(refusal: Refusal, sent: Sent) -> str | None:
    """Return the betas that are named, or else all that were sent."""
    # Patterns are the configuration's: a client's, once remembered, would take every other client's betas away.
    betas = [beta for beta in sent.betas() if re.fullmatch(r"[\w.-]+", beta)]
    named = [beta for beta in betas if re.search(rf"(?<![\w-]){re.escape(beta)}(?![\w-])", refusal.message)]
    return ",".join(dict.fromkeys(named or betas)) or None


_FIELDS = (
    Late(r"([\w.\[\]-]+): Extra inputs are not permitted", re.IGNORECASE),
    Late(
        r"\b(?:unknown|unexpected|unrecognized|unsupported|additional|extra)(?: request)?"
        r" (?:fields?|propert(?:y|ies)|parameters?|arguments?|keys?|inputs?|name)(?: supplied| name)?"
        r"[^\w`'\".]{1,3}[`'\"]?([\w.\[\]-]+)",
        re.IGNORECASE,
    ),
    Late(
        r"[`'\"]([\w.\[\]-]+)[`'\"]\W+(?:is |was )?(?:unexpected|an? (?:unknown|unexpected|unrecognized)|not permitted"
        r"|not allowed|(?:is )?unsupported|(?:is )?deprecated for this model)",
        re.IGNORECASE,
    ),
)
"""How hosts name fields that they do not know: pydantic; Go, serde, OpenAI, Google; JSON schema validators. Or that a
model has no more: "`temperature` is deprecated for this model"."""

_BESIDE = Late(
    r"[`'\"](temperature|top_p|top_k)[`'\"] (?:may only be set|must be\b.{0,50}\bunset|cannot both be)",
    re.IGNORECASE,
)
"""How hosts refuse a field beside another one, thinking above all. Of two that are named, the second goes."""

_EXTRA = any_of(
    r"extra inputs? (are|is) not permitted",
    *(form.text for form in _FIELDS[1:]),
)


def _fields(refusal: Refusal, sent: Sent) -> str | None:
    """Return the paths of the fields that are refused and that were sent."""
    named = [match[1] for form in _FIELDS for match in form.compiled.finditer(refusal.message)]
    if refusal.param:
        named.append(refusal.param)
    few = list(dict.fromkeys(named))[:MAX_FIELDS]
    paths = dict.fromkeys(path for name in few for path in find_fields(sent.document, name))
    return ",".join(paths) or None


def _beside(refusal: Refusal, sent: Sent) -> str | None:
    named = _BESIDE.compiled.findall(refusal.message)
    return ",".join(dict.fromkeys(name for name in named if name in sent.document)) or None


def _thinks(sent: Sent) -> bool:
    """Return whether thinking was asked for, or may go on unasked in a history."""
    thinking = sent.document.get("thinking")
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    return kind != "disabled" and (kind is not None or _history(sent))


def _prefill(sent: Sent) -> bool:
    *_, last = [{}, *sent.messages()]
    return last.get("role") == "assistant"


def _odd_input(sent: Sent) -> bool:
    return any(
        kind_of(block) == "tool_use" and not isinstance(block.get("input"), dict) for block in sent.blocks()
    )


def _odd_schema(sent: Sent) -> bool:
    schemas = [tool.get("input_schema") for tool in sent.tools()]
    return any(isinstance(schema, dict) and not is_flat(schema) for schema in schemas)


def _doubled_tool(sent: Sent) -> bool:
    names = [tool.get("name") for tool in sent.tools() if isinstance(tool.get("name"), str)]
    return len(names) > len({*names})


_PIXELS = Late(r"\bmany-images? requests?\b\D{0,20}(\d{3,5}) pixels", re.IGNORECASE)


def _pixels(refusal: Refusal, sent: Sent) -> str | None:
    """Return how many pixels a side of an image may have."""
    pixels = _PIXELS.compiled.search(refusal.message)
    return pixels[1] if pixels is not None and IMAGES in sent.features() else None


def _input(feature: str) -> CureRow:
    """Return the row for a kind of input that is not supported, in the words of its signal."""
    (words,) = (
        one.words for one in SIGNALS if one.rule == "feature" and one.feature == feature and one.words
    )
    return CureRow(name=feature, says=words.search, detail=_if(lambda sent: feature in sent.features()))


MESSAGES_CURES = (
    CureRow(name="fields", says=_EXTRA.search, detail=_fields),
    # This request's fields do not go together: others' may.
    CureRow(name="fields", says=_BESIDE.search, detail=_beside, remembered=False),
    CureRow(
        name="betas",
        says=any_of(
            r"invalid beta\b", r"unexpected value\(s\).{1,400}`?anthropic-beta`?", r"unknown beta\b"
        ).search,
        detail=_named_betas,
    ),
    CureRow(
        name="adaptive_thinking",
        says=any_of(r"\badaptive\b", r"\bthinking\.type\b").search,
        detail=_thinking("adaptive"),
    ),
    CureRow(
        name="enabled_thinking",
        says=any_of(
            r"\benabled\b.{0,80}\b(not (support|match|allow|accept|permit)|unsupported|deprecated|no longer)",
            r"\bunsupported\b.{0,80}\benabled\b",
            r"\b(use|only|must|should|expected)\b(?:(?!enabled).){0,60}\badaptive\b|\brequires? adaptive\b",
            r"\bbudget_tokens\b.{0,60}\b(not (support|allow|accept|permit)|unsupported|deprecated|removed|no longer)",
        ).search,
        detail=_thinking("enabled"),
    ),
    CureRow(
        name="disabled_thinking",
        says=any_of(
            r"\bdisabled\b.{0,80}\b(not (support|match|allow|accept|permit)|unsupported)",
            r"\bunsupported\b.{0,80}\bdisabled\b",
            r"\bthinking\b.{0,40}\b(cannot|can't|can not) be (disabled|turned off)\b",
        ).search,
        detail=_thinking("disabled"),
    ),
    CureRow(
        name="effort",
        says=any_of(
            r"\bsupport\b.{0,60}\beffort\b",
            r"\beffort\b.{0,80}\b(not support|unsupported|should be|must be|invalid|not valid)",
            r"\b(unsupported|invalid)\b.{0,60}\beffort\b",
        ).search,
        detail=_effort,
    ),
    CureRow(
        name="without_thinking",
        says=speaks_of_signature,
        statuses=frozenset({400}),
        detail=_if(_history),
        remembered=False,
    ),
    CureRow(
        name="thinking_off",
        says=any_of(
            # DeepSeek and Kimi, of a history without its thinking.
            r"\bthinking\b.{0,60}\bmust be passed back\b",
            r"\bthinking is enabled but\b.{0,40}\bmissing\b",
            r"\bthinking may not be enabled when\b",
        ).search,
        detail=_if(_thinks),
        remembered=False,
    ),
    CureRow(
        name="prefill",
        says=any_of(
            r"\bnot support\b.{0,40}\bprefill", r"\bmust end with an? [`'\"]?user[`'\"]? message"
        ).search,
        detail=_if(_prefill),
    ),
    CureRow(name="trailing_space", says=any_of(r"\btrailing whitespace\b").search, detail=_if(_prefill)),
    CureRow(
        name="tool_inputs",
        says=any_of(r"\binput\b.{0,40}\bvalid (dictionary|dict|object)\b").search,
        detail=_if(_odd_input),
    ),
    CureRow(
        name="tool_schemas",
        says=any_of(
            r"\binput_schema does not support\b.{0,40}\b(oneOf|allOf|anyOf)\b",
            r"\binput_schema\.type\b.{0,20}\b(required|should be)\b",
        ).search,
        detail=_if(_odd_schema),
    ),
    CureRow(
        name="tool_names", says=any_of(r"\btool names? must be unique").search, detail=_if(_doubled_tool)
    ),
    CureRow(name="many_images", says=_PIXELS.search, detail=_pixels),
    CureRow(
        name="user_id",
        says=any_of(r"\buser_id\b.{0,200}\b(pattern|match|invalid|characters|length|longer)\b").search,
        detail=_if(_user_id),
    ),
    CureRow(
        name="cache_marks",
        says=any_of(r"maximum of \d+ blocks with `?cache_control").search,
        detail=_if(lambda sent: _marks(sent) > MARKS),
    ),
    CureRow(
        name="cache_control",
        # OpenRouter: "No endpoints found that support cache control".
        says=any_of(
            r"\bsupport(s|ed)?\b.{0,30}\bcache[ _]control\b",
            r"\bcache[ _]control\b.{0,40}\b(not (support|allow|permit)|unsupported)",
        ).search,
        detail=_if(_marks),
    ),
    CureRow(
        name="tool_ids",
        says=any_of(
            r"\btool(_use|_call|_result)?\w*\W{0,3}\bids? must be unique",
            r"(\bid|tool_use_id)\b\W.{0,80}\bpattern\b",
            r"\btool[ _](call|use)[ _]id\b.{0,80}\bmust be\b",
        ).search,
        detail=_tool_ids,
    ),
    CureRow(
        name="system_role",
        says=any_of(
            r"unexpected role\W+system",
            r"\brole\b.{0,80}\bsystem\b.{0,40}\b(not|unsupported|unexpected|invalid)\b",
            r"\bsystem\b.{0,40}\brole\b.{0,40}\b(not|unsupported|unexpected|invalid)\b",
            r"\brole\b.{0,60}(should be|must be|expected).{0,60}\buser\b.{0,30}\bassistant\b",
        ).search,
        detail=_if(_system_message),
    ),
    CureRow(
        name="deferred_tools",
        says=any_of(r"\btool_reference\b", r"\bdefer_loading\b").search,
        detail=_if(_deferred),
    ),
    _input(IMAGES),
    _input(DOCUMENTS),
)
"""What hosts of the Messages protocol refuse. The first row that fits is taken."""
