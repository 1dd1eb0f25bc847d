"""Agents' sessions through a Gemini upstream that takes nothing that Google would not take."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from anthropic import AsyncAnthropic, beta_async_tool

from gateway.config import Account, Intercept, Secret
from gateway.demo.running import listening
from gateway.demo.upstream import ACCOUNTS as DEMO_ACCOUNTS
from gateway.demo.upstream import DemoUpstream
from tests.dialects.gemini.support import chunk
from tests.fakes.gemini.models import LISTED
from tests.fakes.gemini.server import EVERY, GeminiUpstream, UpstreamRequest, strict_upstream
from tests.fakes.gemini.signatures import BYPASS, signed
from tests.messages.samples import client_requests
from tests.support.agent import Agent, words
from tests.support.gemini import MODEL, before, message_of
from tests.support.running import Running, running, upstream

THINKING = {"type": "adaptive"}

TURNS = {
    "run ls -l": "The tool says: result of Bash",
    "Hello": 'You said: "Hello"',
    "read /etc/hosts": "The tool says: result of Read",
    "run echo one": "The tool says: result of Bash",
    "What is this?": 'You said: "What is this?"',
    "run echo two": "The tool says: result of Bash",
    "read /tmp/x": "The tool says: result of Read",
    "run echo three": "The tool says: result of Bash",
    "Thanks": 'You said: "Thanks"',
    "run true": "The tool says: result of Bash",
}
"""Ten turns of a session: the prompt, and text at the end of the response."""


@pytest.fixture
async def up() -> AsyncIterator[GeminiUpstream]:
    async with strict_upstream() as up:
        yield up


@pytest.fixture
async def gateway(up: GeminiUpstream) -> AsyncIterator[Running]:
    async with running(before(up, intercept=Intercept(warmup=False))) as gateway:
        yield gateway


def calls_of(request: UpstreamRequest) -> list[tuple[str, str]]:
    """Return (signature, expected signature) of every call in a request."""
    calls = [part for part in request.parts if "functionCall" in part]
    return [(part.get("thoughtSignature", ""), signed(part["functionCall"])) for part in calls]


def assert_at_once(agent: Agent) -> None:
    """No request needed a second attempt."""
    assert {response.header("x-gateway-attempts") for response in agent.responses} == {None}


@pytest.mark.parametrize(("thinking", "stream"), [(THINKING, True), (THINKING, False), (None, True)])
async def test_a_session_of_ten_turns(
    up: GeminiUpstream, gateway: Running, thinking: dict[str, str] | None, stream: bool
) -> None:
    agent = Agent(gateway, "claude-opus-5-5", stream=stream, **({"thinking": thinking} if thinking else {}))
    for prompt, spoken in TURNS.items():
        assert spoken in await agent.turn(prompt)

    assert_at_once(agent)
    assert len(up.requests) == len(agent.responses) == 17
    known = calls_of(up.requests[-1])
    assert len(known) == 7
    assert all(came == given for came, given in known), "every signature is the call's own"
    blocks = [block for message in agent.messages[1::2] for block in message["content"]]
    assert any(block["type"] == "thinking" for block in blocks) == (thinking is not None)
    ids = [block["id"] for block in blocks if block["type"] == "tool_use"]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_restart_between_a_call_and_its_result(up: GeminiUpstream, stream: bool) -> None:
    """Two gateways that know nothing of each other serve one session by turns."""
    async with running(before(up)) as one, running(before(up)) as other:
        agent = Agent(one, "claude-opus-5-5", stream=stream, thinking=THINKING)
        gateways = [one, other]
        for prompt, spoken in TURNS.items():
            message = await agent.send(prompt)
            while message["stop_reason"] == "tool_use":
                gateways.reverse()
                agent.gateway = gateways[0]
                message = await agent.give_results()
            assert spoken in words(message)

    assert_at_once(agent)
    came = {signature for request in up.requests for signature, _ in calls_of(request)}
    assert BYPASS in came
    assert len(came) > 1, "known signatures are sent"


async def test_the_thinking_before_a_call_keeps_its_signature_over_a_restart(up: GeminiUpstream) -> None:
    async with running(before(up)) as one, running(before(up)) as other:
        agent = Agent(one, "claude-opus-5-5", thinking=THINKING)
        usual = agent.fields
        agent.fields = {**usual, "tool_choice": {"type": "tool", "name": "Bash"}}
        message = await agent.send("Hello")
        agent.gateway, agent.fields = other, usual
        await agent.give_results()

    thought, call = message["content"]
    assert (thought["type"], call["type"]) == ("thinking", "tool_use")
    ((signature, expected),) = calls_of(up.requests[-1])
    assert thought["signature"] == f"gemini:{expected}"
    assert signature == expected
    assert_at_once(agent)


async def test_parallel_calls_of_which_only_the_first_is_signed(up: GeminiUpstream, gateway: Running) -> None:
    call = {"name": "Bash", "args": {"command": "ls"}}
    up.scripted.append(
        [
            chunk({"functionCall": call, "thoughtSignature": signed(call)}),
            chunk({"functionCall": {"name": "Read", "args": {"file_path": "/x"}}}, finish="STOP"),
        ]
    )
    agent = Agent(gateway, "claude-opus-5-5")
    spoken = await agent.turn("Hello")

    assert "result of Bash" in spoken
    assert "result of Read" in spoken
    assert up.requests[-1].signatures == [signed(call), None]
    assert_at_once(agent)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_session_moves_between_providers(up: GeminiUpstream, stream: bool) -> None:
    """Each turn with another model, and also between a call and its result."""
    key = DEMO_ACCOUNTS["second@demo.example"]
    async with listening(DemoUpstream(pause=0.0)) as port:
        payer = Account(name="a@x", api_key=Secret(key))
        anthropic = upstream(
            f"http://127.0.0.1:{port}", payer, name="anthropic", models={"claude-opus-5-5": "claude-opus-5-5"}
        )
        async with running(before(up, anthropic)) as gateway:
            agent = Agent(gateway, "claude-opus-5-5", stream=stream, thinking=THINKING)
            models = ["claude-opus-5-5", "gemini-3"]
            for prompt, spoken in TURNS.items():
                message = await agent.send(prompt)
                while message["stop_reason"] == "tool_use":
                    models.reverse()
                    agent.model = models[0]
                    message = await agent.give_results()
                assert spoken in words(message)
                models.reverse()
                agent.model = models[0]

    assert_at_once(agent)
    assert not [line for line in gateway.lines if "without_thinking" in line]
    blocks = [block for message in agent.messages[1::2] for block in message["content"]]
    marks = {block["signature"][:5] for block in blocks if block["type"] == "thinking"}
    assert {"demo-"} < marks, "both have thought"
    assert {request.status for request in up.requests} == {200}
    came = {signature for request in up.requests for signature, _ in calls_of(request)}
    assert BYPASS in came, "of the other provider's calls there is no signature"
    assert len(came) > 1


async def test_a_session_goes_on_when_its_account_is_limited(up: GeminiUpstream) -> None:
    async with running(before(up, limited=True)) as gateway:
        agent = Agent(gateway, "claude-opus-5-5", thinking=THINKING)
        for prompt, spoken in TURNS.items():
            assert spoken in await agent.turn(prompt)

    assert [request.status for request in up.requests].count(429) == 1
    assert [request.account for request in up.requests[:EVERY]] == ["first@fake.example"] * EVERY
    assert {request.account for request in up.requests[EVERY:]} == {"second@fake.example"}
    assert all(came == given for came, given in calls_of(up.requests[-1])), "signatures belong to no account"


# Real clients' requests.


def system_texts(document: dict[str, Any]) -> list[str]:
    """The texts of messages of role system."""
    messages = [message for message in document["messages"] if message["role"] == "system"]
    contents = [message["content"] for message in messages]
    return [
        text
        for content in contents
        for text in ([content] if isinstance(content, str) else [block["text"] for block in content])
    ]


@pytest.mark.parametrize(("name", "document"), client_requests())
async def test_requests_of_real_clients(
    up: GeminiUpstream, gateway: Running, name: str, document: dict[str, Any]
) -> None:
    if "max_tokens" not in document:
        response = await gateway.post(document, "/v1/messages/count_tokens?beta=true")
        assert response.header("x-token-count") == "upstream"
        assert response.document["input_tokens"] > 0
        return
    for stream in (True, False):
        message = message_of(await gateway.post({**document, "stream": stream}, "/v1/messages?beta=true"))
        assert message["model"] == document["model"]
        assert words(message) or message["stop_reason"] in ("tool_use", "max_tokens")
        form = document.get("output_config", {}).get("format")
        if form is not None:
            assert orjson.loads(words(message)).keys() >= set(form["schema"].get("required", ()))
    for request in up.requests:
        declared = [
            tool["name"] for tool in request.request.get("tools", [{}])[0].get("functionDeclarations", ())
        ]
        assert declared == [
            tool["name"] for tool in document.get("tools", ()) if tool["name"] != "DeferredToolPlaceholder"
        ]
        texts = [part.get("text") for part in request.parts]
        assert all(
            f"<system-reminder>\n{text}\n</system-reminder>" in texts for text in system_texts(document)
        )
        assert "x-anthropic-billing-header" not in str(request.request.get("systemInstruction"))


async def test_tools_that_were_loaded_on_demand(up: GeminiUpstream, gateway: Running) -> None:
    requests = dict(client_requests())
    document = requests["claude_code_parallel_tools.1"]
    known = {tool["name"] for tool in document["tools"]}
    loaded = [tool for tool in requests["claude_code_2_0_76_warmups.3"]["tools"] if tool["name"] not in known]
    results = document["messages"][-1]["content"]
    assert [block["type"] for block in results] == ["tool_result", "tool_result"]
    references = [{"type": "tool_reference", "tool_name": tool["name"]} for tool in loaded]
    request = {
        **document,
        "tools": [*document["tools"], *({**tool, "defer_loading": True} for tool in loaded)],
        "messages": [
            *document["messages"][:-1],
            {"role": "user", "content": [{**results[0], "content": references}, results[1]]},
        ],
    }
    message_of(await gateway.post(request, "/v1/messages?beta=true"))

    (sent,) = up.requests
    declared = sent.request["tools"][0]["functionDeclarations"]
    assert len(declared) == len(known) - 1 + len(loaded) > 21
    first, second = (part["functionResponse"] for part in sent.parts if "functionResponse" in part)
    assert all(tool["name"] in first["response"]["result"] for tool in loaded)
    assert second["response"]["result"]


# The official SDK.


@pytest.fixture
async def client(gateway: Running) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=gateway.url, api_key="any", max_retries=0) as client:
        yield client


async def test_the_tool_loop_of_the_sdk(up: GeminiUpstream, client: AsyncAnthropic) -> None:
    ran: list[str] = []

    @beta_async_tool
    async def bash(command: str) -> str:
        """Runs a command.

        Args:
            command: What to run.
        """
        ran.append(command)
        return f"output of {command}"

    fields: Any = {"model": "claude-demo", "max_tokens": 4000, "tools": [bash], "thinking": THINKING}
    prompt: Any = {"role": "user", "content": "run echo hi"}
    last = await client.beta.messages.tool_runner(**fields, messages=[prompt]).until_done()
    streamed = None
    async for stream in client.beta.messages.tool_runner(**fields, messages=[prompt], stream=True):
        streamed = await stream.get_final_message()

    assert ran == ["echo hi", "echo hi"]
    assert streamed is not None
    for message in (last, streamed):
        assert message.stop_reason == "end_turn"
        assert "The tool says: output of echo hi" in message.content[-1].text
        assert message.usage.input_tokens > 0
        assert message.usage.output_tokens > 0
    assert len(up.requests) == 4
    assert [request.signatures == [signed(call_of(request))] for request in up.requests[1::2]] == [True, True]


def call_of(request: UpstreamRequest) -> dict[str, Any]:
    (call,) = (part["functionCall"] for part in request.parts if "functionCall" in part)
    return dict(call)


async def test_the_sdk_counts_and_lists(up: GeminiUpstream) -> None:
    async with (
        running(before(up), listing=True) as gateway,
        AsyncAnthropic(base_url=gateway.url, api_key="any", max_retries=0) as client,
    ):
        prompt: Any = {"role": "user", "content": "Hello there"}
        counted = await client.messages.count_tokens(model="claude-demo", messages=[prompt])
        message = await client.messages.create(model="claude-demo", max_tokens=99, messages=[prompt])
        listed = {model.id: model.display_name async for model in client.models.list()}

    assert counted.input_tokens == message.usage.input_tokens
    assert listed.keys() >= set(LISTED)
    assert listed[MODEL] == f"{MODEL} (fake)"
