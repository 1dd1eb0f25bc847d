"""One session of the official SDK against a base URL; run as a process, any version of it can be tried.

`python sdk_session.py BASE_URL KEY` prints one JSON object with what the SDK read from the responses.
"""

import json
import ssl
import sys
import warnings
from contextlib import ExitStack
from typing import Any

import anthropic
from anthropic import Anthropic, DefaultHttpxClient

MODEL = "claude-demo"

TOOL: Any = {
    "name": "Bash",
    "description": "Runs a command.",
    "input_schema": {
        "type": "object",
        "properties": {"command": {"type": "string"}},
        "required": ["command"],
    },
}


def words(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def user(content: object) -> Any:
    return {"role": "user", "content": content}


def clients(base_url: str, key: str, ca_file: str | None) -> tuple[Anthropic, Anthropic, Anthropic]:
    """With an API key, with a bearer token, and with a wrong key."""
    common: dict[str, Any] = {"base_url": base_url, "max_retries": 0}
    if ca_file is not None:
        common["http_client"] = DefaultHttpxClient(verify=ssl.create_default_context(cafile=ca_file))
    return (
        Anthropic(api_key=key, **common),
        Anthropic(api_key=None, auth_token=key, **common),
        Anthropic(api_key="sk-wrong", **common),
    )


def tool_loop(client: Anthropic, *, streamed: bool) -> dict[str, Any]:
    """Prompt for a command, give its result, return the text."""
    request: Any = {"model": MODEL, "max_tokens": 2000, "tools": [TOOL]}
    messages = [user("run echo hi")]

    def turn() -> Any:
        if not streamed:
            return client.messages.create(messages=messages, **request)
        with client.messages.stream(messages=messages, **request) as stream:
            return stream.get_final_message()

    first = turn()
    call = next(block for block in first.content if block.type == "tool_use")
    messages.append({"role": "assistant", "content": first.content})
    messages.append(user([{"type": "tool_result", "tool_use_id": call.id, "content": "hi from the shell"}]))
    return {"stop_reason": first.stop_reason, "input": call.input, "text": words(turn())}


def error_of(call: Any) -> dict[str, Any]:
    try:
        call()
    except anthropic.APIStatusError as error:
        return {"class": type(error).__name__, "status": error.status_code, "request_id": error.request_id}
    return {}


def session(base_url: str, key: str, ca_file: str | None = None) -> dict[str, Any]:
    with ExitStack() as stack:
        return session_of(*map(stack.enter_context, clients(base_url, key, ca_file)))


def session_of(by_key: Anthropic, by_token: Anthropic, wrong: Anthropic) -> dict[str, Any]:
    ask: Any = {"model": MODEL, "max_tokens": 2000, "messages": [user("Hello")]}
    with by_key.messages.stream(**ask) as stream:
        pieces = list(stream.text_stream)
        streamed = stream.get_final_message()
    raw = by_key.messages.with_raw_response.create(**ask)
    return {
        "version": anthropic.__version__,
        "created": words(by_key.messages.create(**ask)),
        "by_token": words(by_token.messages.create(**ask)),
        "pieces": len(pieces),
        "streamed": words(streamed),
        "usage": streamed.usage.output_tokens,
        "request_id": raw.headers.get("request-id"),
        "tools": tool_loop(by_key, streamed=False),
        "streamed_tools": tool_loop(by_key, streamed=True),
        "counted": by_key.messages.count_tokens(model=MODEL, messages=[user("Hello")]).input_tokens,
        "models": [model.id for model in by_key.models.list(limit=2)],
        "model": by_key.models.retrieve("claude-opus-5-5").id,
        "wrong_key": error_of(lambda: wrong.messages.create(**ask)),
        "unknown_model": error_of(lambda: by_key.messages.create(**{**ask, "model": "gpt-x"})),
        "bad_request": error_of(lambda: by_key.messages.create(**{**ask, "max_tokens": -1})),
        "missing_model": error_of(lambda: by_key.models.retrieve("no-such-model")),
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(session(sys.argv[1], sys.argv[2])))
