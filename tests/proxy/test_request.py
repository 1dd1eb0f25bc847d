"""Every answer: its request id, the protocol's shape of errors, and one log line when the exchange has ended."""

import asyncio
import re

import orjson
import pytest

from gateway.http1.exchange import Exchange
from gateway.messages.errors import RequestError
from gateway.proxy.request import JSON, ClientRequest, guarded, new_id
from gateway.routing.failures import Failure, FailureKind
from gateway.telemetry.access_log import AccessLog
from tests.support.attempt import Wire, exchange_on
from tests.support.running import settle


class Client:
    """A client's request, and what became of it."""

    def __init__(self, method: str = "POST", *, level: str = "debug") -> None:
        self.wire = Wire()
        head = f"{method} /v1/messages?beta=secret-query HTTP/1.1\r\nHost: localhost\r\n\r\n"
        self.exchange: Exchange = exchange_on(self.wire, head.encode())
        self.lines: list[str] = []
        self.answer = ClientRequest(self.exchange, AccessLog(self.lines.append, "json", level))

    @property
    def head(self) -> dict[str, str]:
        """The answer's fields, its status under ""."""
        status, *fields = self.wire.sent.partition(b"\r\n\r\n")[0].decode().split("\r\n")
        return {"": status.split(" ")[1], **dict(field.split(": ", 1) for field in fields)}

    async def line(self) -> dict[str, object]:
        """The one line that is logged."""
        await settle()
        (line,) = self.lines
        found: dict[str, object] = orjson.loads(line)
        return found


def test_ids_look_like_the_apis() -> None:
    ids = {new_id("req_") for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch("req_[0-9a-f]{24}", id) for id in ids)


async def test_an_answer_of_the_gateways_own() -> None:
    client = Client()
    client.answer.cors = ((b"vary", b"origin"),)
    client.answer.respond(200, b"{}", (JSON, (b"x-token-count", b"zero")))
    head = client.head
    assert (head[""], head["request-id"], head["content-length"]) == ("200", client.answer.request_id, "2")
    assert (head["content-type"], head["x-token-count"], head["vary"]) == (
        "application/json",
        "zero",
        "origin",
    )
    assert client.wire.body == b"{}"
    line = await client.line()
    assert (line["status"], line["outcome"], line["error"]) == (200, "ok", "")
    assert (line["method"], line["path"]) == ("POST", "/v1/messages")
    assert line["request_id"] == client.answer.request_id
    assert line["bytes_out"] == len(client.wire.sent)


async def test_json_is_what_an_answer_is_if_nothing_else_is_said() -> None:
    client = Client()
    client.answer.respond(200, b"{}")
    assert client.head["content-type"] == "application/json"


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
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
async def test_an_error_of_the_gateways_own(status: int, type: str) -> None:
    client = Client()
    client.answer.cors = ((b"access-control-allow-origin", b"http://a"),)
    client.answer.fail(RequestError(status, "what was wrong", headers=[(b"retry-after", b"1")]))
    head = client.head
    assert (head[""], head["content-type"]) == (str(status), "application/json")
    assert (head["retry-after"], head["access-control-allow-origin"]) == ("1", "http://a")
    assert orjson.loads(client.wire.body) == {
        "type": "error",
        "error": {"type": type, "message": "what was wrong"},
        "request_id": head["request-id"],
    }
    line = await client.line()
    assert (line["status"], line["outcome"], line["error"]) == (status, "refused", "what was wrong")
    assert line["request_id"] == head["request-id"]


async def test_head_gets_the_head_alone() -> None:
    client = Client("HEAD")
    client.answer.fail(RequestError(404, "nothing"))
    assert client.wire.body == b""
    assert int(client.head["content-length"]) > 0


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (Failure(kind=FailureKind.STATUS, status=429, message="slow down"), "slow down"),
        (Failure(kind=FailureKind.STATUS, status=503), "status 503"),
        (Failure(kind=FailureKind.INCOMPLETE), "incomplete"),
    ],
)
async def test_what_an_upstream_did_is_noted(failure: Failure, words: str) -> None:
    client = Client()
    client.answer.note(failure)
    assert client.answer.record.error == words


async def test_a_client_that_leaves_cancels() -> None:
    client = Client()
    told: list[str] = []
    client.answer.cancel = lambda: told.append("cancel")
    client.answer.on_logged = lambda: told.append("logged")
    client.exchange.client_left()
    assert told == ["cancel"]
    line = await client.line()
    assert (line["status"], line["outcome"]) == (499, "canceled")
    assert told == ["cancel", "logged"]


@pytest.mark.parametrize("left", [False, True])
async def test_nothing_is_cancelled_at_a_good_end_nor_twice(left: bool) -> None:
    client = Client()
    told: list[str] = []
    if not left:
        client.answer.cancel = lambda: told.append("cancel")
        client.answer.respond(200, b"")
    client.exchange.client_left()
    client.exchange.client_left()
    await client.line()
    assert told == []


async def test_what_was_told_of_the_outcome_stays() -> None:
    client = Client()
    client.answer.record.outcome = "warmup"
    client.answer.respond(200, b"")
    assert (await client.line())["outcome"] == "warmup"


async def test_the_line_is_written_after_the_bytes_and_holds_the_usage() -> None:
    client = Client()
    body = b'{"usage":{"input_tokens":5,"output_tokens":7,"cache_read_input_tokens":1}}'
    client.answer.body_for_usage = body
    client.exchange.body = b"request"
    await asyncio.sleep(0.002)
    client.answer.respond(200, body)
    assert client.lines == []
    line = await client.line()
    assert [line[f"{n}_tokens"] for n in ("input", "output", "cache_read", "cache_creation")] == [
        5,
        7,
        1,
        None,
    ]
    assert line["bytes_in"] == 7
    duration = line["duration"]
    assert isinstance(duration, float)
    assert 0.002 <= duration < 1.0


async def test_no_line_at_a_higher_level() -> None:
    client = Client(level="warning")
    client.answer.respond(200, b"")
    await settle()
    assert client.lines == []


# An error of HTTP's own, in the middle of a request.


async def test_the_answer_of_an_exchange() -> None:
    client = Client()
    assert ClientRequest.of(client.exchange, AccessLog(print)) is client.answer
    fresh = exchange_on(Wire())
    answer = ClientRequest.of(fresh, AccessLog(client.lines.append))
    assert answer is not client.answer
    assert ClientRequest.of(fresh, AccessLog(print)) is answer
    fresh.on_end = client.lines.clear
    assert ClientRequest.of(fresh, AccessLog(print)) is not answer


# The gateway's own failure.


class Worker:
    """Works on an answer, and is called by others."""

    def __init__(self, answer: ClientRequest) -> None:
        self.answer = answer

    @guarded
    def work(self, text: str, *, times: int = 1) -> str:
        """Repeats, or fails."""
        if not text:
            explode()
        return text * times


async def test_what_is_guarded_ends_its_request_where_it_fails() -> None:
    client = Client()
    worker = Worker(client.answer)
    assert worker.work("a", times=3) == "aaa"
    assert not client.exchange.ended
    assert worker.work("") is None
    assert client.head[""] == "500"
    assert Worker.work.__doc__ == "Repeats, or fails."
    await settle()
    assert "secret" not in "".join(client.lines)


def explode() -> None:
    raise ValueError("secret text of a request")


async def crash(client: Client) -> str:
    """What is logged besides the request's line."""
    try:
        explode()
    except ValueError as error:
        client.answer.crashed(error)
    message: str = orjson.loads(client.lines[0])["message"]
    await settle()
    line = orjson.loads(client.lines[1])
    assert (line["outcome"], line["error"]) == ("internal_error", "ValueError")
    assert "secret" not in "".join(client.lines)
    return message


async def test_a_crash_before_the_answer() -> None:
    client = Client()
    told: list[str] = []
    client.answer.cancel = lambda: told.append("cancel")
    message = await crash(client)
    assert message.startswith(f"{client.answer.request_id}: internal error: ValueError at test_request.py:")
    assert " explode < test_request.py:" in message
    assert told == ["cancel"]
    assert client.head[""] == "500"
    document = orjson.loads(client.wire.body)
    assert document["error"] == {
        "type": "api_error",
        "message": "the gateway failed on this request; its log says where",
    }
    assert document["request_id"] == client.head["request-id"]


async def test_a_crash_inside_the_answer() -> None:
    client = Client()
    client.exchange.start(200, [])
    client.exchange.write(b"some")
    await crash(client)
    assert client.wire.body == b"4\r\nsome\r\n"
    assert client.wire.ended
    assert not client.wire.persistent


async def test_a_crash_after_the_answer() -> None:
    client = Client()
    client.answer.respond(200, b"{}")
    sent = client.wire.sent
    try:
        explode()
    except ValueError as error:
        client.answer.crashed(error)
    await settle()
    assert client.wire.sent == sent
    assert len(client.lines) == 2
