"""The table of codes, types and messages by which hosts say what a failure is about, each with its source.

Statuses are unreliable: hosts report an exhausted balance as 400, 402, 403, 429 or 500, and an unsupported picture as
404. `meanings` applies the table, `policy` says what follows from a meaning.
"""

from typing import NamedTuple

from gateway.patterns import LazyPattern, any_of
from gateway.routing.sent import AUDIO, CONTEXT_1M, DOCUMENTS, FAST, IMAGES

WINDOW = 3600.0
"""Seconds, for an exhausted window whose end is given without a time zone: probed hourly."""


class Signal(NamedTuple):
    """One row of the table. It matches if any of its codes is present, or else its words."""

    rule: str
    """The row of `policy.TABLE`."""
    seen: str
    """Where it was seen."""
    codes: frozenset[str] = frozenset()
    """Codes, reasons and types, lower case."""
    words: LazyPattern[str] | None = None
    statuses: frozenset[int] = frozenset()
    """Statuses with which its words count; empty: any."""
    feature: str = ""
    """The feature that the failure is about."""
    used: bool = False
    """Whether it counts only for requests that use the feature."""
    status: int = 0
    """The status that the client gets where the upstream's own was not an error."""
    hint: float | None = None
    """Seconds until a retry makes sense, if no header says so."""


REFUSALS = frozenset({400, 404, 415, 422})

_NO_INPUT = (
    r"no endpoints found that support \W*{0}",
    r"\b{0}\W+((inputs?|content|blocks?|parts?)\W+){{0,2}}(is |are )?(currently )?(not |un)(currently )?supported",
    r"\b(does|do)(n.t| not) (support|accept)( the)?( use of| any)?\W+{0}\b",
    r"unsupported (content|input|block)( block)?( type)?\W+{0}(?!/)\b",
    r"at most 0 {0}\b",
    r"unknown variant \W{0}\b",
)
"""Patterns of refusals of a kind of input."""


def _no_input(kind: str) -> LazyPattern[str]:
    return any_of(*(form.format(kind) for form in _NO_INPUT))


SIGNALS = (
    Signal(
        rule="billing",
        codes=frozenset(
            {
                "insufficient_quota",
                "exceeded_current_quota_error",
                "insufficient_balance_error",
                "insufficient_balance",
                "arrearage",
                "billing_not_active",
                "billing_disabled",
                "service_disabled",
                "consumer_suspended",
                "failed_precondition",
                "base_resp.1008",
                "1113",
            }
        ),
        status=402,
        seen="langchainjs#1929, kimi-code#1857, modelscope#1691, spring-ai-alibaba#1146, CowAgent#2910 (1113); Google",
    ),
    Signal(
        rule="billing",
        codes=frozenset({"1304", "1309"}),
        status=402,
        seen="z.ai: the plan's daily limit, the plan's end",
    ),
    Signal(
        rule="login",
        codes=frozenset(
            {"invalid_api_key", "api_key_invalid", "1000", "1001", "1002", "1003", "1004", "base_resp.1004"}
        ),
        status=401,
        seen="OpenAI; Google; z.ai's five codes of a bad token; MiniMax",
    ),
    Signal(
        rule="limit",
        codes=frozenset({"1308", "1310", "1316", "1317"}),
        status=429,
        hint=WINDOW,
        seen="continue#13195: z.ai's windows, whose reset has no time zone",
    ),
    Signal(
        rule="limit without hint",
        codes=frozenset({"1302", "1303", "1305", "base_resp.1002"}),
        status=429,
        seen="z.ai, MiniMax: too many requests, also with 200",
    ),
    Signal(
        rule="overloaded",
        codes=frozenset({"engine_overloaded_error", "engine_overloaded"}),
        status=529,
        seen="OpenAI and Kimi, with 429",
    ),
    Signal(
        rule="missing",
        codes=frozenset({"model_not_found", "model_not_supported", "invalid_model", "1211", "1500"}),
        status=404,
        seen="OpenAI; Copilot; mistral-vibe#617 (1500); z.ai (1211)",
    ),
    Signal(
        rule="request",
        codes=frozenset({"thread_not_found"}),
        status=404,
        seen="the Messages protocol: SDKs send the whole conversation again",
    ),
    Signal(
        rule="billing",
        words=any_of(
            r"credit balance is too low",
            r"insufficient (credits?|balance|funds)",
            r"organi[sz]ation has been disabled",
            r"\b(account|organi[sz]ation|workspace)\b.{0,40}\b(suspended|deactivated|disabled)\b",
            r"usage limits?\b.{0,80}\bregain access",
            r"out of (extra )?usage\b",
            r"plan has expired",
            r"please recharge",
            r"(n.t|\bnot) have any credits",
            r"used all available credits",
            r"run out of credits",
        ),
        status=402,
        seen="claude-code#66314, claude-code#4684; z.ai, Kimi; griptape-nodes-engine#1079, warp#14863 (xAI, 403)",
    ),
    Signal(
        rule="feature",
        words=any_of(
            r"extra usage is required for long context", r"long context beta is not (yet )?available"
        ),
        feature=CONTEXT_1M,
        status=429,
        seen="claude-code#27944 (400), and with 429",
    ),
    Signal(
        rule="feature",
        words=any_of(r"incompatible with the long context beta"),
        feature=CONTEXT_1M,
        used=True,
        seen="claude-code#24493 (400): for credentials of another kind",
    ),
    Signal(
        rule="feature",
        words=any_of(r"\blong[ -]context\b", r"\b1m\b", r"context-1m"),
        statuses=frozenset({403, 429}),
        feature=CONTEXT_1M,
        used=True,
        seen="Anthropic, for tiers without the 1M window",
    ),
    Signal(
        rule="feature",
        words=any_of(r"\bfast[ -]mode\b", r"\bspeed\b"),
        statuses=frozenset({403, 429}),
        feature=FAST,
        used=True,
        seen="Anthropic, for plans without fast mode",
    ),
    Signal(
        rule="feature",
        words=_no_input(r"(image(_url)?|vision|picture)s?"),
        statuses=REFUSALS,
        feature=IMAGES,
        used=True,
        seen="MagicPrompt#50 (OpenRouter, 404), ollama#17301, openclaude#1071 (DeepSeek), vLLM",
    ),
    Signal(
        rule="feature",
        words=_no_input(r"(document|pdf|file)s?"),
        statuses=REFUSALS,
        feature=DOCUMENTS,
        used=True,
        seen="OpenRouter",
    ),
    Signal(
        rule="feature",
        words=_no_input(r"audio"),
        statuses=REFUSALS,
        feature=AUDIO,
        used=True,
        seen="OpenRouter",
    ),
    Signal(
        rule="request",
        words=any_of(r"no endpoints found that"),
        statuses=frozenset({404}),
        seen="fast-agent#122 (OpenRouter): of what this request uses, not of the model",
    ),
    Signal(
        rule="request",
        words=any_of(r"can only afford \d"),
        statuses=frozenset({402}),
        seen="free-claude-code#752, openclaude#1125 (OpenRouter): with a smaller max_tokens it works",
    ),
    Signal(
        rule="missing",
        words=any_of(
            r"model not exist",
            r"not a valid model",
            r"\bunknown model\b(?! (parameter|field|option))",
            r"\bno such model\b",
            r"unsupported model: ",
        ),
        statuses=frozenset({400, 404}),
        seen="addi#13 (DeepSeek), continue#10758 (OpenRouter), octopus#177",
    ),
    Signal(
        rule="pairing",
        words=any_of(
            r"`?tool_use`? ids were found without `?tool_result`?",
            r"unexpected `?tool_use_id`? found in `?tool_result`?",
            r"roles must (strictly )?alternate",
        ),
        statuses=frozenset({400, 422}),
        seen="Anthropic; chat templates of local servers",
    ),
    Signal(
        rule="unavailable",
        words=any_of(
            r"loading model", r"model is (unloaded|loading)", r"\b(under|for|in|scheduled) maintenance\b"
        ),
        statuses=frozenset({500, 502, 503, 504}),
        seen="llama-swap#146, lmstudio#1492; maintenance pages",
    ),
)
"""In order of precedence: first all rows' codes, then types, then words."""

MODEL_IS_MISSING = any_of(
    r"\bmodels?\b.{0,60}\b(not (found|exist|available|supported|loaded)|does(n.t| not) exist|unknown|missing|retired"
    r"|deprecated|no longer|unavailable)",
    r"\b(unknown|invalid|no such|unsupported|missing|retired) models?\b",
    r"^models?: ",
)
"""Matches messages of 404s about the model, if they do not contain its name."""

MENTIONS_MODEL = any_of(r"\bmodels?\b")

MENTIONS_ACCOUNT = any_of(
    r"\baccounts?\b",
    r"\borgani[sz]ations?\b",
    r"\bworkspaces?\b",
    r"\bprojects?\b",
    r"\b(api|access|secret)[ _-]?keys?\b",
    r"\bcredentials?\b",
    r"\b(access|auth\w*|bearer) tokens?\b",
    r"\bbilling\b",
    r"\bsubscriptions?\b",
    r"\b(country|region|location|territory)\b",
    r"\bapi\b.{0,80}\b(disabled|not (been )?(used|enabled))\b",
)
"""Matches messages of 403s about the account or the whole product."""
