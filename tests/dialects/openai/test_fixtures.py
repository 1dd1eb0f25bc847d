"""Requests of real clients, under every preset; responses of a real server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config.openai_presets import PRESETS
from tests.dialects.openai.support import Response, body, message, upstream
from tests.fakes.openai.validate import validate_request

FIXTURES = Path(__file__).parents[3] / "fixtures"


def captured() -> Iterator[Any]:
    for file in sorted(FIXTURES.glob("*.json")):
        for at, request in enumerate(json.loads(file.read_text())):
            if isinstance(request.get("body"), dict) and request["body"].get("messages"):
                yield pytest.param(request["body"], id=f"{file.stem}-{at}")


@pytest.mark.parametrize("document", [*captured()])
def test_requests_of_real_clients_are_valid_under_every_preset(document: dict[str, Any]) -> None:
    for preset in PRESETS:
        sent = body({**document, "stream": True}, upstream(preset, unsupported_tools="drop"))
        validate_request(sent)


def payload(name: str) -> bytes:
    return (FIXTURES / f"{name}.http").read_bytes().partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("name", ["text_stream", "text_json"])
def test_responses_of_a_real_server(name: str) -> None:
    found = message(Response().feed(payload(name)).end())
    assert found["stop_reason"] == "max_tokens"
    assert [block["type"] for block in found["content"]] == ["text"]
    assert found["usage"]["output_tokens"] == 4
