"""`[upstreams.NAME]` -> Upstream: a preset's fields, the file's own over them, accounts, repairs.

Which key belongs to which kind is a table here; a new key of an upstream is one line in `KEYS`.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from gateway.config.addresses import base_url, proxy
from gateway.config.parsers import (
    boolean,
    check_word,
    choice,
    integer,
    oauth_file,
    one_of,
    pem,
    secret,
    string,
    word,
)
from gateway.config.presets import LOCAL, PRESETS
from gateway.config.reading import Mistake, Parser, Reading, array_of, join, read_table, table_of, wrong_type
from gateway.config.values import REPAIRS, REPAIRS_OF_KIND, Account, GeminiOptions, Kind, Upstream

MAX_PRIORITY = 1000
"""More fallbacks than anyone lists."""

MAX_CONCURRENT = 10_000
"""Above the server's own limit of connections: no limit at all."""

UPSTREAM_NAME = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}"
"""No slash: `upstream/model` in [models] must be readable in one way."""


def target(reading: Reading, path: str, value: object) -> str:
    """One model's name."""
    if "*" in check_word(value):
        raise Mistake('must be one model: "*" belongs on the left side')
    return check_word(value)


def generate_path(reading: Reading, path: str, value: object) -> str:
    """A request path with a place for the wire model."""
    text = check_word(value)
    if not text.startswith("/") or "{model}" not in text or "#" in text:
        raise Mistake('must begin with "/" and hold "{model}"')
    return text


def known_preset(reading: Reading, path: str, value: object) -> str:
    """The name of a preset."""
    if string(value) not in PRESETS:
        raise Mistake("must be one of " + ", ".join(f'"{name}"' for name in PRESETS))
    return string(value)


def array_of_tables(reading: Reading, path: str, value: object) -> list[Any]:
    """An array, as it is: what an account needs depends on its upstream."""
    if not isinstance(value, list):
        raise wrong_type(f"an array of tables ([[{path}]])", value)
    return value


model_table = table_of(check_word, target)
repair_names = array_of(one_of(*REPAIRS))
concurrent = integer(0, MAX_CONCURRENT)

ACCOUNT_KEYS: Mapping[str, Parser] = {
    "email": word,
    "name": word,
    "api_key": secret,
    "oauth_file": oauth_file,
    "max_concurrent": concurrent,
}

KEYS: Mapping[str, Parser] = {
    "preset": known_preset,
    "kind": one_of("anthropic", "gemini"),
    "base_url": base_url,
    "priority": integer(0, MAX_PRIORITY),
    "models": model_table,
    "accounts": array_of_tables,
    "repair": repair_names,
    "no_repair": repair_names,
    "strip_cache_control": boolean,
    "system_role": choice(fold=True, keep=False),
    "max_concurrent": concurrent,
    "proxy": proxy,
    "ca_file": pem("CERTIFICATE"),
    "auth_header": one_of("x-api-key", "authorization"),
    "stream_internally": boolean,
    "version": word,
    "path": generate_path,
    "envelope": one_of("code_assist"),
    "project": word,
    "schema": one_of("json", "openapi"),
    "unsupported_tools": one_of("error", "drop"),
}

GEMINI_KEYS = ("version", "path", "envelope", "project", "schema", "unsupported_tools")

KIND_OF_KEY: Mapping[str, str] = {
    **dict.fromkeys(GEMINI_KEYS, "gemini"),
    "auth_header": "anthropic",
    "stream_internally": "anthropic",
}
"""Keys that mean something for one kind only."""

SWITCHES = {"strip_cache_control": "cache_control", "system_role": "system_role"}
"""Keys that turn one repair on (True) or off (False)."""


def upstreams(reading: Reading, path: str, value: object) -> tuple[Upstream, ...]:
    """Every upstream of the file, in its order."""
    if not isinstance(value, dict):
        raise wrong_type("a table", value)
    found = []
    for name, item in value.items():
        where = join(path, name)
        if not re.fullmatch(UPSTREAM_NAME, name):
            reading.problem(where, 'an upstream\'s name is up to 64 letters, digits, ".", "_" and "-"')
        try:
            found.append(upstream(reading, where, name, item))
        except Mistake as mistake:
            reading.problem(where, str(mistake))
    return tuple(found)


def upstream(reading: Reading, path: str, name: str, value: object) -> Upstream:
    """One upstream. What is missing is noted and filled with something, so that all of it is read."""
    own = read_table(reading, path, value, KEYS)
    preset = PRESETS.get(own.get("preset", ""), {})
    found = {**preset, **own}
    given = value.keys() if isinstance(value, dict) else ()
    check_keys(reading, path, given, found)
    kind = found.get("kind", "anthropic")
    url = found.get("base_url", PRESETS[kind]["base_url"])
    local = url.startswith("http://") or own.get("preset") in LOCAL
    if local and "accounts" not in given:
        payers: tuple[Account, ...] = (Account(name=name, max_concurrent=found.get("max_concurrent", 0)),)
    else:
        payers = accounts(reading, f"{path}.accounts", found, kind, local)
    # An array of the wrong type is in `given` only, and has its problem already.
    if not found.get("accounts", local or "accounts" in given):
        reading.problem(f"{path}.accounts", f"missing: add [[{path}.accounts]] with an email and an api_key")
    return Upstream(
        name=name,
        kind=kind,
        base_url=url,
        priority=found.get("priority", 0),
        models=found.get("models", {}),
        accounts=payers,
        auth_header=found.get("auth_header", "x-api-key"),
        repairs=repairs(reading, path, kind, preset, own),
        stream_internally=found.get("stream_internally", False),
        max_concurrent=found.get("max_concurrent", 0),
        proxy=found.get("proxy"),
        ca_file=found.get("ca_file"),
        options=GeminiOptions(**{key: found[key] for key in GEMINI_KEYS if key in found}),
    )


def check_keys(reading: Reading, path: str, given: Collection[str], found: Mapping[str, Any]) -> None:
    """Which keys an upstream needs, and which do not go together. `given`: the keys in the file."""
    kind = found.get("kind")
    if "kind" not in given and "preset" not in given:
        reading.problem(f"{path}.kind", 'missing: write kind = "anthropic", kind = "gemini", or a preset')
    if "base_url" not in given and "preset" not in given and kind != "gemini":
        reading.problem(f"{path}.base_url", 'missing: write "https://" and the host, or use a preset')
    if re.search(r"/v1(?:beta|alpha|/messages)?$", found.get("base_url", "")):
        reading.problem(f"{path}.base_url", 'must end before "/v1": the gateway adds the rest')
    for key in given:
        owner = KIND_OF_KEY.get(key, kind)
        if kind and owner != kind:
            reading.problem(f"{path}.{key}", f'only an upstream of kind "{owner}" has this key')
    if "envelope" in given and "path" in given:
        reading.problem(f"{path}.path", "a code_assist envelope has a path of its own: leave one of them out")
    if ("envelope" in given) != ("project" in given):
        missing = "project" if "envelope" in given else "envelope"
        reading.problem(f"{path}.{missing}", 'missing: envelope = "code_assist" and project go together')


def repairs(
    reading: Reading, path: str, kind: Kind, preset: Mapping[str, Any], own: Mapping[str, Any]
) -> frozenset[str]:
    """The repairs that are on: the kind's, changed by the preset's wishes, then by the file's."""
    enabled = REPAIRS_OF_KIND[kind]
    for source in (preset, own):
        on, off = set(source.get("repair", ())), set(source.get("no_repair", ()))
        for key, name in SWITCHES.items():
            if key in source:
                (on if source[key] else off).add(name)
        for name in sorted(on & off):
            reading.problem(path, f'repair "{name}" is turned both on and off')
        enabled = (enabled | on) - off
    return enabled


def accounts(
    reading: Reading, path: str, upstream: Mapping[str, Any], kind: Kind, local: bool
) -> tuple[Account, ...]:
    """An upstream's accounts; `local`: it may ask for no key."""
    found: dict[str, Account] = {}
    for index, item in enumerate(upstream.get("accounts", ())):
        where = f"{path}[{index}]"
        try:
            own = read_table(reading, where, item, ACCOUNT_KEYS)
        except Mistake as mistake:
            reading.problem(where, str(mistake))
            continue
        check_account(reading, where, item, kind, local)
        name = own.get("email", own.get("name", where))
        if name in found:
            reading.problem(where, "another account of this upstream has the same name")
        found[name] = Account(
            name=name,
            api_key=own.get("api_key"),
            oauth_file=own.get("oauth_file"),
            max_concurrent=own.get("max_concurrent", upstream.get("max_concurrent", 0)),
        )
    return tuple(found.values())


def check_account(reading: Reading, path: str, given: Collection[str], kind: Kind, local: bool) -> None:
    """Which keys an account needs, and which do not go together."""
    if "email" in given and "name" in given:
        reading.problem(path, "has an email and a name: one is enough")
    elif "email" not in given and "name" not in given:
        reading.problem(path, "needs an email or a name")
    if "oauth_file" in given and kind != "gemini":
        reading.problem(f"{path}.oauth_file", 'only an upstream of kind "gemini" has this key')
    elif "oauth_file" in given and "api_key" in given:
        reading.problem(path, "has an api_key and an oauth_file: one is enough")
    elif "oauth_file" not in given and "api_key" not in given and not local:
        reading.problem(path, "needs an api_key" + (" or an oauth_file" if kind == "gemini" else ""))
