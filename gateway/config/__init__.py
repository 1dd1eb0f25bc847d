"""gateway.toml -> Config. `values` has the result, `loader` reads the text."""

from gateway.config.kinds import KINDS, GeminiOptions
from gateway.config.loader import find, load, parse, places
from gateway.config.presets import PRESETS
from gateway.config.secret import Secret
from gateway.config.values import (
    REPAIRS,
    Account,
    Auth,
    Cache,
    Config,
    ConfigError,
    Intercept,
    Retry,
    Server,
    Sharing,
    Status,
    Stream,
    Tls,
    Upstream,
    is_loopback,
)

__all__ = [
    "KINDS",
    "PRESETS",
    "REPAIRS",
    "Account",
    "Auth",
    "Cache",
    "Config",
    "ConfigError",
    "GeminiOptions",
    "Intercept",
    "Retry",
    "Secret",
    "Server",
    "Sharing",
    "Status",
    "Stream",
    "Tls",
    "Upstream",
    "find",
    "is_loopback",
    "load",
    "parse",
    "places",
]
