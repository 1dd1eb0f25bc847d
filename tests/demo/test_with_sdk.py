"""The demo as its users meet it: the official SDK, a real gateway, the embedded upstream behind it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from anthropic import AsyncAnthropic, BadRequestError

from gateway.demo.running import configuration, listening
from gateway.demo.upstream import EVERY, MODELS, DemoUpstream
from tests.support.loops import settle
from tests.support.running import Running, running

MODEL = "claude-demo"
"""Served like any name; no SDK has a deprecation warning for it."""

BASH: Any = {
    "name": "Bash",
    "description": "Runs a command.",
    "input_schema": {
        "type": "object",
        "properties": {"command": {"type": "string"}},
        "required": ["command"],
    },
}

THINKING: Any = {"type": "enabled", "budget_tokens": 1024}


@pytest.fixture
async def gateway() -> AsyncIterator[Running]:
    async with (
        listening(DemoUpstream(pause=0.0)) as port,
        running(configuration(0, port), listing=True) as gateway,
    ):
        yield gateway


@pytest.fixture
async def client(gateway: Running) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=gateway.url, api_key="any", max_retries=0) as client:
        yield client


def user(content: object) -> Any:
    return {"role": "user", "content": content}


def words(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


async def create(client: AsyncAnthropic, *messages: Any, **fields: Any) -> Any:
    return await client.messages.create(
        model=MODEL, messages=list(messages), **{"max_tokens": 2000, **fields}
    )


async def test_create(client: AsyncAnthropic) -> None:
    message = await create(client, user("Hello"))

    assert 'You said: "Hello"' in words(message)
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens > 20


async def test_stream(client: AsyncAnthropic) -> None:
    async with client.messages.stream(model=MODEL, max_tokens=2000, messages=[user("Hello")]) as stream:
        pieces = [text async for text in stream.text_stream]
        message = await stream.get_final_message()

    assert len(pieces) > 20
    assert "".join(pieces) == words(message)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_tool_round(client: AsyncAnthropic, streamed: bool) -> None:
    request: Any = {"model": MODEL, "max_tokens": 2000, "tools": [BASH]}
    first = user("run echo hi")
    if streamed:
        async with client.messages.stream(**request, messages=[first]) as stream:
            called: Any = await stream.get_final_message()
    else:
        called = await client.messages.create(**request, messages=[first])
    call = called.content[-1]
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "hi"}

    response = await create(
        client, first, {"role": "assistant", "content": called.content}, user([result]), tools=[BASH]
    )

    assert (called.stop_reason, call.type, call.name, call.input) == (
        "tool_use",
        "tool_use",
        "Bash",
        {"command": "echo hi"},
    )
    assert "The tool says: hi" in words(response)
    assert response.stop_reason == "end_turn"


async def test_thinking_round_trip(client: AsyncAnthropic, gateway: Running) -> None:
    first = await create(client, user("Hello"), thinking=THINKING)
    thought = first.content[0]

    second = await create(
        client,
        user("Hello"),
        {"role": "assistant", "content": first.content},
        user("And again"),
        thinking=THINKING,
    )

    assert thought.type == "thinking"
    assert thought.thinking
    assert second.content[0].type == "thinking"
    assert not [line for line in gateway.lines if "without_thinking" in line]


async def test_thinking_that_was_signed_elsewhere_is_left_out_by_the_gateway(
    client: AsyncAnthropic, gateway: Running
) -> None:
    thought = {"type": "thinking", "thinking": "So it is.", "signature": "of-another-host"}

    response = await create(
        client,
        user("Hello"),
        {"role": "assistant", "content": [thought, {"type": "text", "text": "Yes."}]},
        user("And again"),
        thinking=THINKING,
    )

    assert 'You said: "And again"' in words(response)
    await settle()
    assert [line for line in gateway.lines if "without_thinking" in line]


async def test_count_tokens(client: AsyncAnthropic) -> None:
    counted = await client.messages.count_tokens(model=MODEL, messages=[user("Hello")])
    message = await create(client, user("Hello"))

    assert counted.input_tokens == message.usage.input_tokens


async def test_models(client: AsyncAnthropic) -> None:
    listed = [model.id async for model in client.models.list()]

    assert listed == sorted(MODELS)


async def test_the_second_account_takes_over_and_the_log_shows_it(
    client: AsyncAnthropic, gateway: Running
) -> None:
    for _ in range(EVERY):
        await create(client, user("Hello"))

    await settle()
    lines = [line for line in gateway.lines if "POST /v1/messages" in line]
    assert ["demo/first@" in line for line in lines] == [True] * (EVERY - 1) + [False]
    assert "second@demo.example 200 ok attempts=2" in lines[-1]


async def test_an_upstream_400_reaches_the_client_unchanged(client: AsyncAnthropic) -> None:
    with pytest.raises(BadRequestError, match="max_tokens: Input should be greater than or equal to 1"):
        await create(client, user("Hello"), max_tokens=0)
