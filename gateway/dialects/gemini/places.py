"""Targets of requests: the Gemini API, Vertex AI (`path` in the upstream's options), or an endpoint that wraps requests
and responses in the `code_assist` envelope.

A model's name comes from clients and becomes part of a URL that is requested with an account's credential: only
documented forms of names are allowed, and they are quoted so that they cannot leave their segment of the path.
"""

from typing import Any

from gateway.config import GeminiOptions, Upstream
from gateway.messages.errors import RequestError

GENERATE = "streamGenerateContent"
COUNT = "countTokens"

CODE_ASSIST_VERSION = "v1internal"

COLLECTIONS = ("models", "tunedModels")
"""Prefixes of a model's resource name; names without one belong to the first."""

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def target(upstream: Upstream, wire_model: str, method: str) -> str:
    """Return path and query for GENERATE or COUNT. Raises RequestError(404) for a name that no model can have."""
    options: GeminiOptions = upstream.options
    base = base_path(upstream)
    query = "?alt=sse" if method == GENERATE else ""
    if options.path is not None:
        path, mark, rest = options.path.partition("?")
        path = path.replace("{model}", _segment(wire_model))
        if method == COUNT:
            path = f"{path.rpartition(':')[0]}:{COUNT}"
        if mark and query and "alt=" not in rest:
            query = f"?{rest}&alt=sse"
        elif mark:
            query = f"?{rest}" if method == GENERATE else ""
        return base + path + query
    if options.envelope == "code_assist":
        return f"{base}/{CODE_ASSIST_VERSION}:{method}{query}"
    collection, id = _resource(wire_model)
    return f"{base}/{options.version}/{collection}/{_quote(id)}:{method}{query}"


def wrap_in_envelope(body: dict[str, Any], upstream: Upstream, wire_model: str) -> dict[str, Any]:
    """Return the body of a generate request, in an envelope if the upstream needs one."""
    if upstream.options.envelope == "code_assist":
        return {"model": wire_model, "project": upstream.options.project, "request": body}
    return body


def count_request(body: dict[str, Any], upstream: Upstream, wire_model: str) -> dict[str, Any]:
    """Return the body of a countTokens request, without settings, which have no tokens."""
    kept = {key: value for key, value in body.items() if key not in ("generationConfig", "toolConfig")}
    if upstream.options.path is not None:
        return kept
    request = {"model": "/".join(_resource(wire_model)), **kept}
    return {"request" if upstream.options.envelope == "code_assist" else "generateContentRequest": request}


def base_path(upstream: Upstream) -> str:
    """Return the path of an upstream's base URL."""
    _, slash, path = upstream.base_url.partition("://")[2].partition("/")
    return slash + path


def _resource(wire_model: str) -> tuple[str, str]:
    """Return collection and id of a model: `x`, `models/x` or `tunedModels/x`. Raises RequestError(404)."""
    collection, slash, id = wire_model.rpartition("/")
    if (slash and collection not in COLLECTIONS) or id in ("", ".", ".."):
        raise _no_model(wire_model)
    return collection or COLLECTIONS[0], id


def _segment(wire_model: str) -> str:
    """Return a model's name as one segment of a path. Raises RequestError(404)."""
    name = wire_model.removeprefix("models/")
    if not {"", ".", ".."}.isdisjoint(name.split("/")):
        raise _no_model(wire_model)
    return _quote(name)


def _no_model(wire_model: str) -> RequestError:
    return RequestError(
        404,
        f"model: {wire_model!r} is no name of a Gemini model; those are `x`, `models/x` and `tunedModels/x`",
    )


def _quote(text: str) -> str:
    """Return a text quoted for a segment of a path."""
    raw = text.encode("utf-8", "replace")
    return text if _PLAIN.issuperset(raw) else "".join(chr(c) if c in _PLAIN else f"%{c:02X}" for c in raw)
