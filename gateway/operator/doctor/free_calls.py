"""Requests to upstreams that cost nothing: the list of models, a count of tokens."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from gateway.dialects.base import Headers, Outgoing, Purpose
from gateway.http1.grammar import ProtocolError
from gateway.http1.limits import MIB
from gateway.messages.errors import RequestError
from gateway.messages.request import MessagesRequest, read_request
from gateway.operator.doctor.findings import Fault
from gateway.proxy.call import Call, Response
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
    done: asyncio.Future[Response | str] = asyncio.get_running_loop().create_future()

    def finish(result: Response | str) -> None:
        if not done.done():
            done.set_result(result)

    sent = time.time()
    call = Call(client.pool, outgoing.method, head, outgoing.body, finish, patience=PATIENCE, limit=MAX_BODY)
    call.send()
    try:
        result = await done
    finally:
        call.cancel()
    if isinstance(result, str):
        raise Fault(client.censor(result))
    headers = {name.decode(): value.decode("latin-1") for name, value in result.head.headers}
    return TimedResponse(result.head.status, headers, result.body, sent, time.time())
