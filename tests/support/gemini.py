"""Gemini upstreams for tests of the whole way: a strict one, which takes nothing that Google would not take, and
what scripted ones say."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from gateway.config import Account, Config, Secret, Upstream
from gateway.config.values import REPAIRS_OF_KIND, GeminiOptions
from gateway.demo.accounts import ACCOUNTS, LIMITED
from gateway.demo.gemini_http import GeminiUpstream
from gateway.demo.playing import play
from gateway.demo.running import listening
from gateway.http1.exchange import Exchange
from tests.dialects.gemini.support import check_grammar, read_events, sse
from tests.dialects.gemini.support import message as message_of_events
from tests.dialects.gemini.validate import validate_request
from tests.support.client import Response
from tests.support.running import config, upstream
from tests.support.upstream import Step, chunked, json_answer

MODEL = "gemini-3-pro-preview"
VERTEX = "/v1/projects/p/locations/l/publishers/google/models/{model}:streamGenerateContent"


def gemini(url: str, *accounts: str | Account, name: str = "up", **fields: Any) -> Upstream:
    """A gemini upstream, as `running.upstream` makes others. `options` are those of GeminiOptions."""
    fields["options"] = GeminiOptions(**fields.get("options", {}))
    return upstream(url, *accounts, name=name, kind="gemini", repairs=REPAIRS_OF_KIND["gemini"], **fields)


def before(
    up: "StrictUpstream", *others: Upstream, limited: bool = False, options: object = None, **fields: Any
) -> Config:
    """A gateway before the strict upstream, with the demo's accounts; the one that is limited now and then only if
    `limited`. It serves every model, unless there are `others`: then those whose names begin with gemini."""
    accounts = tuple(
        Account(name=name, api_key=Secret(key)) for name, key in ACCOUNTS.items() if limited or key != LIMITED
    )
    models = {"gemini-*" if others else "*": MODEL}
    return config(gemini(up.url, *accounts, models=models, options=options or {}), *others, **fields)


# What scripted upstreams say.


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def google_stream(*chunks: object) -> list[Step]:
    """A streamed answer, all of it in one write."""
    return [STREAM_HEAD + chunked([sse(*chunks)])]


def google_error(
    status: int, code: str, message: str, *details: Mapping[str, Any], headers: Sequence[tuple[str, str]] = ()
) -> list[Step]:
    """An error answer."""
    return json_answer(status, {"error": error_object(status, code, message, *details)}, headers)


def error_object(status: int, code: str, message: str, *details: Mapping[str, Any]) -> dict[str, Any]:
    return {"code": status, "message": message, "status": code, **({"details": details} if details else {})}


def detail(kind: str, **fields: object) -> dict[str, object]:
    """One of an error's details."""
    return {"@type": f"type.googleapis.com/google.rpc.{kind}", **fields}


# What a client gets.


def message_of(response: Response) -> dict[str, Any]:
    """The message of a good answer, whole or streamed; a stream's grammar is checked."""
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


# The strict one.


@dataclass
class Asked:
    """One POST to the strict upstream."""

    target: str
    document: Any
    account: str
    """The name."""
    status: int = 0

    @property
    def request(self) -> Any:
        """The generateContent request, out of whatever it came in."""
        return self.document.get("request", self.document.get("generateContentRequest", self.document))

    @property
    def parts(self) -> list[dict[str, Any]]:
        return [part for turn in self.request["contents"] for part in turn["parts"]]

    @property
    def signatures(self) -> list[str | None]:
        """Of the function calls."""
        return [part.get("thoughtSignature") for part in self.parts if "functionCall" in part]


class StrictUpstream:
    """The demo's upstream, and a judge before it: every body must be one that google-genai's models know."""

    def __init__(self) -> None:
        self._upstream = GeminiUpstream(pause=0.0)
        self.url = ""
        self.asked: list[Asked] = []
        self.faults: list[Exception] = []
        self.scripted: deque[Sequence[object]] = deque()
        """Chunks to answer the next requests with, instead of what the demo would say."""

    def admit(self, exchange: Exchange) -> None:
        self._upstream.admit(exchange)
        answer = exchange.on_request
        assert answer is not None
        exchange.on_request = partial(self._judge, exchange, answer)

    def protocol_error(
        self, status: int, message: str, exchange: Exchange | None
    ) -> tuple[Sequence[tuple[bytes, bytes]], bytes]:
        return self._upstream.protocol_error(status, message, exchange)

    def _judge(self, exchange: Exchange, answer: Callable[[], None]) -> None:
        head = exchange.head
        if head.method == "POST":
            key = (head.get(b"x-goog-api-key") or b"").decode()
            names = {key: name for name, key in ACCOUNTS.items()}
            asked = Asked(head.target, orjson.loads(exchange.body), names.get(key, ""))
            self.asked.append(asked)
            try:
                validate(asked)
            except (AssertionError, ValueError) as fault:
                self.faults.append(fault)
            if self.scripted:
                play(exchange, (), iter([sse(*self.scripted.popleft())]), 0.0)
            else:
                answer()
            asked.status = exchange.status
        else:
            answer()


def validate(asked: Asked) -> None:
    """Raises AssertionError or ValueError for a body that the asked method would not know."""
    request, document = dict(asked.request), dict(asked.document)
    if document.pop("request", None) is not None and asked.target.endswith("?alt=sse"):
        assert document.keys() == {"model", "project"}
    else:
        document.pop("generateContentRequest", None)
        assert not document or document == request
    if ":countTokens" in asked.target:
        assert not request.keys() & {"generationConfig", "toolConfig"}
        if request is not asked.document:
            request.pop("model", None)
    validate_request(request)


@asynccontextmanager
async def strict_upstream() -> AsyncIterator[StrictUpstream]:
    """The strict upstream on a port; at the end nothing may have been wrong, and nothing refused as a request."""
    up = StrictUpstream()
    async with listening(up) as port:
        up.url = f"http://127.0.0.1:{port}"
        yield up
        await asyncio.sleep(0)
    for fault in up.faults:
        raise fault
    refused = [(asked.target, asked.status) for asked in up.asked if asked.status not in (200, 429)]
    assert not refused
