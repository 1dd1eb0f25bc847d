"""A configuration file, whatever its text.

Contract: it is refused with mistakes in words, or it is one that `gateway check` shows and a gateway is built from. No
secret is in the words, in what is shown, or in a repr.
"""

from hypothesis import strategies as st

from gateway.app import Gateway
from gateway.config import Config, ConfigError, parse
from gateway.config.starter import STARTER
from gateway.summary import summary
from gateway.telemetry.access_log import AccessLog
from tests.fuzz.fuzz import fuzz

CANARY = "canary-51d0"
ENVIRON = dict.fromkeys(("GATEWAY_API_KEY", "ANTHROPIC_KEY_1", "ZAI_KEY_1", "LAPTOP_KEY"), CANARY)
LINES = [line for line in STARTER.splitlines() if line and not line.startswith("# ")]
VALUES = [
    '""',
    f'"{CANARY}"',
    '"${ZAI_KEY_1}"',
    '"${NOT_SET}"',
    '"${file:/}"',
    "0",
    "-1",
    "1e400",
    "nan",
    "true",
]
VALUES += [
    "[]",
    "{}",
    '"0s"',
    '"1GiB"',
    '"::"',
    '"0.0.0.0"',
    '"*"',
    f'"https://u:{CANARY}@h"',
    '"http://1.1.1.1"',
]
VALUES += ['["a"]', '"gemini"', '"zai"', '"anthropic"', '"a/b"', '"\\u0000"', "1979-05-27", "{ a = 1 }"]
MORE = [
    "[upstreams.zai]",
    '[upstreams."a b"]',
    "[[upstreams.zai.accounts]]",
    "[server]",
    "[",
    "x = 1",
    "host = ",
]


MAY_HOLD_SECRETS = ("api_key", "proxy", "base_url")
"""In other keys a secret would be none: they are shown."""
EDIT = st.tuples(
    st.integers(0, len(LINES) - 1),
    st.sampled_from(["uncommented", "uncommented", "with another value", "exchanged", "followed"]),
    st.sampled_from(VALUES) | st.text(max_size=4),
    st.sampled_from([*LINES, *MORE]),
)


def edited(edits: list[tuple[int, str, str, str]]) -> str:
    """The starter file with some of its lines changed in that manner."""
    lines = list(LINES)
    for at, manner, value, other in edits:
        line = lines[at].removeprefix("#")
        if not line.startswith(MAY_HOLD_SECRETS):
            value = value.replace(CANARY, "plain")
        lines[at] = {
            "uncommented": line,
            "with another value": f"{line.partition(' = ')[0]} = {value}",
            "exchanged": other,
            "followed": f"{line}\n{other}",
        }[manner]
    return "\n".join(lines)


def shown(config: Config) -> str:
    gateway = Gateway(config, AccessLog(print, "text", "info"), environ={})
    return f"{summary(config)} {config!r} {gateway.services!r} {gateway.services.scheduler!r}"


def contract(text: str) -> None:
    try:
        words = shown(parse(text, ENVIRON))
    except ConfigError as error:
        words = str(error)
    assert words
    assert CANARY not in words


def test_a_configuration() -> None:
    fuzz(contract, st.lists(EDIT, max_size=6).map(edited), examples=200)
