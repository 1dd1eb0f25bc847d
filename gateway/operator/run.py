"""`gateway run -- COMMAND`: starts a gateway on a loopback port with a key that only the started client knows."""

import asyncio
import os
import shutil
from argparse import Namespace
from collections.abc import Mapping
from contextlib import AsyncExitStack

from gateway.app import Gateway
from gateway.config import Auth, Config, ConfigError, Secret
from gateway.config.client import context_windows, listed_windows, named_models
from gateway.fd_limit import fit_to_limit
from gateway.listening import StartError
from gateway.operator.command_line import FAILED, WRONG, complain, config_file, load_config
from gateway.operator.env import environment
from gateway.operator.run_log import RunLog, open_run_log
from gateway.operator.terminal import Terminal, controlling_terminal
from gateway.process import log_loop_errors, open_log, proxy_warnings, run, wait_until_stopped
from gateway.proxy.request import place_of
from gateway.telemetry.access_log import AccessLog

HOST = "127.0.0.1"

NOT_EXECUTABLE = 126
NOT_FOUND = 127
"""What a shell reports for a command that cannot be executed, or is not found."""

LISTS_PATIENCE = 1.5
"""Seconds to wait for upstreams' model lists when a context window must be looked up: a person waits."""

QUIET = 1.0
"""Seconds of draining before a message on stderr explains why the shell does not return."""

LOOK_EVERY = 0.02
"""Seconds between two checks of what is waited for."""


def command(options: Namespace) -> int:
    """Run a client behind a gateway; return the client's exit code. Raise ConfigError."""
    words: list[str] = options.words[1:] if options.words[:1] == ["--"] else options.words
    if not words:
        raise ConfigError(["run needs a command: gateway run -- claude"])
    if not hasattr(os, "posix_spawn"):
        raise ConfigError(["run needs a system with POSIX signals: use gateway serve and gateway env"])
    if options.demo and options.config:
        raise ConfigError(["run takes --demo or --config, not both"])
    from secrets import token_urlsafe

    key = token_urlsafe(32)
    auth = Auth(mode="all_except_health", keys={"run": Secret(key)})
    config = None if options.demo else _own_config(options.config, auth)
    if shutil.which(words[0]) is None:
        there = os.path.dirname(words[0]) and os.path.exists(words[0])
        complain(f"{words[0]}: {'cannot be executed' if there else 'command not found'}")
        return NOT_EXECUTABLE if there else NOT_FOUND
    terminal = controlling_terminal()
    run_log = open_run_log(os.environ)
    log, writer = open_log("info", "text", run_log.descriptor)
    session = _Session(words, key, auth, config, log, run_log, terminal)
    try:
        code = run(session.run)
    except Exception as error:
        session.failed, code = f"the gateway failed: {place_of(error)}", FAILED
    finally:
        writer.close()
        if terminal is not None:
            terminal.close()
        if session.failed:
            complain(session.failed, *(f"{run_log.path}: {line}" for line in run_log.last_lines()))
        run_log.close()
    return code


def _own_config(file: str | None, auth: Auth) -> Config:
    """Return the configuration with a loopback address and a key for this run, and without TLS: clients trust no
    certificate for loopback."""
    config = load_config(config_file(file), host=HOST, port=0, workers=1, auth=auth)
    return config._replace(server=config.server._replace(tls=None))


class _Session:
    """One gateway and its client."""

    def __init__(
        self,
        words: list[str],
        key: str,
        auth: Auth,
        config: Config | None,
        log: AccessLog,
        run_log: RunLog,
        terminal: Terminal | None,
    ) -> None:
        """`config`: None for the demo."""
        self._words = words
        self._key = key
        self._auth = auth
        self._config = config
        self._log = log
        self._run_log = run_log
        self._terminal = terminal
        self.failed = ""
        """Why the gateway failed, "" if it did not."""
        self._waiting: asyncio.TimerHandle | None = None

    async def run(self) -> int:
        """Start the gateway, then the client; return the exit code when both have ended."""
        log_loop_errors(self._log)
        async with AsyncExitStack() as stack:
            self._run_log.keep_small()
            config = self._config or await self._demo(stack)
            for warning in (*config.warnings, *proxy_warnings(os.environ)):
                self._log.warning(warning)
            descriptors = _soft_limit()
            config = fit_to_limit(config, self._log.warning)
            try:
                gateway = Gateway(config, self._log)
                await gateway.start()
            except StartError as error:
                self.failed = str(error)
                return WRONG
            name = os.path.basename(self._words[0])
            self._log.info(f"listening on {gateway.runtime.base_url} for {name}, process {os.getpid()}")
            windows = await _windows(gateway, os.environ)
            variables = environment(config, os.environ, gateway.runtime.base_url, self._key, windows)
            environ = {name: value for name, value in os.environ.items() if name != "ANTHROPIC_API_KEY"}
            return await self._serve(gateway, {**environ, **variables}, descriptors)

    async def _serve(self, gateway: Gateway, environ: Mapping[str, str], descriptors: int | None) -> int:
        # Imported here since it needs POSIX signals.
        from gateway.operator.child import Child

        child = Child(self._terminal)
        try:
            child.start(self._words, environ, descriptors)
            await wait_until_stopped(gateway, None, source=child.source, say=self._say)
        except OSError as error:
            if child.started:
                raise
            self.failed = f"{self._words[0]}: cannot be executed: {error.strerror}"
            return NOT_EXECUTABLE
        finally:
            await child.end()
            child.release()
            await gateway.stop(0.0)
        assert child.code is not None
        return child.code

    def _say(self, message: str) -> None:
        """Log about requests that outlive the client; if they take long, also tell the person who waits."""
        self._log.info(message)
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().call_later(QUIET, complain, message)
        else:
            self._waiting.cancel()

    async def _demo(self, stack: AsyncExitStack) -> Config:
        """Start the demo's upstream; return the configuration of a gateway in front of it."""
        from gateway.demo.running import configuration, listening
        from gateway.demo.upstream import DemoUpstream

        upstream_port = await stack.enter_async_context(listening(DemoUpstream()))
        return configuration(0, upstream_port)._replace(auth=self._auth)


def _soft_limit() -> int:
    """Return the soft limit of descriptors that this process was started with."""
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


async def _windows(gateway: Gateway, environ: Mapping[str, str]) -> dict[str, int]:
    """Return the context windows that upstreams list, in tokens by model. Waits for the lists only if the
    configuration leaves a window open that they may contain."""
    runtime = gateway.runtime
    known = context_windows(runtime.config, {})
    if "CLAUDE_CODE_MAX_CONTEXT_TOKENS" in environ or named_models(runtime.config) <= known.keys():
        return {}
    for _ in range(int(LISTS_PATIENCE / LOOK_EVERY)):
        if runtime.upstreams.keys() <= runtime.model_list.settled:
            break
        await asyncio.sleep(LOOK_EVERY)
    return listed_windows(model.document for model in runtime.model_list.models.values())
