"""What every dialect has to do with: the values, and that each kind of upstream has a dialect with all of it."""

import pytest

from gateway.app import dialect_of
from gateway.config import KINDS
from gateway.dialects.base import Dialect, Outgoing, StreamFailure
from gateway.routing.failures import Failure, FailureKind
from gateway.telemetry.access_log import AccessLog


def test_an_outgoing_request_is_a_post_without_repairs() -> None:
    outgoing = Outgoing(target="/")
    assert (outgoing.method, outgoing.headers, outgoing.body, outgoing.repairs) == ("POST", None, b"", ())


def test_a_stream_failure_reaches_scheduler_and_client() -> None:
    failure = Failure(kind=FailureKind.STREAM_ERROR, status=529, type="overloaded_error", message="too much")
    raised = StreamFailure(failure)
    assert (raised.failure, raised.type, raised.message) == (failure, "overloaded_error", "too much")
    assert str(raised) == "too much"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_dialect(kind: str) -> None:
    dialect: Dialect = dialect_of(kind, AccessLog(print))
    assert dialect.relays is (kind == "anthropic")
    assert dialect.count(b"") is None
    assert dialect.models(b"") == []
