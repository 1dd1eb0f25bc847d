"""gateway.toml -> Config. Values in `values`, the way from text to them in `loader`."""

from gateway.config.kinds import KINDS, GeminiOptions
from gateway.config.loader import find, load, parse, places
from gateway.config.presets import PRESETS
from gateway.config.secret import Secret
from gateway.config.values import (
    REPAIRS,
    Account,
    Auth,
    Config,
    ConfigError,
    Intercept,
    Retry,
    Server,
    Sharing,
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
    "Config",
    "ConfigError",
    "GeminiOptions",
    "Intercept",
    "Retry",
    "Secret",
    "Server",
    "Sharing",
    "Stream",
    "Tls",
    "Upstream",
    "find",
    "is_loopback",
    "load",
    "parse",
    "places",
]
