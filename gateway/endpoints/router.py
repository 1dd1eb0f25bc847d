"""Which endpoint a request's path and method name, as one table; and the words for a path that is none."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.endpoints import count_tokens, event_logging, health, messages, models
from gateway.endpoints import root as hello
from gateway.messages.errors import RequestError
from gateway.proxy.request import ClientRequest
from gateway.proxy.runtime import Runtime

Endpoint = Callable[[ClientRequest, Runtime], None]


@dataclass(frozen=True, slots=True)
class Route:
    """What is served at one path."""

    methods: Mapping[str, Endpoint]
    health: bool = False
    """Open without a key in `all_except_health`."""


def _get(endpoint: Endpoint, *, health: bool = False) -> Route:
    return Route({"GET": endpoint, "HEAD": endpoint}, health)


def _post(endpoint: Endpoint) -> Route:
    return Route({"POST": endpoint})


ROUTES: Mapping[str, Route] = {
    "/healthz": _get(health.healthz, health=True),
    "/health": _get(health.healthz, health=True),
    "/readyz": _get(health.readyz, health=True),
    "/v1/messages": _post(messages.messages),
    "/v1/messages/count_tokens": _post(count_tokens.count_tokens),
    "/v1/models": _get(models.listing),
    "/v1/models/claude": _get(models.listing),
    "/": _get(hello.hello, health=True),
    "/api/hello": _get(hello.hello, health=True),
    "/api/event_logging/batch": _post(event_logging.event_logging),
    "/v1/api/event_logging": _post(event_logging.event_logging),
    "/v1/api/event_logging/batch": _post(event_logging.event_logging),
}

MODEL = "/v1/models/"
"""Anything behind it is a model's id, which may hold slashes."""

_ONE_MODEL = _get(models.one)


def find(path: str) -> tuple[Route | None, bool]:
    """The route of a path (no query), and whether it was found only by taking a doubled `/v1` for one."""
    route = _find(path)
    if route is None and path.startswith("/v1/v1/"):
        return _find(path[3:]), True
    return route, False


def _find(path: str) -> Route | None:
    route = ROUTES.get(path)
    if route is None and path.startswith(MODEL) and len(path) > len(MODEL):
        return _ONE_MODEL
    return route


def allowed(route: Route) -> bytes:
    """The Allow field's value."""
    return ", ".join((*route.methods, "OPTIONS")).encode()


def not_found(path: str, base_url: str) -> RequestError:
    """No route serves a path."""
    shown = path if len(path) <= 200 else path[:200] + "..."
    return RequestError(
        404, f"nothing is served at {shown}: set the client's base URL to {base_url} (without /v1)"
    )


def wrong_method(route: Route, method: str) -> RequestError:
    """The route has no such method."""
    return RequestError(
        405,
        f"{method} is not served here; {allowed(route).decode()} are",
        headers=[(b"allow", allowed(route))],
    )
