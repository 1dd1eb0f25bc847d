"""A configuration file with any text: it is refused with messages, or it is one that `gateway check`
shows and a gateway is built from. No secret is in a message, in the shown text, or in a repr."""

from gateway.app import Gateway
from gateway.config import Config, ConfigError, parse
from gateway.operator.check import summary
from gateway.telemetry.access_log import AccessLog
from tests.fuzz.fuzz import fuzz_in_loop
from tests.support.strategies import CANARY, CONFIGURATIONS, ENVIRON


def shown(config: Config) -> str:
    gateway = Gateway(config, AccessLog(print, "text", "info"), environ={})
    return f"{summary(config)} {config!r} {gateway.runtime!r} {gateway.runtime.scheduler!r}"


async def contract(text: str) -> None:
    try:
        words = shown(parse(text, ENVIRON))
    except ConfigError as error:
        words = str(error)
    assert words
    assert CANARY not in words


def test_a_configuration() -> None:
    fuzz_in_loop(contract, CONFIGURATIONS)
