"""The signature fallback: one more try on the same account, without the thinking that was refused."""

from typing import Any

import pytest

from gateway.config import Retry
from tests.fakes.messages import Received, Script, error_response
from tests.support.clock import run
from tests.support.stage import account_of, good, staged

WORDINGS = (
    "messages.1.content.0: Invalid `signature` in `thinking` block",
    "messages.3.content.0.thinking.signature: Field required",
    "Expected `thinking` or `redacted_thinking`, but found `tool_use`.",
    "`thinking` or `redacted_thinking` blocks in the latest assistant message cannot be modified",
    "INVALID SIGNATURE IN THINKING BLOCK",
)

THINKING = {"type": "thinking", "thinking": "hm", "signature": "c2lnbmF0dXJl"}
REDACTED = {"type": "redacted_thinking", "data": "b3BhcXVl"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "ls", "input": {"type": "thinking"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "a b"}
TEXT = {"type": "text", "text": "Done."}


def history(*content: dict[str, Any], thinking: str = "enabled") -> dict[str, Any]:
    """A conversation whose last assistant turn is this."""
    last = RESULT if CALL in content else {"type": "text", "text": "go on"}
    return {
        "model": "m",
        "max_tokens": 3000,
        "thinking": {"type": thinking, "budget_tokens": 2000},
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": list(content)},
            {"role": "user", "content": [last]},
        ],
    }


class Refusing:
    """Refuses a signature the first `times`, or any request with a thinking block."""

    def __init__(self, wording: str = WORDINGS[0], times: int | None = None, status: int = 400) -> None:
        self.seen: list[Any] = []
        self._error = error_response(status, "invalid_request_error", wording)
        self._times = times

    def __call__(self, request: Received) -> Script:
        self.seen.append(request.document)
        if self._times is None:
            return self._error if b'"signature"' in request.body else good(request)
        return self._error if len(self.seen) <= self._times else good(request)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wording", WORDINGS)
def test_retry_without_thinking(wording: str, stream: bool) -> None:
    upstream = Refusing(wording)
    document = history(THINKING, REDACTED, TEXT) | ({"stream": True} if stream else {})

    async def scenario() -> None:
        # Even the last attempt that is allowed gets it.
        async with staged(upstream, "a@x", "b@x", retry=Retry(max_attempts=1)) as stage:
            response = await stage.running.post(document)
            assert response.status == 200
            assert [account_of(request) for _, request in stage.requests] == ["a", "a"]
            assert "repairs=cure:without_thinking" in stage.running.lines[-1]
            assert stage.cooling() == {}

    run(scenario())
    first, second = upstream.seen
    assert first == document
    assert second == document | {"messages": history(TEXT)["messages"]}


@pytest.mark.parametrize("wording", WORDINGS)
def test_a_token_count_with_a_refused_signature_is_estimated(wording: str) -> None:
    async def scenario() -> None:
        async with staged(Refusing(wording), "a@x") as stage:
            document = history(THINKING, REDACTED, TEXT)
            response = await stage.running.post(document, "/v1/messages/count_tokens")
            assert (response.status, response.header("x-token-count")) == (200, "estimate")

    run(scenario())


@pytest.mark.parametrize(
    ("content", "thinking", "kept"),
    [
        ((THINKING, CALL), "enabled", False),
        ((THINKING, CALL), "adaptive", False),
        ((THINKING, CALL), "disabled", True),
        ((THINKING, TEXT), "enabled", True),
    ],
)
def test_thinking_ends_where_a_tool_call_would_have_to_begin_with_it(
    content: tuple[dict[str, Any], ...], thinking: str, kept: bool
) -> None:
    upstream = Refusing()
    document = history(*content, thinking=thinking)

    async def scenario() -> None:
        async with staged(upstream, "a@x") as stage:
            assert (await stage.running.post(document)).status == 200

    run(scenario())
    expected = history(*content[1:], thinking=thinking)
    if not kept:
        del expected["thinking"]
    assert upstream.seen == [document, expected]


def test_a_second_refusal_is_returned_unchanged() -> None:
    async def scenario() -> None:
        async with staged(Refusing(times=9), "a@x", "b@x") as stage:
            response = await stage.running.post(history(THINKING, TEXT))
            assert [account_of(request) for _, request in stage.requests] == ["a", "a"]
            assert (response.status, response.message) == (400, WORDINGS[0])
            assert response.header("request-id") == "req_upstream"
            assert response.header("x-gateway-attempts") == "2"

    run(scenario())


@pytest.mark.parametrize("mode", ["whole", "stream", "count"])
def test_no_retry_without_thinking_in_the_history(mode: str) -> None:
    async def scenario() -> None:
        async with staged(Refusing(times=9), "a@x", "b@x") as stage:
            assert await stage.transcript(mode) == "a = 400"

    run(scenario())


@pytest.mark.parametrize(
    ("status", "wording"),
    [
        (400, "max_tokens must be greater than `thinking.budget_tokens`"),
        (400, "adaptive thinking is not supported on this model"),
        (422, WORDINGS[0]),
    ],
)
def test_other_refusals_are_returned_at_once(status: int, wording: str) -> None:
    async def scenario() -> None:
        async with staged(Refusing(wording, times=9, status=status), "a@x", "b@x") as stage:
            assert await stage.transcript() == f"a = {status}"

    run(scenario())
