"""A client's request: the responses it can get, the shape of errors, and one log line when its exchange has ended."""

import asyncio
import gzip
import re
from typing import Any

import orjson
import pytest

from gateway.messages.errors import RequestError
from gateway.messages.request import read_request
from gateway.proxy.request import FORGOTTEN, Entrance, new_id
from gateway.proxy.response_headers import JSON
from gateway.telemetry.access_log import Record
from gateway.telemetry.metrics import BATCH, LAST
from tests.support.attempt import OneRequest
from tests.support.loops import settle


async def line_of(client: OneRequest) -> dict[str, Any]:
    """The one line that is logged."""
    await settle()
    (line,) = client.lines
    found: dict[str, Any] = orjson.loads(line)
    return found


class Worker:
    """Works on a request, and records the calls."""

    def __init__(self, *, complete: bool = False, breaks_off: bool | Exception = False) -> None:
        self.calls: list[str] = []
        self._complete = complete
        self._breaks_off = breaks_off

    def client_left(self) -> bool:
        self.calls.append("client left")
        return self._complete

    def cancel(self) -> None:
        self.calls.append("cancel")

    def break_off(self, message: str) -> bool:
        self.calls.append("break off")
        if isinstance(self._breaks_off, Exception):
            raise self._breaks_off
        return self._breaks_off

    def flow(self, ready: bool) -> None:
        self.calls.append("ready" if ready else "slow")


class Usage:
    """Returns the usage of a response."""

    def __init__(self, usage: object) -> None:
        self._usage = usage

    def record_usage(self, record: Record) -> None:
        record.take_usage(self._usage)


def test_ids_look_like_the_apis() -> None:
    ids = {new_id("req_") for _ in range(100)}
    assert len(ids) == 100
    assert all(re.fullmatch("req_[0-9a-f]{24}", id) for id in ids)


async def test_respond_with_json() -> None:
    client = OneRequest()
    client.request.cors = b"vary: origin\r\n"
    client.request.respond(200, b"{}", JSON + b"x-token-count: zero\r\n")
    head = client.head
    assert (head[""], head["request-id"], head["content-length"]) == ("200", client.request.request_id, "2")
    assert (head["content-type"], head["x-token-count"], head["vary"]) == (
        "application/json",
        "zero",
        "origin",
    )
    assert client.body == b"{}"
    line = await line_of(client)
    assert (line["status"], line["outcome"], line["error"]) == (200, "ok", "")
    assert (line["method"], line["path"], line["key"]) == ("POST", "/v1/messages", "laptop")
    assert line["request_id"] == client.request.request_id
    # The Date line is removed from what was written.
    assert line["bytes_out"] == len(client.sent) + len("date: Thu, 26 Nov 2026 15:30:00 GMT\r\n")
    assert line["bytes_in"] == len(client.request.body)


async def test_response_content_type_defaults_to_json() -> None:
    client = OneRequest()
    client.request.respond(200, b"{}")
    assert client.head["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("status", "type"),
    [(404, "not_found_error"), (503, "api_error"), (529, "overloaded_error")],
)
async def test_error_response_body(status: int, type: str) -> None:
    client = OneRequest()
    client.request.cors = b"access-control-allow-origin: http://a\r\n"
    client.request.fail(
        RequestError(
            status, "what was wrong", headers=[(b"retry-after", b"1")], details={"error_code": "some_code"}
        )
    )
    head = client.head
    assert (head[""], head["content-type"]) == (str(status), "application/json")
    assert (head["retry-after"], head["access-control-allow-origin"]) == ("1", "http://a")
    assert orjson.loads(client.body) == {
        "type": "error",
        "error": {"type": type, "message": "what was wrong", "details": {"error_code": "some_code"}},
        "request_id": head["request-id"],
    }
    line = await line_of(client)
    assert (line["status"], line["outcome"], line["error"]) == (status, "refused", "what was wrong")
    assert line["request_id"] == head["request-id"]


async def test_response_to_HEAD_has_no_body() -> None:
    client = OneRequest("HEAD")
    client.request.fail(RequestError(404, "nothing"))
    assert client.body == b""
    assert int(client.head["content-length"]) > 0


@pytest.mark.parametrize("outcome", ["", "upstream_error"])
async def test_an_error_inside_a_stream_is_an_event(outcome: str) -> None:
    client = OneRequest()
    client.request.record.outcome = outcome
    client.request.exchange.start(200)
    client.request.refuse(RequestError(400, "what was wrong"))
    assert b'\ndata: {"type":"error","error":{"type":"invalid_request_error"' in client.body
    assert client.request.request_id.encode() in client.body
    assert client.cut
    line = await line_of(client)
    assert (line["outcome"], line["error"]) == (outcome or "refused", "what was wrong")


# Its end.


@pytest.mark.parametrize(("complete", "status", "outcome"), [(False, 499, "canceled"), (True, 200, "ok")])
async def test_a_client_that_leaves(complete: bool, status: int, outcome: str) -> None:
    """One that leaves behind a complete stream has had everything."""
    client, worker = OneRequest(), Worker(complete=complete)
    client.request.worker = worker
    client.request.exchange.start(200)
    await client.wire.leave()
    client.request.exchange.client_left()
    assert worker.calls == ["client left"]
    line = await line_of(client)
    assert (line["status"], line["outcome"]) == (status, outcome)


async def test_a_client_that_leaves_before_anything_works_on_its_request() -> None:
    client = OneRequest()
    await client.wire.leave()
    assert (await line_of(client))["status"] == 499


async def test_nothing_is_cancelled_at_a_good_end() -> None:
    client, worker = OneRequest(), Worker()
    client.request.worker = worker
    client.request.respond(200, b"")
    await client.wire.leave()
    assert worker.calls == []
    assert (await line_of(client))["status"] == 200


@pytest.mark.parametrize(
    ("worker", "calls", "status"),
    [
        (None, [], 503),
        (Worker(), ["break off", "cancel"], 503),
        (Worker(breaks_off=True), ["break off"], 0),
        (Worker(breaks_off=ValueError()), ["break off", "cancel"], 500),
    ],
)
async def test_shutdown_cancels_requests_under_way(
    worker: Worker | None, calls: list[str], status: int
) -> None:
    client = OneRequest()
    client.request.worker = worker
    client.request.stop()
    assert (client.request.exchange.status, client.request.record.outcome) == (status, "shutdown")
    assert worker is None or worker.calls == calls
    client.request.respond(200, b"")


async def test_writable_is_passed_to_the_worker() -> None:
    client, worker = OneRequest(), Worker()
    client.wire.protocol.pause_writing()
    client.request.worker = worker
    client.wire.protocol.resume_writing()
    client.wire.protocol.pause_writing()
    assert worker.calls == ["ready", "slow"]
    client.request.respond(200, b"")


async def test_the_first_outcome_is_logged() -> None:
    client = OneRequest()
    client.request.record.outcome = "warmup"
    client.request.respond(200, b"")
    assert (await line_of(client))["outcome"] == "warmup"


async def test_the_line_is_written_after_the_bytes_and_holds_the_usage() -> None:
    client = OneRequest()
    client.request.usage_source = Usage(
        {
            "input_tokens": 5,
            "output_tokens": 7,
            "cache_read_input_tokens": 1,
            "cache_creation_input_tokens": "",
        }
    )
    await asyncio.sleep(0.002)
    client.request.respond(200, b"{}")
    assert client.lines == []
    line = await line_of(client)
    counts = [line[f"{name}_tokens"] for name in ("input", "output", "cache_read", "cache_creation")]
    assert counts == [5, 7, 1, None]
    assert 0.002 <= line["duration"] < 60.0


async def test_every_observer_gets_the_record() -> None:
    client, records = OneRequest(), list[Record]()
    client.runtime.observers = (records.append, *client.runtime.observers, records.append)
    client.request.respond(200, b"")
    await settle()
    assert records == [client.request.record] * 2


async def test_a_request_that_was_refused_by_its_head_has_a_line_too() -> None:
    client = OneRequest()
    client.request.entrance = None
    client.request.record.path = "/nowhere"
    client.request.fail(RequestError(404, "nothing"))
    line = await line_of(client)
    assert (line["method"], line["path"], line["key"], line["status"]) == ("POST", "/nowhere", "", 404)


async def test_incoming_request_for_a_dialect() -> None:
    client = OneRequest()
    assert client.request.headers[0] == (b"host", b"localhost")
    assert (client.request.purpose, client.request.query) == ("messages", "")
    assert client.request.features() == frozenset()
    assert client.request.thread_conversation("x" * 1000) == f"laptop/thread:{'x' * 128}"
    client.request.respond(200, b"")


async def test_a_body_in_a_content_coding() -> None:
    client = OneRequest(coding="gzip")
    assert client.request.record.bytes_in == len(gzip.compress(client.request.body, mtime=0))
    assert orjson.loads(client.request.body)["model"] == "m"
    client.request.respond(200, b"")


# Memory that a request keeps, and token estimates learnt from it.


@pytest.mark.parametrize("estimated", [False, True])
async def test_a_body_is_released_after_the_commit(estimated: bool) -> None:
    client = OneRequest()
    client.request.record.wire_model = "m"
    client.runtime.estimated |= {"m"} if estimated else set()
    client.request.forget_body(b"")
    # One whose tokens were estimated is compared with the response's usage.
    assert (client.request.parsed is FORGOTTEN) is not estimated
    client.request.respond(200, b"")


@pytest.mark.parametrize("forgotten", [False, True])
async def test_a_request_corrects_the_token_estimate(forgotten: bool) -> None:
    """Its tokens may be estimated for the first time while its response is a stream already."""
    client = OneRequest()
    text = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "hello " * 1000}]})
    client.request.parsed = read_request(text)
    client.request.record.wire_model = "m"
    if forgotten:
        client.request.forget_body(b"")
    client.runtime.estimated.add("m")
    client.request.usage_source = Usage({"input_tokens": 5000, "output_tokens": 1})
    client.request.respond(200, b"")
    await settle()
    assert (client.runtime.correction.apply("m", 1000) == 1000) is forgotten


async def test_the_last_record_that_fits_has_all_counted() -> None:
    client = OneRequest()
    metrics = client.runtime.metrics
    metrics.records[:LAST] = [Record(0.0)] * LAST
    metrics.waiting = LAST
    client.request.respond(200, b"")
    await settle()
    assert metrics.waiting == 0
    assert sum(series.requests for series in metrics.series.values()) == BATCH


# The gateway's own failure.


def explode() -> None:
    raise ValueError("secret text of a request")


async def crash(client: OneRequest) -> str:
    """Return the lines that are logged besides the request's own."""
    try:
        explode()
    except ValueError as error:
        client.request.crashed(error)
    message: str = orjson.loads(client.lines[0])["message"]
    await settle()
    line = orjson.loads(client.lines[1])
    assert (line["outcome"], line["error"]) == ("internal_error", "ValueError")
    assert "secret" not in "".join(client.lines)
    return message


async def test_a_crash_before_the_response() -> None:
    client, worker = OneRequest(), Worker()
    client.request.worker = worker
    message = await crash(client)
    assert message.startswith(f"{client.request.request_id}: internal error: ValueError at test_request.py:")
    assert " explode < test_request.py:" in message
    assert worker.calls == ["cancel"]
    assert client.head[""] == "500"
    document = orjson.loads(client.body)
    assert document["error"] == {
        "type": "api_error",
        "message": "the gateway failed on this request; its log says where",
    }
    assert document["request_id"] == client.head["request-id"]


async def test_a_crash_inside_the_response() -> None:
    client = OneRequest()
    client.request.exchange.start(200)
    client.request.exchange.write(b"some")
    await crash(client)
    assert client.body == b"4\r\nsome\r\n"
    assert client.cut


async def test_a_crash_after_the_response() -> None:
    client = OneRequest()
    client.request.respond(200, b"{}")
    sent = client.sent
    client.request.crashed(ValueError("secret"))
    await settle()
    assert client.sent == sent
    assert len(client.lines) == 2


async def test_a_refusal_is_no_crash() -> None:
    client = OneRequest()
    client.request.crashed(RequestError(404, "not here"))
    line = await line_of(client)
    assert (line["status"], line["outcome"], line["error"]) == (404, "refused", "not here")


# Facts from its head.


@pytest.mark.parametrize("session", ["", "session-1"])
async def test_another_key_makes_another_entry(session: str) -> None:
    client = OneRequest()
    first = Entrance(
        client.runtime, client.serve, "/p", "q", "laptop", b"vary: origin\r\n", session, "gzip", health=True
    )
    first.forwarded = "dialect", b"x-app: cli\r\n"
    first.model, first.targets = "m", client.runtime.targets("m")
    other = first.with_key("phone")
    assert (other.path, other.query, other.cors, other.health) == ("/p", "q", b"vary: origin\r\n", True)
    assert other.coding == "gzip"
    assert (other.key, other.runtime, other.endpoint) == ("phone", client.runtime, first.endpoint)
    assert (first.conversation, other.conversation) == (
        ("laptop/session-1", "phone/session-1") if session else ("", "")
    )
    assert (other.model, other.targets) == ("", ())
    client.request.respond(200, b"")
