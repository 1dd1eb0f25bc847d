"""`gateway doctor --spend`: requests one token from each route, streamed, through a gateway in this process."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from secrets import token_urlsafe

import orjson

from gateway.app import Gateway
from gateway.config import Auth, Config, Retry, Secret, Sharing
from gateway.listening import StartError
from gateway.messages.sse import Event, EventDecoder
from gateway.operator.doctor.client import open_response
from gateway.operator.doctor.findings import Fault, Finding, Row, carry_out, warn
from gateway.operator.doctor.upstreams import ANY_MODEL, wire_models
from gateway.operator.peer import GatewayAddress, error_words
from gateway.telemetry.access_log import AccessLog

HOST = "127.0.0.1"

PATIENCE = 60.0
"""Seconds for a response: a local server may load its model first."""

FEW = 4
"""Requests at a time: hosts limit bursts."""

BUSY = (429, 529)


async def spend(config: Config, environ: Mapping[str, str]) -> list[Row]:
    """Request one token from each route of a configuration."""
    routes = [
        (upstream.name, model)
        for upstream in config.upstreams
        for model in wire_models(config, upstream.name) or [ANY_MODEL]
    ]
    key = token_urlsafe(16)
    try:
        gateway = Gateway(_settings(config, routes, key), AccessLog(lambda line: None), environ)
        await gateway.start(listing=False)
    except StartError as error:
        return [Row("upstreams", "a token a route", Finding("fail", str(error)))]
    target = GatewayAddress("http", HOST, gateway.port)
    free = asyncio.Semaphore(FEW)

    async def one(index: int, name: str) -> Row:
        async with free:
            check = partial(_request_token, target, key, f"doctor-{index}")
            return await carry_out("upstreams", f"{name}: one token", check, PATIENCE)

    try:
        return await asyncio.gather(
            *(one(index, f"{upstream}/{model}") for index, (upstream, model) in enumerate(routes))
        )
    finally:
        await gateway.stop(0.0)


def _settings(config: Config, routes: Sequence[tuple[str, str]], key: str) -> Config:
    return config._replace(
        server=config.server._replace(host=HOST, port=0, tls=None, workers=1),
        auth=Auth(mode="strict", keys={"doctor": Secret(key)}),
        # Other processes are not affected, nor does their accounting include this.
        sharing=Sharing(),
        retry=Retry(max_attempts=1, max_wait=0.0),
        # A model's name for each route, so that each is used on its own.
        models={f"doctor-{index}": f"{upstream}/{model}" for index, (upstream, model) in enumerate(routes)},
        upstreams=tuple(replace(upstream, models={}) for upstream in config.upstreams),
    )


async def _request_token(target: GatewayAddress, key: str, model: str) -> Finding | str:
    messages = [{"role": "user", "content": "Say hi."}]
    body = orjson.dumps({"model": model, "max_tokens": 1, "stream": True, "messages": messages})
    headers = {"x-api-key": key, "anthropic-version": "2023-06-01"}
    async with open_response(target, "POST", "/v1/messages", body, headers) as response:
        payload = await response.body()
    if response.status != 200:
        return _refusal(response.status, payload)
    events = EventDecoder().feed(payload)
    if events and events[-1].name == "error":
        return _refusal(200, events[-1].data)
    return usage_of(events)


def _refusal(status: int, body: bytes) -> Finding:
    message = error_words(body) or "an error without words"
    if status in BUSY:
        return warn(f"{status}: {message}", "it is busy or limited: try again later")
    if status == 400 and "token" in message.lower():
        # Models that think before they write need more than one token.
        return warn(f"{status}: {message}", "one token is too few for this model; its key was taken")
    raise Fault(f"{status}: {message}", "correct the account, or the models table")


def usage_of(events: Sequence[Event]) -> str:
    """Return a stream's usage as text. Raises Fault if the stream breaks the protocol's grammar."""
    names = [event.name for event in events if event.name != "ping"]
    if names[:1] != ["message_start"] or names[-2:] != ["message_delta", "message_stop"]:
        raise Fault(
            "the stream is not message_start, content, message_delta, message_stop", "clients cannot read it"
        )
    if names.count("content_block_start") != names.count("content_block_stop"):
        raise Fault("a content block is not closed, or closed twice", "clients cannot read it")
    try:
        data = {event.name: orjson.loads(event.data) for event in events}
        start = data["message_start"]["message"]["usage"]["input_tokens"]
        usage = data["message_delta"]["usage"]
        read, written = usage.get("input_tokens") or start, usage["output_tokens"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Fault("its usage is missing", "SDKs crash without it") from None
    return f"{read} tokens read, {written} written"
