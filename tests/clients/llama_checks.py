"""Checks of a real llama.cpp server behind the gateway. Argument: the gateway's base URL."""

import json
import sys
import urllib.error
import urllib.request
from typing import Any

BASE_URL = sys.argv[1]

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="


def get(path: str) -> Any:
    with urllib.request.urlopen(BASE_URL + path, timeout=60) as response:
        return json.load(response)


def post(model: str, content: object, **fields: Any) -> tuple[int, str]:
    """Send one prompt; return (status, body)."""
    document = {"model": model, "max_tokens": 8, "messages": [{"role": "user", "content": content}], **fields}
    request = urllib.request.Request(
        BASE_URL + "/v1/messages", json.dumps(document).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def events_of(body: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: ")]


def check_text(model: str) -> None:
    status, body = post(model, "Say hi")
    assert status == 200, body
    message = json.loads(body)
    assert message["content"][0]["text"], message
    assert message["usage"]["input_tokens"] > 3, message
    assert message["usage"]["output_tokens"] > 0, message
    status, body = post(model, "Say hi", stream=True)
    events = events_of(body)
    assert status == 200, body
    assert events[0]["type"] == "message_start", events
    assert events[-1]["type"] == "message_stop", events
    assert events[-2]["usage"]["output_tokens"] > 0, events
    assert events[-2]["delta"]["stop_reason"] in ("max_tokens", "end_turn"), events


def check_limit(model: str) -> None:
    """At the limit the stop reason names it, also where the server calls that a normal end."""
    _, body = post(model, "Count from one to a hundred, one number a line.", max_tokens=16)
    message = json.loads(body)
    at_limit = message["usage"]["output_tokens"] >= 16
    assert message["stop_reason"] == ("max_tokens" if at_limit else "end_turn"), message


def check_overflow(model: str) -> None:
    status, body = post(model, "word " * 3000)
    error = json.loads(body)["error"]["message"]
    assert status == 400, body
    assert "tokens > 1024 maximum" in error, error
    assert error.startswith("prompt is too long: "), error


def check_picture(model: str) -> None:
    """The server refuses an image; it becomes a note, and the conversation continues."""
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    status, body = post(model, [{"type": "text", "text": "What is it?"}, {"type": "image", "source": source}])
    assert status == 200, body


def check_key() -> None:
    status, body = post("locked", "hi")
    assert status == 503, body
    assert "sk-wrong" not in body, body


def main() -> None:
    for model in ("chat", "responses", "messages"):
        check_text(model)
    for model in ("chat", "responses"):
        check_limit(model)
        check_overflow(model)
    check_key()
    assert get("/v1/models")["data"], "no models"
    check_picture("chat")


main()
