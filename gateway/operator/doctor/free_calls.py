"""Requests to upstreams that cost nothing: the list of models, a count of tokens."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from gateway.dialects.base import Headers, Outgoing, Purpose
from gateway.http1.client_connection import ClientConnection
from gateway.http1.grammar import ProtocolError
from gateway.http1.heads import ResponseHead
from gateway.http1.limits import MIB
from gateway.http1.upstream_request import UpstreamError
from gateway.messages.errors import RequestError
from gateway.messages.request import MessagesRequest, read_request
from gateway.operator.doctor.findings import Fault
from gateway.proxy.content_encoding import ContentDecoder, UnreadableCoding, content_decoder
from gateway.proxy.responses.buffered import Buffer
from gateway.proxy.upstream import UpstreamClient, forwarded_lines
from gateway.routing.credentials import Credential
from gateway.routing.error_bodies import read_error

MAX_BODY = 8 * MIB
"""Bytes of a response, at most; a list of 400 models has less than one MiB."""

PATIENCE = 4.0
"""Seconds for a response's head."""

VERSION: Headers = ((b"anthropic-version", b"2023-06-01"), (b"content-type", b"application/json"))


class TimedResponse(NamedTuple):
    """A response with its whole body, and its times."""

    status: int
    headers: dict[str, str]
    body: bytes
    sent: float
    """Unix time at which the request was sent; `got` is that of the response."""
    got: float

    @property
    def words(self) -> str:
        """The error message."""
        return read_error(self.body).message or self.body[:100].decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class _Counted:
    """A request to count tokens, in the form that a dialect reads."""

    parsed: MessagesRequest
    purpose: Purpose = "count_tokens"
    query: str = ""
    headers: Headers = field(default=VERSION)


async def list_models(client: UpstreamClient, account: str, credential: Credential) -> TimedResponse | None:
    """Request an upstream's list of models; None where it has none. Raises Fault."""
    outgoing = client.dialect.models_request(client.upstream)
    return None if outgoing is None else await send_request(client, outgoing, account, credential)


async def count_tokens(
    client: UpstreamClient, model: str, account: str, credential: Credential
) -> TimedResponse | None:
    """Have an upstream count a short text for a wire model; None where it cannot count. Raises Fault."""
    if not client.dialect.counts:
        return None
    body = orjson.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]})
    try:
        outgoing = client.dialect.encode(
            client.upstream, model, _Counted(read_request(body)), stream=False, cures=()
        )
    except RequestError as error:
        raise Fault(f"{model}: {error.message}") from None
    return await send_request(client, outgoing, account, credential)


async def send_request(
    client: UpstreamClient, outgoing: Outgoing, account: str, credential: Credential
) -> TimedResponse:
    """Send a request over the connections that serving uses; return the whole response. Raises Fault."""
    try:
        fields = client.fields(account, credential)
        head = client.head(outgoing, fields, forwarded_lines(client.dialect, VERSION))
    except ProtocolError as error:
        raise Fault(error.message) from None
    done: asyncio.Future[TimedResponse] = asyncio.get_running_loop().create_future()

    def finish(result: TimedResponse | str) -> None:
        if done.done():
            return
        if isinstance(result, str):
            done.set_exception(Fault(client.censor(result)))
        else:
            done.set_result(result)

    call = _Call(outgoing.method, head, outgoing.body, finish)
    client.pool.send(call)
    try:
        return await done
    finally:
        client.pool.cancel(call)


class _Call:
    """One request; an `UpstreamRequest` and the receiver of its response."""

    def __init__(
        self, method: str, head: bytes, body: bytes, finish: Callable[[TimedResponse | str], None]
    ) -> None:
        self.method = method
        self.head = head
        self.body = body
        self.first_byte_timeout = PATIENCE
        self.connection: ClientConnection | None = None
        self.dialling: asyncio.Task[None] | None = None
        self.decode = True
        self._finish = finish
        self._sent = time.time()
        self._status = 0
        self._headers: dict[str, str] = {}
        self._buffer = Buffer(MAX_BODY)
        self._content: ContentDecoder | None = None

    def head_received(self, connection: ClientConnection, head: ResponseHead) -> "_Call | None":
        """Read the body, whatever the status."""
        self._status = head.status
        self._headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
        try:
            self._content = content_decoder(head.get(b"content-encoding"))
        except UnreadableCoding:
            self._finish(f"status {head.status}, compressed in a way that cannot be read")
            return None
        return self

    def body_received(self, raw: bytes, payload: bytes, ended: bool) -> None:
        """Add bytes of the body; finish with the last."""
        try:
            if self._content is not None:
                payload = self._content.feed(payload)
                if ended:
                    self._content.end()
            body = self._buffer.add(payload, ended)
        except UpstreamError as error:
            self._finish(error.message)
        except UnreadableCoding:
            self._finish(f"status {self._status}, compressed in a way that cannot be read")
        else:
            if body is not None:
                self._finish(TimedResponse(self._status, self._headers, body, self._sent, time.time()))

    def failed(self, error: UpstreamError) -> None:
        """Finish without a response."""
        self._finish(error.message)

    def crashed(self, error: Exception) -> None:
        """Finish with an exception of the gateway's own code."""
        self._finish(f"the request failed here: {type(error).__name__}")
