"""Decisions after a failure, as transcripts: outcomes, and the next step."""

import pytest

from gateway.config import Retry
from gateway.routing.model_routes import Candidate
from gateway.routing.retries import JITTER, GiveUp
from gateway.routing.scheduler import Scheduler
from gateway.routing.sent import Sent
from gateway.routing.status import State
from tests.routing.transcript import Request, Stage, cast, describe, refused

ROWS = {
    # connect, TLS, timeout, reset before the head
    "connect, one account": (
        "A",
        """
        0.00 r         -> A
        0.00 r connect -> wait 0.25 slot
        0.25 r         -> A
        0.25 r connect -> wait 0.5 slot
        0.75 r         -> A
        0.75 r connect -> stop 502 A after=1
        """,
    ),
    "connect, another account of the same upstream, at once": (
        "A B",
        """
        0.00 r         -> A
        0.00 r connect -> B
        0.00 r connect -> wait 0.25 slot
        0.25 r         -> A
        0.25 r connect -> stop 502 A after=1
        """,
    ),
    "connect, another upstream first": (
        "A B / C",
        """
        0 r         -> A
        0 r connect -> C
        0 r connect -> B
        0 r connect -> stop 502 B after=1
        """,
    ),
    "connect, a fallback": (
        "A | F",
        """
        0.00 r         -> A
        0.00 r connect -> F
        0.00 r connect -> wait 0.25 slot
        0.25 r         -> A
        0.25 r ok
        """,
    ),
    "connect, two accounts and a fallback": (
        "A B | F",
        """
        0 r         -> A
        0 r connect -> F
        0 r connect -> B
        0 r connect -> stop 502 B after=1
        """,
    ),
    # 400 about signatures
    "signature, once, on the same account": (
        "A B",
        """
        0 r           -> A
        0 r signature -> A stripped
        0 r signature -> stop 400 A
        """,
    ),
    "signature, then something else: the history stays stripped": (
        "A | F",
        """
        0 r           -> A
        0 r signature -> A stripped
        0 r 503       -> F stripped
        0 r 503       -> wait 0.5
        0.5 r         -> A stripped
        0.5 r 503     -> stop 503 A
        """,
    ),
    # other 400, 405, ...
    **{
        f"{status}, returned": (
            "A B | F",
            f"""
            0 r          -> A
            0 r {status} -> stop {status} A
            0 r          -> stop {status} A
            """,
        )
        for status in (400, 405, 409, 413, 414, 415, 422, 418)
    },
    # 401
    "401, one account": (
        "A",
        """
        0 r     -> A
        0 r 401 -> stop 503 A final
        """,
    ),
    "401, two accounts": (
        "A B",
        """
        0 r     -> A
        0 r 401 -> B
        0 r 401 -> stop 503 B final
        """,
    ),
    "401, a fallback": (
        "A | F",
        """
        0 r     -> A
        0 r 401 -> F
        0 r ok
        """,
    ),
    "401 with OAuth: refreshed once": (
        "A*",
        """
        0 r     -> A
        0 r 401 -> A
        0 r 401 -> stop 503 A final
        """,
    ),
    "401 with OAuth: the refresh helps": (
        "A*",
        """
        0 r     -> A
        0 r 401 -> A
        0 r ok
        9 s     -> A
        """,
    ),
    "401 with OAuth, every account is refreshed, at no cost": (
        "A* B* C",
        """
        0 r     -> A
        0 r 401 -> A
        0 r 401 -> B
        0 r 401 -> B
        0 r 401 -> C
        0 r 401 -> stop 503 C final
        """,
    ),
    # 402, 403, 429 of type billing_error
    **{
        f"{outcome}, another account": (
            "A B",
            f"""
            0 r           -> A
            0 r {outcome} -> B
            0 r {outcome} -> stop 503 B final
            """,
        )
        for outcome in ("402", "403", "429 billing")
    },
    "403, a fallback": (
        "A | F",
        """
        0 r     -> A
        0 r 403 -> F
        0 r 403 -> stop 503 F final
        """,
    ),
    # 404
    "404 about the model, one account": (
        "A",
        """
        0 r     -> A
        0 r model -> stop 404 A
        """,
    ),
    "404 about the model, two accounts": (
        "A B",
        """
        0 r     -> A
        0 r model -> B
        0 r model -> stop 404 B
        """,
    ),
    "404 about the model, a fallback": (
        "A | F",
        """
        0 r     -> A
        0 r model -> F
        0 r ok
        """,
    ),
    "404 that does not name the model is about the request": (
        "A B | F",
        """
        0 q      -> A
        0 q file -> stop 404 A
        1 r      -> B
        2 s      -> A
        """,
    ),
    # about a feature
    "no images there: without them, then returned; text is served": (
        "A B",
        """
        0 r       -> A
        0 r blind -> A images
        0 r blind -> B images
        0 r blind -> stop 404 B final
        """,
    ),
    # 400 about the account
    "an empty purse behind a 400": (
        "A B",
        """
        0 q       -> A
        0 q spent -> B
        0 q ok
        1 r       -> B
        1 s       -> B
        1 s spent -> stop 503 B final
        """,
    ),
    # 408, 425
    **{
        f"{status}, the same account, once": (
            "A B | F",
            f"""
            0 r          -> A
            0 r {status} -> A
            0 r {status} -> stop {status} A
            """,
        )
        for status in (408, 425)
    },
    "408, then 425: one row, one repetition": (
        "A B",
        """
        0 r     -> A
        0 r 408 -> A
        0 r 425 -> stop 425 A
        """,
    ),
    # 429 whose hint is at most 2 s
    "a brief limit, one account: waits for it": (
        "A",
        """
        0.0 r                     -> A
        0.0 r 429 retry-after=1.5 -> wait 1.5
        1.5 r                     -> A
        1.5 r ok
        """,
    ),
    "a brief limit, another account is free": (
        "A B",
        """
        0.0 r                     -> A
        0.0 r 429 retry-after=1.5 -> B
        0.5 r 429 retry-after=2   -> wait 1
        1.5 r                     -> A
        1.5 r 429 retry-after=1   -> wait 1
        2.5 r                     -> A
        2.5 r 429 retry-after=1   -> stop 429 A after=1
        """,
    ),
    "a brief limit, the fallback is free": (
        "A | F",
        """
        0.0 r                   -> A
        0.0 r 429 retry-after=2 -> F
        """,
    ),
    "a limit of no time at all": (
        "A",
        """
        0 r                   -> A
        0 r 429 retry-after=0 -> A
        0 r 429 retry-after=0 -> A
        0 r 429 retry-after=0 -> stop 429 A after=1
        """,
    ),
    # 429 with a hint
    "a limit within the wait budget": (
        "A",
        """
        00 r                    -> A
        00 r 429 retry-after=12 -> wait 12
        12 r                    -> A
        12 r 429 retry-after=9  -> stop 429 A after=9
        """,
    ),
    "a limit beyond the wait budget": (
        "A",
        """
        0 r                    -> A
        0 r 429 retry-after=30 -> stop 429 A after=30
        """,
    ),
    "a limit, another account": (
        "A B",
        """
        0 r                    -> A
        0 r 429 retry-after=60 -> B
        1 r ok
        """,
    ),
    "limits everywhere: the earliest end within the budget": (
        "A B",
        """
        0.0 r                     -> A
        0.0 r 429 retry-after=15  -> B
        0.5 r 429 retry-after=4.5 -> wait 4.5
        5.0 r                     -> B
        5.0 r 429 retry-after=60  -> stop 429 B after=10
        """,
    ),
    "limits everywhere, beyond the budget": (
        "A B",
        """
        0 r                     -> A
        0 r 429 retry-after=300 -> B
        1 r 429 retry-after=400 -> stop 429 B after=299
        """,
    ),
    "a limit, two accounts and a fallback: three attempts reach it": (
        "A B | F",
        """
        0 r                     -> A
        0 r 429 retry-after=300 -> B
        0 r 429 retry-after=300 -> F
        0 r ok
        """,
    ),
    # 429 without
    "a limit without hint": (
        "A",
        """
        00 r     -> A
        00 r 429 -> wait 5
        05 r     -> A
        05 r 429 -> wait 5
        10 r     -> A
        10 r 429 -> stop 429 A after=5
        """,
    ),
    "a limit without hint, two accounts": (
        "A B",
        """
        00 r     -> A
        00 r 429 -> B
        02 r 429 -> wait 3
        05 r     -> A
        05 r 429 -> wait 5
        10 r     -> A
        10 r 429 -> stop 429 A after=1
        """,
    ),
    "a limit without hint, a fallback": (
        "A | F",
        """
        0 r     -> A
        0 r 429 -> F
        0 r 429 -> wait 5
        5 r     -> A
        """,
    ),
    # 500, 502, 503, 504, 520-526
    "a server's error, one account": (
        "A",
        """
        0.0 r     -> A
        0.0 r 500 -> wait 0.5
        0.5 r     -> A
        0.5 r 502 -> wait 1
        1.5 r     -> A
        1.5 r 524 -> stop 524 A
        """,
    ),
    "a server's error, two accounts: then the first again": (
        "A B",
        """
        0.0 r     -> A
        0.0 r 500 -> B
        0.2 r 503 -> wait 0.3
        0.5 r     -> A
        0.5 r ok
        """,
    ),
    "a server's error, a pause that passed while another account was tried": (
        "A B",
        """
        0.0 r     -> A
        0.0 r 500 -> B
        9.0 r 503 -> A
        """,
    ),
    "a server's error, two accounts and a fallback": (
        "A B | F",
        """
        0 r     -> A
        0 r 500 -> B
        0 r 500 -> F
        0 r 500 -> stop 500 F
        """,
    ),
    # 529
    "overloaded, one account": (
        "A",
        """
        0 r     -> A
        0 r 529 -> wait 1
        1 r     -> A
        1 r 529 -> wait 2
        3 r     -> A
        3 r 529 -> stop 529 A
        """,
    ),
    "overloaded, another account of the same upstream is no help": (
        "A B",
        """
        0 r     -> A
        0 r 529 -> wait 1
        1 r     -> A
        1 r 529 -> wait 2
        3 r     -> A
        """,
    ),
    "overloaded, then the same account is out of the race": (
        "A B",
        """
        0 r     -> A
        0 r 529 -> wait 1
        1 r     -> A
        1 r 401 -> B
        """,
    ),
    "overloaded, and the same account is full by then": (
        "A:1 B",
        """
        0.0 q@talk     -> A
        0.0 q@talk ok
        0.0 q@talk done
        0.0 r@talk     -> A
        0.0 r@talk 529 -> wait 1
        0.5 s@talk     -> A
        1.0 r@talk     -> B
        """,
    ),
    "overloaded, another upstream": (
        "A B / C",
        """
        0 r     -> A
        0 r 529 -> C
        0 r 529 -> wait 1
        1 r     -> A
        """,
    ),
    "overloaded, a fallback": (
        "A B | F",
        """
        0 r     -> A
        0 r 529 -> F
        0 r ok
        """,
    ),
    "overloaded with a Retry-After: no attempt before": (
        "A",
        """
        0 r                   -> A
        0 r 529 retry-after=8 -> wait 8
        3 s                   -> wait 5
        8 r                   -> A
        8 r 529 retry-after=3600 -> stop 529 A after=3600
        """,
    ),
    "a 503 with a hint, another account": (
        "A B",
        """
        0 r                   -> A
        0 r 503 retry-after=8 -> B
        0 r 503 retry-after=6 -> wait 6
        """,
    ),
    "a server with x-should-retry: false": (
        "A B",
        """
        0 r                          -> A
        0 r 500 x-should-retry=false -> B
        0 r 500 x-should-retry=false -> stop 500 B
        """,
    ),
    "an overloaded one with x-should-retry: false": (
        "A B | F",
        """
        0 r                          -> A
        0 r 529 x-should-retry=false -> F
        0 r 529 x-should-retry=false -> stop 529 F
        """,
    ),
    "a limit with x-should-retry: false is not waited for": (
        "A",
        """
        0 r                                        -> A
        0 r 429 retry-after=5 x-should-retry=false -> stop 429 A after=5
        """,
    ),
    "a server that is loading its model": (
        "A B",
        """
        0 r         -> A
        0 r loading -> wait 1 slot
        0 s         -> wait 1 slot
        1 r         -> A
        1 r ok
        1 s         -> B
        """,
    ),
    # no first byte in time
    "a timeout: the same upstream is not tried again": (
        "A B | F",
        """
        000 r         -> A
        300 r timeout -> F
        600 r timeout -> stop 504 F
        """,
    ),
    "a page where a message is due, another upstream": (
        "A B | F",
        """
        0 r      -> A
        0 r page -> F
        """,
    ),
    "a whole response without content: retried once, then passed on": (
        "A B",
        """
        0 r             -> A
        0 r contentless -> A
        0 r ok
        """,
    ),
    # a 200 stream whose first event is `error`
    **{
        f"the stream begins with {type}: as its status": (
            "A B",
            f"""
            0 r              -> A
            0 r error {type} -> {then}
            """,
        )
        for type, then in {
            "invalid_request_error": "stop 400 A",
            "authentication_error": "B",
            "permission_error": "B",
            "billing_error": "B",
            "not_found_error": "stop 404 A",
            "rate_limit_error": "B",
            "api_error": "B",
            "timeout_error": "B",
            "overloaded_error": "wait 1",
            "unheard_of_error": "B",
        }.items()
    },
    "the stream begins with an error, one account": (
        "A",
        """
        0 r                        -> A
        0 r error overloaded_error -> wait 1
        1 r                        -> A
        1 r error rate_limit_error -> wait 5
        6 r                        -> A
        6 r error api_error        -> stop 429 A after=1
        """,
    ),
    # a 200 stream that ends before any content, an empty 200
    "empty, one account: once more": (
        "A",
        """
        0 r       -> A
        0 r empty -> A
        0 r empty -> stop 502 A
        """,
    ),
    "empty, two accounts": (
        "A B",
        """
        0 r       -> A
        0 r empty -> B
        0 r ok
        """,
    ),
    "empty, a fallback": (
        "A | F",
        """
        0 r       -> A
        0 r empty -> F
        0 r ok
        """,
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_every_row_of_the_table(name: str) -> None:
    names, transcript = ROWS[name]
    Stage(names).play(transcript)


ENDS = {
    "the last 429 of several": (
        "A B C",
        """
        0 r                    -> A
        0 r 429 retry-after=70 -> B
        0 r 429 retry-after=90 -> C
        0 r 408                -> C
        0 r 408                -> stop 429 B after=1
        """,
    ),
    "529 before 5xx": (
        "A / B / C",
        """
        0.0 r     -> A
        0.0 r 529 -> B
        0.0 r 500 -> C
        0.0 r 401 -> wait 0.5
        0.5 r     -> B
        0.5 r 500 -> stop 529 A
        """,
    ),
    "5xx before the operator's trouble": (
        "A B C",
        """
        0.0 r     -> A
        0.0 r 401 -> B
        0.0 r 403 -> C
        0.0 r 500 -> wait 0.5
        0.5 r     -> C
        0.5 r 500 -> wait 1
        1.5 r     -> C
        1.5 r 500 -> stop 500 C
        """,
    ),
    "the operator's trouble before 404": (
        "A B",
        """
        0 r     -> A
        0 r 402 -> B
        0 r model -> stop 503 A final
        """,
    ),
    "an earlier 429 before a 408": (
        "A B",
        """
        0 r                    -> A
        0 r 429 retry-after=70 -> B
        0 r 408                -> B
        0 r 408                -> stop 429 A after=1
        """,
    ),
    "a request's own fault before everything": (
        "A B",
        """
        0 r                    -> A
        0 r 429 retry-after=70 -> B
        0 r 400                -> stop 400 B
        """,
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_client_gets_the_most_useful_failure(name: str) -> None:
    names, transcript = ENDS[name]
    Stage(names).play(transcript)


SHUT = {
    "a limit that ends within the budget is waited for, then probed": (
        "A",
        """
        00 q                    -> A
        00 q 429 retry-after=30 -> stop 429 A after=30
        12 r                    -> wait 18
        30 r                    -> A
        """,
    ),
    "a limit beyond the budget fails at once": (
        "A B",
        """
        0 q                    -> A
        0 q 429 retry-after=70 -> B
        0 q 429 retry-after=50 -> stop 429 B after=50
        5 r                    -> stop 429 B after=45
        """,
    ),
    "the login was refused": (
        "A",
        """
        0 q     -> A
        0 q 401 -> stop 503 A final
        9 r     -> stop 503 A final
        """,
    ),
    "the model is missing": (
        "A",
        """
        0 q     -> A
        0 q model -> stop 404 A
        9 r     -> stop 404 A
        """,
    ),
    "an upstream that cannot be reached shuts all of its accounts": (
        "A B | F",
        """
        0.0 q         -> A
        0.0 q connect -> F
        0.0 q ok
        0.1 r         -> F
        """,
    ),
    "an account's login shuts it for every request": (
        "A B",
        """
        0 q     -> A
        0 q 401 -> B
        0 q ok
        0 q done
        1 r     -> B
        1 s     -> B
        """,
    ),
    "overload shuts from the second in a row": (
        "A B",
        """
        0.0 q      -> A
        0.0 q 529  -> wait 1
        0.1 r      -> B
        0.1 r 529  -> wait 1 slot
        0.1 s      -> wait 1 slot
        """,
    ),
    "a server's error shuts from the second in a row": (
        "A",
        """
        0.0 q     -> A
        0.0 q 500 -> wait 0.5
        0.1 q done
        0.1 r     -> A
        0.1 r 500 -> wait 0.5 slot
        0.1 s     -> wait 1 slot
        """,
    ),
    "a success in between ends the count": (
        "A",
        """
        0.0 q     -> A
        0.0 q 500 -> wait 0.5
        0.1 s     -> A
        0.2 s ok
        0.3 r     -> A
        0.3 r 500 -> wait 0.5
        0.4 t     -> A
        """,
    ),
}


@pytest.mark.parametrize("name", SHUT)
def test_cool_downs_that_other_requests_left(name: str) -> None:
    names, transcript = SHUT[name]
    Stage(names).play(transcript)


HALF_OPEN = {
    "one probe, and its success opens the account": (
        "A",
        """
        00.0 q                    -> A
        00.0 q 429 retry-after=30 -> stop 429 A after=30
        30.0 r                    -> A
        30.0 s                    -> wait 12 slot
        31.0 r ok
        31.0 s                    -> A
        31.0 t                    -> A
        """,
    ),
    "the probe fails: all wait for the next end": (
        "A",
        """
        00.0 q                    -> A
        00.0 q 429 retry-after=30 -> stop 429 A after=30
        30.0 r                    -> A
        30.5 s                    -> wait 11.5 slot
        31.0 r 429 retry-after=10 -> wait 10
        31.0 s                    -> wait 10
        """,
    ),
    "a canceled probe does not leave the account shut": (
        "A",
        """
        00.0 q                    -> A
        00.0 q 429 retry-after=30 -> stop 429 A after=30
        30.0 r                    -> A
        30.1 s                    -> wait 11.9 slot
        31.0 r done
        31.0 s                    -> A
        31.0 t                    -> wait 12 slot
        """,
    ),
    "a probe that shows nothing about the limit: the next may probe": (
        "A",
        """
        00.0 q                    -> A
        00.0 q 429 retry-after=30 -> stop 429 A after=30
        30.0 r                    -> A
        30.1 s                    -> wait 11.9 slot
        31.0 r 400                -> stop 400 A
        31.0 s                    -> A
        31.0 t                    -> wait 12 slot
        """,
    ),
    "the response's head has come: the others need not wait for its content": (
        "A",
        """
        00.0 q                    -> A
        00.0 q 429 retry-after=30 -> stop 429 A after=30
        30.0 r                    -> A
        30.1 s                    -> wait 11.9 slot
        31.0 r responded
        31.0 s                    -> A
        32.0 r error rate_limit_error -> wait 5
        32.0 t                    -> wait 5
        """,
    ),
    "a probe that was not refused for 12 s lets the others pass": (
        "A",
        """
        00.0 q                    -> A
        00.0 q 429 retry-after=30 -> stop 429 A after=30
        30.0 r                    -> A
        30.0 s                    -> wait 12 slot
        42.0 s                    -> A
        42.0 t                    -> A
        """,
    ),
    "while it is probed, another account is taken": (
        "A B",
        """
        00.0 q                    -> A
        00.0 q 429 retry-after=30 -> B
        00.0 q ok
        30.0 r                    -> A
        30.0 s                    -> B
        30.0 t                    -> B
        """,
    ),
    "a probe under way when the wait budget ends": (
        "A",
        """
        00 q                    -> A
        00 q 429 retry-after=30 -> stop 429 A after=30
        15 s                    -> wait 15
        30 r                    -> A
        30 s                    -> wait 5 slot
        35 s                    -> stop 429 A after=1
        """,
    ),
    "a long limit is probed hourly, the client gets its true end": (
        "A",
        """
        0000 q                       -> A
        0000 q 429 retry-after=18000 -> stop 429 A after=18000
        3500 r                       -> stop 429 A after=14500
        3600 s                       -> A
        3601 s 429 retry-after=14400 -> stop 429 A after=14400
        3700 t                       -> stop 429 A after=14301
        7201 u                       -> A
        7201 u ok
        7201 u done
        7202 v                       -> A
        7202 w                       -> A
        """,
    ),
    "attempts under way when another fails belong to the same trouble": (
        "A",
        """
        0.0 q     -> A
        0.0 r     -> A
        0.0 s     -> A
        1.0 q 429 -> wait 5
        1.0 r 429 -> wait 5
        2.0 s 429 -> wait 5
        """,
    ),
    "a success that was under way does not end a later cool-down": (
        "A",
        """
        0.0 q     -> A
        0.0 r     -> A
        1.0 q 429 -> wait 5
        2.0 r ok
        2.0 s     -> wait 4
        """,
    ),
    "an upstream: any response shows that it can be reached": (
        "A B",
        """
        0.0 q         -> A
        0.0 q connect -> B
        0.0 q 429     -> wait 0.25
        0.1 r         -> A
        0.1 s         -> A
        """,
    ),
    "a retry by the table does not wait for the cool-down it caused": (
        "A",
        """
        0.00 q         -> A
        0.00 q connect -> wait 0.25 slot
        0.10 r         -> wait 0.9 slot
        0.25 q         -> A
        0.30 q ok
        0.30 s         -> A
        """,
    ),
    "but waits for a probe under way": (
        "A",
        """
        0.00 q         -> A
        0.00 q connect -> wait 0.25 slot
        1.00 r         -> A
        1.00 q         -> wait 12 slot
        1.50 r ok
        1.50 q         -> A
        """,
    ),
    "a probe's success that ends nothing lets the next one probe": (
        "A",
        """
        00.0 p                    -> A
        00.0 q                    -> A
        00.0 q 429 retry-after=30 -> stop 429 A after=30
        30.0 r                    -> A
        31.0 p 500                -> wait 11 slot
        32.0 r ok
        32.0 s                    -> A
        """,
    ),
    "an upstream that others could not reach is left alone": (
        "A B",
        """
        0.0 r         -> A
        0.1 s         -> B
        0.2 s connect -> A
        0.3 r 401     -> wait 0.9 slot
        """,
    ),
    "an account that failed others is left alone": (
        "A B",
        """
        0 p     -> A
        0 q     -> B
        0 q 500 -> A
        0 q done
        0 s     -> B
        0 s 500 -> A
        0 s done
        0 p 500 -> wait 0.5 slot
        """,
    ),
    "and for another's harder failure": (
        "A",
        """
        0.00 q                    -> A
        0.00 r                    -> A
        0.00 q 500                -> wait 0.5
        0.10 r 429 retry-after=10 -> wait 10
        0.50 q                    -> wait 9.6
        """,
    ),
}


@pytest.mark.parametrize("name", HALF_OPEN)
def test_half_open(name: str) -> None:
    names, transcript = HALF_OPEN[name]
    Stage(names).play(transcript)


STICKY = {
    "a conversation stays": (
        "A B",
        """
        0 q@talk -> A
        0 q@talk ok
        0 q@talk done
        1 r@else -> B
        1 r@else done
        2 s@talk -> A
        2 t@talk -> A
        """,
    ),
    "requests sent together belong together before the first succeeds": (
        "A B",
        """
        0 q@talk -> A
        0 r@talk -> A
        0 s@else -> B
        """,
    ),
    "without a conversation: fewest in flight, then least recently used": (
        "A B C",
        """
        0 q -> A
        1 r -> B
        2 s -> C
        3 r done
        3 q done
        4 t -> A
        5 u -> B
        6 v -> C
        """,
    ),
    "fewest in flight comes before least recently used": (
        "A B",
        """
        0 q -> A
        1 r -> B
        2 r done
        3 s -> B
        """,
    ),
    "full after it failed: the conversation moves all the same": (
        "A:1 B",
        """
        0.0 r@talk     -> A
        0.0 r@talk 500 -> B
        0.0 s          -> A
        0.0 r@talk 500 -> wait 0.5
        0.5 r@talk     -> wait 0.5 slot
        1.0 r@talk     -> B
        1.0 r@talk ok
        1.0 r@talk done
        1.0 s done
        2.0 t@talk     -> B
        """,
    ),
    "under cool-down it is passed over, and the conversation moves": (
        "A B",
        """
        0 q@talk                    -> A
        0 q@talk ok
        0 q@talk done
        1 r@else                    -> B
        1 r@else done
        2 s@talk                    -> A
        2 s@talk 429 retry-after=60 -> B
        2 s@talk ok
        2 s@talk done
        70 t@talk                   -> B
        """,
    ),
    "it moves also when another request met the failure": (
        "A B",
        """
        0 q@talk                    -> A
        0 q@talk ok
        0 q@talk done
        1 r                         -> B
        1 s                         -> A
        1 s 401                     -> B
        2 t@talk                    -> B
        2 t@talk ok
        900 u@talk                  -> B
        """,
    ),
    "a rotation that does not succeed moves nothing": (
        "A B",
        """
        0 q@talk                    -> A
        0 q@talk ok
        0 q@talk done
        1 r@talk                    -> A
        1 r@talk 429 retry-after=1  -> B
        1 r@talk done
        9 s@talk                    -> A
        """,
    ),
    "full, the conversation is served elsewhere but stays at home": (
        "A:1 B",
        """
        0 q@talk -> A
        0 q@talk ok
        1 r@talk -> B
        1 r@talk ok
        1 r@talk done
        1 q@talk done
        2 s@talk -> A
        """,
    ),
    "the first priority before the conversation's own account": (
        "A | F",
        """
        00 q@talk                    -> A
        00 q@talk 429 retry-after=60 -> F
        00 q@talk ok
        00 q@talk done
        30 r@talk                    -> F
        30 r@talk done
        60 s@talk                    -> A
        60 s@talk ok
        """,
    ),
    "forgotten an hour after its last use": (
        "A B",
        """
        0000 q@talk -> A
        0000 q@talk ok
        0000 q@talk done
        3600 r@talk -> A
        3600 r@talk ok
        3600 r@talk done
        7201 s@talk -> B
        """,
    ),
}


@pytest.mark.parametrize("name", STICKY)
def test_conversations(name: str) -> None:
    names, transcript = STICKY[name]
    Stage(names).play(transcript)


SLOTS = {
    "full: waits for a slot": (
        "A:1",
        """
        0 q -> A
        0 q ok
        1 r -> wait 20 slot
        2 q done
        2 r -> A
        """,
    ),
    "no slot in time": (
        "A:1",
        """
        00 q -> A
        01 r -> wait 20 slot
        21 r -> stop 529 - after=1
        21 r -> stop 529 - after=1
        """,
    ),
    "woken without a free account, it waits for what is left": (
        "A:1",
        """
        0 q -> A
        0 r -> wait 20 slot
        0 s -> wait 20 slot
        5 q done
        5 r -> A
        5 s -> wait 15 slot
        """,
    ),
    "a full account overflows into the fallback": (
        "A:1 | F",
        """
        0 q -> A
        0 r -> F
        """,
    ),
    "a slot or a cool-down's end, whichever is first": (
        "A:1 B",
        """
        0 q                    -> A
        0 r                    -> B
        0 r 429 retry-after=10 -> wait 10 slot
        3 q done
        3 r                    -> A
        """,
    ),
    "a full account after a failure: its failure is reported": (
        "A B:1",
        """
        00 q                    -> A
        00 r                    -> B
        00 q 429 retry-after=60 -> wait 20 slot
        20 q                    -> stop 429 A after=1
        """,
    ),
    "full and cooling down: the cool-down is reported": (
        "A:1",
        """
        00 q     -> A
        00 q 401 -> stop 503 A final
        00 r     -> stop 503 A final
        """,
    ),
    "a failure frees the slot": (
        "A:1",
        """
        0.0 q     -> A
        0.0 q 500 -> wait 0.5
        0.1 r     -> A
        0.5 q     -> wait 19.5 slot
        """,
    ),
    "broken after commit: the slot is free, the error's cool-down counts": (
        "A:1",
        """
        0 q                              -> A
        0 q ok
        1 q broke error rate_limit_error
        1 q done
        1 r                              -> wait 5
        """,
    ),
    "broken without a word": (
        "A:1",
        """
        0 q -> A
        0 q ok
        1 q broke
        1 r -> A
        """,
    ),
    "a connection broken after commit does not affect the next": (
        "A:1",
        """
        0 q -> A
        0 q ok
        1 q broke connect
        1 r -> A
        """,
    ),
}


@pytest.mark.parametrize("name", SLOTS)
def test_slots(name: str) -> None:
    names, transcript = SLOTS[name]
    Stage(names).play(transcript)


REFUSED = {
    "refusals cost no attempt while an account is left": (
        "A B C D E",
        """
        0 r         -> A
        0 r 401     -> B
        0 r 402     -> C
        0 r 403     -> D
        0 r 429     -> E
        0 r ok
        """,
    ),
    "but each account is tried once": (
        "A B C D",
        """
        0 r     -> A
        0 r 401 -> B
        0 r 403 -> C
        0 r spent -> D
        0 r product -> stop 503 D final
        """,
    ),
    "what takes time costs": (
        "A B C D",
        """
        0 r     -> A
        0 r 500 -> B
        0 r 401 -> C
        0 r 500 -> D
        0 r 500 -> stop 500 D
        """,
    ),
    "an account that was refused loses its conversations": (
        "A B",
        """
        0000 q@talk -> A
        0000 q@talk ok
        0000 q@talk done
        1000 r      -> B
        1000 s      -> A
        1000 s 401  -> B
        1000 s ok
        1000 r done
        1000 s done
        1700 t@talk -> A
        """,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_move_on_while_an_account_is_left(name: str) -> None:
    names, transcript = REFUSED[name]
    Stage(names).play(transcript)


ALONE = {
    "nothing else can serve: two seconds at most, however long it is away": (
        "A",
        """
        00 q         -> A
        00 q connect
        00 q done
        01 r         -> A
        01 r connect
        03 s         -> A
        03 s connect
        04 t         -> wait 1 slot
        05 t         -> A
        05 t connect -> wait 0.25 slot
        """,
    ),
    "with a fallback the cool-down keeps its length": (
        "A | F",
        """
        00 q         -> A
        00 q connect -> F
        01 r         -> A
        01 r connect -> F
        02 s         -> F
        03 s         -> A
        """,
    ),
    "unless the fallback is shut": (
        "A | F",
        """
        00 p                      -> A
        00 p connect              -> F
        01 q                      -> A
        01 q connect              -> F
        03 r                      -> A
        03 r connect              -> F
        03 r 429 retry-after=3600 -> wait 0.25 slot
        03 s                      -> wait 2 slot
        05 s                      -> A
        """,
    ),
    "the first success lets everybody in": (
        "A",
        """
        0.0 p         -> A
        0.0 q         -> A
        0.0 p connect -> wait 0.25 slot
        0.1 r         -> wait 0.9 slot
        0.25 p        -> A
        0.25 p ok
        0.3 r         -> A
        0.3 s         -> A
        """,
    ),
    "a request counts one failure": (
        "A",
        """
        0.00 q         -> A
        0.00 q connect -> wait 0.25 slot
        0.25 q         -> A
        0.25 q connect -> wait 0.5 slot
        0.75 q         -> A
        0.75 q connect -> stop 502 A after=1
        1.00 r         -> wait 0.75 slot
        """,
    ),
    "the upstream's Retry-After still counts": (
        "A",
        """
        0 q                    -> A
        0 q 529 retry-after=60 -> stop 529 A after=60
        9 r                    -> stop 529 A after=51
        """,
    ),
}


@pytest.mark.parametrize("name", ALONE)
def test_an_upstream_without_alternative_is_not_held_back_for_long(name: str) -> None:
    names, transcript = ALONE[name]
    Stage(names).play(transcript)


CURED = {
    "a cure costs no attempt, and each is tried once": (
        Retry(max_attempts=1),
        "A B",
        """
        0 r          -> A
        0 r metadata -> A fields
        0 r metadata -> stop 400 A
        """,
    ),
    "at most three": (
        Retry(),
        "A",
        """
        0 r           -> A
        0 r metadata  -> A fields
        0 r signature -> A fields stripped
        0 r user_id   -> A fields stripped user_id
        0 r blind     -> stop 404 A final
        """,
    ),
    "a success is remembered for an hour, for its upstream": (
        Retry(),
        "A B / C",
        """
        0000 r          -> A
        0000 r metadata -> A fields
        0000 r ok
        0000 r done
        0001 s          -> B fields
        0001 t          -> C
        0001 s done
        0001 t done
        0002 u          -> A fields
        0002 u metadata -> stop 400 A
        3600 v          -> B
        """,
    ),
    "a signature is this request's own": (
        Retry(),
        "A",
        """
        0 r           -> A
        0 r signature -> A stripped
        0 r ok
        1 s           -> A
        """,
    ),
    "another upstream gets the request as it was": (
        Retry(),
        "A | F",
        """
        0 r          -> A
        0 r metadata -> A fields
        0 r 500      -> F
        """,
    ),
    "and what did not help is not remembered": (
        Retry(),
        "A",
        """
        0 r          -> A
        0 r metadata -> A fields
        0 r 400      -> stop 400 A
        1 s          -> A
        """,
    ),
}


@pytest.mark.parametrize("name", CURED)
def test_a_refusal_with_a_cure_is_sent_again(name: str) -> None:
    retry, names, transcript = CURED[name]
    Stage(names, retry).play(transcript)


BUDGETS = {
    "one attempt": (
        Retry(max_attempts=1),
        "A B",
        """
        0 r     -> A
        0 r 500 -> stop 500 A
        """,
    ),
    "one attempt, and the free ones": (
        Retry(max_attempts=1),
        "A*",
        """
        0 r           -> A
        0 r 401       -> A
        0 r signature -> A stripped
        0 r 401       -> stop 503 A final
        """,
    ),
    "no waiting": (
        Retry(max_wait=0.0),
        "A:1",
        """
        0 r     -> A
        0 s     -> stop 529 - after=1
        0 r 500 -> stop 500 A
        """,
    ),
    "overloaded, and the other account is out of the race": (
        Retry(max_attempts=5),
        "A B",
        """
        0.0 r       -> A
        0.1 r empty -> B
        0.2 r empty -> A
        0.2 r 529   -> wait 1
        1.2 r       -> A
        """,
    ),
    "connects count as waits": (
        Retry(max_attempts=9),
        "A",
        """
        00.00 r         -> A
        10.00 r connect -> wait 0.25 slot
        10.25 r         -> A
        20.25 r connect -> stop 502 A after=1
        """,
    ),
    "waits add up": (
        Retry(max_attempts=9, max_wait=3.0),
        "A",
        """
        0.0 r     -> A
        0.0 r 500 -> wait 0.5
        0.5 r     -> A
        0.5 r 500 -> wait 1
        1.5 r     -> A
        9.5 r 500 -> stop 500 A
        """,
    ),
}


@pytest.mark.parametrize("name", BUDGETS)
def test_budgets(name: str) -> None:
    retry, names, transcript = BUDGETS[name]
    Stage(names, retry).play(transcript)


def test_jitter_makes_waits_longer_never_shorter_and_keeps_the_budget() -> None:
    Stage("A", random=lambda: 0.999).play(
        """
        0 r                    -> A
        0 r 500                -> wait 0.71976
        """
    )
    stage = Stage("A", random=lambda: 1.0)
    stage.play(
        """
        0 r                    -> A
        0 r 429 retry-after=10 -> wait 12
        """
    )
    stage = Stage("A", random=lambda: 1.0)
    stage.play(
        """
        0 r                    -> A
        0 r 429 retry-after=19 -> wait 20
        """
    )
    assert JITTER == 0.2


def test_waiting_requests_are_woken() -> None:
    stage = Stage("A:1")
    stage.play("0 q -> A\n0 r -> wait 20 slot")
    woken: list[str] = []
    stage.scheduler.on_free(lambda: woken.append("slot"))
    stage.play("0 q ok")
    assert woken == []
    stage.play("1 q done\n1 q done")
    assert woken == ["slot"]


@pytest.mark.parametrize("outcome", ["500", "broke", "done"])
def test_every_end_frees_a_slot(outcome: str) -> None:
    stage = Stage("A:1")
    stage.play("0 q -> A")
    woken: list[bool] = []
    stage.scheduler.on_free(lambda: woken.append(True))
    stage.play(f"1 q {outcome}")
    assert woken == [True]
    (account,) = stage.scheduler.snapshot(1.0)
    assert account.in_flight == 0


@pytest.mark.parametrize("outcome", ["ok", "responded", "done", "400", "429"])
def test_the_end_of_a_probe_wakes_its_waiters(outcome: str) -> None:
    stage = Stage("A")
    stage.play(
        """
        00 q                    -> A
        00 q 429 retry-after=30 -> stop 429 A after=30
        30 r                    -> A
        """
    )
    woken: list[bool] = []
    stage.scheduler.on_free(lambda: woken.append(True))
    stage.play(f"31 r {outcome}")
    assert woken == [True]


def test_a_response_without_a_probe_wakes_no_waiter() -> None:
    stage = Stage("A")
    stage.play("0 r -> A")
    stage.scheduler.on_free(lambda: pytest.fail("woken"))
    stage.play("1 r responded\n1 r ok")


def test_failures_and_tried_accounts_are_recorded() -> None:
    stage = Stage("A B")
    stage.play("0 r -> A\n0 r contentless -> A\n0 r 401 -> B\n0 r 500")
    retries = stage.requests["r"].retries
    assert retries.has_met("empty")
    assert not retries.has_met("limit")
    assert retries.tried == (("A", "a", 0), ("A", "a", 401), ("B", "a", 500))


def test_a_second_model_refused_within_the_hour_closes_the_account() -> None:
    scheduler = Scheduler(cast("A"))

    def forbidden(model: str, now: float) -> None:
        request = Request(scheduler, scheduler.targets([Candidate("a", model, 0)]))
        assert describe(request.next(now)) == "A"
        request.report(now, ["403"])

    def state() -> State:
        return scheduler.snapshot(5000.0)[0].state

    forbidden("big", 0.0)
    forbidden("small", 4000.0)
    assert state() is State.FREE
    served = Request(scheduler, scheduler.targets([Candidate("a", "small", 0)]))
    assert describe(served.next(4990.0)) == "A"
    served.report(4990.0, ["ok"])
    forbidden("tiny", 4999.0)
    assert state() is State.FREE, "a success in between"
    forbidden("other", 5000.0)
    assert state() is State.CLOSED


def test_a_feature_that_one_account_does_not_have_goes_to_another_at_once() -> None:
    scheduler = Scheduler(cast("A B"))
    targets = scheduler.targets([Candidate("a", "m", 0)])
    headers = [(b"anthropic-beta", b"context-1m-2025-08-07")]
    long, plain = Sent({}, headers), Sent({})
    words = refused(429, "Extra usage is required for long context requests.")

    def request(sent: Sent, now: float) -> tuple[Request, str]:
        made = Request(scheduler, targets, sent=sent)
        return made, describe(made.next(now))

    first, account = request(long, 0.0)
    assert account == "A"
    first.failed(0.0, words)
    assert describe(first.next(0.0)) == "B"
    first.report(0.0, ["ok"])
    first.report(0.0, ["done"])
    assert request(long, 1.0)[1] == "B"
    assert request(plain, 2.0)[1] == "A"
    last, account = request(long, 4.0)
    assert account == "B"
    last.failed(4.0, words)
    assert describe(last.next(4.0)) == "stop 429 B final"
    assert request(plain, 5.0)[1] == "A"
    assert describe(request(long, 6.0)[0].next(6.0)) == "stop 429 B final"


def test_counting_requests_do_not_probe() -> None:
    stage = Stage("A B")
    stage.play("0 q -> A\n0 q 429 retry-after=30 -> B\n0 q 429 retry-after=90 -> stop 429 B after=30")
    assert stage.scheduler.lease(stage.targets, "", 40.0, probe=False) is None
    stage.play("40 r -> A\n41 r ok")
    lease = stage.scheduler.lease(stage.targets, "", 42.0, probe=False)
    assert lease is not None
    lease.release()


def test_a_lease_is_released_once() -> None:
    stage = Stage("A:1")
    stage.play("0 q -> A\n1 q 500\n1 q done\n1 q done\n1 r -> A")
    (account,) = stage.scheduler.snapshot(1.0)
    assert account.in_flight == 1


def test_no_targets() -> None:
    stop = Request(Scheduler(cast("A")), ()).next(0.0)
    assert isinstance(stop, GiveUp)
    assert describe(stop) == "stop 503 -"
    assert stop.failure is None
    assert stop.error_message(str, str) == "no account serves this model"


def test_wire_models_cool_down_separately() -> None:
    scheduler = Scheduler(cast("A"))

    def request(model: str) -> Request:
        return Request(scheduler, scheduler.targets([Candidate("a", model, 0)]))

    first = request("big")
    assert describe(first.next(0.0)) == "A"
    first.report(0.0, ["429", "retry-after=60"])
    assert isinstance(request("big").next(1.0), GiveUp)
    assert describe(request("small").next(1.0)) == "A"


def test_a_timer_may_be_a_little_early() -> None:
    stage = Stage("A")
    stage.play(
        """
        0.0000 r                   -> A
        0.0000 r 429 retry-after=2 -> wait 2
        1.9990 r                   -> A
        1.9990 r 500               -> wait 0.5
        2.4985 r                   -> A
        """
    )
