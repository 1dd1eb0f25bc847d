"""Refusals in hosts' own wording, and the change with which the request is accepted."""

# ruff: noqa: E501 - a row of a table is one line, with the hosts' own wording

from typing import Any

import orjson
import pytest

from gateway.config.kinds import OPENAI_CURES
from gateway.config.openai_traits import Traits
from gateway.dialects.base import WITHOUT_THINKING, Cure
from gateway.dialects.openai.cures import apply_cures, cure_of
from gateway.routing.failures import Failure, FailureKind
from tests.dialects.openai.support import (
    assistant,
    body,
    cure_from,
    dialect,
    encoded,
    text,
    tool,
    tool_result,
    tool_use,
    upstream,
    user,
)

IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AA"}}
OPAQUE = {
    "type": "thinking",
    "thinking": "",
    "signature": 'openai:{"f":"details","h":"h.example","m":"m-1","d":[[{"data":"x"}]]}',
}
TEXT = {"type": "thinking", "thinking": "Hm", "signature": 'openai:{"f":"text","k":"reasoning_content"}'}
FULL: dict[str, Any] = {
    "max_tokens": 100,
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 4,
    "stop_sequences": ["END"],
    "system": "S",
    "tools": [
        tool("Read", input_schema={"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}})
    ],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "output_config": {"effort": "max", "format": {"type": "json_schema", "schema": {"type": "object"}}},
    "messages": [
        user([text("a"), IMAGE, PDF]),
        assistant(OPAQUE, TEXT, text("b"), tool_use("c" * 60)),
        user([tool_result("c" * 60), text("d")]),
    ],
}
"""A request with everything that a host may refuse."""

HOST: dict[str, Any] = {
    "thinking": "effort",
    "documents": "file",
    "top_k": True,
    "efforts": ("low", "medium", "high", "max"),
    "cache_key": "prompt_cache_key",
}

REFUSALS: list[tuple[str, int, Any, Cure]] = [
    ("claude-code-router#545", 400, "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", Cure("max_tokens_field", "max_completion_tokens")),
    ("extra_forbidden", 422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "max_tokens"], "msg": "Extra inputs are not permitted"}]}, Cure("max_tokens_field", "max_completion_tokens")),
    ("goclaw#245", 400, "Could not finish the message because max_tokens or model output limit was reached. Please try again with higher max_tokens.", Cure("least_tokens", "1024")),
    ("llxprt#114, Mistral", 422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]}, Cure("without", "stream_options")),
    ("llama_index#20865", 400, {"error": {"message": "Unsupported parameter: 'parallel_tool_calls' is not supported with this model.", "param": "parallel_tool_calls", "code": "unsupported_parameter"}}, Cure("without", "parallel_tool_calls")),
    ("picoclaw#1196, Groq", 400, "property 'prompt_cache_key' is unsupported", Cure("without", "prompt_cache_key")),
    ("a temperature", 400, {"error": {"message": "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) value is supported.", "param": "temperature"}}, Cure("without", "temperature")),
    ("Anthropic behind a proxy", 400, "`temperature` and `top_p` cannot both be specified for this model", Cure("without", "temperature")),
    ("a quoted field", 400, "Unknown name \"top_k\": Cannot find field.", Cure("without", "top_k")),
    ("Techies#42", 400, "Unsupported parameter: 'stop' is not supported with this model.", Cure("stop", "cut")),
    ("crush#2913", 400, "Unrecognized request argument supplied: reasoning_effort", Cure("without", "reasoning_effort")),
    ("Ollama", 400, '"gemma3:270m" does not support thinking', Cure("thinking", "none")),
    ("effort words", 400, {"error": {"message": "Unsupported value: 'reasoning_effort' does not support 'max' with this model. Supported values are: 'low', 'medium', and 'high'.", "param": "reasoning_effort"}}, Cure("efforts", "low medium high")),
    ("effort words, one of", 400, "`reasoning_effort` must be one of `none` or `high`", Cure("efforts", "none high")),
    ("openai-openapi#541", 400, "Function tools with reasoning_effort are not supported for gpt-5.4 in /v1/chat/completions. Please use /v1/responses instead.", Cure("tool_effort", "none")),
    ("continue#7129", 400, {"error": {"message": "Your organization must be verified to stream this model.", "param": "stream", "code": "unsupported_value"}}, Cure("stream", "false")),
    ("openclaw#71407, DeepSeek", 400, "The `reasoning_content` in the thinking mode must be passed back to the API.", Cure("echo", "reasoning_content")),
    ("continue#11806, Kimi", 400, "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2", Cure("echo", "reasoning_content")),
    ("jan#8136, Groq", 400, "'messages.2' : for 'role:assistant' the following must be satisfied[('messages.2' : property 'reasoning_content' is unsupported)]", Cure("echo", "none")),
    ("opencode#33413, Cerebras", 400, "messages.1.assistant.reasoning_content: property 'messages.1.assistant.reasoning_content' is unsupported", Cure("echo", "none")),
    ("sub2api#3138", 400, {"error": {"message": "The encrypted content could not be verified.", "code": "invalid_encrypted_content"}}, WITHOUT_THINKING),
    ("Gemini's", 400, "Function call is missing a thought_signature in functionCall parts", WITHOUT_THINKING),
    ("llama.cpp", 500, {"error": {"code": 500, "message": "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj", "type": "server_error"}}, Cure("images", "note")),
    ("MagicPrompt#50", 404, "No endpoints found that support image input", Cure("images", "note")),
    ("an image_url variant", 400, "Failed to deserialize the JSON body into the target type: messages[0]: unknown variant `image_url`, expected `text`", Cure("images", "note")),
    ("a file variant", 400, "unknown content part type: file", Cure("documents", "note")),
    ("zed#36094, OpenRouter", 404, "No endpoints found that support the provided 'tool_choice' value.", Cure("tool_choice", "words")),
    ("oh-my-pi#6925, LM Studio", 400, {"error": "Invalid tool_choice type: 'object'. Supported string values: none, auto, required"}, Cure("tool_choice", "words")),
    ("llama.cpp#27367", 400, "System message must be at the beginning.", Cure("prompt_role", "user")),
    ("a template without", 500, "System role not supported", Cure("prompt_role", "user")),
    ("mistral-vibe#578", 400, {"object": "error", "message": "Unexpected role 'user' after role 'tool'", "type": "invalid_request_message_order", "code": "3230"}, Cure("after_tool", "assistant")),
    ("openclaw#107430", 400, "failed to parse grammar", Cure("schema", "plain")),
    ("a pattern", 400, "Unsupported regex pattern in schema", Cure("schema", "plain")),
    ("ruflo#1294, an array", 400, {"error": {"message": "Invalid schema for function 'Read': In context=('properties', 'a'), array schema missing items.", "type": "invalid_request_error", "param": "tools[0].function.parameters", "code": "invalid_function_parameters"}}, Cure("schema", "plain")),
    ("Gemini's, an array", 400, "GenerateContentRequest.tools[0].function_declarations[0].parameters.properties[a].items: missing field", Cure("schema", "plain")),
    ("autogen#6377", 400, "Invalid 'messages[1].tool_calls[0].id': string too long. Expected a string with maximum length 40, but got a string with length 60 instead.", Cure("tool_ids", "40")),
    ("opencode#1680, Mistral", 400, {"object": "error", "message": "Tool call id was toolu_01 but must be a-z, A-Z, 0-9, with a length of 9.", "code": "3280"}, Cure("tool_ids", "alnum9")),
    ("inspect_ai#4916, DeepSeek", 400, "This response_format type is unavailable now", Cure("json", "object")),
]  # fmt: skip


def refused(status: int, reply: Any) -> Failure:
    raw = reply if isinstance(reply, dict) else {"error": {"message": reply}}
    return Failure(kind=FailureKind.STATUS, status=status, body=orjson.dumps(raw))


@pytest.mark.parametrize(("status", "reply", "cure"), [pytest.param(*row[1:], id=row[0]) for row in REFUSALS])
def test_each_refusal_has_a_cure_that_is_used_once(status: int, reply: Any, cure: Cure) -> None:
    made = dialect()
    forced = {"tool_choice": {"type": "tool", "name": "Read"}} if cure.name == "tool_choice" else {}
    sent = encoded({**FULL, **forced}, upstream(**HOST), by=made)
    assert cure.name in OPENAI_CURES
    assert cure_from(made, refused(status, reply), sent) == cure
    again = encoded({**FULL, **forced}, upstream(**HOST), by=made, cures=[cure])
    assert again.body != sent.body
    assert cure_from(made, refused(status, reply), again) != cure


@pytest.mark.parametrize(("status", "reply", "cure"), [pytest.param(*row[1:], id=row[0]) for row in REFUSALS])
def test_parameters_that_were_not_sent_are_not_cured(status: int, reply: Any, cure: Cure) -> None:
    sent = encoded({"messages": [user("hi")]}, upstream(stream_usage=False, stream=False))
    assert cure_from(dialect(), refused(status, reply), sent) is None


def test_a_model_without_a_prompt_cache() -> None:
    made, reply = dialect(), refused(404, "No endpoints found that support cache control")
    document = {"messages": [user([{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}])]}
    where, cure = upstream(cache_control=True), Cure("cache_control", "false")
    sent = encoded(document, where, by=made)
    assert cure_from(made, reply, sent) == cure
    assert cure.name in OPENAI_CURES
    again = encoded(document, where, by=made, cures=[cure])
    assert (b"cache_control" in sent.body, b"cache_control" in again.body) == (True, False)
    assert cure_from(made, reply, again) is None


NEVER: list[tuple[str, int, Any]] = [
    ("a limit", 400, "max_tokens (128000) exceeds model's maximum output tokens (65536)"),
    ("vLLM's limit, which names both", 400, "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context length is 32768 tokens and your request has 17459 input tokens (32000 > 32768 - 17459)."),
    ("a login", 401, "Unsupported parameter: 'temperature'"),
    ("a rate", 429, "Unsupported parameter: 'temperature'"),
    ("tools", 400, "registry.ollama.ai/library/x does not support tools"),
    ("fast-agent#122", 404, "No endpoints found that support tool use."),
    ("a needed field", 400, "Unknown parameter: 'messages'"),
    ("something else", 400, "the request is invalid because of its author"),
    ("nothing", 400, b""),
]  # fmt: skip


@pytest.mark.parametrize(("status", "reply"), [pytest.param(*row[1:], id=row[0]) for row in NEVER])
def test_refusals_without_a_cure(status: int, reply: Any) -> None:
    failure = refused(status, reply) if reply else Failure(kind=FailureKind.STATUS, status=status)
    assert cure_from(dialect(), failure, encoded(FULL, upstream(**HOST))) is None


def test_no_cure_if_turned_off_or_already_applied() -> None:
    made, reply = dialect(), refused(404, "No endpoints found that support image input")
    sent = encoded(FULL, upstream(**HOST), by=made)
    assert cure_from(made, reply, sent, [], "images") is None
    assert cure_from(made, reply, sent, [Cure("images", "note")]) is None


def test_summaries_of_reasoning_that_an_organisation_may_not_have() -> None:
    reply = refused(400, "Your organization must be verified to generate reasoning summaries.")
    made, document = dialect(), {**FULL, "thinking": {"type": "adaptive"}}
    sent = encoded(document, upstream("openai"), by=made)
    cure = cure_from(made, reply, sent)
    assert cure == Cure("without", "reasoning.summary")
    again = body(document, upstream("openai"), cures=[cure])
    assert again["reasoning"] == {"effort": "max"}
    assert body({"messages": [user("a")]}, upstream("openai"), cures=[cure])["input"]


def test_steps_go_down_one_at_a_time() -> None:
    made = dialect()
    reply = refused(400, "Invalid tool_choice")
    cures: list[Cure] = []
    forced = {**FULL, "tool_choice": {"type": "tool", "name": "Read"}}
    for step in ("words", "auto"):
        cure = cure_from(made, reply, encoded(forced, upstream(**HOST), by=made, cures=cures))
        assert cure == Cure("tool_choice", step)
        cures.append(cure)
    assert cure_from(made, reply, encoded(forced, upstream(**HOST), by=made, cures=cures)) is None
    forms = [Cure("json", step) for step in ("object", "prompt")]
    assert (
        cure_from(made, refused(400, "response_format: no"), encoded(FULL, upstream(**HOST), cures=forms[:1]))
        == forms[1]
    )
    ids = refused(400, "Invalid tool_call_id")
    assert cure_from(made, ids, encoded(FULL, upstream(**HOST, tool_ids="40"))) == Cure("tool_ids", "alnum9")


def test_efforts_that_are_the_same_again_go() -> None:
    to = upstream(thinking="deepseek", efforts=("low", "high"))
    reply = refused(400, "`effort` must be one of 'low', 'high'")
    assert cure_from(dialect(), reply, encoded(FULL, to)) == Cure("without", "reasoning_effort")
    router = encoded(FULL, upstream(thinking="openrouter", efforts=("high",)))
    assert cure_from(dialect(), refused(400, "reasoning.effort is no thing"), router) == Cure(
        "thinking", "none"
    )


def test_effects_of_cures() -> None:
    cures = [
        Cure("without", "top_p"),
        Cure("stream", "false"),
        Cure("efforts", "none high"),
        Cure("least_tokens", "1024"),
        Cure("echo", "reasoning_content"),
        Cure("novel", "x"),
        WITHOUT_THINKING,
    ]
    found = apply_cures(Traits(), cures)
    assert (found.strip, found.stream, found.efforts, found.least_tokens) == (
        ("top_p",),
        False,
        ("none", "high"),
        1024,
    )
    assert (found.echo, found.echo_required) == ("reasoning_content", True)
    assert apply_cures(found, [Cure("echo", "none")]).echo_required is False


def test_without_thinking_leaves_opaque_entries_behind() -> None:
    assert "reasoning_details" in body(FULL, upstream(**HOST))["messages"][2]
    bare = body(FULL, upstream(**HOST), cures=[WITHOUT_THINKING])["messages"][2]
    assert "reasoning_details" not in bare
    assert bare["reasoning_content"] == "Hm"


def test_the_same_function_is_at_hand_without_a_dialect() -> None:
    sent: Any = encoded(FULL, upstream(**HOST)).state
    assert cure_of(refused(404, "No endpoints found that support image input"), sent) == Cure(
        "images", "note"
    )
