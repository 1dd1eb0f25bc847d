"""Upstreams: what a preset, a kind and the file make together, and every way to get one wrong."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.config.kinds import CURES
from gateway.config.presets import PRESETS
from gateway.config.reading import Mistake, Reading
from gateway.config.upstreams import upstream, upstreams
from gateway.config.values import REPAIRS, REPAIRS_OF_KIND, Account, GeminiOptions, Secret, Upstream

CANARY = "canary-51d0"

PAYER = {"email": "me@example.com", "api_key": CANARY}
CUSTOM = {"kind": "anthropic", "base_url": "https://example.com", "accounts": [PAYER]}
GEMINI = {"preset": "gemini", "accounts": [PAYER]}

KNOWN_CURES = ", ".join(f'"{name}"' for name in CURES)

ANTHROPIC_REPAIRS = REPAIRS_OF_KIND["anthropic"]


@pytest.fixture
def reading(tmp_path: Path) -> Reading:
    (tmp_path / "user.json").write_text('{"client_id":"c","client_secret":"s","refresh_token":"r"}')
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    return Reading({}, tmp_path)


def made(reading: Reading, table: Mapping[str, Any]) -> Upstream:
    found = upstream(reading, "upstreams.u", "u", table)
    assert reading.problems == []
    return found


def problems(reading: Reading, table: Mapping[str, Any]) -> list[str]:
    upstream(reading, "upstreams.u", "u", table)
    assert CANARY not in "".join(reading.problems)
    return reading.problems


def test_the_least_that_is_enough(reading: Reading) -> None:
    assert made(reading, CUSTOM) == Upstream(
        name="u",
        kind="anthropic",
        base_url="https://example.com",
        accounts=(Account(name="me@example.com", api_key=Secret(CANARY)),),
        repairs=ANTHROPIC_REPAIRS,
    )


def test_every_key(reading: Reading, tmp_path: Path) -> None:
    table = {
        **CUSTOM,
        "priority": 2,
        "models": {"claude-*": "big", "*": "small"},
        "max_concurrent": 4,
        "proxy": f"http://me:{CANARY}@proxy.lan:3128",
        "ca_file": "ca.pem",
        "auth_header": "authorization",
        "stream_internally": True,
        "cures": ["user_id"],
        "no_cures": ["fields"],
        "drop_betas": ["fast-*"],
        "drop_fields": ["context_management", "tools.*.strict"],
        "accounts": [PAYER, {"name": "b", "api_key": "k", "max_concurrent": 9}],
    }
    found = made(reading, table)
    assert (found.priority, list(found.models)) == (2, ["claude-*", "*"])
    assert found.proxy == Secret(f"http://me:{CANARY}@proxy.lan:3128")
    assert (found.ca_file, found.auth_header, found.stream_internally) == (
        tmp_path / "ca.pem",
        "authorization",
        True,
    )
    assert found.max_concurrent == 4
    assert (found.cures, found.no_cures, found.drop_betas) == (("user_id",), ("fields",), ("fast-*",))
    assert found.drop_fields == ("context_management", "tools.*.strict")
    assert [(account.name, account.max_concurrent) for account in found.accounts] == [
        ("me@example.com", 4),
        ("b", 9),
    ]


def test_gemini_keys(reading: Reading, tmp_path: Path) -> None:
    assert made(reading, GEMINI).options == GeminiOptions()
    path = "/v1/projects/P/models/{model}:streamGenerateContent"
    table = {
        "kind": "gemini",
        "version": "v1",
        "path": path,
        "schema": "openapi",
        "unsupported_tools": "drop",
        "accounts": [{"name": "a", "oauth_file": "user.json"}],
    }
    found = made(reading, table)
    assert found.base_url == "https://generativelanguage.googleapis.com"
    assert found.options == GeminiOptions(version="v1", path=path, schema="openapi", unsupported_tools="drop")
    assert found.accounts == (Account(name="a", oauth_file=tmp_path / "user.json"),)
    wrap_in_envelope = made(reading, {**GEMINI, "envelope": "code_assist", "project": "p"})
    assert (wrap_in_envelope.options.envelope, wrap_in_envelope.options.project) == ("code_assist", "p")


def test_the_file_overrides_the_preset(reading: Reading) -> None:
    table = {"preset": "openrouter", "base_url": "https://mirror.example.com/api/", "accounts": [PAYER]}
    found = made(reading, table)
    assert (found.base_url, found.auth_header) == ("https://mirror.example.com/api", "authorization")
    assert made(reading, {**table, "auth_header": "x-api-key"}).auth_header == "x-api-key"


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ({"preset": "ollama"}, "u"),
        ({"preset": "lmstudio", "base_url": "https://models.example.com"}, "u"),
        ({"kind": "anthropic", "base_url": "http://127.0.0.1:8000"}, "u"),
        ({"preset": "ollama", "accounts": [{"name": "me"}]}, "me"),
    ],
)
def test_a_local_upstream_needs_no_key(reading: Reading, table: dict[str, Any], name: str) -> None:
    assert made(reading, {**table, "max_concurrent": 2}).accounts == (Account(name=name, max_concurrent=2),)


@pytest.mark.parametrize(
    ("more", "on", "off"),
    [
        ({}, set(), set()),
        ({"repair": ["deferred_tools", "attribution"]}, {"deferred_tools", "attribution"}, set()),
        ({"no_repair": ["merge_roles", "empty_text"]}, set(), {"merge_roles", "empty_text"}),
        ({"strip_cache_control": True}, {"cache_control"}, set()),
        ({"strip_cache_control": False}, set(), set()),
        ({"system_role": "fold"}, {"system_role"}, set()),
        ({"system_role": "keep"}, set(), set()),
        ({"preset": "zai"}, {"system_role"}, set()),
        ({"preset": "zai", "system_role": "keep"}, set(), set()),
        ({"preset": "zai", "no_repair": ["system_role"]}, set(), set()),
        ({"preset": "anthropic"}, set(), set()),
    ],
)
def test_repairs(reading: Reading, more: dict[str, Any], on: set[str], off: set[str]) -> None:
    assert made(reading, {**CUSTOM, **more}).repairs == (ANTHROPIC_REPAIRS | on) - off


def test_gemini_repairs(reading: Reading) -> None:
    assert made(reading, GEMINI).repairs == {"thinking_cache_control", *REPAIRS} - {"failed_results"}
    without = made(reading, {**GEMINI, "no_repair": list(REPAIRS)})
    assert without.repairs == {"thinking_cache_control"}


@pytest.mark.parametrize("host", ["100.64.3.2", "gateway.example.com"])
def test_plain_http_can_be_allowed(reading: Reading, host: str) -> None:
    found = made(reading, {**CUSTOM, "base_url": f"http://{host}:8080", "plain_http": True})
    assert found.base_url == f"http://{host}:8080"


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "192.168.1.5", "mac.local", "ollama"])
def test_http_to_private_hosts(reading: Reading, host: str) -> None:
    assert made(reading, {**CUSTOM, "base_url": f"http://{host}:8080"}).base_url == f"http://{host}:8080"


WRONG: list[tuple[dict[str, Any], list[str]]] = [
    (
        {},
        [
            'upstreams.u.kind: missing: write kind = "anthropic", kind = "gemini", kind = "openai", or a preset',
            'upstreams.u.base_url: missing: write "https://" and the host, or use a preset',
            "upstreams.u.accounts: missing: add [[upstreams.u.accounts]] with an email and an api_key",
        ],
    ),
    (
        {"preset": "anthorpic", "accounts": [PAYER]},
        [
            "upstreams.u.preset: must be one of "
            + ", ".join(f'"{name}"' for name in PRESETS)
            + '; did you mean "anthropic"?'
        ],
    ),
    (
        {"preset": "azure", "accounts": [PAYER]},
        ['upstreams.u.base_url: missing: write "https://" and the host, or use a preset'],
    ),
    (
        {"preset": "openai", "base_url": "https://h/v1/chat/completions", "accounts": [PAYER]},
        ['upstreams.u.base_url: must end before "/chat/completions": the gateway adds it'],
    ),
    (
        {"preset": "openai", "tool_ids": "10", "efforts": ["novel"], "accounts": [PAYER]},
        [
            'upstreams.u.tool_ids: must be one of "any", "64", "40", "alnum9", "kimi"',
            "upstreams.u.efforts: must hold one or more of "
            '"none", "minimal", "low", "medium", "high", "xhigh", "max"',
        ],
    ),
    (
        {**GEMINI, "kind": "anthropic"},
        ['upstreams.u.kind: preset "gemini" is of kind "gemini": leave one of them out'],
    ),
    ({**CUSTOM, "kind": "novel"}, ['upstreams.u.kind: must be one of "anthropic", "gemini", "openai"']),
    (
        {**CUSTOM, "api_key": CANARY, "email": "a"},
        [
            "upstreams.u.api_key: belongs to an account: write it below [[upstreams.u.accounts]]",
            "upstreams.u.email: belongs to an account: write it below [[upstreams.u.accounts]]",
        ],
    ),
    ({**CUSTOM, "prority": 1}, ['upstreams.u.prority: unknown key; did you mean "priority"?']),
    ({**CUSTOM, "priority": -1}, ["upstreams.u.priority: must be from 0 to 1000"]),
    (
        {**CUSTOM, "models": {"*": "a*"}},
        ['upstreams.u.models."*": must be one model: "*" belongs on the left side'],
    ),
    ({**CUSTOM, "models": {"": "a"}}, ['upstreams.u.models."": is empty']),
    (
        {**CUSTOM, "models": {"a b": "a"}},
        ['upstreams.u.models."a b": must be printable ASCII without blanks'],
    ),
    (
        {**CUSTOM, "base_url": "https://example.com/v1"},
        ['upstreams.u.base_url: must end before "/v1": the gateway adds the rest'],
    ),
    (
        {**CUSTOM, "base_url": "https://example.com/v1/messages/"},
        ['upstreams.u.base_url: must end before "/v1": the gateway adds the rest'],
    ),
    (
        {**GEMINI, "base_url": "https://example.com/v1beta"},
        ['upstreams.u.base_url: must end before "/v1": the gateway adds the rest'],
    ),
    (
        {**CUSTOM, "base_url": f"http://{CANARY}.example.com"},
        [
            "upstreams.u.base_url: plain http:// is for loopback and private hosts: write https://, or plain_http = "
            "true if nobody else can listen on the way"
        ],
    ),
    (
        {**CUSTOM, "schema": "json"},
        ['upstreams.u.schema: only an upstream of kind "gemini" or "openai" has this key'],
    ),
    (
        {**GEMINI, "auth_header": "x-api-key", "stream_internally": True},
        [
            'upstreams.u.auth_header: only an upstream of kind "anthropic" or "openai" has this key',
            'upstreams.u.stream_internally: only an upstream of kind "anthropic" has this key',
        ],
    ),
    ({**GEMINI, "path": "/v1/models:go"}, ['upstreams.u.path: must begin with "/" and hold "{model}"']),
    ({**GEMINI, "path": "v1/{model}"}, ['upstreams.u.path: must begin with "/" and hold "{model}"']),
    ({**GEMINI, "path": "/{model}#"}, ['upstreams.u.path: must begin with "/" and hold "{model}"']),
    (
        {**GEMINI, "envelope": "code_assist"},
        ['upstreams.u.project: missing: envelope = "code_assist" and project go together'],
    ),
    (
        {**GEMINI, "project": "p"},
        ['upstreams.u.envelope: missing: envelope = "code_assist" and project go together'],
    ),
    (
        {**GEMINI, "project": "p", "envelope": "code_assist", "path": "/{model}"},
        ["upstreams.u.path: a code_assist envelope has a path of its own: leave one of them out"],
    ),
    (
        {**CUSTOM, "repair": ["merge"]},
        [
            'upstreams.u.repair[0]: must be one of "cache_control", "merge_roles", "empty_text", '
            '"tool_results", "foreign_thinking", "system_role", "deferred_tools", "attribution", '
            '"tool_ids", "empty_results", "failed_results", "server_tools"; did you mean "merge_roles"?'
        ],
    ),
    (
        {**CUSTOM, "repair": ["merge_roles", "attribution"], "no_repair": ["attribution", "merge_roles"]},
        [
            'upstreams.u: repair "attribution" is turned both on and off',
            'upstreams.u: repair "merge_roles" is turned both on and off',
        ],
    ),
    (
        {**CUSTOM, "cures": ["beta"], "no_cures": ["field"]},
        [
            f'upstreams.u.{key}[0]: must be one of {names}; did you mean "{meant}"?'
            for key, names, meant in (
                ("cures", KNOWN_CURES, "betas"),
                ("no_cures", f'"fields", {KNOWN_CURES}', "fields"),
            )
        ],
    ),
    (
        {**CUSTOM, "cures": ["images", "betas"], "no_cures": ["betas"]},
        ['upstreams.u: cure "betas" is turned both on and off'],
    ),
    (
        {**CUSTOM, "drop_betas": ["a,b"], "drop_fields": ["a b", "tools.", "tools.0", "messages"]},
        [
            "upstreams.u.drop_betas[0]: must be one name of a beta, or a pattern with *: write each by itself",
            "upstreams.u.drop_fields[0]: must be printable ASCII without blanks",
            *(
                f"upstreams.u.drop_fields[{index}]: must be a path of keys with dots, "
                'as "context_management" or "tools.*.strict"'
                for index in (1, 2)
            ),
            "upstreams.u.drop_fields[3]: is a field without which a request is another one",
        ],
    ),
    (
        {**GEMINI, "cures": ["betas"], "no_cures": ["betas"]},
        [
            'upstreams.u.cures: only an upstream of kind "anthropic" has this key',
            'upstreams.u.no_cures[0]: must be one of "without_thinking"',
        ],
    ),
    (
        {**CUSTOM, "system_role": "fold", "no_repair": ["system_role"]},
        ['upstreams.u: repair "system_role" is turned both on and off'],
    ),
    (
        {**CUSTOM, "accounts": {}},
        ["upstreams.u.accounts: must be an array of tables ([[upstreams.u.accounts]]), not a table"],
    ),
    (
        {**CUSTOM, "accounts": []},
        ["upstreams.u.accounts: missing: add [[upstreams.u.accounts]] with an email and an api_key"],
    ),
    (
        {"preset": "ollama", "accounts": []},
        ["upstreams.u.accounts: missing: add [[upstreams.u.accounts]] with an email and an api_key"],
    ),
    (
        {**CUSTOM, "accounts": [CANARY, {"email": "a", "api_key": 5}]},
        [
            "upstreams.u.accounts[0]: must be a table, not a string",
            "upstreams.u.accounts[1].api_key: must be a string, not a whole number",
        ],
    ),
    (
        {**CUSTOM, "accounts": [{"api_key": CANARY}]},
        ["upstreams.u.accounts[0]: needs an email or a name"],
    ),
    (
        {**CUSTOM, "accounts": [{**PAYER, "name": "a"}]},
        ["upstreams.u.accounts[0]: has an email and a name: one is enough"],
    ),
    (
        {**CUSTOM, "accounts": [PAYER, PAYER]},
        ["upstreams.u.accounts[1]: another account of this upstream has the same name"],
    ),
    ({**CUSTOM, "accounts": [{"email": "a"}]}, ["upstreams.u.accounts[0]: needs an api_key"]),
    (
        {**GEMINI, "accounts": [{"email": "a"}]},
        ["upstreams.u.accounts[0]: needs an api_key or an oauth_file"],
    ),
    (
        {**GEMINI, "version": "v1#beta"},
        ['upstreams.u.version: must be one segment of a path, as "v1beta"'],
    ),
    (
        {**GEMINI, "accounts": [{**PAYER, "oauth_file": "user.json"}]},
        ["upstreams.u.accounts[0]: has an api_key and an oauth_file: one is enough"],
    ),
    (
        {**CUSTOM, "accounts": [{"email": "a", "oauth_file": "user.json"}]},
        ['upstreams.u.accounts[0].oauth_file: only an upstream of kind "gemini" has this key'],
    ),
    (
        {**CUSTOM, "accounts": [{"email": "a", "api_key": "${ZAI_KEY_2}", "apikey": CANARY}]},
        [
            "upstreams.u.accounts[0].api_key: environment variable ZAI_KEY_2 is not set",
            'upstreams.u.accounts[0].apikey: unknown key; did you mean "api_key"?',
        ],
    ),
]


@pytest.mark.parametrize(("table", "texts"), WRONG)
def test_wrong_upstreams(reading: Reading, table: dict[str, Any], texts: list[str]) -> None:
    assert problems(reading, table) == texts


def test_all_upstreams_are_read_in_order(reading: Reading) -> None:
    found = upstreams(reading, "upstreams", {"b": CUSTOM, "a.b": CUSTOM})
    assert [each.name for each in found] == ["b", "a.b"]
    assert reading.problems == []
    upstreams(reading, "upstreams", {"a/b": CUSTOM, "c": "x", "": CUSTOM})
    name = 'an upstream\'s name is up to 64 letters, digits, ".", "_" and "-"'
    assert reading.problems == [
        f'upstreams."a/b": {name}',
        "upstreams.c: belongs to one upstream: write it below [upstreams.NAME]",
        f'upstreams."": {name}',
    ]
    with pytest.raises(
        Mistake, match=r"must be a table for each upstream, as \[upstreams.anthropic\], not an array"
    ):
        upstreams(reading, "upstreams", [CUSTOM])


@pytest.mark.parametrize(
    ("table", "warned"),
    [
        ({"preset": "vllm", "base_url": "http://10.0.0.1:8000/"}, True),
        ({"preset": "vllm", "base_url": "http://10.0.0.1:8000/v1"}, False),
        ({"preset": "vllm", "base_url": "http://10.0.0.1:8000", "path": "/v1/chat/completions"}, False),
        ({"preset": "ollama", "base_url": "http://10.0.0.1:11434"}, False),
    ],
)
def test_a_url_that_lacks_its_version(reading: Reading, table: dict[str, Any], warned: bool) -> None:
    made(reading, table)
    words = 'upstreams.u.base_url: ends without the version of the API, which is "/v1" at most hosts'
    assert reading.warnings == [words] * warned
