"""Cures: changes to a request that an upstream refused, so that it serves it after all.

A refusal that names something in the request gets one more attempt on the same account with that thing changed. This
module has the known refusals, each with what must have been sent; the encoders of requests apply cures. A cure is a
name and a detail, so that it can be remembered and shown.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from gateway.messages.history_cures import is_flat
from gateway.messages.json_values import as_dict, as_list
from gateway.messages.thinking import mentions_signature
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


class CureRow(NamedTuple):
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


_EFFORT = LazyPattern(r"\b(low|medium|high|xhigh|max)\b", re.IGNORECASE)


def _effort(refusal: Refusal, sent: Sent) -> str | None:
    """Return the accepted efforts: those that the message names besides the one that was sent."""
    effort = as_dict(sent.document.get("output_config")).get("effort")
    if effort is None:
        return None
    named = dict.fromkeys(match[1].lower() for match in _EFFORT.compiled.finditer(refusal.message))
    taken = ",".join(word for word in named if word != effort)
    # Without mention of the model, the refusal is about this client's value.
    return taken if taken or "support" in refusal.message.lower() else None


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
        r"|not allowed|(?:is )?unsupported|(?:is )?deprecated for this model)",
        re.IGNORECASE,
    ),
)
"""How hosts name unknown fields (pydantic; Go, serde, OpenAI, Google; JSON schema validators), or fields that a model
no longer has: "`temperature` is deprecated for this model"."""

_BESIDE = LazyPattern(
    r"[`'\"](temperature|top_p|top_k)[`'\"] (?:may only be set|must be\b.{0,50}\bunset|cannot both be)",
    re.IGNORECASE,
)
"""How hosts refuse a field beside another, mostly thinking. The second named field is removed."""

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


def _beside(refusal: Refusal, sent: Sent) -> str | None:
    named = _BESIDE.compiled.findall(refusal.message)
    return ",".join(dict.fromkeys(name for name in named if name in sent.document)) or None


def _thinks(sent: Sent) -> bool:
    """Return whether thinking was requested, or may be on by default because the history has some."""
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


_PIXELS = LazyPattern(r"\bmany-images? requests?\b\D{0,20}(\d{3,5}) pixels", re.IGNORECASE)


def _pixels(refusal: Refusal, sent: Sent) -> str | None:
    """Return the limit for an image's side, in pixels."""
    pixels = _PIXELS.compiled.search(refusal.message)
    return pixels[1] if pixels is not None and IMAGES in sent.features() else None


def _input(feature: str) -> CureRow:
    """Return the row for an unsupported kind of input, with the words of its signal."""
    (words,) = (
        one.words for one in SIGNALS if one.rule == "feature" and one.feature == feature and one.words
    )
    return CureRow(name=feature, matches=words.search, detail=_if(lambda sent: feature in sent.features()))


MESSAGES_CURES = (
    CureRow(name="fields", matches=_EXTRA.search, detail=_fields),
    # The combination in this request is refused; other requests may be fine, so it is not remembered.
    CureRow(name="fields", matches=_BESIDE.search, detail=_beside, remembered=False),
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
        detail=_thinking("adaptive"),
    ),
    CureRow(
        name="enabled_thinking",
        matches=any_of(
            r"\benabled\b.{0,80}\b(not (support|match|allow|accept|permit)|unsupported|deprecated|no longer)",
            r"\bunsupported\b.{0,80}\benabled\b",
            r"\b(use|only|must|should|expected)\b(?:(?!enabled).){0,60}\badaptive\b|\brequires? adaptive\b",
            r"\bbudget_tokens\b.{0,60}\b(not (support|allow|accept|permit)|unsupported|deprecated|removed|no longer)",
        ).search,
        detail=_thinking("enabled"),
    ),
    CureRow(
        name="disabled_thinking",
        matches=any_of(
            r"\bdisabled\b.{0,80}\b(not (support|match|allow|accept|permit)|unsupported)",
            r"\bunsupported\b.{0,80}\bdisabled\b",
            r"\bthinking\b.{0,40}\b(cannot|can't|can not) be (disabled|turned off)\b",
        ).search,
        detail=_thinking("disabled"),
    ),
    CureRow(
        name="effort",
        matches=any_of(
            r"\bsupport\b.{0,60}\beffort\b",
            r"\beffort\b.{0,80}\b(not support|unsupported|should be|must be|invalid|not valid)",
            r"\b(unsupported|invalid)\b.{0,60}\beffort\b",
        ).search,
        detail=_effort,
    ),
    CureRow(
        name="without_thinking",
        matches=mentions_signature,
        statuses=frozenset({400}),
        detail=_if(_history),
        remembered=False,
    ),
    CureRow(
        name="thinking_off",
        matches=any_of(
            # DeepSeek and Kimi: the history lacks its thinking.
            r"\bthinking\b.{0,60}\bmust be passed back\b",
            r"\bthinking is enabled but\b.{0,40}\bmissing\b",
            r"\bthinking may not be enabled when\b",
        ).search,
        detail=_if(_thinks),
        remembered=False,
    ),
    CureRow(
        name="prefill",
        matches=any_of(
            r"\bnot support\b.{0,40}\bprefill", r"\bmust end with an? [`'\"]?user[`'\"]? message"
        ).search,
        detail=_if(_prefill),
    ),
    CureRow(name="trailing_space", matches=any_of(r"\btrailing whitespace\b").search, detail=_if(_prefill)),
    CureRow(
        name="tool_inputs",
        matches=any_of(r"\binput\b.{0,40}\bvalid (dictionary|dict|object)\b").search,
        detail=_if(_odd_input),
    ),
    CureRow(
        name="tool_schemas",
        matches=any_of(
            r"\binput_schema does not support\b.{0,40}\b(oneOf|allOf|anyOf)\b",
            r"\binput_schema\.type\b.{0,20}\b(required|should be)\b",
        ).search,
        detail=_if(_odd_schema),
    ),
    CureRow(
        name="tool_names", matches=any_of(r"\btool names? must be unique").search, detail=_if(_doubled_tool)
    ),
    CureRow(name="many_images", matches=_PIXELS.search, detail=_pixels),
    CureRow(
        name="user_id",
        matches=any_of(r"\buser_id\b.{0,200}\b(pattern|match|invalid|characters|length|longer)\b").search,
        detail=_if(_user_id),
    ),
    CureRow(
        name="cache_marks",
        matches=any_of(r"maximum of \d+ blocks with `?cache_control").search,
        detail=_if(lambda sent: _marks(sent) > MARKS),
    ),
    CureRow(
        name="cache_control",
        # OpenRouter: "No endpoints found that support cache control".
        matches=any_of(
            r"\bsupport(s|ed)?\b.{0,30}\bcache[ _]control\b",
            r"\bcache[ _]control\b.{0,40}\b(not (support|allow|permit)|unsupported)",
        ).search,
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
