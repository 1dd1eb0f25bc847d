"""GET /v1/models, /v1/models/claude and /v1/models/{id}: the models that clients can use.

Entries have the fields of both API families. Everything comes from memory: the names in the configuration, and the
upstreams' last lists.
"""

from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson

from gateway.endpoints.paths import plain
from gateway.messages.errors import RequestError
from gateway.proxy.request import ClientRequest

MAX_PAGE = 1000
"""Models on one page, the API's own limit."""
PREFIX = "/models/"


def listing(request: ClientRequest) -> None:
    """Respond with a page of the list. Raises RequestError for a limit that is not 1 to 1000 or an unknown cursor."""
    pairs = parse_qsl(request.query, keep_blank_values=True)
    query = dict(pairs)
    wanted = {value for name, value in pairs if name in ("lifecycle[]", "lifecycle")}
    documents = [model.document for model in request.runtime.model_list.models.values()]
    models = [document for document in documents if not wanted or document["lifecycle"] in wanted]
    limit = _limit(query.get("limit"))
    if "after_id" in query:
        models = models[_index(models, "after_id", query) + 1 :]
        page = models[:limit]
    elif "before_id" in query:
        models = models[: _index(models, "before_id", query)]
        page = models[-limit:]
    else:
        page = models[:limit]
    request.respond(
        200,
        orjson.dumps(
            {
                "object": "list",
                "data": page,
                "has_more": len(models) > len(page),
                "first_id": page[0]["id"] if page else None,
                "last_id": page[-1]["id"] if page else None,
            }
        ),
    )


def one(request: ClientRequest) -> None:
    """Respond with one model. Raises RequestError (404) for one that is not served."""
    path = plain(request.exchange.head.target.partition("?")[0])
    id = unquote(path[path.index(PREFIX) + len(PREFIX) :])
    model = request.runtime.model_list.find(id)
    if model is None:
        raise RequestError(404, f"model: {id} is not served here; GET /v1/models shows what is")
    request.respond(200, orjson.dumps(model.document))


def _limit(text: str | None) -> int:
    if text is None:
        return MAX_PAGE
    if text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_PAGE:
        return int(text)
    raise RequestError(400, f"limit: must be a whole number from 1 to {MAX_PAGE}")


def _index(models: list[dict[str, Any]], name: str, query: dict[str, str]) -> int:
    for index, model in enumerate(models):
        if model["id"] == query[name]:
            return index
    raise RequestError(400, f"{name}: no model of that id is listed")
