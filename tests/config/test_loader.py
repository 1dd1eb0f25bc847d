"""The whole file: the documented example, every kind of mistake at once, warnings, and no leaked secret."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import loader
from gateway.config.loader import AUTH, COUNTS, LIMITS, MAY_BE_ZERO, SERVER, TOP, find, load, parse, places
from gateway.config.upstreams import ACCOUNT_KEYS, keys_of
from gateway.config.values import Auth, Config, ConfigError, Secret, Tls
from gateway.http1.limits import Limits

CANARY = "canary-51d0"

UPSTREAM = """
[upstreams.zai]
preset = "zai"
[[upstreams.zai.accounts]]
email = "work@example.com"
api_key = "${ZAI_KEY_1}"
"""

EXAMPLE = """
[server]                       # all optional
host = "127.0.0.1"
port = 8045
# tls = { certificate = "cert.pem", private_key = "key.pem" }
# expose = "full"              # X-Account-Email: full | masked | none

[auth]
mode = "auto"
api_key = "${GATEWAY_API_KEY}"

[retry]
max_attempts = 3
max_wait = "20s"

[stream]
ping_after = "15s"

[intercept]
warmup = true
quota_probe = false

[status]
enabled = true

[models]
"claude-3-5-haiku-*" = "claude-haiku-4-5"

[upstreams.zai]
preset = "zai"
models = { "claude-opus-*" = "glm-4.7", "claude-haiku-*" = "glm-4.5-air", "*" = "glm-4.7" }
[[upstreams.zai.accounts]]
email = "work@example.com"
api_key = "${ZAI_KEY_1}"
[[upstreams.zai.accounts]]
email = "home@example.com"
api_key = "${file:zai_2}"

[upstreams.gemini]
preset = "gemini"
priority = 1
models = { "*" = "gemini-3.1-pro-preview" }
[[upstreams.gemini.accounts]]
email = "g@example.com"
api_key = "${GEMINI_API_KEY}"
"""

ENVIRON = {"GATEWAY_API_KEY": "local", "ZAI_KEY_1": CANARY, "GEMINI_API_KEY": CANARY}


def problems(text: str, environ: Mapping[str, str] = ENVIRON) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        parse(text, environ)
    assert CANARY not in str(raised.value)
    return raised.value.problems


def test_the_documented_example(tmp_path: Path) -> None:
    (tmp_path / "zai_2").write_text("second\n")
    path = tmp_path / "gateway.toml"
    path.write_text(EXAMPLE)
    config = load(path, ENVIRON)
    assert (config.path, config.warnings) == (path, ())
    assert (config.server.host, config.server.port, config.server.limits) == ("127.0.0.1", 8045, Limits())
    assert config.auth.keys == {"default": Secret("local")}
    assert config.models == {"claude-3-5-haiku-*": "claude-haiku-4-5"}
    zai, gemini = config.upstreams
    assert (zai.name, zai.kind, zai.priority) == ("zai", "anthropic", 0)
    assert list(zai.models) == ["claude-opus-*", "claude-haiku-*", "*"]
    assert [(account.name, account.api_key) for account in zai.accounts] == [
        ("work@example.com", Secret(CANARY)),
        ("home@example.com", Secret("second")),
    ]
    assert (gemini.name, gemini.kind, gemini.priority) == ("gemini", "gemini", 1)
    assert CANARY not in repr(config)
    assert CANARY not in str(config)


def test_every_key_of_the_server(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n")
    (tmp_path / "key.pem").write_text("-----BEGIN EC PRIVATE KEY-----\nAA\n-----END EC PRIVATE KEY-----\n")
    text = """
    count_tokens = "estimate"
    [server]
    host = "0.0.0.0"
    port = 0
    tls = { certificate = "cert.pem", private_key = "key.pem" }
    expose = "masked"
    allowed_hosts = ["Gateway.lan"]
    allowed_origins = ["https://app.example.com"]
    max_body = "1MiB"
    header_timeout = "5s"
    drain_timeout = "0s"
    max_connections = 7
    pool_max_idle = 0
    [auth]
    api_keys = { laptop = "${GATEWAY_API_KEY}" }
    """
    config = parse(text + UPSTREAM, ENVIRON, path=tmp_path / "gateway.toml")
    server = config.server
    assert server.tls == Tls(certificate=tmp_path / "cert.pem", private_key=tmp_path / "key.pem")
    assert (server.host, server.port, server.expose) == ("0.0.0.0", 0, "masked")
    assert server.allowed_hosts == ("gateway.lan",)
    assert server.allowed_origins == ("https://app.example.com",)
    assert server.limits == Limits(
        max_body=2**20, header_timeout=5.0, drain_timeout=0.0, max_connections=7, pool_max_idle=0
    )
    assert config.auth.keys == {"laptop": Secret("local")}
    assert config.count_tokens == "estimate"


def test_every_limit_is_a_key() -> None:
    names = set(Limits._fields)
    assert set(LIMITS) == names
    assert set(LIMITS) <= set(SERVER)
    assert {*COUNTS, *MAY_BE_ZERO} <= names
    assert set(TOP) == set(Config._fields) - {"contexts", "path", "warnings"}


WRONG: list[tuple[str, list[str]]] = [
    ("", ['upstreams: missing: add one, as [upstreams.anthropic] with preset = "anthropic"']),
    ("upstreams = {}", ['upstreams: missing: add one, as [upstreams.anthropic] with preset = "anthropic"']),
    (
        "upstreams = 5",
        ["upstreams: must be a table for each upstream, as [upstreams.anthropic], not a whole number"],
    ),
    (
        "accounts = []\n" + UPSTREAM,
        [
            "accounts: unknown key; known here: auth, cache, count_tokens, intercept, models, retry, server, sharing, "
            "status, stream, upstreams"
        ],
    ),
    ("server = 5" + UPSTREAM, ["server: must be a table, not a whole number"]),
    ("[sever]" + UPSTREAM, ['sever: unknown key; did you mean "server"?']),
    ('[server]\nhots = "::1"' + UPSTREAM, ['server.hots: unknown key; did you mean "host"?']),
    ("[server]\nport = 70000" + UPSTREAM, ["server.port: must be from 0 to 65535"]),
    ("[server]\nport = 2020-01-01" + UPSTREAM, ["server.port: must be a whole number, not a date or time"]),
    ("[server]\nworkers = 0" + UPSTREAM, ["server.workers: must be from 1 to 64"]),
    ("[server]\nmax_connections = 0" + UPSTREAM, ["server.max_connections: must be from 1 to 1000000"]),
    (
        '[server]\nheader_timeout = "0s"\nmax_head = 0' + UPSTREAM,
        [
            "server.header_timeout: must be more than 0s and at most 24h",
            "server.max_head: must be more than 0 and at most 64GiB",
        ],
    ),
    (
        '[server]\nallowed_hosts = ["a", "b:1"]\nallowed_origins = "*"' + UPSTREAM,
        [
            "server.allowed_hosts[1]: must be a host name or an address, without scheme, brackets and port",
            "server.allowed_origins: must be an array, not a string",
        ],
    ),
    (
        '[server]\ntls = { certificate = "none.pem" }' + UPSTREAM,
        [
            "server.tls.certificate: file none.pem cannot be read: No such file or directory",
            "server.tls.private_key: missing: certificate and private_key go together",
        ],
    ),
    ("[server]\ntls = true" + UPSTREAM, ["server.tls: must be a table, not true or false"]),
    (
        f'[auth]\nmode = "on"\napi_key = "{CANARY} x"' + UPSTREAM,
        [
            'auth.mode: must be one of "off", "strict", "all_except_health", "auto"',
            "auth.api_key: the secret must be printable ASCII without blanks: it is sent in a header",
        ],
    ),
    (
        f'[auth]\napi_key = "{CANARY}"\napi_keys = {{ default = "{CANARY}" }}' + UPSTREAM,
        ['auth.api_keys.default: api_key already has the name "default"'],
    ),
    ('[auth]\napi_key = ""' + UPSTREAM, ["auth.api_key: is empty"]),
    ('[auth]\napi_keys = ["x"]' + UPSTREAM, ["auth.api_keys: must be a table, not an array"]),
    (
        "[retry]\nmax_attempts = 0\nmax_wait = 20" + UPSTREAM,
        [
            "retry.max_attempts: must be from 1 to 20",
            'retry.max_wait: must be a duration with its unit, as "500ms", "10s", "5m" or "1h", '
            "not a whole number",
        ],
    ),
    ('[stream]\nping_after = "0s"' + UPSTREAM, ["stream.ping_after: must be more than 0s and at most 24h"]),
    ("[status]\nenabled = 1" + UPSTREAM, ['status.enabled: must be true, false or "loopback"']),
    ('[status]\nenabled = "yes"' + UPSTREAM, ['status.enabled: must be true, false or "loopback"']),
    ('[intercept]\nwarmup = "no"' + UPSTREAM, ["intercept.warmup: must be true or false, not a string"]),
    ('count_tokens = "never"' + UPSTREAM, ['count_tokens: must be one of "auto", "estimate", "zero"']),
    (
        '[models]\n"a" = "b*"\n"c" = ""' + UPSTREAM,
        ['models.a: must be one model: "*" belongs on the left side', "models.c: is empty"],
    ),
    (
        UPSTREAM.replace("ZAI_KEY_1", "ZAI_KEY_9"),
        ["upstreams.zai.accounts[0].api_key: environment variable ZAI_KEY_9 is not set"],
    ),
    ("a = ", ["gateway.toml, line 1, column 5: Invalid value"]),
    (f'[server]\nx = "{CANARY}', ["gateway.toml, line 2, column 17: Unterminated string"]),
    ("a = 1\na = 2\n", ["gateway.toml, line 2, column 6: Cannot overwrite a value"]),
    ('{"server": {}}', ["gateway.toml, line 1, column 1: Invalid statement; the file is TOML, not JSON"]),
    (
        'a = "C:\\Users"',
        [
            "gateway.toml, line 1, column 10: Invalid hex value; write a backslash twice, or the text in single quotes"
        ],
    ),
    (
        'a = "C:\\dir"',
        [
            "gateway.toml, line 1, column 10: Unescaped '\\' in a string; write a backslash twice, or the text in "
            "single quotes"
        ],
    ),
    ("a = \u201cx\u201d", ["gateway.toml, line 1, column 5: Invalid value; quotes must be straight"]),
    ("a = " + "[" * 5000, ["gateway.toml: arrays or tables are nested too deeply"]),
]


@pytest.mark.parametrize(("text", "texts"), WRONG)
def test_wrong_files(text: str, texts: list[str]) -> None:
    assert problems(text) == texts


def test_a_number_of_thousands_of_digits_is_a_problem_too() -> None:
    (problem,) = problems("a = " + "1" * 5000)
    assert problem.startswith("gateway.toml: Exceeds the limit")


def test_all_mistakes_come_at_once() -> None:
    sections = [text for text, texts in WRONG if text.endswith(UPSTREAM) and text.startswith("[")]
    seen: set[str] = set()
    chosen: list[str] = []
    for section in sections:
        if (name := section.partition("]")[0]) not in seen:
            seen.add(name)
            chosen.append(section.removesuffix(UPSTREAM))
    found = problems("\n".join(chosen))
    assert {problem.partition(":")[0].partition(".")[0] for problem in found} == {
        *(name[1:] for name in seen),
        "upstreams",
    }


def test_environment_and_options_override_the_file() -> None:
    text = "[server]\nport = 1\nworkers = 2" + UPSTREAM
    server = parse(text, ENVIRON, host="::1", port=9, workers=3).server
    assert (server.host, server.port, server.workers) == ("::1", 9, 3)
    assert parse(text, ENVIRON).server.workers == 2
    assert parse(UPSTREAM, ENVIRON, port=9).server.port == 9
    assert parse("[server]\nport = 1" + UPSTREAM, ENVIRON).server.port == 1
    assert parse("[server]\nport = -1" + UPSTREAM, ENVIRON, port=9).server.port == 9
    with pytest.raises(ConfigError, match=r"^server: must be a table"):
        parse("server = 1" + UPSTREAM, ENVIRON, port=9)
    with pytest.raises(ConfigError, match=r"^--host: must be a host name"):
        parse(UPSTREAM, ENVIRON, host="http://x")


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ("", []),
        ('[auth]\nmode = "off"', []),
        (
            '[auth]\nmode = "strict"',
            [
                'auth.mode: "strict" holds for 127.0.0.1 and no key is configured: every request will be '
                "refused with 401; set auth.api_key"
            ],
        ),
        (
            '[server]\nhost = "0.0.0.0"',
            [
                'auth.mode: "all_except_health" holds for 0.0.0.0 and no key is configured: every request '
                "will be refused with 401; set auth.api_key"
            ],
        ),
        ('[server]\nhost = "0.0.0.0"\n[auth]\napi_key = "${GATEWAY_API_KEY}"', []),
        (
            '[server]\nhost = "0.0.0.0"\n[auth]\nmode = "off"',
            ["auth.mode: off on 0.0.0.0: anyone who can reach it can use every account"],
        ),
    ],
)
def test_warnings(text: str, warnings: list[str]) -> None:
    assert list(parse(text + UPSTREAM, ENVIRON).warnings) == warnings


@pytest.mark.parametrize("key", ["${ZAI_KEY_1}", CANARY])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o604])
def test_a_secret_that_others_can_read_gets_a_warning(tmp_path: Path, key: str, mode: int) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(UPSTREAM.replace("${ZAI_KEY_1}", key))
    path.chmod(mode)
    expected: tuple[str, ...] = ()
    if key == CANARY and mode != 0o600:
        expected = (
            "upstreams.zai.accounts[0].api_key: a secret in a file that other users can read: "
            f"run chmod 600 {path}, or write a reference instead",
        )
    assert load(path, ENVIRON).warnings == expected


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"a = '\xff'", "is not UTF-8 at byte 5: save it as UTF-8"),
        (b"#" * (2**20 + 1), "is larger than 1 MiB: is it a configuration?"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes | None, text: str) -> None:
    path = tmp_path / "gateway.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        load(path, {})
    assert raised.value.problems == [f"{path}: {text}"]


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_bytes(b"\xef\xbb\xbf" + UPSTREAM.encode())
    assert load(path, ENVIRON).upstreams == parse("\ufeff" + UPSTREAM, ENVIRON).upstreams


def test_where_a_configuration_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = tmp_path / "etc" / "gateway.toml"
    monkeypatch.setattr(loader, "SYSTEM_FILE", system)
    cwd = tmp_path / "cwd"
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "xdg"), "HOME": str(tmp_path / "home")}
    own = tmp_path / "xdg" / "gateway" / "gateway.toml"
    assert places(environ, cwd) == (cwd / "gateway.toml", own, system)
    assert find(None, environ, cwd) is None
    for place in (system, own, cwd / "gateway.toml"):
        place.parent.mkdir(parents=True)
        place.touch()
        assert find(None, environ, cwd) == place
    assert find(None, {**environ, "GATEWAY_CONFIG": "other.toml"}, cwd) == cwd / "other.toml"
    assert find("mine.toml", {**environ, "GATEWAY_CONFIG": "other.toml"}, cwd) == cwd / "mine.toml"
    assert find(str(own), environ, cwd) == own


@pytest.mark.parametrize("environ", [{"HOME": "/h"}, {"HOME": "/h", "XDG_CONFIG_HOME": "relative"}])
def test_config_path_below_home(environ: dict[str, str]) -> None:
    assert places(environ, Path("/c"))[1] == Path("/h/.config/gateway/gateway.toml")


def test_home_from_the_password_database() -> None:
    assert places({}, Path("/c"))[1] == Path(os.path.expanduser("~/.config/gateway/gateway.toml"))


LITERAL = EXAMPLE.replace("${GATEWAY_API_KEY}", CANARY).replace("${ZAI_KEY_1}", CANARY)
LITERAL = LITERAL.replace("${file:zai_2}", CANARY).replace("${GEMINI_API_KEY}", CANARY)


UPSTREAM_KEYS = tuple(keys_of(""))

FILE_KEYS = ("oauth_file", "ca_file", "certificate", "private_key")


def accepted(text: str) -> Config | None:
    """The Config, None for a ConfigError; anything else is a failure. Neither may show the secret."""
    config: Config | None = None
    texts: list[str] = []
    try:
        config = parse(text, ENVIRON)
    except ConfigError as error:
        texts = error.problems
    assert (config is None) == bool(texts)
    for problem in (*texts, *(config.warnings if config else ())):
        # A file that cannot be read is named: that is the one value a problem shows.
        assert CANARY not in problem or problem.partition(": ")[0].endswith(FILE_KEYS)
        assert problem.isprintable()
    return config


def test_a_file_cut_anywhere_shows_no_secret() -> None:
    for end in range(0, len(LITERAL), 3):
        config = accepted(LITERAL[:end])
        assert config is None or CANARY not in repr(config)
    assert accepted(LITERAL) is not None


@given(st.text() | st.text(alphabet="[]{}=.\"'\n#a1 \\u-:", max_size=60))
def test_any_text_is_a_config_or_a_config_error(text: str) -> None:
    accepted(text)


KNOWN_KEYS = sorted({*TOP, *SERVER, *AUTH, *UPSTREAM_KEYS, *ACCOUNT_KEYS, "laptop", "*", "zai", "a b", ""})

STRINGS = st.sampled_from(
    [CANARY, f"https://{CANARY}.example.com", f"http://me:{CANARY}@h:1", "10s", "1MiB", "anthropic", "gemini",
     "zai", "off", "${ZAI_KEY_1}", "${NOT_SET}", "${file:/}", "${", f"a {CANARY}", "\x00", "::1", "*", "a/b"]
)  # fmt: skip

VALUES: st.SearchStrategy[Any] = st.recursive(
    STRINGS | st.text(max_size=5) | st.integers() | st.floats(allow_nan=False) | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KNOWN_KEYS), inner, max_size=5)
    ),
    max_leaves=12,
)


def toml(value: Any) -> str:
    """A value as inline TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, str):
        return '"' + "".join(c if c.isalnum() else f"\\U{ord(c):08x}" for c in value) + '"'
    return json.dumps(value).replace("Infinity", "inf")


def document(top: dict[str, Any]) -> str:
    return "\n".join(f"{toml(key)} = {toml(value)}" for key, value in top.items())


TABLES = {
    "server": st.dictionaries(st.sampled_from(sorted(SERVER)), VALUES, max_size=4),
    "auth": st.dictionaries(st.sampled_from(sorted(AUTH)), VALUES, max_size=3),
    "models": st.dictionaries(st.sampled_from(KNOWN_KEYS), VALUES, max_size=3),
    "upstreams": st.dictionaries(
        st.sampled_from(["zai", "a/b", "x"]),
        st.fixed_dictionaries(
            {},
            optional={
                **dict.fromkeys(UPSTREAM_KEYS, VALUES),
                "preset": st.sampled_from(["zai", "gemini", "ollama", CANARY]),
                "accounts": st.lists(st.dictionaries(st.sampled_from(sorted(ACCOUNT_KEYS)), VALUES)) | VALUES,
            },
        )
        | VALUES,
        max_size=2,
    ),
}


@given(st.fixed_dictionaries({}, optional={**TABLES, "retry": VALUES, "zzz": VALUES}))
def test_any_tables_are_a_config_or_a_config_error(top: dict[str, Any]) -> None:
    accepted(document(top))


def test_the_fuzz_can_meet_a_good_configuration() -> None:
    account = {"email": "a", "api_key": CANARY}
    config = accepted(document({"upstreams": {"zai": {"preset": "zai", "accounts": [account]}}}))
    assert config is not None
    assert CANARY not in repr(config)


def test_another_auth_takes_the_files_place() -> None:
    """Also if the file's own key cannot be used: it is not needed then."""
    own = Auth(mode="strict", keys={"run": Secret("k")})
    text = '[auth]\nmode = "strict"\napi_key = "${NOT_SET}"\n[upstreams.a]\npreset = "ollama"\nmodels = {"*" = "m"}\n'
    config = parse(text, {}, auth=own)
    assert config.auth is own
    assert config.warnings == ()
