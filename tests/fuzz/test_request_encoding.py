"""Each dialect encodes any request that was read, as JSON and with every set of repairs, or refuses it with a 400 in
words."""

import json

from gateway.config import Upstream
from gateway.dialects.base import Incoming
from gateway.messages.errors import RequestError
from gateway.messages.repair import REPAIRS
from gateway.routing.credentials import NO_CREDENTIAL
from tests.fuzz.fuzz import fuzz
from tests.support.driven import DIALECTS, refused_in_words, request_of
from tests.support.strategies import BODIES, MODELS

UPSTREAMS = [
    Upstream(name=kind, kind=kind, base_url="http://127.0.0.1:9", repairs=frozenset(repairs))
    for kind in ("anthropic", "gemini")
    for repairs in ((), REPAIRS)
]


def contract(raw: bytes, model: str) -> None:
    request = request_of(raw)
    if request is None:
        return
    incoming = Incoming(request=request, purpose="messages", query="", headers=(), stream=request.stream)
    for upstream in UPSTREAMS:
        try:
            json.loads(DIALECTS[upstream.kind].encode(upstream, NO_CREDENTIAL, model, incoming).body)
        except RequestError as error:
            refused_in_words(error)


def test_a_request_for_each_upstream() -> None:
    fuzz(contract, BODIES, MODELS, examples=100)
