# ruff: noqa: E501 - messages of vendors are quoted in full
"""Refusals of a strict host, in its vendor's words: a table of checks, each for one trait of the host."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from gateway.config.openai_traits import Traits
from tests.fakes.openai.validate import validate_request

Body = dict[str, Any]

WINDOW = 100_000
"""Tokens of context that a host has, four characters each."""


class Refusal(NamedTuple):
    """One error response."""

    status: int
    body: Any


def openai_error(
    message: str, param: str | None = None, code: str | None = None, status: int = 400
) -> Refusal:
    return Refusal(
        status, {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}
    )


def unsupported(param: str, more: str = "") -> Refusal:
    return openai_error(
        f"Unsupported parameter: '{param}' is not supported with this model.{more}",
        param,
        "unsupported_parameter",
    )


def mistral_error(message: str, code: str, status: int = 400) -> Refusal:
    return Refusal(
        status, {"object": "error", "message": message, "type": "invalid_request_error", "code": code}
    )


Check = Callable[[Body, Traits], Refusal | None]


def messages_of(body: Body) -> list[Body]:
    found: list[Body] = body.get("messages", [])
    return found


def parts_of(body: Body, kind: str) -> list[Body]:
    lists = [m["content"] for m in messages_of(body) if isinstance(m.get("content"), list)]
    return [part for parts in lists for part in parts if part.get("type") == kind]


def calls_of(body: Body) -> list[Body]:
    return [call for message in messages_of(body) for call in message.get("tool_calls", ())]


def types(body: Body, traits: Traits) -> Refusal | None:
    try:
        validate_request(body)
    except (AssertionError, ValueError) as fault:
        return openai_error(f"the request is malformed: {fault}"[:500])
    return None


def limit_field(body: Body, traits: Traits) -> Refusal | None:
    wrong = {"max_tokens", "max_completion_tokens"} - {traits.max_tokens_field}
    for field in wrong & body.keys():
        return unsupported(field, f" Use '{traits.max_tokens_field}' instead.")
    return None


def limit(body: Body, traits: Traits) -> Refusal | None:
    given, most = body.get(traits.max_tokens_field, 0), traits.max_output_tokens
    if isinstance(most, int) and most and given > most:
        return openai_error(f"Invalid max_tokens value, the valid range of max_tokens is [1, {most}]")
    if given and given < traits.least_tokens:
        return openai_error(
            "Could not finish the message because max_tokens or model output limit was reached."
        )
    return None


def window(body: Body, traits: Traits) -> Refusal | None:
    tokens = len(str(body.get("messages", body.get("input")))) // 4
    if tokens <= WINDOW:
        return None
    return openai_error(
        f"This model's maximum context length is {WINDOW} tokens. However, your messages resulted in {tokens} tokens.",
        "messages",
        "context_length_exceeded",
    )


def reasoning(body: Body, traits: Traits) -> Refusal | None:
    fields = {"reasoning_content", "reasoning", "reasoning_text", "reasoning_details"}
    for at, message in enumerate(messages_of(body)):
        if message["role"] != "assistant":
            continue
        if traits.echo == "none" and fields & message.keys():
            name = min(fields & message.keys())
            return openai_error(f"'messages.{at}' : property '{name}' is unsupported")
        if traits.echo_required and not message.get("reasoning_content"):
            return openai_error(
                "The `reasoning_content` in the thinking mode must be passed back to the API."
            )
    return None


def media(body: Body, traits: Traits) -> Refusal | None:
    if traits.images == "note" and parts_of(body, "image_url"):
        return Refusal(
            404, {"error": {"message": "No endpoints found that support image input", "code": 404}}
        )
    urls = [part["image_url"]["url"] for part in parts_of(body, "image_url")]
    if traits.images == "data" and any(not url.startswith("data:") for url in urls):
        return openai_error("invalid image input: only base64 data")
    if traits.documents != "file" and parts_of(body, "file"):
        return openai_error("unknown content part type: file")
    return None


def tool_choice(body: Body, traits: Traits) -> Refusal | None:
    choice = body.get("tool_choice")
    if traits.tool_choice == "words" and isinstance(choice, dict):
        return Refusal(
            400,
            {"error": "Invalid tool_choice type: 'object'. Supported string values: none, auto, required"},
        )
    if traits.tool_choice == "auto" and choice not in (None, "auto"):
        return openai_error("tool_choice is not supported")
    thinks = body.get("thinking", {}).get("type") in ("enabled", "adaptive") or body.get("enable_thinking")
    if thinks and choice not in (None, "auto", "none"):
        return openai_error("tool_choice 'required' is incompatible with thinking enabled")
    return None


def optional_fields(body: Body, traits: Traits) -> Refusal | None:
    refused = {
        "parallel_tool_calls": not traits.parallel_tool_calls,
        "stop": traits.stop == "cut",
        "temperature": not traits.sampling,
        "top_p": not traits.sampling,
        "top_k": not traits.top_k,
        "reasoning_effort": traits.thinking not in ("effort", "deepseek"),
    }
    return next((unsupported(name) for name, is_so in refused.items() if is_so and name in body), None)


def effort(body: Body, traits: Traits) -> Refusal | None:
    word = body.get("reasoning_effort")
    if word is None:
        return None
    if traits.tool_effort and "tools" in body and word != traits.tool_effort:
        return openai_error(
            "Function tools with reasoning_effort are not supported. Please use /v1/responses instead."
        )
    if word not in (*traits.efforts, traits.tool_effort):
        words = ", ".join(f"'{known}'" for known in traits.efforts)
        return openai_error(
            f"Unsupported value: 'reasoning_effort' does not support '{word}'. Supported values are: {words}.",
            "reasoning_effort",
        )
    return None


def stream(body: Body, traits: Traits) -> Refusal | None:
    if body.get("stream") and not traits.stream:
        return openai_error(
            "Your organization must be verified to stream this model.", "stream", "unsupported_value"
        )
    if "stream_options" in body and not traits.stream_usage:
        extra = {
            "type": "extra_forbidden",
            "loc": ["body", "stream_options"],
            "msg": "Extra inputs are not permitted",
        }
        return Refusal(422, {"detail": [extra]})
    return None


def output(body: Body, traits: Traits) -> Refusal | None:
    kind = body.get("response_format", {}).get("type")
    if (kind == "json_schema" and traits.json != "schema") or (kind and traits.json == "prompt"):
        return openai_error("This response_format type is unavailable now")
    return None


def schema(body: Body, traits: Traits) -> Refusal | None:
    if traits.schema == "plain" and "'pattern': '" in str(
        [t["function"]["parameters"] for t in body.get("tools", ())]
    ):
        return openai_error("failed to parse grammar")
    for tool in body.get("tools", ()):
        if (
            traits.description_limit
            and len(tool["function"].get("description", "")) > traits.description_limit
        ):
            return openai_error(
                f"'tools[0].function.description': string too long, at most {traits.description_limit}"
            )
    return None


def tool_ids(body: Body, traits: Traits) -> Refusal | None:
    for at, call in enumerate(calls_of(body)):
        id = call["id"]
        longest = {"40": 40, "64": 64}.get(traits.tool_ids, 10_000)
        if len(id) > longest:
            return openai_error(
                f"Invalid 'messages[1].tool_calls[0].id': string too long. Expected a string with maximum length {longest}."
            )
        if traits.tool_ids == "alnum9" and not (len(id) == 9 and id.isalnum()):
            return mistral_error(
                f"Tool call id was {id} but must be a-z, A-Z, 0-9, with a length of 9.", "3280"
            )
        if traits.tool_ids == "kimi" and id != f"functions.{call['function']['name']}:{at}":
            return openai_error(f"tool_call_id {id} is not found")
    return None


def order(body: Body, traits: Traits) -> Refusal | None:
    roles = [message["role"] for message in messages_of(body)]
    if traits.after_tool == "assistant" and ("tool", "user") in pairwise(roles):
        return mistral_error("Unexpected role 'user' after role 'tool'", "3230")
    if traits.prompt_role == "user" and "system" in roles:
        return openai_error("System role not supported")
    return None


CHECKS: tuple[Check, ...] = (
    types, limit_field, limit, window, reasoning, media, tool_choice, optional_fields, effort, stream, output, schema, tool_ids, order,
)  # fmt: skip


def refusal_of(body: Body, traits: Traits) -> Refusal | None:
    """Return the first refusal; a host on the Responses wire judges shape and size alone."""
    checks = (types, window) if "input" in body else CHECKS
    return next((refused for check in checks if (refused := check(body, traits)) is not None), None)


def header_of(headers: Mapping[str, str], traits: Traits) -> Refusal | None:
    """Return the refusal of a request whose key is wrong."""
    key = headers.get("authorization", headers.get("api-key", ""))
    if key.removeprefix("Bearer ") == "wrong":
        return Refusal(401, {"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}})
    return None
