"""The strict fake behind a real socket: every request is checked, refused as Google would, or served.

It knows the paths of the Gemini API, of Vertex AI and of Code Assist, two accounts, and limits the first of them
now and then in the words of the requested endpoint.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import h11
import orjson

from tests.fakes.gemini.models import INPUT_LIMIT, LISTED, ability
from tests.fakes.gemini.refusals import Refusal
from tests.fakes.gemini.replies import count_tokens, events
from tests.fakes.gemini.rules import check_request
from tests.support.loops import settle

ACCOUNTS = {"first@fake.example": "fake-1", "second@fake.example": "fake-2"}
"""Name -> key."""

LIMITED = "fake-1"
EVERY = 3
"""Every third request with this key is refused, for PAUSE seconds."""
PAUSE = 5

_LIST = re.compile(r"(?:/[^/?]+)*/models(?:\?.*)?")
_METHOD = re.compile(
    r"(?:/[^/?:]+)*/(?:models/(?P<model>[^/?:]+)|v1internal):(?P<method>\w+)(?P<query>\?.*)?"
)


@dataclass
class UpstreamRequest:
    """One POST."""

    target: str
    document: Any
    account: str
    """The name."""
    status: int = 0
    refusal: str = ""

    @property
    def request(self) -> Any:
        """The generateContent request, out of its envelope."""
        return self.document.get("request", self.document.get("generateContentRequest", self.document))

    @property
    def parts(self) -> list[dict[str, Any]]:
        return [part for content in self.request["contents"] for part in content["parts"]]

    @property
    def signatures(self) -> list[str | None]:
        """Of the function calls."""
        return [part.get("thoughtSignature") for part in self.parts if "functionCall" in part]


class GeminiUpstream:
    """The fake. It keeps its `requests`, with what it refused."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[UpstreamRequest] = []
        self.scripted: deque[Sequence[object]] = deque()
        """Chunks to stream to the next requests, instead of the fake's own words."""
        self._limited = 0

    @property
    def refused(self) -> list[tuple[str, str]]:
        """(target, words) of each refused request, without rate limits."""
        return [(post.target, post.refusal) for post in self.requests if post.status not in (200, 429)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        connection = h11.Connection(h11.SERVER)
        try:
            while connection.our_state is h11.IDLE:
                request, body = await _read(connection, reader)
                if request is None:
                    break
                for piece in self._respond(connection, request, body):
                    writer.write(piece)
                    await writer.drain()
                if {connection.our_state, connection.their_state} == {h11.DONE}:
                    connection.start_next_cycle()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _respond(self, connection: h11.Connection, request: h11.Request, body: bytes) -> list[bytes]:
        key = dict(request.headers).get(b"x-goog-api-key", b"").decode()
        post = None
        if request.method == b"POST":
            names = {key: name for name, key in ACCOUNTS.items()}
            post = UpstreamRequest(request.target.decode(), orjson.loads(body), names.get(key, ""))
            self.requests.append(post)
        try:
            status, kind, pieces = self._generate(request.method.decode(), request.target.decode(), key, post)
        except Refusal as refusal:
            status, kind, pieces = refusal.status, "application/json", [orjson.dumps(refusal.document())]
            if post is not None:
                post.refusal = refusal.message
        if post is not None:
            post.status = status
        headers = [("content-type", kind), ("transfer-encoding", "chunked")]
        out = [connection.send(h11.Response(status_code=status, headers=headers, reason=b"X")) or b""]
        out += [connection.send(h11.Data(data=piece)) or b"" for piece in pieces]
        return [*out, connection.send(h11.EndOfMessage()) or b""]

    def _generate(
        self, method: str, target: str, key: str, post: UpstreamRequest | None
    ) -> tuple[int, str, list[bytes]]:
        if key not in ACCOUNTS.values():
            raise Refusal("API key not valid. Please pass a valid API key.", code="UNAUTHENTICATED")
        if method == "GET" and _LIST.fullmatch(target):
            return 200, "application/json", [orjson.dumps({"models": [_listed(id) for id in LISTED]})]
        found = _METHOD.fullmatch(target)
        if post is None or found is None or found["method"] not in ("streamGenerateContent", "countTokens"):
            raise Refusal(f"The requested URL {target} was not found on this server.", code="NOT_FOUND")
        model = found["model"] or str(post.document.get("model", ""))
        vertex = "/publishers/google/" in target
        check_envelope(post)
        request = dict(post.request)
        if found["method"] == "countTokens":
            request.pop("model", None)
        check_request(request, model, vertex=vertex, known_signatures=True)
        if found["method"] == "countTokens":
            return 200, "application/json", [orjson.dumps({"totalTokens": count_tokens(request)})]
        self._limit(key, target)
        chunks = self.scripted.popleft() if self.scripted else list(events(request, model))
        if "request" in post.document:
            chunks = [{"response": chunk} for chunk in chunks]
        if not (found["query"] and "alt=sse" in found["query"]):
            return 200, "application/json", [orjson.dumps(chunks)]
        return 200, "text/event-stream", [b"data: %b\r\n\r\n" % orjson.dumps(chunk) for chunk in chunks]

    def _limit(self, key: str, target: str) -> None:
        if key != LIMITED:
            return
        self._limited += 1
        if self._limited % EVERY:
            return
        detail: dict[str, Any] = {
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": f"{PAUSE}s",
        }
        if "/v1internal:" in target:
            detail = {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "RATE_LIMIT_EXCEEDED",
                "domain": "cloudcode-pa.googleapis.com",
                "metadata": {"quotaResetDelay": f"{PAUSE}s"},
            }
        message = f"Resource has been exhausted (e.g. check quota). Please retry in {PAUSE}s."
        raise Refusal(message, detail, code="RESOURCE_EXHAUSTED")


def check_envelope(post: UpstreamRequest) -> None:
    """Raise Refusal for a document whose outer fields are not those of the requested method."""
    document = dict(post.document)
    if document.pop("request", None) is not None:
        fine = not document or document.keys() == {"model", "project"}
    elif document.pop("generateContentRequest", None) is not None:
        fine = not document
    else:
        fine = True
    if ":countTokens" in post.target:
        fine = fine and not post.request.keys() & {"generationConfig", "toolConfig"}
    if not fine:
        raise Refusal(f"Invalid JSON payload received. Unknown names: {sorted(document)}")


def _listed(id: str) -> dict[str, Any]:
    return {
        "name": f"models/{id}",
        "displayName": f"{id} (fake)",
        "inputTokenLimit": INPUT_LIMIT,
        "outputTokenLimit": ability(id).output,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    }


async def _read(connection: h11.Connection, reader: asyncio.StreamReader) -> tuple[h11.Request | None, bytes]:
    """The next request and its body; None when the client left."""
    request: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return request, bytes(body)
        else:
            return None, b""


@asynccontextmanager
async def gemini_upstream(port: int = 0) -> AsyncIterator[GeminiUpstream]:
    """The fake on a loopback port; nothing of it is left afterwards."""
    up = GeminiUpstream()
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await up.serve(reader, writer)
        finally:
            tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    up.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield up
    finally:
        await settle(10)  # a server that is closed would leave open a connection it has just accepted
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
        await settle()  # a transport is closed in a turn after


@asynccontextmanager
async def strict_upstream() -> AsyncIterator[GeminiUpstream]:
    """The same; at the end only rate limits may have been refused."""
    async with gemini_upstream() as up:
        yield up
    assert not up.refused
