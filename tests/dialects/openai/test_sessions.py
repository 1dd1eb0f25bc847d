"""Ten turns of an agent against the strict host of every preset, without a refusal."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.config.openai_presets import PRESETS
from gateway.dialects.base import Cure
from gateway.dialects.openai.dialect import OpenAIDialect
from gateway.messages.stream import StreamWriter
from gateway.routing.failures import Failure, FailureKind
from tests.dialects.openai.support import (
    check_grammar,
    cure_from,
    dialect,
    incoming,
    message,
    read_events,
    text,
    tool,
    tool_result,
    upstream,
    user,
)
from tests.fakes.openai.host import TURNS, Host, traits_of
from tests.fakes.openai.manners import Reply

TOOLS = [tool("Read"), tool("mcp__a.b__" + "x" * 80)]
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}}

AGENT: dict[str, Any] = {
    "system": [text("You are an agent."), text("Be brief.")],
    "tools": TOOLS,
    "max_tokens": 4000,
    "thinking": {"type": "adaptive"},
    "metadata": {"user_id": "user_1_account__session_2"},
}


class Session:
    """An agent's conversation with one host after another."""

    def __init__(self) -> None:
        self.history: list[dict[str, Any]] = [user([text("begin"), IMAGE, PDF])]
        self.cures: list[Cure] = []

    def turn(self, by: OpenAIDialect, host: Host, preset: str, **fields: Any) -> dict[str, Any]:
        """Send one request, with the cures that refusals call for; return the message."""
        request = incoming({**AGENT, "messages": self.history, **fields})
        to = upstream(preset, **({} if preset else {"base_url": "https://h.example/v1"}))
        for _ in range(4):
            outgoing = by.encode(to, "m-1", request, stream=True, cures=self.cures)
            headers = {name.decode(): value.decode() for name, value in outgoing.headers or ()}
            status, _, data = host.respond("POST", outgoing.target, headers, outgoing.body)
            if status == 200:
                break
            cure = cure_from(by, Failure(kind=FailureKind.STATUS, status=status, body=data), outgoing)
            assert cure is not None, data
            assert cure not in self.cures, "a second refusal of the same kind"
            self.cures.append(cure)
        writer = StreamWriter(message_id="msg_1", model="claude")
        decoder = by.decoder(request, outgoing, writer)
        for at in range(0, len(data), 11):
            decoder.feed(data[at : at + 11])
        decoder.end()
        events = read_events(writer.take())
        check_grammar(events)
        response = message(events)
        self.history.append({"role": "assistant", "content": response["content"]})
        calls = [block for block in response["content"] if block["type"] == "tool_use"]
        results = [
            tool_result(call["id"], [text("found"), IMAGE] if at else "found")
            for at, call in enumerate(calls)
        ]
        self.history.append(user([*results, text("<system-reminder>go on</system-reminder>")]))
        return response


@pytest.mark.parametrize("preset", PRESETS)
def test_ten_turns_without_a_refusal(preset: str) -> None:
    """After five turns the gateway is restarted."""
    session, host, by = Session(), Host(preset), dialect()
    for number in range(TURNS + 1):
        if number == 5:
            by = dialect()
        message = session.turn(by, host, preset)
        assert message["stop_reason"] == ("tool_use" if number < TURNS else "end_turn")
        names = [block["name"] for block in message["content"] if block["type"] == "tool_use"]
        assert names == ([one["name"] for one in TOOLS] if number < TURNS else [])
        assert message["usage"]["input_tokens"] > 0
    assert host.refusals == []
    assert session.cures == []


@pytest.mark.parametrize("preset", PRESETS)
def test_reasoning_reaches_the_host_again(preset: str) -> None:
    session, host = Session(), Host(preset)
    for _ in range(3):
        session.turn(dialect(), host, preset)
    sent = host.requests[-1].body
    history = sent.get("messages", sent.get("input"))
    details = "".join(e.get("text", "") for m in history for e in m.get("reasoning_details", ()))
    shown = "Turn 0: I look." in str(history) + details
    is_kept = any(block["type"] == "thinking" for block in session.history[1]["content"])
    assert shown is (is_kept and host.traits.echo != "none")


@pytest.mark.parametrize("preset", PRESETS)
def test_a_history_that_comes_from_elsewhere(preset: str) -> None:
    """From Gemini, from another host of this kind, from Anthropic; then on."""
    session = Session()
    foreign = [
        {"type": "thinking", "thinking": "of gemini", "signature": "gemini:abc"},
        {"type": "thinking", "thinking": "of claude", "signature": "EqQB"},
    ]
    for at, block in enumerate(foreign):
        call = {"type": "tool_use", "id": f"toolu_{at}", "name": "Read", "input": {"path": "x"}}
        session.history += [
            {"role": "assistant", "content": [block, call]},
            user([tool_result(f"toolu_{at}")]),
        ]
    for other in ("deepseek-openai", "openrouter-openai", "openai"):
        session.turn(dialect(), Host(other), other)
    host = Host(preset)
    session.turn(dialect(), host, preset)
    assert host.refusals == []
    assert "of gemini" not in str(host.requests[0].body)
    assert "of claude" not in str(host.requests[0].body)
    assert preset == "openrouter-openai" or "SIG" not in str(host.requests[0].body)


HARSH: list[tuple[str, dict[str, Any], set[str]]] = [
    ("the other limit", {"max_tokens_field": "max_completion_tokens"}, {"max_tokens_field"}),
    ("thinks first", {"least_tokens": 1024}, {"least_tokens"}),
    ("no reasoning back", {"echo": "none"}, {"echo"}),
    ("reasoning required", {"echo": "reasoning_content", "echo_required": True}, {"echo"}),
    ("no pictures", {"images": "note"}, {"images"}),
    ("no stop, no sampling", {"stop": "cut", "sampling": False}, {"stop", "without"}),
    ("no stream", {"stream": False}, {"stream"}),
    ("no stream options", {"stream_usage": False}, {"without"}),
    ("words alone", {"tool_choice": "words"}, {"tool_choice"}),
    ("no choice", {"tool_choice": "auto"}, {"tool_choice"}),
    ("short ids", {"tool_ids": "alnum9"}, {"tool_ids"}),
    ("no user after a tool", {"after_tool": "assistant"}, {"after_tool"}),
    ("no system", {"prompt_role": "user"}, {"prompt_role"}),
    ("no schema", {"json": "prompt"}, {"json"}),
    ("a grammar", {"schema": "plain"}, {"schema"}),
]


@pytest.mark.parametrize(("traits", "names"), [pytest.param(*row[1:], id=row[0]) for row in HARSH])
def test_a_host_with_other_ways_refuses_each_once(traits: dict[str, Any], names: set[str]) -> None:
    """A configuration without a word about it: refused once, right from then on."""
    # A host that requires reasoning in the history refuses only missing reasoning of its own.
    manner = "openai" if "echo_required" in traits else "deepseek-openai"
    session, host, by = Session(), Host("", traits_of("", documents="file", **traits), manner), dialect()
    schema = {"type": "object", "properties": {"path": {"type": "string", "pattern": "^x"}}}
    fields = {
        "temperature": 0.5,
        "stop_sequences": ["NEVER"],
        "max_tokens": 100,
        "tools": [{"name": "Read", "input_schema": schema}, {"name": "Run", "input_schema": schema}],
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
        "tool_choice": {"type": "tool", "name": "Read"}
        if traits.get("tool_choice") == "words"
        else {"type": "any"},
    }
    for _ in range(4):
        session.turn(by, host, "", **fields)
    assert {cure.name for cure in session.cures} == names
    assert len(host.refusals) == len(session.cures)


def test_a_limit_that_stops_a_call_in_its_middle() -> None:
    session, host = Session(), Host("deepseek-openai")
    host.scripted.append(Reply(calls=(("c1", "Read", '{"path": "a'),), finish="length"))
    message = session.turn(dialect(), host, "deepseek-openai")
    assert message["stop_reason"] == "max_tokens"
    assert message["content"][0]["input"] == '{"path": "a'


def test_effort_beside_tools_is_turned_off() -> None:
    traits = replace(traits_of("azure"), tool_effort="none")
    session, host = Session(), Host("azure", traits)
    session.turn(dialect(), host, "azure", output_config={"effort": "high"})
    assert session.cures == [Cure("tool_effort", "none")]
