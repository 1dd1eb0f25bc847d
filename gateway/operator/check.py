"""`gateway check`: loads what a configuration refers to, and describes it. Prints no secret and uses no network."""

import ssl
from argparse import Namespace
from collections.abc import Iterator

from gateway.config import Account, Config, ConfigError, Upstream
from gateway.config.store import place_of
from gateway.http1.dial import client_context
from gateway.listening import StartError, server_context
from gateway.messages.errors import RequestError
from gateway.operator.command_line import FAILED, OK, config_file, load_config, print_text
from gateway.routing.model_routes import Candidate, ModelRoutes, ModelTable

WIDTH = 16
"""Columns for names; longer ones push their line to the right."""


def command(options: Namespace) -> int:
    """Print a description of a configuration, or who serves a model; return the exit code. Raise ConfigError."""
    if options.file and options.config:
        raise ConfigError(["check takes one file: leave --config out"])
    config = load_config(config_file(options.file or options.config))
    found = problems(config)
    if found:
        raise ConfigError([*found, f"correct this in {config.path}"])
    if options.model is None:
        return print_text(summary(config))
    served, text = describe_model(config, options.model)
    return print_text(text) or (OK if served else FAILED)


def problems(config: Config) -> list[str]:
    """Load the files that serving loads; return a line for each that cannot be used."""
    found = []
    try:
        server_context(config)
    except StartError as error:
        found.append(str(error))
    for upstream in config.upstreams:
        try:
            client_context(upstream.ca_file)
        except OSError as error:
            reason = (error.reason or "not PEM") if isinstance(error, ssl.SSLError) else error.strerror
            found.append(f"upstreams.{upstream.name}.ca_file: {upstream.ca_file} cannot be used: {reason}")
    return found


def summary(config: Config) -> str:
    """Return the configuration as lines of text: server, clients, upstreams with accounts, routes, warnings."""
    return "\n".join(_lines(config))


def describe_model(config: Config, model: str) -> tuple[bool, str]:
    """Return whether a model is served, and the upstreams that serve it, in order, or the reason why none does."""
    try:
        candidates = ModelRoutes(config.models, config.upstreams).resolve(model)
    except RequestError as error:
        return False, error.message
    accounts = {
        upstream.name: ", ".join(each.name for each in upstream.accounts) for upstream in config.upstreams
    }
    mapped = ModelTable(config.models).target(model)
    lines = [f"{model} is served by" if mapped is None else f"{model}, by [models] {mapped}, is served by"]
    for index, candidate in enumerate(candidates):
        # Candidates of equal priority share the load.
        fallback = index > 0 and candidate.priority > candidates[index - 1].priority
        lines.append(
            f"  {'else ' if fallback else ''}{candidate.upstream}: {candidate.wire_model}, "
            f"priority {candidate.priority}, accounts {accounts[candidate.upstream]}"
        )
    return True, "\n".join(lines)


def _lines(config: Config) -> Iterator[str]:
    yield f"{config.path or 'The configuration'} is valid."
    yield ""
    server = config.server
    scheme = "http" if server.tls is None else "https"
    workers = f", {server.workers} workers" if server.workers > 1 else ""
    yield _row("listens on", f"{server.host} port {server.port}, {scheme}{workers}")
    yield _row("clients", _clients(config))
    yield _row("count_tokens", config.count_tokens)
    sharing = config.sharing
    if sharing.url is not None:
        sealed = (
            "sealed"
            if sharing.secret
            else "not sealed: anyone who can read the store sees accounts' names and signatures"
        )
        yield _row("shares over", f"{place_of(sharing.url.reveal())}, {sealed}")
    for upstream in config.upstreams:
        yield ""
        yield from _upstream(upstream)
    yield ""
    yield "routes: requested -> upstream: wire model. An exact name wins, then the pattern with more literal characters"
    yield from _routes(config)
    for warning in config.warnings:
        yield ""
        yield f"WARNING: {warning}"


def _row(name: str, value: str, indent: int = 0) -> str:
    return f"{' ' * indent}{name:<{WIDTH - indent}} {value}"


def _clients(config: Config) -> str:
    mode = config.auth.effective_mode(config.server.host)
    if mode == "off":
        return "no key needed"
    return f"auth {mode}, keys: " + (", ".join(config.auth.keys) or "none, so every request is refused")


def _upstream(upstream: Upstream) -> Iterator[str]:
    yield f"upstream {upstream.name}: {upstream.kind}, {upstream.base_url}, priority {upstream.priority}"
    for account in upstream.accounts:
        yield _row("account", _account(account), indent=2)
    if upstream.proxy is not None:
        yield _row("proxy", str(upstream.proxy), indent=2)
    if upstream.ca_file is not None:
        yield _row("ca_file", str(upstream.ca_file), indent=2)
    yield _row("repairs", ", ".join(sorted(upstream.repairs)), indent=2)


def _account(account: Account) -> str:
    if account.api_key is not None:
        credential = f"api_key {account.api_key}"
    elif account.oauth_file is not None:
        credential = f"oauth_file {account.oauth_file}"
    else:
        credential = "no key"
    limit = f", at most {account.max_concurrent} requests at once" if account.max_concurrent else ""
    return f"{account.name}, {credential}{limit}"


def _routes(config: Config) -> Iterator[str]:
    """Yield a line for each name and pattern of the tables, in order of precedence, and one for all other names.

    A pattern is resolved as if it were a model's name: no other rule matches it better than itself.
    """
    routes = ModelRoutes(config.models, config.upstreams)
    tables = [config.models, *(upstream.models for upstream in config.upstreams)]
    everything = ModelTable({name: name for table in tables for name in table})
    for name in dict.fromkeys([*everything.names, *everything.patterns, "*"]):
        try:
            candidates = routes.resolve(name)
        except RequestError:
            yield f"  {name} -> not served (404)"
        else:
            yield f"  {name} -> {', '.join(_candidate(candidate, name) for candidate in candidates)}"


def _candidate(candidate: Candidate, name: str) -> str:
    return f"{candidate.upstream}: {candidate.wire_model if candidate.wire_model != name else 'unchanged'}"
