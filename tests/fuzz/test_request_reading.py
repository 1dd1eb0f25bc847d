"""A client's body with any bytes: it is refused with a 400 and a message, or read as Python's own JSON reader reads
it. Then nothing that looks at the request raises or changes it."""

import json
from typing import Any

from gateway.messages import warmup
from gateway.messages.errors import RequestError, error_body
from gateway.messages.request import conversation_id, read_request, thread_of
from gateway.messages.token_estimate import estimate
from tests.fuzz.fuzz import fuzz
from tests.messages.samples import odd_documents
from tests.support.driven import refused_in_words
from tests.support.strategies import BODIES


def look(document: dict[str, Any]) -> None:
    before = json.dumps(document)
    conversation_id(document, b"\xff")
    conversation_id(document)
    thread_of(document)
    assert estimate(document) >= 0
    warmup.is_warmup(document)
    warmup.is_quota_probe(document)
    assert json.dumps(document) == before


def contract(raw: bytes) -> None:
    try:
        request = read_request(raw)
    except RequestError as error:
        refused_in_words(error)
        return
    look(request.document)
    error_body(404, ascii(request.model), "req_1")
    # As texts: there NaN equals NaN, and 1 is not 1.0.
    assert json.dumps(request.exact()) == json.dumps(json.loads(raw.decode("utf-8-sig")))


def test_a_clients_request() -> None:
    fuzz(contract, BODIES)


def test_a_request_with_values_of_the_wrong_kind() -> None:
    fuzz(look, odd_documents())
