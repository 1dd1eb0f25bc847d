"""A Gemini upstream that refuses: which account is next, the cool-down, and the client's error."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import orjson
import pytest

from gateway.config import Retry
from gateway.dialects.gemini.signatures import BYPASS
from tests.dialects.gemini.support import chunk
from tests.fakes.messages import Received, Script, json_response
from tests.support.clock import run
from tests.support.gemini import detail, gemini, google_error, google_stream, message_of
from tests.support.stage import Responder, account_of, staged

GOOD = google_stream(chunk({"text": "Good."}, finish="STOP"))
MODES = ("stream", "whole")


def good(request: Received) -> Script:
    return json_response(200, {"totalTokens": 12}) if ":countTokens" in request.target else GOOD


def failing(script: Script, accounts: str) -> Responder:
    """These accounts get `script`, all others a good response."""
    return lambda request: script if account_of(request) in accounts else good(request)


def limited(*details: dict[str, Any], message: str = "Quota exceeded.", **headers: str) -> Script:
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return google_error(429, "RESOURCE_EXHAUSTED", message, *details, headers=named)


def delay(value: Any) -> dict[str, object]:
    return detail("RetryInfo", retryDelay=value)


def quota(**metadata: str) -> dict[str, object]:
    return detail("ErrorInfo", reason="RATE_LIMIT_EXCEEDED", metadata=metadata)


def in_a_while(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


DAILY = detail(
    "QuotaFailure",
    violations=[{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "50"}],
)
MINUTELY = detail("QuotaFailure", violations=[{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"}])

HINTS: list[tuple[Script, float]] = [
    # a 429's retry hint, and the cool-down of account and model in seconds
    (limited(delay("42s")), 42.0),
    (limited(delay("42.5s")), 42.5),
    (limited(delay({"seconds": 42, "nanos": 500_000_000})), 42.5),
    (limited(quota(quotaResetDelay="2h21m5.2s")), 8465.2),
    (limited(quota(quotaResetDelay="5s"), delay("30s")), 30.0),
    (limited(DAILY), 3600.0),
    (limited(quota(quota_limit="GenerateRequestsPerDayPerProjectPerModel")), 3600.0),
    (limited(quota(quota_limit="GenerateRequestsPerMinutePerProjectPerModel")), 5.0),
    (limited(DAILY, delay("30s")), 3600.0),
    (limited(DAILY, quota(quotaResetDelay="7h")), 25200.0),
    (limited(MINUTELY, delay("30s")), 30.0),
    (limited(retry_after="17"), 17.0),
    (limited(retry_after_ms="17500"), 17.5),
    (limited(), 5.0),
    (limited(message="Please retry in 99s."), 5.0),
]


@pytest.mark.parametrize(("script", "seconds"), HINTS)
def test_another_account_takes_over_until_the_limit_ends(script: Script, seconds: float) -> None:
    async def scenario() -> None:
        async with staged(failing(script, "a"), "a@x", "b@x", made=gemini) as stage:
            assert await stage.transcript("stream", "one") == "a b = 200"
            assert stage.cooling() == {"up/a m": seconds}
            assert await stage.transcript("stream", "one") == "b = 200"
            assert await stage.transcript("stream", "another") == "b = 200"

    run(scenario())


@pytest.mark.parametrize(
    "script",
    [
        limited(delay("42s")),
        google_error(403, "PERMISSION_DENIED", "No."),
        google_error(401, "UNAUTHENTICATED", "No."),
        google_error(500, "INTERNAL", "Oh."),
        google_error(404, "NOT_FOUND", "No countTokens."),
    ],
)
def test_a_failed_token_count_is_estimated_without_a_cool_down(script: Script) -> None:
    async def scenario() -> None:
        async with staged(
            lambda r: script if ":countTokens" in r.target else GOOD, "a@x", made=gemini
        ) as stage:
            counted = await stage.post("count")
            assert (counted.status, counted.header("x-token-count")) == (200, "estimate")
            assert stage.cooling() == {}
            assert message_of(await stage.post("whole"))["content"][0]["text"] == "Good."

    run(scenario())


def test_a_reset_that_is_a_moment() -> None:
    script = limited(quota(quotaResetTimeStamp=in_a_while(600.0)))

    async def scenario() -> None:
        async with staged(failing(script, "a"), "a@x", "b@x", made=gemini) as stage:
            assert await stage.transcript() == "a b = 200"
            assert 590.0 < stage.cooling()["up/a m"] <= 600.0

    run(scenario())


@pytest.mark.parametrize("mode", MODES)
def test_a_short_limit_of_the_only_account_is_waited_for(mode: str) -> None:
    scripts = [limited(delay("1.5s"))]

    async def scenario() -> None:
        async with staged(lambda r: scripts.pop() if scripts else good(r), "a@x", made=gemini) as stage:
            assert await stage.transcript(mode) == "a 1.5 a = 200"

    run(scenario())


@pytest.mark.parametrize("mode", MODES)
def test_retry_after_when_all_accounts_are_limited(mode: str) -> None:
    scripts = {"a": limited(delay("600s")), "b": limited(delay("90s"))}

    async def scenario() -> None:
        async with staged(lambda r: scripts[account_of(r)], "a@x", "b@x", made=gemini) as stage:
            for requests in (2, 0):
                stage.requests.clear()
                response = await stage.post(mode)
                assert (response.status, response.error_type) == (429, "rate_limit_error")
                assert response.header("retry-after") == "90"
                assert "Quota exceeded." in response.message
                assert len(stage.requests) == requests

    run(scenario())


REFUSALS: list[tuple[Script, str, dict[str, float]]] = [
    # the first account's response; transcript; cool-downs
    (google_error(401, "UNAUTHENTICATED", "No."), "a b = 200", {"up/a": 600.0}),
    (
        google_error(400, "INVALID_ARGUMENT", "Bad key.", detail("ErrorInfo", reason="API_KEY_INVALID")),
        "a b = 200",
        {"up/a": 600.0},
    ),
    (google_error(403, "PERMISSION_DENIED", "No."), "a b = 200", {"up/a m": 60.0}),
    (google_error(400, "FAILED_PRECONDITION", "Enable billing."), "a b = 200", {"up/a": 60.0}),
    (google_error(404, "NOT_FOUND", "No such model."), "a b = 200", {"up/a m": 600.0}),
    (google_error(500, "INTERNAL", "Oh."), "a b = 200", {}),
    (google_error(503, "UNAVAILABLE", "Overloaded."), "a b = 200", {}),
    (google_error(499, "CANCELLED", "Oh."), "a b = 200", {}),
    (google_error(400, "INVALID_ARGUMENT", "Bad request."), "a = 400", {}),
    (json_response(502, b"<html>Bad gateway</html>"), "a b = 200", {}),
]


@pytest.mark.parametrize("mode", ["stream", "whole"])
@pytest.mark.parametrize(("script", "expected", "cooling"), REFUSALS)
def test_a_refusal(script: Script, expected: str, cooling: dict[str, float], mode: str) -> None:
    async def scenario() -> None:
        async with staged(failing(script, "a"), "a@x", "b@x", made=gemini) as stage:
            assert await stage.transcript(mode) == expected
            assert stage.cooling() == cooling

    run(scenario())


LAST_WORDS: list[tuple[Script, int, str, str]] = [
    # every account's response; status, type and words that the client gets
    (google_error(400, "INVALID_ARGUMENT", "No contents."), 400, "invalid_request_error", "No contents."),
    (google_error(404, "NOT_FOUND", "models/m is not found"), 404, "not_found_error", "models/m is not found"),
    (google_error(503, "UNAVAILABLE", "Overloaded."), 503, "api_error", "Overloaded."),
    (google_error(504, "DEADLINE_EXCEEDED", "Slow."), 504, "timeout_error", "Slow."),
    (google_error(401, "UNAUTHENTICATED", "No."), 503, "api_error", "account"),
    (google_error(403, "PERMISSION_DENIED", "No."), 503, "api_error", "account"),
    (json_response(502, b"<html>Bad gateway</html>"), 502, "api_error", "Bad gateway"),
]  # fmt: skip


@pytest.mark.parametrize("mode", ["stream", "whole"])
@pytest.mark.parametrize(("script", "status", "type", "words"), LAST_WORDS)
def test_error_after_the_last_attempt(script: Script, status: int, type: str, words: str, mode: str) -> None:
    async def scenario() -> None:
        async with staged(lambda _: script, "a@x", "b@x", made=gemini, retry=Retry()) as stage:
            response = await stage.post(mode)
            assert (response.status, response.error_type) == (status, type)
            assert words in response.message
            assert response.document["request_id"] == response.header("request-id")
            final = response.header("x-should-retry") == "false"
            assert final == (words == "account")

    run(scenario())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            "prompt is too long: 1200000 tokens > 1048576 maximum. ",
        ),
        ("The input token count exceeds the maximum number of tokens allowed.", "prompt is too long: "),
    ],
)
def test_context_limit_messages_become_the_apis(message: str, expected: str, mode: str) -> None:
    script = google_error(400, "INVALID_ARGUMENT", message)

    async def scenario() -> None:
        async with staged(lambda _: script, "a@x", "b@x", made=gemini) as stage:
            response = await stage.post(mode)
            assert (response.status, response.error_type) == (400, "invalid_request_error")
            assert response.message == expected + message
            assert (len(stage.requests), stage.cooling()) == (1, {})

    run(scenario())


# Signatures.

THOUGHT = {"text": "Hm.", "thought": True}
CALL = {"functionCall": {"name": "Bash", "args": {"command": "ls"}}}
SIGNED = google_stream(
    chunk(THOUGHT),
    chunk({**CALL, "thoughtSignature": "dGhlaXJz"}),
    chunk(CALL),
    chunk(finish="STOP"),
)
WORDINGS = (
    "Function call is missing a thought_signature in functionCall parts.",
    "Corrupted Thought Signature.",
    "thoughtSignature: base64 expected",
    "Invalid THOUGHT_SIGNATURE",
)


def refusing(wording: str, times: int) -> Responder:
    """Calls a tool; then refuses the signature the first `times`."""
    left = [SIGNED, *([google_error(400, "INVALID_ARGUMENT", wording)] * times)]
    return lambda request: left.pop(0) if left else good(request)


async def with_results(stage: Any, message: dict[str, Any], mode: str) -> Any:
    """The request that follows a message with calls."""
    calls = [block["id"] for block in message["content"] if block["type"] == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": id, "content": "x"} for id in calls]
    document = {
        "model": "m",
        "max_tokens": 100,
        "stream": mode == "stream",
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": message["content"]},
            {"role": "user", "content": results},
        ],
    }
    target = "/v1/messages/count_tokens" if mode == "count" else "/v1/messages"
    return await stage.running.post(document, target)


def model_parts(request: Received) -> list[dict[str, Any]]:
    """Of the assistant's turn."""
    document = orjson.loads(request.body)
    contents = document.get("generateContentRequest", document)["contents"]
    return [part for turn in contents if turn["role"] == "model" for part in turn["parts"]]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wording", WORDINGS)
def test_a_refused_signature_is_left_out_once(wording: str, mode: str) -> None:
    async def scenario() -> None:
        async with staged(
            refusing(wording, 1), "a@x", "b@x", made=gemini, retry=Retry(max_attempts=1)
        ) as stage:
            message = message_of(await stage.post("stream"))
            response = await with_results(stage, message, mode)
            assert response.status == 200
            assert response.header("x-gateway-attempts") == "2"
            _, first, second = (request for _, request in stage.requests)
        assert account_of(first) == account_of(second)
        assert [part.get("thoughtSignature") for part in model_parts(first)] == [
            "dGhlaXJz",
            "dGhlaXJz",
            None,
        ]
        assert [part.get("thoughtSignature") for part in model_parts(second)] == [BYPASS, BYPASS]
        assert all("functionCall" in part for part in model_parts(second))

    run(scenario())


@pytest.mark.parametrize("mode", MODES)
def test_a_signature_refused_twice_is_an_error(mode: str) -> None:
    async def scenario() -> None:
        async with staged(refusing(WORDINGS[0], 2), "a@x", "b@x", made=gemini, retry=Retry()) as stage:
            message = message_of(await stage.post("whole"))
            response = await with_results(stage, message, mode)
            assert (response.status, response.error_type) == (400, "invalid_request_error")
            assert WORDINGS[0] in response.message
            assert len(stage.requests) == 3
            assert stage.cooling() == {}
            # The signatures are forgotten: the next turn, with the same history, costs one request.
            requests = len(stage.requests)
            assert (await with_results(stage, message, mode)).status == 200
            assert len(stage.requests) == requests + 1
            assert [part.get("thoughtSignature") for part in model_parts(stage.requests[-1][1])] == [
                BYPASS,
                None,
            ]

    run(scenario())


@pytest.mark.parametrize("mode", ["stream", "whole"])
@pytest.mark.parametrize(
    "chunks",
    [
        [chunk(finish="MISSING_THOUGHT_SIGNATURE")],
        [{"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": WORDINGS[0]}}],
    ],
)
def test_a_signature_that_is_refused_inside_a_stream(chunks: list[Any], mode: str) -> None:
    left = [SIGNED, google_stream(*chunks)]

    async def scenario() -> None:
        async with staged(lambda r: left.pop(0) if left else good(r), "a@x", "b@x", made=gemini) as stage:
            message = message_of(await stage.post("stream"))
            assert message_of(await with_results(stage, message, mode))["content"][0]["text"] == "Good."
            assert [account_of(request) for _, request in stage.requests] == ["a", "a", "a"]
            assert model_parts(stage.requests[-1][1])[0]["thoughtSignature"] == BYPASS

    run(scenario())


@pytest.mark.parametrize("mode", MODES)
def test_a_refused_field_is_left_out_and_stays_out(mode: str) -> None:
    words = "Unknown name \"id\" at 'contents[1].parts[0].function_call': Cannot find field."

    def respond(request: Received) -> Script:
        return (
            google_error(400, "INVALID_ARGUMENT", words) if b'"id":"toolu' in request.body else good(request)
        )

    left = [SIGNED]

    async def scenario() -> None:
        async with staged(lambda r: left.pop(0) if left else respond(r), "a@x", "b@x", made=gemini) as stage:
            message = message_of(await stage.post("stream"))
            for requests in (3, 4):
                assert message_of(await with_results(stage, message, mode))["content"][0]["text"] == "Good."
                assert len(stage.requests) == requests
            assert stage.cooling() == {}
            assert any("cure:call_ids" in line for line in stage.running.lines)

    run(scenario())


# Requests that are refused before an upstream is tried.


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"stop_sequences": list("abcdef")}, "at most 5"),
        ({"tools": [{"type": "computer_20250124", "name": "computer"}]}, "'computer'"),
        ({"thread": {"type": "create"}}, "without `thread`"),
        ({"max_tokens": "9"}, "max_tokens: must be an integer"),
        (
            {"tools": [{"name": "__00000000"}, {"name": "", "input_schema": {}}]},
            "tools.1.name: must not be empty",
        ),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": ""}]}]},
            "messages.0.content.0.name: must not be empty",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}],
                    }
                ]
            },
            "messages.0.content.0",
        ),
    ],
)
def test_untranslatable_requests(fields: dict[str, Any], words: str) -> None:
    async def scenario() -> None:
        async with staged(good, "a@x", made=gemini) as stage:
            document = {
                "model": "m",
                "max_tokens": 9,
                "messages": [{"role": "user", "content": "hi"}],
                **fields,
            }
            for stream in (True, False):
                response = await stage.running.post({**document, "stream": stream})
                assert (response.status, response.error_type) == (400, "invalid_request_error")
                assert words in response.message
            assert not stage.requests

    run(scenario())


@pytest.mark.parametrize("path", ["", "/v1/projects/P/models/{model}:streamGenerateContent"])
@pytest.mark.parametrize("model", ["../../v1/projects/OTHER/models/x", "..", "models/.", "a/../b"])
def test_a_model_name_that_leaves_the_path_is_refused(model: str, path: str) -> None:
    async def scenario() -> None:
        made = partial(gemini, options={"path": path} if path else {})
        async with staged(good, "a@x", made=made) as stage:
            hi = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
            response = await stage.running.post(hi)
            assert (response.status, response.error_type) == (404, "not_found_error")
            assert model in response.message
            assert not stage.requests

    run(scenario())
