"""The kinds of upstreams: one row each, with all that the configuration knows of a dialect.

What a dialect needs beyond its row is its package in `dialects/`. `REPAIRS` is the list of repairs that rows and
files choose from.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

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
"""Every cure that `cures` can name: what it changes follows from its name alone."""

FIELDS_CURE = "fields"
"""What it leaves out is said by a refusal, or by `drop_fields`."""

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
"""Traits that a refusal may change, a field that is left out, and a history without opaque reasoning."""

NEEDED_FIELDS = frozenset({"model", "messages", "max_tokens", "system", "tools", "stream"})
"""Fields without which a request is another one."""

ALWAYS_REPAIRED = frozenset({"thinking_cache_control"})
"""Not a choice: `cache_control` on a thinking block is refused by every upstream."""

TRANSLATED_REPAIRED = ALWAYS_REPAIRED | frozenset(REPAIRS) - {"failed_results"}
"""For the kinds that are translated to: what a failed result holds besides text is moved by their translation."""

Preset = Mapping[str, Any]
"""Values that the file can overrule, as a configuration holds them (`system_role` True means "fold")."""


def url_before_version(url: str) -> str:
    """Return a base URL to which the dialect adds the version. Raise Mistake if it has one."""
    if re.search(r"/v1(?:beta|alpha|/messages)?$", url):
        raise Mistake('must end before "/v1": the gateway adds the rest')
    return url


def no_more_checks(reading: Reading, path: str, given: Collection[str]) -> None:
    """Accept any keys together."""


def beta_pattern(reading: Reading, path: str, value: object) -> str:
    """Read a name of a beta in which `*` stands for anything."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamKind:
    """How a kind of upstream is configured."""

    module: str
    """Where its dialect is, below `gateway.dialects`; it has a function `new_dialect(random, warn)`."""
    presets: Mapping[str, Preset]
    """Known upstreams by name, the kind's own service first."""
    local_presets: frozenset[str] = frozenset()
    """Those on one's own machine, which ask for no key."""
    base_url: str = ""
    """Used where the file names none; empty: it must."""
    check_url: Callable[[str], str] = url_before_version
    """Returns a base URL as it is used. Raises Mistake."""
    defaults: Preset = field(default_factory=dict)
    """Values of keys for every upstream of this kind where neither a preset nor the file has others."""
    keys: Mapping[str, Parser]
    """Keys of an upstream that only this kind has, or reads in its own way."""
    options: type[Any] | None = None
    """The frozen dataclass that holds the values of these keys, but for those that are fields of every Upstream."""
    check_keys: Callable[[Reading, str, Collection[str]], None] = no_more_checks
    """Notes which keys, of those given at a key path, do not go together."""
    repairs: frozenset[str]
    """What is on when the configuration says nothing."""
    signature_mark: str = ""
    """What thinking signatures of its own begin with; empty: they are the Messages protocol's."""
    own_models: bool = False
    """Its hosts know no `claude-*` names, so that clients' names must be mapped."""
    oauth: bool = False
    """Its accounts may have an `oauth_file`."""
    example_model: str
    """A wire model that exists, for examples."""
    starter: str = ""
    """An example of an upstream with every key of this kind, commented out, for `gateway init`."""


def _messages_host(base_url: str, **more: Any) -> Preset:
    """Return the preset of a host that speaks the Messages protocol, without messages of role system and threads."""
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
        # Its guide for Claude Code sets the token variable, which is sent as a bearer token.
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
"""More than any model writes: a typing mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeminiOptions:
    """What only a gemini upstream has."""

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
    """Tokens of output that its models can write; 0: what their list says."""


def version_segment(reading: Reading, path: str, value: object) -> str:
    """Read the API's version, one segment of a path."""
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
    """Return a base URL as the OpenAI SDKs have it, version and all. Raise Mistake for a whole endpoint."""
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
"""By the name that `kind` has in the file."""

KIND_OF_PRESET: Mapping[str, str] = {preset: name for name, kind in KINDS.items() for preset in kind.presets}

SIGNATURE_MARKS = tuple(kind.signature_mark for kind in KINDS.values() if kind.signature_mark)
"""What signatures of translated upstreams begin with."""
