"""Rows for tests/test_growth.py: explaining a request, with repairs and cures to be found."""

import time
from pathlib import Path

import orjson

import gateway.endpoints.explain  # noqa: F401  # else it is imported, and counted, in the first run
from gateway.app import Gateway
from gateway.config import parse
from gateway.operator.explain import serve
from gateway.routing.cures import Cure
from gateway.telemetry.access_log import AccessLog
from tests.support.growth import Row

FIELDS = {"host": "localhost", "x-gateway-action": "explain"}


def explaining(kind: str, *learnt: Cure) -> Gateway:
    text = f'[upstreams.up]\nkind = "{kind}"\nbase_url = "https://up.example"\n'
    config = parse(text + 'accounts = [{ name = "a", api_key = "k" }]\n', {}, path=Path("gateway.toml"))
    gateway = Gateway(config, AccessLog(print), {})
    gateway.runtime.scheduler.cures.learn("up", "m", learnt, time.monotonic())
    return gateway


RELAYED = explaining("anthropic", Cure("fields", "metadata"), Cure("images"))
TRANSLATED = explaining("openai", Cure("images", "note"), Cure("prompt_role", "user"))


def explain(gateway: Gateway, body: bytes) -> None:
    status, report = serve(gateway, "/status/explain", FIELDS, body)
    assert status == 200
    assert b'"refused"' not in report


def untidy(n: int) -> bytes:
    """A history that every other message needs a repair of."""
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    blocks = [{"type": "text", "text": ""}, image, {"type": "text", "text": "hi"}]
    messages = [{"role": ("user", "assistant", "user")[index % 3], "content": blocks} for index in range(n)]
    return orjson.dumps({"model": "m", "max_tokens": 9, "metadata": {}, "messages": messages})


ROWS = [
    Row("explained, relayed", lambda body: explain(RELAYED, body), untidy, size=15),
    Row("explained, translated", lambda body: explain(TRANSLATED, body), untidy, size=15),
]
