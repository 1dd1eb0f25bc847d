"""messages/errors.py: types for statuses, and the two ways to write an error."""

import orjson
import pytest

from gateway.messages.errors import STATUS_OF_TYPE, RequestError, error_body, error_event, error_type
from gateway.messages.sse import EventDecoder


@pytest.mark.parametrize(
    ("status", "type"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (405, "invalid_request_error"),
        (408, "timeout_error"),
        (413, "request_too_large"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (499, "invalid_request_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "api_error"),
        (504, "timeout_error"),
        (524, "api_error"),
        (529, "overloaded_error"),
    ],
)
def test_every_status_has_a_type(status: int, type: str) -> None:
    assert error_type(status) == type


@pytest.mark.parametrize(("type", "status"), STATUS_OF_TYPE.items())
def test_a_type_leads_to_a_status_that_leads_back(type: str, status: int) -> None:
    assert error_type(status) == type


def test_a_body_has_type_message_and_request_id() -> None:
    body = orjson.loads(error_body(404, 'no "x"', "req_1"))
    assert body == {
        "type": "error",
        "error": {"type": "not_found_error", "message": 'no "x"'},
        "request_id": "req_1",
    }


def test_a_body_may_name_its_type() -> None:
    body = orjson.loads(error_body(503, "full", "req_1", type="overloaded_error"))
    assert body["error"]["type"] == "overloaded_error"


def test_a_body_may_have_details() -> None:
    body = orjson.loads(error_body(400, "no", "req_1", details={"error_code": "c"}))
    assert body["error"] == {
        "type": "invalid_request_error",
        "message": "no",
        "details": {"error_code": "c"},
    }


def test_an_event_is_one_complete_event_with_the_same_shape() -> None:
    (event,) = EventDecoder().feed(error_event("timeout_error", "line\nbreak", "req_2"))
    assert event.name == "error"
    assert orjson.loads(event.data) == {
        "type": "error",
        "error": {"type": "timeout_error", "message": "line\nbreak"},
        "request_id": "req_2",
    }


def test_a_request_error_carries_its_response() -> None:
    error = RequestError(405, "use POST", headers=[(b"allow", b"POST")])
    assert (error.status, error.message, error.type) == (405, "use POST", "invalid_request_error")
    assert error.headers == ((b"allow", b"POST"),)
    assert error.details is None
    assert str(error) == "use POST"


def test_a_request_error_may_have_details() -> None:
    assert RequestError(400, "no", details={"error_code": "c"}).details == {"error_code": "c"}


def test_a_request_error_may_name_its_type() -> None:
    assert RequestError(503, "full", type="overloaded_error").type == "overloaded_error"
