"""The table of paths and methods with their endpoints, and the errors for paths that have none."""

from collections.abc import Mapping
from typing import NamedTuple

from gateway.endpoints import count_tokens, event_logging, health, messages, metrics, models, root, status
from gateway.endpoints.access import ACTION
from gateway.endpoints.paths import plain
from gateway.http1.heads import render_lines
from gateway.messages.errors import RequestError
from gateway.proxy.request import ClientRequest, Endpoint


class Route(NamedTuple):
    """The endpoints of one path."""

    methods: Mapping[str, Endpoint]
    health: bool = False
    """Needs no key in `all_except_health`."""
    open: bool = False
    """Never needs a key."""


def _get(endpoint: Endpoint, *, health: bool = False) -> Route:
    return Route({"GET": endpoint, "HEAD": endpoint}, health)


def _post(endpoint: Endpoint) -> Route:
    return Route({"POST": endpoint})


def explain(request: ClientRequest) -> None:
    """Explain a request. The endpoint is imported with the first such request."""
    from gateway.endpoints.explain import explain

    explain(request)


ROUTES: Mapping[str, Route] = {
    "/healthz": _get(health.healthz, health=True),
    "/health": _get(health.healthz, health=True),
    "/readyz": _get(health.readyz, health=True),
    "/metrics": _get(metrics.metrics),
    "/v1/messages": _post(messages.messages),
    "/v1/messages/count_tokens": _post(count_tokens.count_tokens),
    "/v1/models": _get(models.listing),
    "/v1/models/claude": _get(models.listing),
    "/v1/models/{id}": _get(models.one),
    "/": _get(root.hello, health=True),
    "/api/hello": _get(root.hello, health=True),
    "/status": Route({"GET": status.page, "HEAD": status.page}, open=True),
    "/status.json": _get(status.document),
    "/status/events": _get(status.events),
    "/status/clear": _post(status.clear),
    "/status/disable": _post(status.disable),
    "/status/enable": _post(status.enable),
    "/status/explain": _post(explain),
    "/api/event_logging/batch": _post(event_logging.event_logging),
    "/v1/api/event_logging": _post(event_logging.event_logging),
    "/v1/api/event_logging/batch": _post(event_logging.event_logging),
}

NAMES: Mapping[str, str] = {path: path for path in ROUTES}
"""Paths whose route has the same name."""

MESSAGES = "/messages"
COUNT = "/messages/count_tokens"
MODELS = "/models"
"""Paths that half of the SDKs append to a base URL which should end in /v1."""

MODEL = "/v1/models/"
"""Followed by a model's id, which may contain slashes."""

ONE_MODEL = "/v1/models/{id}"
"""The name of that route."""

NO_MESSAGES_API = "this gateway speaks the Messages API to its clients: POST /v1/messages"
NOT_SERVED: Mapping[str, str] = {
    "/v1/messages/batches": "message batches are not served here; send each request to /v1/messages",
    "/v1/files": "files are not served here; send their content in the message",
    "/v1/skills": "skills are not served here",
    "/v1/complete": "text completions are not served here; /v1/messages is",
    "/v1/organizations": "the administration of accounts is not served here",
    "/v1/chat/completions": NO_MESSAGES_API,
    "/v1/completions": NO_MESSAGES_API,
    "/v1/responses": NO_MESSAGES_API,
    "/v1/embeddings": NO_MESSAGES_API,
}
"""Paths, or their prefixes, of APIs that are not served, and what the error says about them."""

LONGEST = 200
"""Characters of a path shown in an error; no served one has more than 60, except for a model's id."""


def find(path: str) -> tuple[Route | None, bool]:
    """Return the route of a path (no query), and whether it was found only by reading a doubled `/v1` as one.

    A slash at the end, a doubled one at the start, and a missing `/v1` are ignored: clients differ in what they append
    to a base URL.
    """
    path = plain(path)
    route = ROUTES.get(_name(path))
    if route is None and path.startswith("/v1/v1/"):
        return ROUTES.get(_name(path[3:])), True
    return route, False


def name_of(path: str) -> str:
    """Return the name of a path's route, "other" if there is none; so metrics have no more names than routes."""
    path = plain(path)
    return _name(path) or (path.startswith("/v1/v1/") and _name(path[3:])) or "other"


def _name(path: str) -> str:
    """Return the route's name for a normalized path, "" if there is none."""
    if path not in ROUTES and path.startswith((MESSAGES, MODELS)):
        path = f"/v1{path}"
    if path in ROUTES:
        return path
    return ONE_MODEL if path.startswith(MODEL) and len(path) > len(MODEL) else ""


def allowed(route: Route) -> bytes:
    """Return the Allow field's value."""
    return ", ".join((*route.methods, "OPTIONS")).encode()


def not_found(path: str, base_url: str) -> RequestError:
    """Return the error for a path without a route. It explains a wrong base URL where that is the cause."""
    shown = path if len(path) <= LONGEST else path[:LONGEST] + "..."
    requested = plain(path)
    requested = requested if requested.startswith("/v1/") else f"/v1{requested}"
    for prefix, words in NOT_SERVED.items():
        if requested == prefix or requested.startswith(f"{prefix}/"):
            return RequestError(404, f"nothing is served at {shown}: {words}")
    # The base URL alone, with its /v1, is what a person tries first.
    if requested == "/v1/v1" or any(
        requested.endswith((served, f"{served}/")) for served in (MESSAGES, COUNT, MODELS)
    ):
        return RequestError(
            404, f"nothing is served at {shown}: set the client's base URL to {base_url} (without /v1)"
        )
    return RequestError(404, f"nothing is served at {shown}")


def wrong_method(route: Route, method: str) -> RequestError:
    """Return the error for a method that a route does not have."""
    return RequestError(
        405,
        f"{method} is not served here; {allowed(route).decode()} are",
        headers=[(b"allow", allowed(route))],
    )


def respond_to_options(request: ClientRequest, route: Route | None) -> None:
    """Respond to OPTIONS; `None` means the server as a whole. A page of an allowed origin may send the fields that it
    asks for, except for that of actions."""
    allow = allowed(route) if route is not None else b"GET, HEAD, OPTIONS, POST"
    headers = [(b"allow", allow)]
    if request.cors:
        requested = request.exchange.head.get(b"access-control-request-headers")
        headers.append((b"access-control-allow-methods", allow))
        if requested is not None and ACTION not in requested.lower():
            headers.append((b"access-control-allow-headers", requested))
    request.respond(200, b"", render_lines(headers))
