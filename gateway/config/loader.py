"""gateway.toml -> Config, or a ConfigError with every mistake at once.

The file's tables are the tables here, a line for each key. `upstreams` reads upstreams, `parsers` and `addresses`
single values. This reads nothing but the configuration and the files it names; the environment is an argument.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack

from gateway.config.addresses import host_name, origin
from gateway.config.models import divide, model_table, model_warnings
from gateway.config.parsers import MAX_FILE, boolean, check_word, duration, integer, one_of, pem, secret, size
from gateway.config.reading import (
    Mistake,
    Parser,
    Reading,
    array_of,
    printable,
    read_table,
    table_of,
)
from gateway.config.store import store_prefix, store_secret, store_url
from gateway.config.upstreams import upstreams
from gateway.config.values import (
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
    is_loopback,
)
from gateway.http1.limits import Limits

Values = TypeVar("Values")

FILE_NAME = "gateway.toml"

SYSTEM_FILE = Path("/etc/gateway/gateway.toml")

MAX_ATTEMPTS = 20
"""Each attempt may take minutes: clients give up long before more."""

MAX_WORKERS = 64
"""More than one for each core does not help, and accounts limit throughput before cores do."""

COUNTS: Mapping[str, Parser] = {"max_connections": integer(1, 1_000_000), "pool_max_idle": integer(0, 10_000)}
"""Limits that are neither a size nor a time."""

MAY_BE_ZERO = frozenset({"drain_timeout", "linger_timeout", "linger_bytes", "pool_idle_timeout"})
"""Limits for which zero makes sense."""


def _limit(name: str, type_: object) -> Parser:
    """Return the parser for one field of Limits, by its type."""
    if name in COUNTS:
        return COUNTS[name]
    return (duration if type_ is float else size)(zero=name in MAY_BE_ZERO)


def _table_parser(make: Callable[..., Values], parsers: Mapping[str, Parser]) -> Parser:
    """Return a parser for a table that becomes one value."""

    def parse(reading: Reading, path: str, value: object) -> Values:
        return make(**read_table(reading, path, value, parsers))

    return parse


def _tls(reading: Reading, path: str, value: object) -> Tls | None:
    found = read_table(reading, path, value, TLS)
    for key in TLS:
        if isinstance(value, dict) and key not in value:
            reading.problem(f"{path}.{key}", "missing: certificate and private_key go together")
    return Tls(**found) if len(found) == len(TLS) else None


def _server(reading: Reading, path: str, value: object) -> Server:
    found = read_table(reading, path, value, SERVER)
    limits = Limits(**{name: found.pop(name) for name in LIMITS if name in found})
    return Server(**found, limits=limits)


def _auth(reading: Reading, path: str, value: object) -> Auth:
    found = read_table(reading, path, value, AUTH)
    keys = dict(found.get("api_keys", {}))
    if "api_key" in found:
        if "default" in keys:
            reading.problem(f"{path}.api_keys.default", 'api_key already has the name "default"')
        keys["default"] = found["api_key"]
    return Auth(mode=found.get("mode", "auto"), keys=keys)


LIMITS: Mapping[str, Parser] = {name: _limit(name, type) for name, type in Limits.__annotations__.items()}

TLS: Mapping[str, Parser] = {"certificate": pem("CERTIFICATE"), "private_key": pem("PRIVATE KEY")}

SERVER: Mapping[str, Parser] = {
    "host": host_name,
    "port": integer(0, 65535),
    "workers": integer(1, MAX_WORKERS),
    "tls": _tls,
    "expose": one_of("full", "masked", "none"),
    "allowed_hosts": array_of(host_name),
    "allowed_origins": array_of(origin),
    **LIMITS,
}

AUTH: Mapping[str, Parser] = {
    "mode": one_of("off", "strict", "all_except_health", "auto"),
    "api_key": secret,
    "api_keys": table_of(check_word, secret),
}

RETRY: Mapping[str, Parser] = {"max_attempts": integer(1, MAX_ATTEMPTS), "max_wait": duration(zero=True)}

STREAM: Mapping[str, Parser] = {"ping_after": duration()}

INTERCEPT: Mapping[str, Parser] = {"warmup": boolean, "quota_probe": boolean}

CACHE: Mapping[str, Parser] = {"trace": boolean}


def _status_for(reading: Reading, path: str, value: object) -> object:
    if value == "loopback" or isinstance(value, bool):
        return value
    raise Mistake('must be true, false or "loopback"')


STATUS: Mapping[str, Parser] = {"enabled": _status_for}
SHARING: Mapping[str, Parser] = {
    "workers": boolean,
    "share_limits": boolean,
    "url": store_url,
    "prefix": store_prefix,
    "secret": store_secret,
    "ca_file": pem("CERTIFICATE"),
}

TOP: Mapping[str, Parser] = {
    "count_tokens": one_of("auto", "estimate", "zero"),
    "server": _server,
    "auth": _auth,
    "retry": _table_parser(Retry, RETRY),
    "stream": _table_parser(Stream, STREAM),
    "intercept": _table_parser(Intercept, INTERCEPT),
    "cache": _table_parser(Cache, CACHE),
    "status": _table_parser(Status, STATUS),
    "sharing": _table_parser(Sharing, SHARING),
    "models": model_table,
    "upstreams": upstreams,
}


def places(environ: Mapping[str, str], cwd: Path) -> tuple[Path, ...]:
    """Return the places where a configuration is searched without an explicit name, in order."""
    home = environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(home):
        home = os.path.join(environ.get("HOME") or os.path.expanduser("~"), ".config")
    return (cwd / FILE_NAME, Path(home) / "gateway" / FILE_NAME, SYSTEM_FILE)


def find(explicit: str | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """Return the configuration file: `--config`, `$GATEWAY_CONFIG`, else the first of `places` where something is,
    readable or not.

    A file with an explicit name is returned whether it exists or not. Return None if there is no file.
    """
    named = explicit or environ.get("GATEWAY_CONFIG")
    if named:
        return cwd / named
    return next((place for place in places(environ, cwd) if os.path.lexists(place)), None)


class Options(TypedDict, total=False):
    """Command-line options that override the file; None leaves the file's value."""

    host: str | None
    port: int | None
    workers: int | None
    auth: Auth


def load(path: Path, environ: Mapping[str, str], **options: Unpack[Options]) -> Config:
    """Read a configuration file; options override its values. Raises ConfigError."""
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise _failure(f"{path}: cannot be read: {os.strerror(error.errno or 0)}") from None
    if len(data) > MAX_FILE:
        raise _failure(f"{path}: is larger than 1 MiB: is it a configuration?")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _failure(f"{path}: is not UTF-8 at byte {error.start}: save it as UTF-8") from None
    # On other systems the permission bits do not say who can read the file.
    open_to_others = os.name == "posix" and mode & 0o044 != 0
    return parse(text, environ, path=path, open_to_others=open_to_others, **options)


def parse(
    text: str,
    environ: Mapping[str, str],
    *,
    path: Path | None = None,
    open_to_others: bool = False,
    **options: Unpack[Options],
) -> Config:
    """Read a configuration's text. Raise ConfigError.

    `path` names it in messages, and relative file names start in its directory. `open_to_others`: other users can
    read the file, so that a secret in it deserves a warning.
    """
    document = _document(text, str(path or FILE_NAME))
    reading = Reading(environ, path.parent if path else Path())
    auth = options.pop("auth", None)
    given = {f"--{key}": value for key, value in options.items() if value is not None}
    section = document.get("server")
    if isinstance(section, dict):
        # Mistakes in values that an option replaces do not matter.
        document["server"] = {key: value for key, value in section.items() if f"--{key}" not in given}
    if auth is not None:
        document.pop("auth", None)
    found = read_table(reading, "", document, TOP)
    if auth is not None:
        found["auth"] = auth
    replaced = read_table(
        reading, "", given, {f"--{key}": SERVER[key] for key in ("host", "port", "workers")}
    )
    if document.get("upstreams", {}) == {}:
        reading.problem("upstreams", 'missing: add one, as [upstreams.anthropic] with preset = "anthropic"')
    if reading.problems:
        raise ConfigError(reading.problems)
    found["models"], found["contexts"] = divide(found.get("models", {}))
    config = Config(**found, path=path)
    server = config.server._replace(**{key.removeprefix("--"): value for key, value in replaced.items()})
    config = config._replace(server=server)
    _warn(reading, config, open_to_others)
    return config._replace(warnings=tuple(reading.warnings))


def _document(text: str, name: str) -> dict[str, Any]:
    """Read the TOML tables of a text. Raise ConfigError with file, line and column of a syntax error."""
    import tomllib

    try:
        return tomllib.loads(text.removeprefix("\ufeff"))
    except RecursionError:
        raise _failure(f"{name}: arrays or tables are nested too deeply") from None
    except ValueError as error:
        # Also int()'s complaint about thousands of digits, which has no position.
        message, _, place = str(error).partition(" (at ")
        place = place.removesuffix(")")
        if place == "end of document":
            lines = text.split("\n")
            place = f"line {len(lines)}, column {len(lines[-1]) + 1}"
        if text.lstrip().startswith("{"):
            message += "; the file is TOML, not JSON"
        elif message.startswith(("Invalid hex", "Unescaped '\\'")):
            message += "; write a backslash twice, or the text in single quotes"
        elif re.search("[\u2018-\u201f]", text):
            message += "; quotes must be straight"
        raise _failure(f"{name}, {place}: {message}" if place else f"{name}: {message}") from None


def _failure(text: str) -> ConfigError:
    return ConfigError([printable(text)])


def access_warnings(config: Config) -> list[str]:
    """Return warnings about access, which depends on the host."""
    host = config.server.host
    mode = config.auth.effective_mode(host)
    if mode != "off" and not config.auth.keys:
        return [
            f'auth.mode: "{mode}" holds for {host} and no key is configured: every request will be refused '
            "with 401; set auth.api_key"
        ]
    if mode == "off" and not is_loopback(host):
        return [f"auth.mode: off on {host}: anyone who can reach it can use every account"]
    return []


def _warn(reading: Reading, config: Config, open_to_others: bool) -> None:
    """Note what is allowed but probably not meant."""
    for warning in access_warnings(config):
        reading.warning(warning)
    if open_to_others and reading.literal_secrets:
        reading.warning(
            f"{reading.literal_secrets[0]}: a secret in a file that other users can read: "
            f"run chmod 600 {config.path}, or write a reference instead"
        )
    for warning in model_warnings(config.models, config.upstreams):
        reading.warning(warning)
