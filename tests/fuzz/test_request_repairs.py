"""The repaired form of any valid history, with its thinking or without, can be sent, is read again as it
was sent, and needs no repair. The history itself stays unchanged."""

import json

from gateway.messages.json_documents import write_document
from gateway.messages.repair import REPAIRS, apply
from gateway.messages.request import read_request
from gateway.messages.thinking import without_thinking
from tests.fuzz.fuzz import fuzz
from tests.support.driven import request_of
from tests.support.strategies import BODIES


def contract(raw: bytes) -> None:
    request = request_of(raw)
    if request is None:
        return
    document = request.exact()
    before = json.dumps(document)
    for history in (document, without_thinking(document)):
        repaired, _ = apply(history, REPAIRS)
        assert apply(repaired, REPAIRS) == (repaired, ())
        assert json.dumps(read_request(write_document(repaired)).exact()) == json.dumps(repaired)
    assert json.dumps(document) == before


def test_a_history() -> None:
    fuzz(contract, BODIES)
