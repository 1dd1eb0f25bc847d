"""A gateway as a process: its loop, its log, its signals, and its greeting.

SIGTERM and SIGINT drain, a second one ends at once; SIGHUP reloads the configuration; SIGUSR1 and SIGUSR2 are
ignored.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from gateway import signals, stdio
from gateway.app import Gateway
from gateway.config import Config, ConfigError
from gateway.config.client import client_environment, export_lines
from gateway.config.loader import access_warnings
from gateway.fd_limit import fit_to_limit
from gateway.listening import StartError
from gateway.proxy.request import place_of
from gateway.telemetry.access_log import AccessLog, Format, message_line
from gateway.telemetry.log_writer import LogWriter

if TYPE_CHECKING:
    from gateway.sharing.peers import Sharing

BAD_START = 2
"""Exit code for what the operator must correct: bad configuration, port in use."""

STDERR = 2
"""The descriptor of the log."""

State = Literal["ready", "reloading", "stopping"]

Notify = Callable[[State], None]
"""Called with each state of the process, for a service manager or a parent."""

SignalHandlers = Mapping[int, Callable[[], None]]
"""The handler of each signal, by number."""

SignalSource = Callable[[SignalHandlers], Callable[[], None]]
"""Starts calling handlers; the function that it returns stops it."""

OpenLog = Callable[[], tuple[AccessLog, LogWriter]]
"""Opens a log; the caller closes the writer. The writer has a thread, so each process needs its own."""


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop factory, or None for asyncio's own where uvloop is not installed."""
    with suppress(ImportError):
        from uvloop import new_event_loop

        return new_event_loop
    return None


def run(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Run a coroutine function in a loop of its own and return its result."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main())


def open_log(level: str, format: Format, descriptor: int = STDERR) -> tuple[AccessLog, LogWriter]:
    """Open a log on a descriptor."""

    def dropped_line(count: int) -> str:
        message = f"{count} lines of this log were dropped: it was not read"
        return message_line(format, "warning", message, time.time())

    writer = LogWriter(descriptor, dropped_line)
    return AccessLog(writer.write, format, level, flush=writer.flush), writer


def no_notify(state: State) -> None:
    """Do nothing, for a process that reports its state to no other."""


def notifier(log: AccessLog) -> Notify:
    """Return a function that reports the state to systemd, or does nothing if `$NOTIFY_SOCKET` is unset."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return no_notify
    from gateway import systemd

    return systemd.notifier(address, log.warning)


def process_signals(handlers: SignalHandlers) -> Callable[[], None]:
    """Call handlers at the process's own signals; a SignalSource."""
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        # Windows loops know no signal handlers; there Ctrl-C interrupts the runner.
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, handler)
    signals.release()

    def stop() -> None:
        for number in handlers:
            with suppress(NotImplementedError):
                loop.remove_signal_handler(number)

    return stop


def complain(log: AccessLog, text: str) -> None:
    """Print on stderr why the gateway cannot start, in the log's format."""
    if log.format == "json":
        log.error(text)
    else:
        print(f"gateway: {text}", file=sys.stderr)


def serve(
    config: Config,
    reload: Callable[[], Config],
    log_level: str,
    log_format: Format,
    sockets: Sequence[socket.socket] = (),
) -> int:
    """Serve until a signal stops it; return the exit code.

    `reload` reads the configuration again. `sockets` replace the configured host and port.
    """
    log, writer = open_log(log_level, log_format)
    try:
        return run(partial(run_gateway, config, reload, log, sockets, notify=notifier(log)))
    finally:
        writer.close()


async def run_gateway(
    config: Config,
    reload: Callable[[], Config],
    log: AccessLog,
    sockets: Sequence[socket.socket] = (),
    *,
    notify: Notify = no_notify,
    source: SignalSource = process_signals,
    first: bool = True,
    share: "Callable[[], Sharing] | None" = None,
) -> int:
    """Start, report it, and serve until a signal stops it; return the exit code.

    Of the workers that serve one configuration only the `first` logs what concerns them all. `share` opens the channel
    to the others.
    """
    if first:
        for warning in (*config.warnings, *proxy_warnings(os.environ)):
            log.warning(warning)
    first_log = log if first else AccessLog(lambda line: None)
    log_loop_errors(log)
    config = fit_to_limit(config, first_log.warning)
    sharing = None if share is None else share()
    try:
        gateway = Gateway(config, log, sharing=sharing)
        if sharing is not None:
            sharing.start()
        await gateway.start(sockets=sockets)
    except StartError as error:
        complain(log, str(error))
        return BAD_START

    def started() -> None:
        notify("ready")
        if first:
            stdio.write(greeting(gateway, os.environ, log.format) + "\n")

    # Printed when the signals are handled: a parent that reads it may send one at once.
    asyncio.get_running_loop().call_soon(started)
    on_reload = partial(_reload, gateway, reload, first_log, notify)
    await wait_until_stopped(gateway, on_reload, notify, source, first_log.info)
    if sharing is not None:
        sharing.finish()
    return 0


def proxy_warnings(environ: Mapping[str, str]) -> list[str]:
    """Return warnings about the proxy variables in `environ` that requests to upstreams ignore."""
    value = {
        name: environ.get(name.lower()) or environ.get(name, "") for name in ("HTTPS_PROXY", "ALL_PROXY")
    }
    if value["ALL_PROXY"] and not value["HTTPS_PROXY"]:
        return [
            "ALL_PROXY is not supported: upstreams are reached directly; set HTTPS_PROXY=http://host:port"
        ]
    if "://" in value["HTTPS_PROXY"] and not value["HTTPS_PROXY"].lower().startswith("http://"):
        return ["HTTPS_PROXY must begin with http://: proxies over SOCKS or TLS are not supported"]
    return []


def greeting(gateway: Gateway, environ: Mapping[str, str], format: Format = "text") -> str:
    """Return the text printed at the start: the address, the configuration's file, and a client's settings."""
    config = gateway.runtime.config
    base_url = gateway.runtime.base_url
    source = f", configuration {config.path}" if config.path is not None else ""
    message = f"listening on {base_url}{source}"
    unreachable = config.auth.effective_mode(config.server.host) != "off" and not any(
        config.auth.keys.values()
    )
    warning = "keys are checked and none is configured: EVERY request will be refused (401)"
    if format == "json":
        path = None if config.path is None else str(config.path)
        line = message_line(format, "info", message, time.time(), base_url=base_url, config=path)
        return f"{line}\n{message_line(format, 'warning', warning, time.time())}" if unreachable else line
    lines = [f"gateway: {message}"]
    lines += [f"  {line}" for line in export_lines(client_environment(config, base_url, environ))]
    if unreachable:
        lines.append(f"  WARNING: {warning}")
    return "\n".join(lines)


async def wait_until_stopped(
    gateway: Gateway,
    reload: Callable[[], None] | None,
    notify: Notify = no_notify,
    source: SignalSource = process_signals,
    say: Callable[[str], None] = lambda message: None,
) -> None:
    """Wait for SIGTERM or SIGINT, then drain; a second signal ends the draining. `say` gets a line for the log when
    draining begins and when it ends."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    now = asyncio.Event()

    def on_stop() -> None:
        (now if stop.is_set() else stop).set()

    handlers: dict[int, Callable[[], None]] = {signal.SIGTERM: on_stop, signal.SIGINT: on_stop}
    if reload is not None and hasattr(signal, "SIGHUP"):
        handlers[signal.SIGHUP] = reload
    stop_signals = source(handlers)
    try:
        await stop.wait()
        notify("stopping")
        patience = gateway.runtime.config.server.limits.drain_timeout
        say(f"stopping: requests under way may take {patience:g} s more; a second signal ends them")
        draining = loop.create_task(gateway.stop(patience))
        hurry = loop.create_task(now.wait())
        await asyncio.wait((draining, hurry), return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        clean = draining.done() and draining.result()
        if not draining.done():
            draining.cancel()
        say("stopped" if clean else "stopped: requests under way were cut off")
    finally:
        await gateway.stop(0.0)
        stop_signals()


def _reload(
    gateway: Gateway, reload: Callable[[], Config], log: AccessLog, notify: Notify = no_notify
) -> None:
    notify("reloading")
    try:
        workers = gateway.runtime.config.server.workers
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
        for warning in _warnings_in_force(config, gateway.runtime.config):
            log.warning(warning)
        log.info("the configuration was reloaded")
    notify("ready")


def _warnings_in_force(config: Config, running: Config) -> list[str]:
    """Return a reloaded configuration's warnings. Those about access depend on the address, which changes
    at the next start only: they say so, and those that hold until then come first."""
    later = access_warnings(config)
    here = access_warnings(running)
    return [
        *(warning for warning in here if warning not in later),
        *(
            f"at the next start: {warning}" if warning in later and warning not in here else warning
            for warning in config.warnings
        ),
    ]


def log_loop_errors(log: AccessLog) -> None:
    """Have the running loop's errors logged, in place of tracebacks on stderr."""
    asyncio.get_running_loop().set_exception_handler(partial(_log_loop_error, log))


def _log_loop_error(log: AccessLog, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """Log what the loop reports: that descriptors ran out, or that a callback failed. One line, as for a request that
    fails: a traceback would show the error's text, which may hold a part of a body."""
    error = context.get("exception")
    if isinstance(error, socket.gaierror):
        # uvloop lets a lookup of a name go on whose caller has left.
        return
    # A callback is described with its arguments.
    what = "a callback failed" if "handle" in context else context["message"]
    if isinstance(error, OSError):
        log.error(f"{what}: {error.strerror or type(error).__name__}", once=True)
    else:
        log.error(what if error is None else f"{what}: {place_of(error)}")
