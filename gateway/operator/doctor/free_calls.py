"""Requests to upstreams that cost nothing: a list of models, a count of tokens."""

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
"""Bytes of a response; a list of 400 models has less than one MiB."""

PATIENCE = 4.0
"""Seconds for a response's head."""

VERSION: Headers = ((b"anthropic-version", b"2023-06-01"), (b"content-type", b"application/json"))


class Answer(NamedTuple):
    """A response, and when it came."""

    status: int
    headers: dict[str, str]
    body: bytes
    sent: float
    """Unix time."""
    got: float

    @property
    def words(self) -> str:
        """What it says went wrong."""
        return read_error(self.body).message or self.body[:100].decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class _Counted:
    """A request for a count, as a dialect sees it."""

    parsed: MessagesRequest
    purpose: Purpose = "count_tokens"
    query: str = ""
    headers: Headers = field(default=VERSION)


async def list_models(client: UpstreamClient, account: str, credential: Credential) -> Answer | None:
    """Ask for an upstream's list; None where it has none. Raises Fault."""
    outgoing = client.dialect.models_request(client.upstream)
    return None if outgoing is None else await ask(client, outgoing, account, credential)


async def count_tokens(
    client: UpstreamClient, model: str, account: str, credential: Credential
) -> Answer | None:
    """Ask an upstream to count a short text for a wire model; None where it cannot count. Raises Fault."""
    if not client.dialect.counts:
        return None
    body = orjson.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]})
    try:
        outgoing = client.dialect.encode(
            client.upstream, model, _Counted(read_request(body)), stream=False, cures=()
        )
    except RequestError as error:
        raise Fault(f"{model}: {error.message}") from None
    return await ask(client, outgoing, account, credential)


async def ask(client: UpstreamClient, outgoing: Outgoing, account: str, credential: Credential) -> Answer:
    """Send a request on the production path's own connections; return the whole response. Raises Fault."""
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
        raise Fault(client.censored(result))
    headers = {name.decode(): value.decode("latin-1") for name, value in result.head.headers}
    return Answer(result.head.status, headers, result.body, sent, time.time())
