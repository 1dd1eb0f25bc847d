"""The strict OpenAI-compatible host as a process, playing a model that leads a client through an agent's work.

Argument: a preset. Prints the base URL; at SIGTERM its refusals, and how far the client came.
"""

import asyncio
import json
import signal
import sys
from typing import Any

from tests.fakes.openai.host import Host
from tests.fakes.openai.manners import Reply
from tests.fakes.openai.rules import openai_error
from tests.fakes.openai.server import serving

OVERFLOW = openai_error(
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
    "messages",
    "context_length_exceeded",
)


def call(at: int, name: str, **arguments: object) -> tuple[str, str, str]:
    return f"call_{at}", name, json.dumps(arguments)


STEPS: tuple[Reply, ...] = (
    Reply(
        reasoning="Two commands at once. ",
        text="Running.",
        calls=(
            call(1, "Bash", command="echo one > ran1", description="first"),
            call(2, "Bash", command="echo two > ran2", description="second"),
        ),
    ),
    Reply(
        reasoning="A picture and a file. ",
        calls=(call(3, "Read", file_path="pic.png"), call(4, "Read", file_path="doc.pdf")),
    ),
    Reply(
        calls=(
            call(
                5,
                "Agent",
                description="sub",
                prompt="SUB-AGENT-TASK",
                subagent_type="general-purpose",
                run_in_background=False,
            ),
        )
    ),
    Reply(calls=(call(6, "Bash", command="echo three > ran3", description="third"),)),
    Reply(reasoning="Enough. ", text="All steps are done."),
)
"""The model's replies, turn by turn; before the last turn the prompt is too long once."""


class AgentHost(Host):
    """Plays the steps; titles, summaries and sub-agents get their own words."""

    step = 0
    sub_agents = 0

    def play(self, body: dict[str, Any]) -> Reply:
        """Return the next step's reply."""
        messages = body.get("messages") or body["input"]
        users = [json.dumps(message) for message in messages if message.get("role") == "user"]
        names = [tool.get("function", tool)["name"] for tool in body.get("tools", ())]
        if "Bash" not in names:
            return Reply(text='{"title": "Steps"}')
        if "Do NOT call any tools" in users[-1]:
            return Reply(text="<analysis>Steps.</analysis><summary>Three commands ran.</summary>")
        if "SUB-AGENT-TASK" in users[0]:
            self.sub_agents += 1
            return Reply(reasoning="For the other one. ", text="The sub-agent is done.")
        reply = STEPS[min(self.step, len(STEPS) - 1)]
        self.step += 1
        if self.step == len(STEPS) - 1:
            self.scripted.append(OVERFLOW)
        return reply


async def main(preset: str) -> None:
    host, stopped = AgentHost(preset), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with serving(host) as url:
        print(url, flush=True)
        await stopped.wait()
    print("refused:", [refusal.body for refusal in host.refusals])
    print(f"steps: {host.step} of {len(STEPS)}, requests of sub-agents: {host.sub_agents}", flush=True)


asyncio.run(main(sys.argv[1]))
