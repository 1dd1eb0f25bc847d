"""`gateway doctor`: carries out the checks in order and prints the report."""

import asyncio
import os
from argparse import Namespace
from functools import partial

from gateway.config import Config, ConfigError
from gateway.operator.command_line import FAILED, OK, config_file, load_config, print_text
from gateway.operator.doctor.examine import examine, examine_from_outside
from gateway.operator.doctor.findings import Finding, Row, as_json, as_text, carry_out, failed
from gateway.operator.doctor.here import HERE, Here, HereCheck
from gateway.operator.doctor.outside import reach_from_outside
from gateway.operator.doctor.spend import spend
from gateway.operator.doctor.store import look_at_store
from gateway.operator.doctor.upstreams import look_at_upstreams
from gateway.operator.peer import address_of
from gateway.process import loop_factory

PATIENCE = 4.0
"""Seconds for a check of this machine."""


def command(options: Namespace) -> int:
    """Carry out the checks and print the report; return the exit code. Raise ConfigError."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        rows = runner.run(_from_outside(options) if options.url is not None else _visit(options))
    return print_text((as_json if options.json else as_text)(rows)) or (FAILED if failed(rows) else OK)


async def _from_outside(options: Namespace) -> list[Row]:
    if options.spend:
        raise ConfigError(["--spend needs the configuration: leave --url out"])
    config = load_config(config_file(options.config)) if options.config is not None else Config()
    tls = config.server.tls
    target = address_of(options.url, str(tls.certificate) if tls is not None else None)
    key = options.key or config.auth.first_key
    rows = await reach_from_outside(target)
    if failed(rows):
        return rows
    return rows + await examine_from_outside(target, key)


async def _visit(options: Namespace) -> list[Row]:
    path = config_file(options.config)
    try:
        config = load_config(path)
    except ConfigError as error:
        return [Row("here", "configuration", Finding("fail", problem)) for problem in error.problems]
    # First, and alone: its checks measure times that other work would lengthen.
    gateway = await examine(config)
    here, store, upstreams = await asyncio.gather(
        _look_around(config), look_at_store(config), look_at_upstreams(config, os.environ)
    )
    rows = [*here, store, *upstreams, *gateway]
    return rows + await spend(config, os.environ) if options.spend else rows


async def _look_around(config: Config) -> list[Row]:
    here = Here(config, os.environ)

    async def one(check: HereCheck) -> Row:
        return await carry_out("here", check.name, partial(asyncio.to_thread, check.run, here), PATIENCE)

    return await asyncio.gather(*map(one, HERE))
