"""What a configuration means, for people to read: `gateway check` prints it. No secret is in it."""

from collections.abc import Iterator

from gateway.config import Account, Config, Upstream
from gateway.messages.errors import RequestError
from gateway.routing.model_routes import ModelRoutes

WIDTH = 16
"""Of the column of names; longer ones push their line to the right."""


def summary(config: Config) -> str:
    """The configuration as lines of text: server, clients, upstreams with accounts, routes, warnings."""
    return "\n".join(_lines(config))


def _lines(config: Config) -> Iterator[str]:
    yield f"{config.path or 'The configuration'} is valid."
    yield ""
    server = config.server
    scheme = "http" if server.tls is None else "https"
    workers = f", {server.workers} workers" if server.workers > 1 else ""
    yield _row("listens on", f"{server.host} port {server.port}, {scheme}{workers}")
    yield _row("clients", _clients(config))
    yield _row("count_tokens", config.count_tokens)
    for upstream in config.upstreams:
        yield ""
        yield from _upstream(upstream)
    yield ""
    yield "routes: requested -> upstream: wire model, in the order in which they are asked"
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
    return f"auth {mode}, keys: " + (", ".join(config.auth.keys) or "none, nobody can come in")


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
        pays = f"api_key {account.api_key}"
    elif account.oauth_file is not None:
        pays = f"oauth_file {account.oauth_file}"
    else:
        pays = "no key"
    limit = f", at most {account.max_concurrent} requests at once" if account.max_concurrent else ""
    return f"{account.name}, {pays}{limit}"


def _routes(config: Config) -> Iterator[str]:
    """A line for every name and pattern of the tables, and for what none of them names.

    A pattern is resolved like a name: it matches itself, and nothing matches it better.
    """
    routes = ModelRoutes(config.models, config.upstreams)
    names = dict.fromkeys(config.models)
    for upstream in config.upstreams:
        names.update(dict.fromkeys(upstream.models))
    names.pop("*", None)
    for name in (*names, "*"):
        try:
            candidates = routes.resolve(name)
        except RequestError:
            yield f"  {name} -> not served (404)"
            continue
        served = (
            f"{candidate.upstream}: {candidate.wire_model if candidate.wire_model != name else 'unchanged'}"
            for candidate in candidates
        )
        yield f"  {name} -> {', '.join(served)}"
