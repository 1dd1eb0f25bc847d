"""The configuration for the rest of the gateway: frozen values with all defaults filled in.

Durations are seconds, sizes are bytes. Nothing here reads a file or checks a value: the loader does, and what it
returns is valid. Secrets are wrapped so that no log line, `repr` or error text can show them by accident.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from gateway.config.kinds import KINDS
from gateway.config.kinds import REPAIRS as REPAIRS
from gateway.config.kinds import GeminiOptions as GeminiOptions
from gateway.config.secret import Secret as Secret
from gateway.http1.limits import Limits

AuthMode = Literal["off", "strict", "all_except_health", "auto"]
Expose = Literal["full", "masked", "none"]
StatusFor = Literal["loopback"] | bool
CountTokens = Literal["auto", "estimate", "zero"]
REPAIRS_OF_KIND: Mapping[str, frozenset[str]] = {name: kind.repairs for name, kind in KINDS.items()}
"""The repairs that are on by default, by kind."""


class Tls(NamedTuple):
    """PEM files; both were readable when the configuration was loaded."""

    certificate: Path
    private_key: Path


class Server(NamedTuple):
    """Where the gateway listens, and what responses reveal about accounts."""

    host: str = "127.0.0.1"
    port: int = 8045
    """0: the system chooses one."""
    workers: int = 1
    """Processes that share the port, and exchange what they learn about accounts."""
    tls: Tls | None = None
    expose: Expose = "full"
    """How much of an account's name goes into `X-Account-Email`; "none" drops `X-Mapped-Model` too."""
    allowed_hosts: tuple[str, ...] = ()
    """Lower-case names or addresses, without port."""
    allowed_origins: tuple[str, ...] = ()
    """Lower-case `scheme://host[:port]`."""
    limits: Limits = Limits()


class Auth(NamedTuple):
    """Access of clients."""

    mode: AuthMode = "auto"
    keys: Mapping[str, Secret] = MappingProxyType({})
    """Name -> key. Names appear in logs."""

    @property
    def first_key(self) -> str:
        """The first key that is set, for the operator's own commands; "" if none is."""
        return next((secret.reveal() for secret in self.keys.values() if secret), "")

    def effective_mode(self, host: str) -> Literal["off", "strict", "all_except_health"]:
        """Return the mode for a server bound to `host`: "auto" is off on loopback only."""
        if self.mode != "auto":
            return self.mode
        return "off" if is_loopback(host) else "all_except_health"


class Retry(NamedTuple):
    """Limits of the attempts for one client request."""

    max_attempts: int = 3
    """A first try and two more accounts; clients retry by themselves after that."""
    max_wait: float = 20.0
    """Seconds for all waits together: Claude Code shows a banner after 20 s of silence."""


class Stream(NamedTuple):
    """What a client gets while an upstream is silent."""

    ping_after: float = 15.0
    """Seconds, below the 20 s after which Claude Code shows a banner."""


class Sharing(NamedTuple):
    """Cooperation of processes that serve the same accounts."""

    workers: bool = True
    """The workers of one gateway exchange what they learn."""
    share_limits: bool = False
    """Each process uses its part of an account's `max_concurrent`, instead of all of it."""
    url: Secret | None = None
    """A store's, `redis[s]://[user[:password]@]host:port/db` or `unix://…`; a secret because of the password."""
    prefix: str = "gateway:"
    """Begins the names of the channel and of all keys in the store."""
    secret: Secret | None = None
    """Seals messages in the store."""
    ca_file: Path | None = None
    """PEM certificates trusted instead of the system's, for the store's TLS."""


class Intercept(NamedTuple):
    """Requests that the gateway answers itself, without an upstream."""

    warmup: bool = True
    quota_probe: bool = False


class Cache(NamedTuple):
    """Observation of upstreams' prompt caches."""

    trace: bool = True
    """Explain lost caches; for that, hashes of each conversation's prompt are kept."""


class Status(NamedTuple):
    """The status page and its actions."""

    enabled: StatusFor = "loopback"
    """Who sees it where no key is needed: "loopback" is this machine, and others with a key; True is everyone.
    False turns it off."""


class Account(NamedTuple):
    """A credential for an upstream. Only a local upstream may have none."""

    name: str
    """Its `email`, or its `name`."""
    api_key: Secret | None = None
    oauth_file: Path | None = None
    """A Google `authorized_user` JSON file; gemini upstreams only."""
    max_concurrent: int = 0
    """Requests in flight at once; 0 sets no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A service that requests are forwarded to."""

    name: str
    kind: str
    """A name of `kinds.KINDS`."""
    preset: str = ""
    """The name of the preset that filled it in."""
    base_url: str
    """`http(s)://host[:port][/path]`, no slash at the end."""
    priority: int = 0
    """0 is used first; upstreams of equal priority share the load; a higher number is a fallback."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Pattern -> wire model, in the file's order; empty: names are passed on unchanged."""
    contexts: Mapping[str, int] = field(default_factory=dict)
    """Wire model -> tokens of its context window, where the file gives it."""
    accounts: tuple[Account, ...] = ()
    auth_header: str = "x-api-key"
    """The header of its credential."""
    repairs: frozenset[str] = REPAIRS_OF_KIND["anthropic"]
    """Names of the repairs that are on."""
    stream_internally: bool = False
    threads: bool = True
    """It keeps message threads: a request may contain only what is new."""
    cures: tuple[str, ...] = ()
    """Names of the cures that are applied from the start."""
    no_cures: tuple[str, ...] = ()
    """Names of the cures that are never tried."""
    drop_betas: tuple[str, ...] = ()
    """Patterns of betas that no request is sent with; `*` matches anything."""
    drop_fields: tuple[str, ...] = ()
    """Paths of fields that no request is sent with."""
    max_concurrent: int = 0
    """The default of its accounts' `max_concurrent`."""
    proxy: Secret | None = None
    """`http://[user:password@]host:port`; a secret because of the password."""
    ca_file: Path | None = None
    """PEM certificates trusted instead of the system's."""
    options: Any = None
    """The options of its kind, an instance of the kind's `options`; by default with its defaults."""

    def __post_init__(self) -> None:
        options = KINDS[self.kind].options
        if self.options is None and options is not None:
            object.__setattr__(self, "options", options())


class Config(NamedTuple):
    """The whole configuration, complete and checked."""

    server: Server = Server()
    auth: Auth = Auth()
    retry: Retry = Retry()
    stream: Stream = Stream()
    intercept: Intercept = Intercept()
    cache: Cache = Cache()
    status: Status = Status()
    sharing: Sharing = Sharing()
    models: Mapping[str, str] = MappingProxyType({})
    """Requested name or pattern -> model or `upstream/model`, in the file's order."""
    contexts: Mapping[str, int] = MappingProxyType({})
    """Model of that table -> tokens of its context window, where the file gives it."""
    count_tokens: CountTokens = "auto"
    upstreams: tuple[Upstream, ...] = ()
    path: Path | None = None
    """The file it was read from."""
    warnings: tuple[str, ...] = ()
    """Things that are allowed but should be known, a sentence each, logged at the start."""


class ConfigError(Exception):
    """The configuration cannot be used. `problems` has a line for each mistake, and never a secret."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def is_loopback(host: str) -> bool:
    """Return whether a host name or address (without brackets) can only mean this machine."""
    host = host.lower().rstrip(".")
    if host in {"localhost", "127.0.0.1", "::1"} or host.endswith(".localhost"):
        return True
    from ipaddress import ip_address

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
