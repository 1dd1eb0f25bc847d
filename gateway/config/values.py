"""The configuration as the rest of the gateway sees it: frozen values with every default filled in.

Durations are seconds, sizes are bytes. Nothing here reads a file or judges a value: that is the
loader's work, and a value that came out of it is good. Secrets are wrapped so that no log line,
no `repr` and no error text can show them by accident.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gateway.http1.limits import Limits

Kind = Literal["anthropic", "gemini"]
AuthMode = Literal["off", "strict", "all_except_health", "auto"]
Expose = Literal["full", "masked", "none"]
CountTokens = Literal["auto", "estimate", "zero"]
AuthHeader = Literal["x-api-key", "authorization"]
Envelope = Literal["", "code_assist"]
SchemaStyle = Literal["json", "openapi"]
UnsupportedTools = Literal["error", "drop"]

REPAIRS = (
    "cache_control",
    "merge_roles",
    "empty_text",
    "tool_results",
    "foreign_thinking",
    "system_role",
    "deferred_tools",
    "attribution",
)
"""Every repair that `repair` and `no_repair` can name."""

ALWAYS_REPAIRED = frozenset({"thinking_cache_control"})
"""Not a choice: `cache_control` on a thinking block is refused by every upstream."""

REPAIRS_OF_KIND: Mapping[Kind, frozenset[str]] = {
    "anthropic": ALWAYS_REPAIRED | {"merge_roles", "empty_text", "tool_results", "foreign_thinking"},
    "gemini": ALWAYS_REPAIRED | frozenset(REPAIRS),
}
"""What is on when the configuration says nothing."""


class Secret:
    """A value that only `reveal` shows. Equal when the values are; not the way to judge a client's key."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself, for the one place that puts it into a request or compares its digest."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """PEM files; both were readable when the configuration was loaded."""

    certificate: Path
    private_key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where clients connect, and what they are told."""

    host: str = "127.0.0.1"
    port: int = 8045
    """0 lets the system choose."""
    workers: int = 1
    """Processes that share the port, each with its own view of the accounts."""
    tls: Tls | None = None
    expose: Expose = "full"
    """How much of an account's name goes into `X-Account-Email`; "none" drops `X-Mapped-Model` too."""
    allowed_hosts: tuple[str, ...] = ()
    """Lower-case names or addresses, without port."""
    allowed_origins: tuple[str, ...] = ()
    """Lower-case `scheme://host[:port]`."""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """Who may come in."""

    mode: AuthMode = "auto"
    keys: Mapping[str, Secret] = field(default_factory=dict)
    """Name -> key. Names appear in logs."""

    def effective_mode(self, host: str) -> Literal["off", "strict", "all_except_health"]:
        """The mode for a server bound to `host`: "auto" is off on loopback only."""
        if self.mode != "auto":
            return self.mode
        return "off" if is_loopback(host) else "all_except_health"


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """What one client request may cost."""

    max_attempts: int = 3
    """A first try and two more accounts; clients retry by themselves after that."""
    max_wait: float = 20.0
    """All waits together: Claude Code shows a banner after 20 s of silence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """What a client hears while an upstream is silent."""

    ping_after: float = 15.0
    """Below the 20 s after which Claude Code shows a banner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intercept:
    """Requests that are answered here, without an upstream."""

    warmup: bool = True
    quota_probe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who pays. No credential at all is right for a local upstream only."""

    name: str
    """Its `email`, or its `name`."""
    api_key: Secret | None = None
    oauth_file: Path | None = None
    """A Google `authorized_user` JSON file; gemini upstreams only."""
    max_concurrent: int = 0
    """Requests in flight at once; 0 sets no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeminiOptions:
    """What only a gemini upstream has."""

    version: str = "v1beta"
    path: str | None = None
    """Replaces the whole path of a generate request; `{model}` stands for the wire model (Vertex AI)."""
    envelope: Envelope = ""
    """Empty: the body is the request itself."""
    project: str = ""
    """The `project` of a code_assist envelope."""
    schema: SchemaStyle = "json"
    unsupported_tools: UnsupportedTools = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """What serves requests."""

    name: str
    kind: Kind
    base_url: str
    """`http(s)://host[:port][/path]`, no slash at the end."""
    priority: int = 0
    """0 is asked first; equal numbers are pooled; a higher one is a fallback."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Pattern -> wire model, in the file's order; empty: every name passes unchanged."""
    accounts: tuple[Account, ...] = ()
    auth_header: AuthHeader = "x-api-key"
    repairs: frozenset[str] = REPAIRS_OF_KIND["anthropic"]
    """The names of the repairs that are on."""
    stream_internally: bool = False
    max_concurrent: int = 0
    """The default of its accounts' `max_concurrent`."""
    proxy: Secret | None = None
    """`http://[user:password@]host:port`; a secret because of the password."""
    ca_file: Path | None = None
    """PEM certificates trusted instead of the system's."""
    options: GeminiOptions = field(default_factory=GeminiOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything the gateway was told, complete and checked."""

    server: Server = field(default_factory=Server)
    auth: Auth = field(default_factory=Auth)
    retry: Retry = field(default_factory=Retry)
    stream: Stream = field(default_factory=Stream)
    intercept: Intercept = field(default_factory=Intercept)
    models: Mapping[str, str] = field(default_factory=dict)
    """Requested name or pattern -> model or `upstream/model`, in the file's order."""
    count_tokens: CountTokens = "auto"
    upstreams: tuple[Upstream, ...] = ()
    path: Path | None = None
    """The file it came from."""
    warnings: tuple[str, ...] = ()
    """What is allowed but should be known; one sentence each, to be said at the start."""


class ConfigError(Exception):
    """The configuration cannot be used. `problems` has one line for every mistake, never a secret."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def is_loopback(host: str) -> bool:
    """Whether a host name or address (without brackets) can only mean this machine."""
    host = host.lower().rstrip(".")
    if host in {"localhost", "127.0.0.1", "::1"} or host.endswith(".localhost"):
        return True
    from ipaddress import ip_address

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
