"""The table of failures, end to end: what an upstream does, and which account is tried then, when, with what result.

A cell reads `a 0.5 b = 500`: account a, half a second, account b, and the client gets 500; `!` behind the status is
`x-should-retry: false`. Waits are the real ones, on a clock that jumps.
"""

import asyncio

import pytest

from gateway.config import Retry
from tests.fakes.messages import (
    SSE_HEAD,
    Close,
    Reset,
    Script,
    Stall,
    chunked,
    error_response,
    event,
    message_start,
    stream_response,
)
from tests.support.clock import run
from tests.support.stage import failing, staged


def error_event(type: str) -> bytes:
    return event("error", error={"type": type, "message": "failed in a stream"})


OUTCOMES: dict[str, Script] = {
    "400 invalid": error_response(400, "invalid_request_error", "messages.0: odd"),
    "401": error_response(401, "authentication_error", "invalid x-api-key"),
    "402": error_response(402, "billing_error", "no credit"),
    "403": error_response(403, "permission_error", "not allowed"),
    "404": error_response(404, "not_found_error", "model: m"),
    "408": error_response(408, "timeout_error", "too slow"),
    "413": error_response(413, "request_too_large", "too large"),
    "425": error_response(425, "invalid_request_error", "too early"),
    "429 billing": error_response(429, "billing_error", "spent", [("retry-after", "5")]),
    "429 in 1 s": error_response(429, "rate_limit_error", "slow down", [("retry-after", "1")]),
    "429 in 1500 ms": error_response(429, "rate_limit_error", "slow down", [("retry-after-ms", "1500")]),
    "429 in 12 s": error_response(429, "rate_limit_error", "slow down", [("retry-after", "12")]),
    "429 in 30 s": error_response(429, "rate_limit_error", "slow down", [("retry-after", "30")]),
    "429 in 2 h": error_response(429, "rate_limit_error", "slow down", [("retry-after", "7200")]),
    "429": error_response(429, "rate_limit_error", "slow down"),
    "500": error_response(500, "api_error", "oh"),
    "502 page": [b"HTTP/1.1 502 X\r\ncontent-type: text/html\r\ncontent-length: 9\r\n\r\n<p>no</p>"],
    "503": error_response(503, "api_error", "later"),
    "504": error_response(504, "timeout_error", "late"),
    "520": error_response(520, "api_error", "unknown"),
    "526": error_response(526, "api_error", "certificate"),
    "529": error_response(529, "overloaded_error", "busy"),
    # Statuses that lie: the words count.
    "400 spent": error_response(400, "invalid_request_error", "Your credit balance is too low to access the API."),
    "400 off": error_response(400, "invalid_request_error", "This organization has been disabled."),
    "402 afford": error_response(402, "billing_error", "You requested 32000 tokens, but can only afford 3000."),
    "403 key": error_response(403, "permission_error", "Your API key has no permission for this."),
    "404 file": error_response(404, "not_found_error", "File not found: file_gone"),
    "404 page": [b"HTTP/1.1 404 X\r\ncontent-type: text/html\r\ncontent-length: 9\r\n\r\n<p>no</p>"],
    "429 extra": error_response(429, "rate_limit_error", "Extra usage is required for long context requests."),
    "429 window": error_response(429, "1308", "it will reset at 2026-12-31 21:31:39"),
    "429 purse": error_response(429, "1113", "insufficient balance"),
    "500 purse": error_response(500, "insufficient_balance_error", "Insufficient Balance"),
    "500 no more": error_response(500, "api_error", "oh", [("x-should-retry", "false")]),
    "503 loading": error_response(503, "api_error", "Loading model"),
    "503 in 8 s": error_response(503, "api_error", "later", [("retry-after", "8")]),
    "529 in 8 s": error_response(529, "overloaded_error", "busy", [("retry-after", "8")]),
    "529 in 1 h": error_response(529, "overloaded_error", "busy", [("retry-after", "3600")]),
    # No response's head.
    "close": [Close()],
    "reset": [Reset()],
    "close in head": [b"HTTP/1.1 200 OK\r\ncontent-ty", Close()],
    "two lengths": [b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd"],
    "silence": [Stall()],
    # A good head, and no content behind it.
    "empty": [b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 0\r\n\r\n"],
    "half": [b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"id":', Close()],
    "half silent": [b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"id":', Stall()],
    "bad chunk": [SSE_HEAD + b"zz\r\n"],
    "ends early": stream_response([message_start()]),
    "cut early": [SSE_HEAD + chunked([message_start()], end=False), Reset()],
    "silent early": [SSE_HEAD + chunked([message_start()], end=False), Stall()],
    "event 529": stream_response([message_start(), error_event("overloaded_error")]),
    "event 500": stream_response([error_event("api_error")]),
    "event 429": stream_response([error_event("rate_limit_error")]),
    "event 401": stream_response([message_start(), event("ping"), error_event("authentication_error")]),
    "event 400": stream_response([error_event("invalid_request_error")]),
}  # fmt: skip
"""The ways in which an upstream may fail."""

TABLE = """
outcome        | one account            | both accounts     | then the second | fallback, too | cool-downs in a row
close          | a a = 502              | a b a = 502       | a b = 200       | a b c = 200   | up 0 1 2
reset          | a a = 502              | a b a = 502       | a b = 200       | a b c = 200   | up 0 1 2
close in head  | a a = 502              | a b a = 502       | a b = 200       | a b c = 200   | up 0 1 2
two lengths    | a a = 502              | a b a = 502       | a b = 200       | a b c = 200   | up 0 1 2
silence        | a 5 = 504              | a 5 = 504         | a 5 = 504       | a 5 c = 200   | up 1 2 4
400 invalid    | a = 400                | a = 400           | a = 400         | a = 400       | -
413            | a = 413                | a = 413           | a = 413         | a = 413       | -
401            | a = 503!               | a b = 503!        | a b = 200       | a b c = 200   | up/a 600 600 600
402            | a = 503!               | a b = 503!        | a b = 200       | a b c = 200   | up/a 60 300 1500
403            | a = 503!               | a b = 503!        | a b = 200       | a b c = 200   | up/a m 60 300 1500
429 billing    | a = 503!               | a b = 503!        | a b = 200       | a b c = 200   | up/a 60 300 1500
404            | a = 404                | a b = 404         | a b = 200       | a b c = 200   | up/a m 600 600 600
408            | a a = 408              | a a = 408         | a a = 408       | a a = 408     | -
425            | a a = 425              | a a = 425         | a a = 425       | a a = 425     | -
429 in 1 s     | a 1 a 1 a = 429        | a b 1 a 1 a = 429 | a b = 200       | a b c = 200   | up/a m 1 1 1
429 in 1500 ms | a 1.5 a 1.5 a = 429    | a b 1.5 a 1.5 a = 429 | a b = 200       | a b c = 200   | up/a m 1.5 1.5 1.5
429 in 12 s    | a 12 a = 429           | a b 12 a = 429    | a b = 200       | a b c = 200   | up/a m 12 12 12
429 in 30 s    | a = 429                | a b = 429         | a b = 200       | a b c = 200   | up/a m 30 30 30
429 in 2 h     | a = 429                | a b = 429         | a b = 200       | a b c = 200   | up/a m 7200 7200 7200
429            | a 5 a 5 a = 429        | a b 5 a 5 a = 429 | a b = 200       | a b c = 200   | up/a m 5 10 20
500            | a 0.5 a 1 a = 500      | a b 0.5 a = 500   | a b = 200       | a b c = 200   | up/a m 0 1 2
502 page       | a 0.5 a 1 a = 502      | a b 0.5 a = 502   | a b = 200       | a b c = 200   | up/a m 0 1 2
503            | a 0.5 a 1 a = 503      | a b 0.5 a = 503   | a b = 200       | a b c = 200   | up/a m 0 1 2
504            | a 0.5 a 1 a = 504      | a b 0.5 a = 504   | a b = 200       | a b c = 200   | up/a m 0 1 2
520            | a 0.5 a 1 a = 520      | a b 0.5 a = 520   | a b = 200       | a b c = 200   | up/a m 0 1 2
526            | a 0.5 a 1 a = 526      | a b 0.5 a = 526   | a b = 200       | a b c = 200   | up/a m 0 1 2
529            | a 1 a 2 a = 529        | a 1 a 2 a = 529   | a 1 a 2 a = 529 | a c = 200     | up 0 1 2
400 spent      | a = 503!               | a b = 503!        | a b = 200       | a b c = 200   | up/a 60 300 1500
400 off        | a = 503!               | a b = 503!        | a b = 200       | a b c = 200   | up/a 60 300 1500
402 afford     | a = 402                | a = 402           | a = 402         | a = 402       | -
403 key        | a = 503!               | a b = 503!        | a b = 200       | a b c = 200   | up/a 60 300 1500
404 file       | a = 404                | a = 404           | a = 404         | a = 404       | -
404 page       | a = 404                | a = 404           | a = 404         | a c = 200     | -
429 extra      | a = 429!               | a b = 429!        | a b = 200       | a b c = 200   | up/a m 600 600 600
429 window     | a = 429                | a b = 429         | a b = 200       | a b c = 200   | up/a m 3600 3600 3600
429 purse      | a = 503!               | a b = 503!        | a b = 200       | a b c = 200   | up/a 60 300 1500
500 purse      | a = 503!               | a b = 503!        | a b = 200       | a b c = 200   | up/a 60 300 1500
500 no more    | a = 500!               | a b = 500!        | a b = 200       | a b c = 200   | up/a m 0 1 2
503 loading    | a 1 a 2 a = 503        | a 1 a 2 a = 503   | a 1 a 2 a = 503 | a c = 200     | up 1 2 4
503 in 8 s     | a 8 a 8 a = 503        | a b 8 a = 503     | a b = 200       | a b c = 200   | up/a m 8 8 8
529 in 8 s     | a 8 a 8 a = 529        | a 8 a 8 a = 529   | a 8 a 8 a = 529 | a c = 200     | up 8 8 8
529 in 1 h     | a = 529                | a = 529           | a = 529         | a c = 200     | up 3600 3600 3600
empty          | a a = 502              | a b a = 502       | a b = 200       | a b c = 200   | -
half           | a a = 502              | a b a = 502       | a b = 200       | a b c = 200   | -
half silent    | a 5 = 504              | a 5 = 504         | a 5 = 504       | a 5 c = 200   | up 1 1 1
bad chunk      | a a = 502              | a b a = 502       | a b = 200       | a b c = 200   | -
"""

STREAMS = """
outcome      | one account       | both accounts     | then the second | fallback, too   | cool-downs in a row
ends early   | a a = 502         | a b a = 502       | a b = 200       | a b c = 200     | -
cut early    | a a = 502         | a b a = 502       | a b = 200       | a b c = 200     | -
silent early | a 5 = 504         | a 5 = 504         | a 5 = 504       | a 5 c = 200     | up 1 1 1
event 529    | a 1 a 2 a = 529   | a 1 a 2 a = 529   | a 1 a 2 a = 529 | a c = 200       | up 0 1 2
event 500    | a 0.5 a 1 a = 500 | a b 0.5 a = 500   | a b = 200       | a b c = 200     | up/a m 0 1 2
event 429    | a 5 a 5 a = 429   | a b 5 a 5 a = 429 | a b = 200       | a b c = 200     | up/a m 5 10 20
event 401    | a = 503!          | a b = 503!        | a b = 200       | a b c = 200     | up/a 600 600 600
event 400    | a = 400           | a = 400           | a = 400         | a = 400         | -
"""

RETRY = Retry()
"""The defaults: 3 attempts, 20 s."""

COLUMNS = {
    # column: the failing accounts, all accounts, whether there is a fallback
    "one account": ("a", ("a@x",), False),
    "both accounts": ("ab", ("a@x", "b@x"), False),
    "then the second": ("a", ("a@x", "b@x"), False),
    "fallback, too": ("ab", ("a@x", "b@x"), True),
}

Row = dict[str, str]


def rows(table: str) -> list[Row]:
    head, *lines = [[part.strip() for part in line.split("|")] for line in table.strip().splitlines()]
    return [dict(zip(head, line, strict=True)) for line in lines]


async def column(script: Script, mode: str, name: str) -> str:
    bad, accounts, spare = COLUMNS[name]
    async with staged(failing(script, bad), *accounts, spare=spare, retry=RETRY) as stage:
        return await stage.transcript(mode)


async def cool_downs(script: Script, mode: str) -> str:
    """How long what cools down after the first, the second and the third failure in a row."""
    lengths: list[float] = []
    where = ""
    once = Retry(max_attempts=1)
    async with staged(failing(script), "a@x", retry=once) as stage:
        for _ in range(3):
            await stage.post(mode)
            cooling = stage.cooling()
            assert len(cooling) <= 1
            where = next(iter(cooling), where)
            lengths.append(cooling.get(where, 0.0))
            await asyncio.sleep(7201)  # longer than any cool-down
    return f"{where} {' '.join(f'{length:g}' for length in lengths)}" if where else "-"


async def play_outcome(outcome: str, mode: str) -> Row:
    """The row as it comes out."""
    script = OUTCOMES[outcome]
    cells = await asyncio.gather(*(column(script, mode, name) for name in COLUMNS), cool_downs(script, mode))
    return dict(zip(["outcome", *COLUMNS, "cool-downs in a row"], [outcome, *cells], strict=True))


async def play_in_modes(outcome: str, modes: list[str]) -> dict[str, Row]:
    return dict(
        zip(modes, await asyncio.gather(*(play_outcome(outcome, mode) for mode in modes)), strict=True)
    )


@pytest.mark.parametrize("row", rows(TABLE), ids=lambda row: row["outcome"])
def test_row(row: Row) -> None:
    modes = ["whole", "stream"]
    assert run(play_in_modes(row["outcome"], modes), debug=False) == dict.fromkeys(modes, row)


@pytest.mark.parametrize("outcome", [row["outcome"] for row in rows(TABLE)])
def test_a_failed_token_count_is_estimated_without_a_cool_down(outcome: str) -> None:
    cell = {"400 invalid": "a = 400", "silence": "a 5 = 200", "half silent": "a 5 = 200"}.get(
        outcome, "a = 200"
    )
    script = OUTCOMES[outcome]
    assert run(column(script, "count", "fallback, too"), debug=False) == cell
    assert run(cool_downs(script, "count"), debug=False) == "-"


@pytest.mark.parametrize("row", rows(STREAMS), ids=lambda row: row["outcome"])
def test_row_of_streams(row: Row) -> None:
    assert run(play_outcome(row["outcome"], "stream"), debug=False) == row


def test_the_tables_have_every_outcome() -> None:
    assert {row["outcome"] for table in (TABLE, STREAMS) for row in rows(table)} == set(OUTCOMES)
