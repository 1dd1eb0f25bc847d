"""gateway.toml -> Config. Values in `values`, the way from text to them in `loader`."""

from gateway.config.loader import find, load, parse, places
from gateway.config.presets import PRESETS
from gateway.config.values import (
    REPAIRS,
    Account,
    Auth,
    Config,
    ConfigError,
    GeminiOptions,
    Intercept,
    Retry,
    Secret,
    Server,
    Stream,
    Tls,
    Upstream,
    is_loopback,
)

__all__ = [
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
    "Stream",
    "Tls",
    "Upstream",
    "find",
    "is_loopback",
    "load",
    "parse",
    "places",
]
