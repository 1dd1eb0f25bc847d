"""GET /v1/models, /v1/models/claude and /v1/models/{id}: what can be asked for.

One shape for the clients of both families. Everything comes from memory: the names in the configuration, and what
the upstreams listed when they were last asked.
"""

from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson

from gateway.messages.errors import RequestError
from gateway.proxy.model_list import Model
from gateway.proxy.request import ClientRequest
from gateway.proxy.runtime import Runtime

MAX_PAGE = 1000
PREFIX = "/v1/models/"


def listing(answer: ClientRequest, services: Runtime) -> None:
    """A page of the list. Raises RequestError for a limit that is not 1 to 1000 or an unknown cursor."""
    query = dict(parse_qsl(answer.exchange.head.target.partition("?")[2], keep_blank_values=True))
    models = services.catalogue.models
    limit = _limit(query.get("limit"))
    if "after_id" in query:
        models = models[_index(models, "after_id", query) + 1 :]
        page = models[:limit]
    elif "before_id" in query:
        models = models[: _index(models, "before_id", query)]
        page = models[-limit:]
    else:
        page = models[:limit]
    answer.respond(
        200,
        orjson.dumps(
            {
                "object": "list",
                "data": [_entry(model) for model in page],
                "has_more": len(models) > len(page),
                "first_id": page[0].id if page else None,
                "last_id": page[-1].id if page else None,
            }
        ),
    )


def one(answer: ClientRequest, services: Runtime) -> None:
    """One model. Raises RequestError (404) for one that is not in the list."""
    path = answer.exchange.head.target.partition("?")[0]
    id = unquote(path[path.index(PREFIX) + len(PREFIX) :])
    for model in services.catalogue.models:
        if model.id == id:
            answer.respond(200, orjson.dumps(_entry(model)))
            return
    raise RequestError(404, f"model: {id} is not listed here; GET /v1/models shows what is")


def _limit(text: str | None) -> int:
    if text is None:
        return MAX_PAGE
    if text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_PAGE:
        return int(text)
    raise RequestError(400, f"limit: must be a whole number from 1 to {MAX_PAGE}")


def _index(models: tuple[Model, ...], name: str, query: dict[str, str]) -> int:
    for index, model in enumerate(models):
        if model.id == query[name]:
            return index
    raise RequestError(400, f"{name}: no model of that id is listed")


def _entry(model: Model) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "type": "model",
        "display_name": model.display_name,
        "created": model.created,
        "created_at": model.created_at,
        "owned_by": model.owned_by,
    }
