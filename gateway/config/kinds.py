"""The kinds of upstreams: one row each, with all that the configuration knows about a dialect.

The rest of a dialect is its package in `dialects/`. `REPAIRS` is the list of repairs that rows and files choose
from.
"""

import re
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from gateway.config.openai_presets import PRESETS as OPENAI_PRESETS
from gateway.config.openai_traits import KEYS as OPENAI_KEYS
from gateway.config.openai_traits import Traits, starter_lines
from gateway.config.parsers import boolean, check_word, integer, one_of, word
from gateway.config.reading import Mistake, Parser, Reading, array_of

REPAIRS = (
    "cache_control",
    "merge_roles",
    "empty_text",
    "tool_results",
    "foreign_thinking",
    "system_role",
    "deferred_tools",
    "attribution",
    "tool_ids",
    "empty_results",
    "failed_results",
    "server_tools",
)
"""Every repair that `repair` and `no_repair` can name."""

CURES = (
    "betas",
    "adaptive_thinking",
    "enabled_thinking",
    "disabled_thinking",
    "effort",
    "thinking_off",
    "prefill",
    "trailing_space",
    "tool_inputs",
    "tool_names",
    "tool_schemas",
    "cache_control",
    "without_thinking",
    "user_id",
    "cache_marks",
    "tool_ids",
    "system_role",
    "deferred_tools",
    "images",
    "many_images",
    "documents",
)
"""Every cure that `cures` can name. Its name alone says what it changes."""

FIELDS_CURE = "fields"
"""A refusal, or `drop_fields`, says which field this cure leaves out."""

OPENAI_CURES = (
    *("max_tokens_field", "least_tokens", "tool_effort", "efforts", "thinking", "stream", "echo"),
    *(
        "images",
        "documents",
        "tool_choice",
        "after_tool",
        "prompt_role",
        "tool_ids",
        "json",
        "schema",
        "stop",
    ),
    *("without", "without_thinking", "cache_control"),
)
"""Cures that change a trait after a refusal, and two that leave out a field or opaque reasoning."""

NEEDED_FIELDS = frozenset({"model", "messages", "max_tokens", "system", "tools", "stream"})
"""Fields that cannot be left out without changing the request's meaning."""

ALWAYS_REPAIRED = frozenset({"thinking_cache_control"})
"""Not optional: every upstream refuses `cache_control` on a thinking block."""

TRANSLATED_REPAIRED = ALWAYS_REPAIRED | frozenset(REPAIRS) - {"failed_results"}
"""Repairs for translated upstream kinds: their translation itself moves media out of failed tool results."""

Preset = Mapping[str, Any]
"""Values that the file can override, in the configuration's own types (`system_role` True means "fold")."""


def url_before_version(url: str) -> str:
    """Return a base URL to which the dialect adds the version. Raise Mistake if it has one."""
    if re.search(r"/v1(?:beta|alpha|/messages)?$", url):
        raise Mistake('must end before "/v1": the gateway adds the rest')
    return url


def no_more_checks(reading: Reading, path: str, given: Collection[str]) -> None:
    """Accept any combination of keys."""


def beta_pattern(reading: Reading, path: str, value: object) -> str:
    """Read the name of a beta, in which `*` matches anything."""
    text = check_word(value)
    if "," in text:
        raise Mistake("must be one name of a beta, or a pattern with *: write each by itself")
    return text


def field_path(reading: Reading, path: str, value: object) -> str:
    """Read the path of a field that requests can do without."""
    text = check_word(value)
    if not re.fullmatch(r"[A-Za-z0-9_*-]+(?:\.[A-Za-z0-9_*-]+){0,11}", text) or re.search(
        r"(?:^|\.)[0-9*]+$", text
    ):
        raise Mistake('must be a path of keys with dots, as "context_management" or "tools.*.strict"')
    if text in NEEDED_FIELDS:
        raise Mistake("is a field without which a request is another one")
    return text


class UpstreamKind(NamedTuple):
    """How a kind of upstream is configured."""

    module: str
    """The dialect's module below `gateway.dialects`; it has a function `new_dialect(random, warn)`."""
    presets: Mapping[str, Preset]
    """Known upstreams by name, the kind's own service first."""
    keys: Mapping[str, Parser]
    """Keys of an upstream that only this kind has, or parses differently."""
    repairs: frozenset[str]
    """The repairs that are on by default."""
    example_model: str
    """A wire model that exists, for examples."""
    local_presets: frozenset[str] = frozenset()
    """Presets of servers on the user's own machine, which need no key."""
    base_url: str = ""
    """The default; empty: the file must give one."""
    check_url: Callable[[str], str] = url_before_version
    """Normalizes a base URL. Raises Mistake."""
    version_in_url: bool = False
    """Its base URLs end in the API's version."""
    defaults: Preset = MappingProxyType({})
    """Defaults of keys for all upstreams of this kind; a preset and the file override them."""
    options: type[Any] | None = None
    """The class of these keys' values, except for those that are fields of every Upstream."""
    check_keys: Callable[[Reading, str, Collection[str]], None] = no_more_checks
    """Notes mistakes in the combination of keys at a key path."""
    signature_mark: str = ""
    """The prefix of its own thinking signatures; empty: they are the Messages protocol's."""
    own_models: bool = False
    """Its hosts know no `claude-*` names, so that the configuration must map clients' names."""
    oauth: bool = False
    """Its accounts may have an `oauth_file`."""
    starter: str = ""
    """An example of an upstream with every key of this kind, commented out, for `gateway init`."""


def _messages_host(base_url: str, **more: Any) -> Preset:
    """Return the preset of a host that speaks the Messages protocol, but knows no system messages and no threads."""
    return {"base_url": base_url, "system_role": True, "threads": False, **more}


ANTHROPIC = UpstreamKind(
    module="anthropic",
    presets={
        "anthropic": {"base_url": "https://api.anthropic.com"},
        "zai": _messages_host("https://api.z.ai/api/anthropic"),
        "bigmodel": _messages_host("https://open.bigmodel.cn/api/anthropic"),
        "moonshot": _messages_host("https://api.moonshot.ai/anthropic"),
        "deepseek": _messages_host("https://api.deepseek.com/anthropic"),
        "minimax": _messages_host("https://api.minimax.io/anthropic"),
        # OpenRouter's guide for Claude Code sets the token variable, which is sent as a bearer token.
        "openrouter": _messages_host("https://openrouter.ai/api", auth_header="authorization"),
        "ollama": _messages_host("http://127.0.0.1:11434"),
        "lmstudio": _messages_host("http://127.0.0.1:1234"),
        "llamacpp": _messages_host("http://127.0.0.1:8080"),
    },
    local_presets=frozenset({"ollama", "lmstudio", "llamacpp"}),
    keys={
        "auth_header": one_of("x-api-key", "authorization"),
        "stream_internally": boolean,
        "threads": boolean,
        "cures": array_of(one_of(*CURES)),
        "no_cures": array_of(one_of(FIELDS_CURE, *CURES)),
        "drop_betas": array_of(beta_pattern),
        "drop_fields": array_of(field_path),
    },
    repairs=ALWAYS_REPAIRED
    | {
        "merge_roles",
        "empty_text",
        "tool_ids",
        "tool_results",
        "empty_results",
        "failed_results",
        "server_tools",
        "foreign_thinking",
    },
    example_model="claude-sonnet-5-5",
)


MAX_OUTPUT_TOKENS = 10_000_000
"""More than any model writes, so a larger number is a typing mistake."""


class GeminiOptions(NamedTuple):
    """Options of gemini upstreams only."""

    version: str = "v1beta"
    path: str | None = None
    """Replaces the whole path of a generate request; `{model}` stands for the wire model (Vertex AI)."""
    envelope: Literal["", "code_assist"] = ""
    """Empty: the body is the request itself."""
    project: str = ""
    """The `project` of a code_assist envelope."""
    schema: Literal["json", "openapi"] = "json"
    unsupported_tools: Literal["error", "drop"] = "error"
    max_output_tokens: int = 0
    """The most output tokens of its models; 0: what their list says."""


def version_segment(reading: Reading, path: str, value: object) -> str:
    """Parse the API's version, one path segment."""
    text = check_word(value)
    if not re.fullmatch(r"[A-Za-z0-9._-]+", text):
        raise Mistake('must be one segment of a path, as "v1beta"')
    return text


def generate_path(reading: Reading, path: str, value: object) -> str:
    """Return a request path with a place for the wire model."""
    text = check_word(value)
    if not text.startswith("/") or "{model}" not in text or "#" in text:
        raise Mistake('must begin with "/" and hold "{model}"')
    return text


def _check_envelope(reading: Reading, path: str, given: Collection[str]) -> None:
    if "envelope" in given and "path" in given:
        reading.problem(f"{path}.path", "a code_assist envelope has a path of its own: leave one of them out")
    if ("envelope" in given) != ("project" in given):
        missing = "project" if "envelope" in given else "envelope"
        reading.problem(f"{path}.{missing}", 'missing: envelope = "code_assist" and project go together')


GEMINI = UpstreamKind(
    module="gemini.dialect",
    presets={"gemini": {"base_url": "https://generativelanguage.googleapis.com"}},
    base_url="https://generativelanguage.googleapis.com",
    keys={
        "version": version_segment,
        "path": generate_path,
        "envelope": one_of("code_assist"),
        "project": word,
        "schema": one_of("json", "openapi"),
        "unsupported_tools": one_of("error", "drop"),
        "max_output_tokens": integer(1, MAX_OUTPUT_TOKENS),
        "no_cures": array_of(one_of("without_thinking")),
    },
    options=GeminiOptions,
    check_keys=_check_envelope,
    repairs=TRANSLATED_REPAIRED,
    signature_mark="gemini:",
    own_models=True,
    oauth=True,
    example_model="gemini-3.1-pro-preview",
    starter="""\
# A fallback that speaks another protocol.
#[upstreams.gemini]
#preset = "gemini"
#priority = 1
#models = { "claude-haiku-*" = "gemini-3.8-flash", "*" = "gemini-3.1-pro-preview" }
#version = "v1beta"
# "json" sends tool schemas as JSON Schema, "openapi" as the older subset.
#schema = "json"
# What to do with server tools that Gemini does not have: "error" or "drop".
#unsupported_tools = "error"
# Tokens of output that its models can write, where their list does not say it.
#max_output_tokens = 65536
#no_cures = ["without_thinking"]
# Vertex AI has the model inside a path of its own.
#path = "/v1/projects/P/locations/L/publishers/google/models/{model}:streamGenerateContent"
#[[upstreams.gemini.accounts]]
#email = "me@example.com"
#api_key = "${GEMINI_API_KEY}"
# Or, instead of a key, a Google authorized_user file:
#[[upstreams.gemini.accounts]]
#name = "oauth"
#oauth_file = "google.json"
""",
)


def openai_url(url: str) -> str:
    """Return a base URL as the OpenAI SDKs take it, with its version. Raise Mistake for a whole endpoint."""
    url = url.rstrip("/")
    for ending in ("/chat/completions", "/responses"):
        if url.endswith(ending):
            raise Mistake(f'must end before "{ending}": the gateway adds it')
    return url


OPENAI = UpstreamKind(
    module="openai.dialect",
    presets={name: preset.values for name, preset in OPENAI_PRESETS.items()},
    local_presets=frozenset(name for name, preset in OPENAI_PRESETS.items() if preset.local),
    check_url=openai_url,
    version_in_url=True,
    defaults={"auth_header": "authorization"},
    keys={
        "auth_header": one_of("authorization", "api-key", "x-api-key"),
        "no_cures": array_of(one_of(*OPENAI_CURES)),
        **OPENAI_KEYS,
    },
    options=Traits,
    repairs=TRANSLATED_REPAIRED,
    signature_mark="openai:",
    own_models=True,
    example_model="gpt-5.4",
    starter=f"""\
# A host that speaks OpenAI's chat completions. Presets set what differs from these defaults.
#[upstreams.openai]
#preset = "openai"
#priority = 2
#models = {{ "*" = "gpt-5.4" }}
#auth_header = "authorization"
#no_cures = ["thinking"]
{starter_lines()}#[[upstreams.openai.accounts]]
#email = "me@example.com"
#api_key = "${{OPENAI_API_KEY}}"
""",
)

KINDS: Mapping[str, UpstreamKind] = {"anthropic": ANTHROPIC, "gemini": GEMINI, "openai": OPENAI}
"""By the name of `kind` in the file."""

KIND_OF_PRESET: Mapping[str, str] = {preset: name for name, kind in KINDS.items() for preset in kind.presets}

SIGNATURE_MARKS = tuple(kind.signature_mark for kind in KINDS.values() if kind.signature_mark)
"""Prefixes of the signatures of translated upstreams."""
