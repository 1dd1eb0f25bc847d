"""What every dialect has to do with: the values, and that both dialects answer the questions."""

from gateway.dialects.anthropic import AnthropicDialect
from gateway.dialects.base import Dialect, Incoming, Outgoing, StreamFailure
from gateway.dialects.gemini.dialect import GeminiDialect
from gateway.messages.request import read_request
from gateway.routing.failures import Failure, FailureKind


def test_what_is_not_said() -> None:
    request = read_request(b'{"model":"m","messages":[]}')
    incoming = Incoming(request=request, purpose="messages", query="", headers=(), stream=True)
    outgoing = Outgoing(method="POST", target="/", headers=(), body=b"")
    assert (incoming.without_thinking, incoming.form) == (False, None)
    assert (outgoing.repairs, outgoing.names) == ((), {})
    assert not any(hasattr(value, "__dict__") for value in (incoming, outgoing))


def test_outgoing_requests_share_no_names() -> None:
    one, other = (Outgoing(method="POST", target="/", headers=(), body=b"") for _ in range(2))
    assert one.names is not other.names


def test_a_stream_failure_tells_the_scheduler_and_the_client() -> None:
    failure = Failure(kind=FailureKind.STREAM_ERROR, status=529)
    raised = StreamFailure(failure, "overloaded_error", "too much")
    assert (raised.failure, raised.type, raised.message) == (failure, "overloaded_error", "too much")
    assert str(raised) == "too much"


def test_every_dialect_answers_every_question() -> None:
    questions = [name for name in vars(Dialect) if not name.startswith("_")]
    assert {"encode", "decoder", "failure", "count", "models_request", "models"} <= set(questions)
    dialects: list[Dialect] = [AnthropicDialect(), GeminiDialect(lambda: 0.5, print)]
    for dialect in dialects:
        assert all(callable(getattr(dialect, question)) for question in questions)
    assert [dialect.relays for dialect in dialects] == [True, False]
