"""Each vendor's words for the three limits, with the text by which clients heal; and words that are none."""

# ruff: noqa: E501 - a row of a table is one line, with the hosts' own wording

from typing import Any

import orjson
import pytest

from gateway.config.openai_traits import Traits
from gateway.dialects.limits import limit_in
from gateway.dialects.openai.encoded_request import EncodedRequest
from gateway.dialects.openai.failures import translate_failure
from gateway.routing.error_bodies import read_error
from gateway.routing.failures import Failure, FailureKind

SENT = EncodedRequest(
    traits=Traits(), host="h", model="m-1", url="https://h/v1/chat/completions", max_tokens=32000
)

A = "prompt is too long"
B = "input length and `max_tokens` exceed context limit"
C = "max_tokens"

HEALED: list[tuple[str, int, Any, str]] = [
    # (source, status, body or message, healing text)
    ("vercel/ai#428, OpenAI", 400, {"error": {"message": "This model's maximum context length is 4097 tokens. However, your messages resulted in 5012 tokens. Please reduce the length of the messages.", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}}, f"{A}: 5012 tokens > 4097 maximum"),
    ("OpenAI, code alone", 400, {"error": {"message": "Your input is too much.", "code": "context_length_exceeded"}}, f"{A}: Your input"),
    ("OpenAI, Responses", 400, "Your input exceeds the context window of this model. Please adjust your input and try again.", f"{A}: Your input"),
    ("cline#5474, OpenAI", 400, "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 289650 tokens.", f"{A}: 289650 tokens > 272000 maximum"),
    ("OpenAI, functions", 400, "This model's maximum context length is 16385 tokens. However, your messages resulted in 17000 tokens (16000 in the messages, 1000 in the functions).", f"{A}: 17000 tokens > 16385 maximum"),
    ("refly#1177, OpenRouter", 400, "This endpoint's maximum context length is 32768 tokens. However, you requested about 42832 tokens (42832 of text input). Please reduce the length of either one.", f"{A}: 42832 tokens > 32768 maximum"),
    ("vLLM", 400, "This model's maximum context length is 8192 tokens. However, your request has 9000 input tokens. Please reduce the length of the input messages.", f"{A}: 9000 tokens > 8192 maximum"),
    ("grounded-rl#16, vLLM", 400, "The decoder prompt (length 10127) is longer than the maximum model length of 8192. Make sure that `max_model_len` is no smaller.", f"{A}: 10127 tokens > 8192 maximum"),
    ("xAI", 400, "This model's maximum prompt length is 131072 but the request contains 537812 tokens.", f"{A}: 537812 tokens > 131072 maximum"),
    ("Qwen3#1321, SGLang", 400, {"object": "error", "message": "The input (61709 tokens) is longer than the model's context length (40960 tokens).", "type": "BadRequestError", "param": None, "code": 400}, f"{A}: 61709 tokens > 40960 maximum"),
    ("jan#8108, llama.cpp", 400, {"error": {"code": 400, "message": "request (3024 tokens) exceeds the available context size (1024 tokens), try increasing it", "type": "exceed_context_size_error", "n_prompt_tokens": 3024, "n_ctx": 1024}}, f"{A}: 3024 tokens > 1024 maximum"),
    ("llama.cpp, by its fields", 400, {"error": {"code": 400, "message": "the request is too large", "type": "exceed_context_size_error", "n_prompt_tokens": 3024, "n_ctx": 1024}}, f"{A}: 3024 tokens > 1024 maximum"),
    ("Mistral", 400, {"object": "error", "message": "Prompt contains 131598 tokens and 0 draft tokens, too large for model with 131072 maximum context length", "type": "invalid_request_error", "code": "3051"}, f"{A}: 131598 tokens > 131072 maximum"),
    ("Kimi", 400, {"error": {"message": "Invalid request: Your request exceeded model token limit: 262144 (requested: 270012)", "type": "invalid_request_error"}}, f"{A}: 270012 tokens > 262144 maximum"),
    ("opencode#45834, Qwen", 400, {"error": {"message": "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 129024]", "type": "invalid_request_error", "code": "invalid_parameter_error"}}, f"{A}: <400>"),
    ("geode#668, GLM", 400, {"error": {"code": "1261", "message": "Prompt exceeds max length"}}, f"{A}: Prompt exceeds"),
    ("claude-code-switch#12, GLM", 400, {"error": {"code": "1210", "message": "Request 182387 input tokens exceeds the model's maximum context length 150000"}}, f"{A}: 182387 tokens > 150000 maximum"),
    ("Poolside", 400, "Input length 140000 exceeds the maximum of 131072", f"{A}: 140000 tokens > 131072 maximum"),
    ("copilot-api#210", 400, {"error": {"message": "prompt token count of 130000 exceeds the limit of 128000", "code": "model_max_prompt_tokens_exceeded"}}, f"{A}: 130000 tokens > 128000 maximum"),
    ("openclaude#353, LM Studio", 400, {"error": "The number of tokens to keep from the initial prompt is greater than the context length (n_keep: 13055>= n_ctx: 4096). Try to load the model with a larger context length"}, f"{A}: 13055 tokens > 4096 maximum"),
    ("lmstudio#546", 400, {"error": "Trying to keep the first 111490 tokens when context the overflows. However, the model is loaded with context length of only 32768 tokens, which is not enough."}, f"{A}: 111490 tokens > 32768 maximum"),
    ("Fireworks", 400, {"error": {"object": "error", "message": "The prompt is too long: 208029, model maximum context length: 163839", "type": "invalid_request_error", "code": "invalid_request_error"}}, f"{A}: 208029 tokens > 163839 maximum"),
    ("Cerebras", 400, {"message": "Please reduce the length of the messages or completion. Current length is 9065 while limit is 8192", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}, f"{A}: 9065 tokens > 8192 maximum"),
    ("TGI", 422, {"error": {"message": "Input validation error: `inputs` must have less than 4096 tokens. Given: 5000", "type": "invalid_request_error"}}, f"{A}: 5000 tokens > 4096 maximum"),
    ("vLLM, a longer text", 400, "You passed 50001 input tokens and requested 100 output tokens. However, the model's context length is only 32768 tokens, resulting in a maximum input length of 32668 tokens. Please reduce the length of the input prompt.", f"{A}: 50001 tokens > 32768 maximum"),
    ("lmstudio#2322, in a 200", 0, {"error": {"message": "tokens to keep from the initial prompt is greater than the context length (n_keep: 13055 >= n_ctx: 4096)"}}, f"{A}: 13055 tokens > 4096 maximum"),
    ("Groq", 400, {"error": {"message": "Please reduce the length of the messages or completion.", "type": "invalid_request_error", "code": "context_length_exceeded"}}, f"{A}: Please reduce"),
    ("MiniMax", 400, {"type": "error", "error": {"type": "bad_request_error", "message": "invalid params, context window exceeds limit (2013)"}}, f"{A}: invalid params"),
    ("Ollama", 400, {"error": {"message": "prompt too long; exceeded max context length by 1234 tokens"}}, f"{A}: prompt too long"),
    ("Ollama, 500", 500, {"error": {"message": "prompt too long; exceeded max context length by 1234 tokens"}}, f"{A}: prompt too long"),
    ("openai-dotnet#317, Azure", 400, {"error": {"message": "Invalid 'messages': array too long. Expected an array with maximum length 2048, but got an array with length 2051 instead.", "type": "invalid_request_error", "param": "messages", "code": "array_above_max_length"}}, f"{A}: Invalid 'messages'"),
    ("OpenRouter's inner host", 400, {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": '{"error":{"message":"The input (61709 tokens) is longer than the model\'s context length (40960 tokens)."}}', "provider_name": "X"}}}, f"{A}: 61709 tokens > 40960 maximum"),
    # b
    ("Devonz#9, OpenAI", 400, "This model's maximum context length is 65536 tokens. However, you requested 70000 tokens (6000 in the messages, 64000 in the completion). Please reduce the length of the messages or completion.", f"{B}: 6000 + 64000 > 65536"),
    ("the prompt alone is too long", 400, "This model's maximum context length is 65536 tokens. However, you requested 134000 tokens (70000 in the messages, 64000 in the completion).", f"{A}: 70000 tokens > 65536 maximum"),
    ("OpenRouter, split", 400, "This endpoint's maximum context length is 200000 tokens. However, you requested about 230500 tokens (190000 of text input, 8500 of tool input, 32000 in the output). Please reduce the length of either one.", f"{B}: 198500 + 32000 > 200000"),
    ("cc-switch#1022, vLLM", 400, {"object": "error", "message": "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context length is 32768 tokens and your request has 17459 input tokens (32000 > 32768 - 17459).", "type": "BadRequestError", "code": 400}, f"{B}: 17459 + 32000 > 32768"),
    ("vllm#33425", 400, "This model's maximum context length is 32768 tokens. However, you requested 32000 output tokens and your prompt contains at least 769 input tokens, for a total of at least 32769 tokens.", f"{B}: 769 + 32000 > 32768"),
    ("vLLM, the other order", 400, "This model's maximum context length is 32768 tokens. However, your request has 800 input tokens and asks for 32000 output tokens.", f"{B}: 800 + 32000 > 32768"),
    ("vLLM, a longer text", 400, "You passed 8001 input tokens and requested 32000 output tokens. However, the model's context length is only 32768 tokens, resulting in a maximum input length of 768 tokens. Please reduce the length of the input prompt.", f"{B}: 8001 + 32000 > 32768"),
    ("SGLang, added up", 400, {"object": "error", "message": "Requested token count exceeds the model's maximum context length of 32768 tokens. You requested a total of 40001 tokens: 8001 tokens from the input messages and 32000 tokens for the completion. Please reduce the number of tokens in the input messages or the completion to fit within the limit.", "type": "BadRequestError", "code": 400}, f"{B}: 8001 + 32000 > 32768"),
    ("vLLM, added up", 400, "17459 input tokens plus 32000 'max_tokens' is more than the context length of 32768", f"{B}: 17459 + 32000 > 32768"),
    ("litellm#4934, Together", 422, {"error": {"message": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 5000 `inputs` tokens and 4096 `max_new_tokens`", "type": "invalid_request_error"}}, f"{B}: 5000 + 4096 > 8193"),
    ("koassistant#106, Groq", 413, {"error": {"message": "Request too large for model `x` in organization `org_1` service tier `on_demand` on tokens per minute (TPM): Limit 40000, Requested 50000, please reduce your message size and try again.", "type": "tokens", "code": "rate_limit_exceeded"}}, f"{B}: 18000 + 32000 > 40000"),
    # c
    ("openclaude#35, DeepSeek", 400, {"error": {"message": "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", "type": "invalid_request_error"}}, f"{C}: 32000 > 8192, which is the maximum allowed number of output tokens"),
    ("Qwen", 400, "<400> InternalError.Algo.InvalidParameter: Range of max_tokens should be [1, 16384]", f"{C}: 32000 > 16384, which"),
    ("portkey 10021, OpenAI", 400, "max_tokens is too large: 64000. This model supports at most 4096 completion tokens, whereas you provided 64000.", f"{C}: 64000 > 4096, which"),
    ("OpenAI, shorter", 400, "This model supports at most 4096 completion tokens", f"{C}: 32000 > 4096, which"),
    ("free-claude-code#955, Groq", 400, "`max_completion_tokens` must be less than or equal to `16384`, the maximum value for `max_completion_tokens` is less than the `context_window` for this model", f"{C}: 32000 > 16384, which"),
    ("hyper-grok#44, Ollama", 400, "max_tokens (128000) exceeds model's maximum output tokens (65536)", f"{C}: 128000 > 65536, which"),
    ("cline#940, OpenRouter", 400, "max_tokens limit exceeded: 100000 > 9577", f"{C}: 100000 > 9577, which"),
    ("free-claude-code#752, OpenRouter", 402, {"error": {"message": "This request requires more credits, or fewer max_tokens. You requested up to 32000 tokens, but can only afford 31886. To increase, visit https://openrouter.ai/settings/credits", "code": 402}}, f"{C}: 32000 > 31886, which"),
]  # fmt: skip


def failure(status: int, reply: Any) -> Failure:
    body = (
        reply if isinstance(reply, dict) else {"error": {"message": reply, "type": "invalid_request_error"}}
    )
    return Failure(kind=FailureKind.STATUS, status=status, body=orjson.dumps(body))


@pytest.mark.parametrize(("status", "reply", "text"), [pytest.param(*row[1:], id=row[0]) for row in HEALED])
def test_context_limit_messages_become_the_apis(status: int, reply: Any, text: str) -> None:
    found = translate_failure(failure(status, reply), SENT)
    assert found.message.startswith(text)
    assert (found.status, found.type) == (400, "invalid_request_error")
    message = read_error(failure(status, reply).body).message
    assert found.message.endswith(message)


NOT_LIMITS: list[tuple[str, int, Any]] = [
    ("pi-overflow, a rate", 429, "Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000. Please try again in 2s."),
    ("a rate under 400", 400, {"error": {"message": "Too many tokens, please wait before trying again. Rate limit of 40000 exceeded: reduce the length of the messages", "type": "rate_limit_error"}}),
    ("Bedrock's throttling", 400, "ThrottlingException: Too many tokens, please wait before trying again."),
    ("throttled by type", 400, {"error": {"message": "input length 9000 exceeds", "type": "throttling_error"}}),
    ("a day's tokens", 400, "You exceeded 1000000 tokens per day; your messages resulted in more"),
    ("litellm#17904, a tool's name", 400, "Invalid 'tools[0].function.name': string too long. Expected a string with maximum length 64, but got a string with length 71 instead."),
    ("too many tools", 400, {"error": {"message": "Invalid 'tools': array too long. Expected an array with maximum length 128, but got an array with length 140 instead.", "param": "tools", "code": "array_above_max_length"}}),
    ("Groq's, with the prompt above the limit", 413, {"error": {"message": "Request too large for model `x` on tokens per minute (TPM): Limit 8000, Requested 50000", "type": "tokens", "code": "rate_limit_exceeded"}}),
    ("a file", 413, "Request Entity Too Large"),
    ("claude-code-router#545, the field", 400, "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."),
    ("goclaw#245, a response cut", 400, "Could not finish the message because max_tokens or model output limit was reached. Please try again with higher max_tokens."),
    ("a schema", 400, "Invalid schema: maximum length of properties is 100"),
    ("an image", 400, "image input is not supported"),
    ("a temperature", 400, "temperature must be less than or equal to `2`"),
    ("a quota", 429, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}),
]  # fmt: skip


@pytest.mark.parametrize(("status", "reply"), [pytest.param(*row[1:], id=row[0]) for row in NOT_LIMITS])
def test_messages_that_are_no_context_limit(status: int, reply: Any) -> None:
    given = failure(status, reply)
    assert limit_in(read_error(given.body), status, 32000) is None
    found = translate_failure(given, SENT)
    assert not found.message.startswith((A, B, "max_tokens: "))


def test_groq_request_too_large() -> None:
    text = {
        "error": {
            "message": "Request too large on tokens per minute (TPM): Limit 8000, Requested 34749",
            "type": "tokens",
        }
    }
    assert translate_failure(failure(413, text), SENT).message.startswith(B)
    assert (
        translate_failure(
            failure(413, {"error": {"message": "Request too large", "type": "tokens"}}), SENT
        ).status
        == 413
    )


def test_long_error_texts_take_no_long() -> None:
    text = "maximum context length is 1 " * 100_000
    assert limit_in(read_error(failure(400, text).body), 400, 1) is None
