"""Gateways before a Gemini upstream, for end-to-end tests, and responses of scripted upstreams."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.config import Account, Config, Secret, Upstream
from gateway.config.values import REPAIRS_OF_KIND, GeminiOptions
from tests.dialects.gemini.support import check_grammar, read_events, sse
from tests.dialects.gemini.support import message as message_of_events
from tests.fakes.gemini.server import ACCOUNTS, LIMITED, GeminiUpstream
from tests.fakes.messages import Step, chunked, json_response
from tests.support.client import Response
from tests.support.running import config, upstream

MODEL = "gemini-3.1-pro-preview"
VERTEX = "/v1/projects/p/locations/l/publishers/google/models/{model}:streamGenerateContent"


def gemini(url: str, *accounts: str | Account, name: str = "up", **fields: Any) -> Upstream:
    """A gemini upstream, as `running.upstream` makes others. `options` are those of GeminiOptions."""
    fields["options"] = GeminiOptions(**fields.get("options", {}))
    return upstream(url, *accounts, name=name, kind="gemini", repairs=REPAIRS_OF_KIND["gemini"], **fields)


def before(
    up: GeminiUpstream, *others: Upstream, limited: bool = False, options: object = None, **fields: Any
) -> Config:
    """A gateway before the strict fake, with its accounts; the one that is limited now and then only if
    `limited`. It serves every model, unless there are `others`: then those whose names begin with gemini."""
    accounts = tuple(
        Account(name=name, api_key=Secret(key)) for name, key in ACCOUNTS.items() if limited or key != LIMITED
    )
    models = {"gemini-*" if others else "*": MODEL}
    return config(gemini(up.url, *accounts, models=models, options=options or {}), *others, **fields)


# Responses of scripted upstreams.


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def google_stream(*chunks: object) -> list[Step]:
    """A streamed response, all of it in one write."""
    return [STREAM_HEAD + chunked([sse(*chunks)])]


def google_error(
    status: int, code: str, message: str, *details: Mapping[str, Any], headers: Sequence[tuple[str, str]] = ()
) -> list[Step]:
    """An error response."""
    return json_response(status, {"error": error_object(status, code, message, *details)}, headers)


def error_object(status: int, code: str, message: str, *details: Mapping[str, Any]) -> dict[str, Any]:
    return {"code": status, "message": message, "status": code, **({"details": details} if details else {})}


def detail(kind: str, **fields: object) -> dict[str, object]:
    """One of an error's details."""
    return {"@type": f"type.googleapis.com/google.rpc.{kind}", **fields}


# Responses to clients.


def message_of(response: Response) -> dict[str, Any]:
    """The message of a good response, whole or streamed; a stream's grammar is checked."""
    assert (response.status, response.complete) == (200, True), response.body
    if (response.header("content-type") or "").startswith("text/event-stream"):
        events = read_events(response.body)
        check_grammar(events)
        return message_of_events(events)
    return dict(response.document)


def broken(response: Response) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The events of a stream that ends with its one error, and the error."""
    assert response.status == 200
    *events, last = read_events(response.body)
    assert last["type"] == "error"
    assert last["request_id"] == response.header("request-id")
    check_grammar(events, broken=True)
    return events, last["error"]
