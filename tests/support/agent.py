"""A client that works as coding agents do: it keeps its history, runs the tools that are called, and sends requests
until a message has only text."""

from collections.abc import Mapping
from typing import Any

from tests.support.client import Response
from tests.support.gemini import message_of
from tests.support.running import Running

BASH: dict[str, Any] = {
    "name": "Bash",
    "description": "Runs a command.",
    "input_schema": {
        "type": "object",
        "properties": {"command": {"type": "string"}, "timeout": {"type": "number", "exclusiveMinimum": 0}},
        "required": ["command"],
    },
}
READ: dict[str, Any] = {
    "name": "Read",
    "input_schema": {
        "type": "object",
        "properties": {"file_path": {"type": "string", "pattern": "^/"}},
        "required": ["file_path"],
    },
}


class Agent:
    """One conversation. `gateway`, `model` and `stream` may change on the way."""

    def __init__(self, gateway: Running, model: str, *, stream: bool = True, **fields: object) -> None:
        self.gateway = gateway
        self.model = model
        self.stream = stream
        self.fields: Mapping[str, object] = {"max_tokens": 4000, "tools": [BASH, READ], **fields}
        self.messages: list[dict[str, Any]] = []
        self.responses: list[Response] = []

    async def turn(self, prompt: str) -> str:
        """Send a prompt, and results as long as tools are called; return the last text."""
        message = await self.send(prompt)
        while message["stop_reason"] == "tool_use":
            message = await self.give_results()
        return words(message)

    async def send(self, prompt: str) -> dict[str, Any]:
        """Send a prompt; return the next message."""
        self.messages.append({"role": "user", "content": prompt})
        return await self._go_on()

    async def give_results(self) -> dict[str, Any]:
        """Send a result for every call of the last message; return the next message."""
        calls = [block for block in self.messages[-1]["content"] if block["type"] == "tool_use"]
        assert calls
        results = [
            {"type": "tool_result", "tool_use_id": call["id"], "content": f"result of {call['name']}"}
            for call in calls
        ]
        self.messages.append({"role": "user", "content": results})
        return await self._go_on()

    async def _go_on(self) -> dict[str, Any]:
        document = {**self.fields, "model": self.model, "messages": self.messages, "stream": self.stream}
        response = await self.gateway.post(document)
        self.responses.append(response)
        message = message_of(response)
        assert message["model"] == self.model
        self.messages.append({"role": "assistant", "content": message["content"]})
        return message


def words(message: Mapping[str, Any]) -> str:
    """A message's text."""
    return "".join(block["text"] for block in message["content"] if block["type"] == "text")
