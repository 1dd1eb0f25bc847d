"""A replaced model name changes the value of `model`, and no other."""

import json

from gateway.messages.request import read_request, splice_model
from tests.fuzz.fuzz import fuzz
from tests.support.driven import request_of
from tests.support.strategies import BODIES, MODELS


def contract(raw: bytes, model: str) -> None:
    request = request_of(raw)
    if request is not None:
        spliced = read_request(splice_model(request, model))
        assert json.dumps(spliced.exact()) == json.dumps({**request.exact(), "model": model})


def test_another_model() -> None:
    fuzz(contract, BODIES, MODELS)
