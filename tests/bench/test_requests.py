"""The load's requests: sizes, models, heads."""

import json
from itertools import pairwise

import pytest

from bench import requests
from bench.programs import WIRE_MODELS, client_model, model_table, paced


def test_small_body_has_its_size() -> None:
    shape = requests.small()
    assert len(requests.encode(shape.body)) == requests.SMALL_BYTES


def test_agent_body_has_its_size_and_a_history_in_turns() -> None:
    shape = requests.agent()
    size = len(requests.encode(shape.body))
    assert requests.AGENT_BYTES <= size < requests.AGENT_BYTES + 2 * requests.ROUND_BYTES
    roles = [message["role"] for message in shape.body["messages"] if message["role"] != "system"]
    assert all(first != second for first, second in pairwise(roles))
    assert len(roles) > 50


def test_every_tool_result_has_its_own_call() -> None:
    messages = requests.agent().body["messages"]
    blocks = [
        block for message in messages if isinstance(message["content"], list) for block in message["content"]
    ]
    calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
    results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
    assert calls == results
    assert len(set(calls)) == len(calls)


def test_body_for_has_the_given_model_and_events() -> None:
    body = json.loads(requests.body_for(requests.small(), "claude-bench-burst", stream=True, events=500))
    assert (body["model"], body["stream"], body["max_tokens"]) == ("claude-bench-burst", True, 500)
    assert "stream" not in json.loads(requests.body_for(requests.agent(), "m", stream=False))


def test_headers_replace_by_name_in_any_case() -> None:
    fields = requests.headers_for(requests.agent(), requests.session(3), [("X-Api-Key", "other")])
    assert [value for name, value in fields if name.lower() == "x-api-key"] == ["other"]
    assert dict(fields)["X-Claude-Code-Session-Id"].endswith("0003")
    assert not {name.lower() for name, _ in fields} & {"host", "content-length"}


def test_render_is_one_request() -> None:
    raw = requests.render("POST", "/x", 80, [("a", "b")], b"body")
    assert raw == b"POST /x HTTP/1.1\r\nHost: 127.0.0.1:80\r\na: b\r\nContent-Length: 4\r\n\r\nbody"


def test_model_table_maps_every_program() -> None:
    assert set(model_table().values()) == set(WIRE_MODELS)
    assert all(name.startswith("claude-openai-") for name in model_table(translated="openai"))
    assert client_model("bench-json") == "claude-bench-json"


def test_paced_knows_its_rates() -> None:
    assert paced(50) == "bench-paced-50"
    with pytest.raises(ValueError, match="no program for 7"):
        paced(7)
