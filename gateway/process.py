"""A gateway as a process: its loop, its signals, and what it says at its start.

SIGTERM and SIGINT drain, a second one ends it at once; SIGHUP reads the configuration again.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Literal

from gateway.app import Gateway, StartError
from gateway.config import Config, ConfigError
from gateway.fd_limit import fit_to_limit
from gateway.proxy.request import place_of
from gateway.telemetry.access_log import AccessLog

BAD_START = 2
"""Exit code for what the operator must correct: bad configuration, port in use."""

State = Literal["ready", "reloading", "stopping"]

Handlers = Mapping[int, Callable[[], None]]
"""What to do at each signal."""

Obey = Callable[[Handlers], Callable[[], None]]
"""Begins to hear of signals; what it returns ends that."""


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes a loop: uvloop's where there is one, None for the standard one."""
    with suppress(ImportError):
        from uvloop import new_event_loop

        return new_event_loop
    return None


def run(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run a coroutine function in a loop of its own."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main())


def write_line(line: str) -> None:
    """One log line on stderr; a reader that is gone does not stop the gateway."""
    with suppress(OSError):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def silent(state: State) -> None:
    """Nobody wants to hear how the process fares."""


def teller(log: AccessLog) -> Callable[[State], None]:
    """Who hears how the process fares: systemd, if it asked for that."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return silent
    from gateway import systemd

    return systemd.teller(address, log.warning)


def by_signals(handlers: Handlers) -> Callable[[], None]:
    """Hear of the process's own signals."""
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        # Windows loops know no signal handlers; there Ctrl-C interrupts the runner.
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, handler)

    def end() -> None:
        for number in handlers:
            with suppress(NotImplementedError):
                loop.remove_signal_handler(number)

    return end


def serve(
    config: Config,
    reload: Callable[[], Config],
    log_level: str,
    log_format: Literal["text", "json"],
    sockets: Sequence[socket.socket] = (),
) -> int:
    """Serve until a signal says stop; returns the exit code.

    `reload` reads the configuration again. `sockets` take the place of the configured host and port.
    """
    log = AccessLog(write_line, log_format, log_level)
    return run(partial(begin, config, reload, log, sockets, tell=teller(log)))


async def begin(
    config: Config,
    reload: Callable[[], Config],
    log: AccessLog,
    sockets: Sequence[socket.socket] = (),
    *,
    tell: Callable[[State], None] = silent,
    obey: Obey = by_signals,
    first: bool = True,
) -> int:
    """Start, say so, and serve until told to stop; returns the exit code.

    Of the workers that serve one configuration only the `first` says what concerns them all.
    """
    if first:
        for warning in config.warnings:
            log.warning(warning)
    said = log if first else AccessLog(lambda line: None)
    asyncio.get_running_loop().set_exception_handler(partial(_mishap, log))
    config = fit_to_limit(config, said.warning)
    try:
        gateway = Gateway(config, log)
        await gateway.start(sockets=sockets)
    except StartError as error:
        print(f"gateway: {error}", file=sys.stderr)
        return BAD_START

    def started() -> None:
        tell("ready")
        if first:
            print(greeting(gateway), flush=True)

    # Said when the signals are handled: whoever reads it may send one at once.
    asyncio.get_running_loop().call_soon(started)
    await until_stopped(gateway, partial(_reload, gateway, reload, said, tell), tell, obey)
    return 0


def greeting(gateway: Gateway) -> str:
    """What a client needs, to paste."""
    config = gateway.services.config
    mode = config.auth.effective_mode(config.server.host)
    key = "any-text" if mode == "off" else "<one of your [auth] keys>"
    lines = [
        f"gateway: listening on {gateway.services.base_url}",
        f"  export ANTHROPIC_BASE_URL={gateway.services.base_url}",
        f"  export ANTHROPIC_API_KEY={key}",
    ]
    if mode != "off" and not any(config.auth.keys.values()):
        lines.append(
            "  WARNING: keys are checked and none is configured: EVERY request will be refused (401)"
        )
    return "\n".join(lines)


async def until_stopped(
    gateway: Gateway,
    reload: Callable[[], None] | None,
    tell: Callable[[State], None] = silent,
    obey: Obey = by_signals,
) -> None:
    """Wait for SIGTERM or SIGINT, then drain; a second signal ends the draining."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    now = asyncio.Event()

    def on_stop() -> None:
        (now if stop.is_set() else stop).set()

    handlers: dict[int, Callable[[], None]] = {signal.SIGTERM: on_stop, signal.SIGINT: on_stop}
    if reload is not None and hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = reload
    end = obey(handlers)
    try:
        await stop.wait()
        tell("stopping")
        draining = loop.create_task(gateway.stop(gateway.services.config.server.limits.drain_timeout))
        hurry = loop.create_task(now.wait())
        await asyncio.wait((draining, hurry), return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not draining.done():
            draining.cancel()
    finally:
        await gateway.stop(0.0)
        end()


def _reload(
    gateway: Gateway, reload: Callable[[], Config], log: AccessLog, tell: Callable[[State], None] = silent
) -> None:
    tell("reloading")
    try:
        workers = gateway.services.config.server.workers
        config = fit_to_limit(reload(), log.warning)
        if config.server.workers != workers:
            log.warning("another number of workers takes effect at the next start")
        gateway.reload(config)
    except ConfigError as error:
        for problem in error.problems:
            log.error(f"the configuration was not reloaded: {problem}")
    except (StartError, OSError) as error:
        log.error(f"the configuration was not reloaded: {error}")
    else:
        for warning in config.warnings:
            log.warning(warning)
        log.info("the configuration was reloaded")
    tell("ready")


def _mishap(log: AccessLog, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """What the loop has to say: that descriptors ran out, or that a callback failed. One line, as for a request that
    fails: a traceback would show the error's text, which may hold a part of a body."""
    error = context.get("exception")
    # A callback is described with its arguments.
    what = "a callback failed" if "handle" in context else context["message"]
    if isinstance(error, OSError):
        log.error(f"{what}: {error.strerror or type(error).__name__}", once=True)
    else:
        log.error(what if error is None else f"{what}: {place_of(error)}")
