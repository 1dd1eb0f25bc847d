"""The starter configuration: works as written, has every key, and its defaults are the defaults."""

import re
import tomllib
from pathlib import Path

from gateway.config.loader import AUTH, CACHE, INTERCEPT, RETRY, SERVER, SHARING, STATUS, STREAM, TOP, parse
from gateway.config.presets import PRESETS
from gateway.config.starter import STARTER
from gateway.config.upstreams import ACCOUNT_KEYS, keys_of
from gateway.config.values import (
    REPAIRS,
    Cache,
    Config,
    Intercept,
    Retry,
    Secret,
    Server,
    Sharing,
    Status,
    Stream,
    Upstream,
)

SETTING = re.compile(r'^#(?=[A-Za-z\["])', re.MULTILINE)


def test_it_works_once_its_variable_is_set() -> None:
    config = parse(STARTER, {"ANTHROPIC_KEY_1": "key"})
    (upstream,) = config.upstreams
    assert (upstream.base_url, upstream.accounts[0].api_key) == ("https://api.anthropic.com", Secret("key"))
    assert config._replace(upstreams=()) == Config()


def test_commented_keys_load_and_have_the_defaults(tmp_path: Path) -> None:
    for name, title in (("cert.pem", "CERTIFICATE"), ("ca.pem", "CERTIFICATE"), ("key.pem", "PRIVATE KEY")):
        (tmp_path / name).write_text(f"-----BEGIN {title}-----\nAAAA\n-----END {title}-----\n")
    (tmp_path / "google.json").write_text('{"client_id":"c","client_secret":"s","refresh_token":"r"}')
    (tmp_path / "ci").write_text("key")
    (tmp_path / "store").write_text("a secret of 16 or more")
    text = SETTING.sub("", STARTER).replace("/run/secrets", str(tmp_path))
    environ = dict.fromkeys(re.findall(r"\$\{([A-Z_0-9]+)\}", STARTER), "key")
    config = parse(text, environ, path=tmp_path / "gateway.toml")
    server = config.server._replace(tls=None, allowed_hosts=())
    assert server == Server()
    assert (config.retry, config.stream, config.intercept) == (Retry(), Stream(), Intercept())
    assert (config.status, config.cache) == (Status(), Cache())
    assert (config.sharing.share_limits, config.sharing.prefix) == (False, Sharing().prefix)
    assert (config.auth.mode, config.count_tokens) == ("auto", "auto")
    assert config.warnings == ()
    first = config.upstreams[0]
    default = Upstream(name="x", kind="anthropic", base_url="https://api.anthropic.com")
    for field in ("kind", "base_url", "priority", "max_concurrent", "auth_header", "stream_internally"):
        assert getattr(first, field) == getattr(default, field)


def test_every_key_is_shown() -> None:
    document = tomllib.loads(SETTING.sub("", STARTER))
    assert document.keys() == TOP.keys()
    for name, keys in (
        ("server", SERVER),
        ("auth", AUTH),
        ("retry", RETRY),
        ("stream", STREAM),
        ("intercept", INTERCEPT),
        ("cache", CACHE),
        ("status", STATUS),
        ("sharing", SHARING),
    ):
        assert document[name].keys() == keys.keys(), name
    shown = set[str]().union(*(upstream.keys() for upstream in document["upstreams"].values()))
    assert set(keys_of("")) - shown == {"envelope", "project"}
    accounts = [account for upstream in document["upstreams"].values() for account in upstream["accounts"]]
    assert set[str]().union(*(account.keys() for account in accounts)) == ACCOUNT_KEYS.keys()


def test_every_preset_and_repair_is_named() -> None:
    for name in (*PRESETS, *REPAIRS):
        assert re.search(rf"\b{name}\b", STARTER), name
