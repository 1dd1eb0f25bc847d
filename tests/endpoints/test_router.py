"""The table of routes: every path finds its endpoint, and no other path does."""

import pytest

from gateway.endpoints import count_tokens, event_logging, health, messages, metrics, models, status
from gateway.endpoints import root as hello
from gateway.endpoints.router import (
    NO_MESSAGES_API,
    ROUTES,
    allowed,
    explain,
    find,
    name_of,
    not_found,
    wrong_method,
)
from gateway.proxy.request import Endpoint

TABLE: list[tuple[str, str, Endpoint, bool]] = [
    ("/healthz", "GET", health.healthz, True),
    ("/health", "GET", health.healthz, True),
    ("/readyz", "GET", health.readyz, True),
    ("/metrics", "GET", metrics.metrics, False),
    ("/v1/messages", "POST", messages.messages, False),
    ("/v1/messages/count_tokens", "POST", count_tokens.count_tokens, False),
    ("/v1/models", "GET", models.listing, False),
    ("/v1/models/claude", "GET", models.listing, False),
    ("/v1/models/{id}", "GET", models.one, False),
    ("/v1/models/claude-opus-4-5", "GET", models.one, False),
    ("/v1/models/zai/glm-4.7", "GET", models.one, False),
    ("/v1/models/claude/", "GET", models.listing, False),
    ("/v1/models/", "GET", models.listing, False),
    ("/v1/messages/", "POST", messages.messages, False),
    ("/messages", "POST", messages.messages, False),
    ("/messages/count_tokens", "POST", count_tokens.count_tokens, False),
    ("/models", "GET", models.listing, False),
    ("/models/zai/glm-4.7", "GET", models.one, False),
    ("//v1/messages", "POST", messages.messages, False),
    ("/healthz/", "GET", health.healthz, True),
    ("//", "GET", hello.hello, True),
    ("/", "GET", hello.hello, True),
    ("/api/hello", "GET", hello.hello, True),
    ("/status/explain", "POST", explain, False),
    ("/status", "GET", status.page, False),
    ("/status/", "GET", status.page, False),
    ("/status.json", "GET", status.document, False),
    ("/status/events", "GET", status.events, False),
    ("/status/clear", "POST", status.clear, False),
    ("/status/disable", "POST", status.disable, False),
    ("/status/enable", "POST", status.enable, False),
    ("/api/event_logging/batch", "POST", event_logging.event_logging, False),
    ("/v1/api/event_logging", "POST", event_logging.event_logging, False),
    ("/v1/api/event_logging/batch", "POST", event_logging.event_logging, False),
]


@pytest.mark.parametrize(("path", "method", "endpoint", "health"), TABLE)
def test_every_route(path: str, method: str, endpoint: Endpoint, health: bool) -> None:
    route, doubled = find(path)
    assert route is not None
    assert not doubled
    assert route.methods[method] is endpoint
    assert route.health is health
    # HEAD where there is GET, and nothing else.
    assert set(route.methods) == ({"GET", "HEAD"} if method == "GET" else {"POST"})
    assert route.methods.get("HEAD", endpoint) is endpoint
    if path.startswith("/v1/"):
        assert find("/v1" + path) == (route, True)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        *((path, path) for path in ROUTES),
        ("//v1/messages/", "/v1/messages"),
        ("/messages", "/v1/messages"),
        ("/v1/v1/messages", "/v1/messages"),
        ("/v1/models/a/b", "/v1/models/{id}"),
        ("/models/a", "/v1/models/{id}"),
        ("/solr/admin/metrics", "other"),
        ("/v1/v1/nowhere", "other"),
        ("", "other"),
    ],
)
def test_a_paths_name_is_its_routes(path: str, name: str) -> None:
    assert name_of(path) == name


def test_the_table_is_whole() -> None:
    assert set(ROUTES) <= {path for path, *_ in TABLE}


@pytest.mark.parametrize(
    "path",
    [
        "",
        "*",
        "/v1",
        "/v1/",
        "/v1/Messages",
        "/v1/v1",
        "/v1/v1/",
        "/v1/v1/v1/messages",
        "/v1/v1/healthz",
        "/api",
        "/v2/messages",
        "/v1/%6dessages",
    ],
)
def test_no_route(path: str) -> None:
    assert find(path)[0] is None


BASE = "http://127.0.0.1:8045"
ADVICE = f"set the client's base URL to {BASE} (without /v1)"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/nowhere", ""),
        ("/v1", f": {ADVICE}"),
        ("/v1/", f": {ADVICE}"),
        ("/V1/Messages", ""),
        ("/v2/messages", f": {ADVICE}"),
        ("/anthropic/v1/messages/count_tokens/", f": {ADVICE}"),
        ("/api/models", f": {ADVICE}"),
        ("/v1/complete", ": text completions are not served here; /v1/messages is"),
        (
            "/v1/messages/batches/b_1",
            ": message batches are not served here; send each request to /v1/messages",
        ),
        ("/files", ": files are not served here; send their content in the message"),
        ("/chat/completions", f": {NO_MESSAGES_API}"),
        ("/v1/responses/", f": {NO_MESSAGES_API}"),
    ],
)
def test_404_advice(path: str, words: str) -> None:
    error = not_found(path, BASE)
    assert (error.status, error.type, error.headers) == (404, "not_found_error", ())
    assert error.message == f"nothing is served at {path}{words}"


def test_a_very_long_path_is_not_repeated_whole() -> None:
    shown = [not_found("/" * length, BASE).message for length in (200, 201)]
    assert shown == [f"nothing is served at {'/' * 200}{more}" for more in ("", "...")]


def test_405_allowed_methods() -> None:
    route = ROUTES["/v1/messages"]
    assert allowed(route) == b"POST, OPTIONS"
    assert allowed(ROUTES["/healthz"]) == b"GET, HEAD, OPTIONS"
    error = wrong_method(route, "GET")
    assert (error.status, error.type) == (405, "invalid_request_error")
    assert error.headers == ((b"allow", b"POST, OPTIONS"),)
    assert error.message == "GET is not served here; POST, OPTIONS are"
