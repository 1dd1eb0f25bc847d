"""`[upstreams.NAME]` -> Upstream: a preset's values, overridden by the file's, with accounts and repairs.

Keys of every upstream are in `KEYS`, a line each; those of one kind are in its row in `kinds`.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import urlsplit

from gateway.config.addresses import base_url, is_private, proxy
from gateway.config.kinds import KIND_OF_PRESET, KINDS, REPAIRS, UpstreamKind
from gateway.config.models import divide, model_table
from gateway.config.parsers import (
    boolean,
    choice,
    integer,
    oauth_file,
    one_of,
    pem,
    secret,
    word,
)
from gateway.config.presets import LOCAL, PRESETS
from gateway.config.reading import Mistake, Parser, Reading, array, array_of, join, read_table, wrong_type
from gateway.config.values import Account, Upstream

MAX_PRIORITY = 1000
"""More levels of fallback than any configuration has."""

MAX_CONCURRENT = 10_000
"""More would exceed the server's own limit of connections."""

UPSTREAM_NAME = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}"
"""No slash, so that `upstream/model` in [models] is unambiguous."""


def array_of_tables(reading: Reading, path: str, value: object) -> list[Any]:
    """Read an array without its items: what an account needs depends on its upstream."""
    return array(value, f"an array of tables ([[{path}]])")


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
    "preset": one_of(*PRESETS),
    "kind": one_of(*KINDS),
    "base_url": base_url,
    "plain_http": boolean,
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
}
"""Keys of every upstream; `kinds` has those of one kind."""

FIELDS = (
    "priority",
    "models",
    "contexts",
    "auth_header",
    "stream_internally",
    "threads",
    "cures",
    "no_cures",
    "drop_betas",
    "drop_fields",
    "max_concurrent",
    "proxy",
    "ca_file",
)
"""Keys whose parsed values become fields of an Upstream."""

SWITCHES = {"strip_cache_control": "cache_control", "system_role": "system_role"}
"""Keys that turn one repair on (True) or off (False)."""


def upstreams(reading: Reading, path: str, value: object) -> tuple[Upstream, ...]:
    """Read every upstream of the file, in its order."""
    if not isinstance(value, dict):
        raise wrong_type("a table for each upstream, as [upstreams.anthropic]", value)
    found = []
    for name, item in value.items():
        where = join(path, name)
        if not isinstance(item, dict):
            reading.problem(where, "belongs to one upstream: write it below [upstreams.NAME]")
            continue
        if not re.fullmatch(UPSTREAM_NAME, name):
            reading.problem(where, 'an upstream\'s name is up to 64 letters, digits, ".", "_" and "-"')
        found.append(upstream(reading, where, name, item))
    return tuple(found)


def kind_of(value: Mapping[str, Any]) -> str:
    """Return the kind that an upstream's table says, "" if it does not; without it its own keys cannot be read."""
    preset, kind = value.get("preset"), value.get("kind")
    if isinstance(kind, str) and kind in KINDS:
        return kind
    return KIND_OF_PRESET.get(preset, "") if isinstance(preset, str) else ""


def keys_of(kind: str) -> Mapping[str, Parser]:
    """Return the keys of an upstream of this kind; if it is "", those of every kind."""
    chosen = [KINDS[kind]] if kind else list(KINDS.values())
    return {**KEYS, **{key: parser for each in chosen for key, parser in each.keys.items()}}


def foreign_key(key: str, kind: str) -> str:
    """Return the names of the kinds that have a key which this kind has not; "" if no kind has it."""
    owners = [name for name, each in KINDS.items() if key in each.keys]
    return " or ".join(f'"{name}"' for name in owners) if kind and kind not in owners else ""


def upstream(reading: Reading, path: str, name: str, value: Mapping[str, Any]) -> Upstream:
    """Read one upstream. A missing value is noted and replaced, so that the rest is read, too."""
    said = kind_of(value)
    kind = said or "anthropic"
    row = KINDS[kind]
    own = read_table(reading, path, own_keys(reading, path, value, said), keys_of(said))
    preset = PRESETS.get(own.get("preset", ""), {})
    found = {**row.defaults, **preset, **own}
    check_keys(reading, path, value, said, preset)
    if preset and preset["kind"] != kind:
        reading.problem(
            f"{path}.kind", f'preset "{own["preset"]}" is of kind "{preset["kind"]}": leave one of them out'
        )
    url = upstream_url(reading, f"{path}.base_url", found, row)
    local = url.startswith("http://") or own.get("preset") in LOCAL
    if local and "accounts" not in value:
        payers: tuple[Account, ...] = (Account(name=name, max_concurrent=found.get("max_concurrent", 0)),)
    else:
        payers = accounts(reading, f"{path}.accounts", found, kind, local)
    # An array of the wrong type is only in `value`, and its problem is noted.
    if not found.get("accounts", local or "accounts" in value):
        reading.problem(f"{path}.accounts", f"missing: add [[{path}.accounts]] with an email and an api_key")
    for cure in sorted({*found.get("cures", ())} & {*found.get("no_cures", ())}):
        reading.problem(path, f'cure "{cure}" is turned both on and off')
    found["models"], found["contexts"] = divide(found.get("models", {}))
    options = {key: found[key] for key in row.keys if key in found and key not in FIELDS}
    return Upstream(
        name=name,
        kind=kind,
        preset=own.get("preset", ""),
        base_url=url,
        accounts=payers,
        repairs=repairs(reading, path, kind, preset, own),
        options=row.options(**options) if row.options is not None else None,
        **{key: found[key] for key in FIELDS if key in found},
    )


def own_keys(reading: Reading, path: str, value: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return a table without `accounts` and keys of other kinds; each of those keys is noted."""
    found = {}
    for key, item in value.items():
        owners = "" if key in KEYS else foreign_key(key, kind)
        if owners:
            reading.problem(join(path, key), f"only an upstream of kind {owners} has this key")
        elif key in ACCOUNT_KEYS and key not in KEYS:
            reading.problem(join(path, key), f"belongs to an account: write it below [[{path}.accounts]]")
        else:
            found[key] = item
    return found


def check_keys(
    reading: Reading, path: str, given: Collection[str], kind: str, preset: Mapping[str, Any]
) -> None:
    """Note keys that an upstream lacks beside its preset's, and keys that do not go together."""
    if "kind" not in given and "preset" not in given:
        known = ", ".join(f'kind = "{name}"' for name in KINDS)
        reading.problem(f"{path}.kind", f"missing: write {known}, or a preset")
    is_known = "preset" not in given or bool(preset)
    if is_known and "base_url" not in {*given, *preset} and not (kind and KINDS[kind].base_url):
        reading.problem(f"{path}.base_url", 'missing: write "https://" and the host, or use a preset')
    if kind:
        KINDS[kind].check_keys(reading, path, given)


def upstream_url(reading: Reading, path: str, found: Mapping[str, Any], row: UpstreamKind) -> str:
    """Return an upstream's base URL as its kind uses it; note mistakes in it."""
    url: str = found.get("base_url", row.base_url)
    in_clear = url.startswith("http://") and not is_private(urlsplit(url).hostname or "")
    if in_clear and not found.get("plain_http"):
        reading.problem(
            path,
            "plain http:// is for loopback and private hosts: write https://, or plain_http = true if nobody else "
            "can listen on the way",
        )
    if row.version_in_url and url and not (urlsplit(url).path.strip("/") or found.get("path")):
        reading.warning(f'{path}: ends without the version of the API, which is "/v1" at most hosts')
    try:
        return row.check_url(url)
    except Mistake as mistake:
        reading.problem(path, str(mistake))
        return url


def repairs(
    reading: Reading, path: str, kind: str, preset: Mapping[str, Any], own: Mapping[str, Any]
) -> frozenset[str]:
    """Return the repairs that are on: the kind's, changed by the preset, then by the file."""
    enabled = KINDS[kind].repairs
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
    reading: Reading, path: str, upstream: Mapping[str, Any], kind: str, local: bool
) -> tuple[Account, ...]:
    """Read an upstream's accounts. `local`: it may work without a key."""
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


def check_account(reading: Reading, path: str, given: Collection[str], kind: str, local: bool) -> None:
    """Note keys that an account lacks, and keys that do not go together."""
    if "email" in given and "name" in given:
        reading.problem(path, "has an email and a name: one is enough")
    elif "email" not in given and "name" not in given:
        reading.problem(path, "needs an email or a name")
    oauth = KINDS[kind].oauth
    if "oauth_file" in given and not oauth:
        kinds = " or ".join(f'"{name}"' for name, each in KINDS.items() if each.oauth)
        reading.problem(f"{path}.oauth_file", f"only an upstream of kind {kinds} has this key")
    elif "oauth_file" in given and "api_key" in given:
        reading.problem(path, "has an api_key and an oauth_file: one is enough")
    elif "oauth_file" not in given and "api_key" not in given and not local:
        reading.problem(path, "needs an api_key" + (" or an oauth_file" if oauth else ""))
