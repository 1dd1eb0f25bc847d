"""Google's rules beyond shape, with its error messages; Vertex AI refuses more than the Gemini API.

Turns need not alternate: both endpoints take two contents of a user's in a row.
"""

import re
from typing import Any

from tests.fakes.gemini.models import Ability, ability
from tests.fakes.gemini.refusals import Refusal, refuse_unless
from tests.fakes.gemini.schemas import validate_json_schema, validate_openapi_schema
from tests.fakes.gemini.shape import check_shape
from tests.fakes.gemini.signatures import BYPASS, signed, signed_text

Content = dict[str, Any]
Part = dict[str, Any]

MIXED = "Requests ending with a model turn are not supported."
"""Vertex AI's errors for a history that ends with the model, and for function responses beside other parts."""

IN_RESPONSES = {"image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain"}
MEDIA = re.compile(r"image/(png|jpeg|webp|heic|heif)|application/pdf|text/plain|(audio|video)/[\w.-]+")

_SEE = "Please refer to https://ai.google.dev/gemini-api/docs/thought-signatures for more details."


def check_request(
    body: dict[str, Any], model: str, *, vertex: bool = False, known_signatures: bool = False
) -> None:
    """Raise Refusal for a body that Google would refuse for this model.

    `known_signatures`: signatures must be those that this fake gives.
    """
    can = ability(model)
    contents = body.get("contents") or []
    refuse_unless(contents, "* GenerateContentRequest.contents: contents is not specified\n")
    check_shape(body)
    check_contents(contents, can, vertex=vertex)
    if can.signs:
        check_signatures(contents, known=known_signatures)
    check_tools(body)
    check_settings(body, can, vertex=vertex)


def check_contents(contents: list[Content], can: Ability, *, vertex: bool) -> None:
    """The order of turns, and what may stand in them."""
    refuse_unless(
        contents[0]["role"] == "user", "Please ensure that multiturn requests begin with a user turn."
    )
    open_calls: list[Part] = []
    for content in contents:
        parts = content["parts"]
        refuse_unless(content["role"] in ("user", "model"), "Please use a valid role: user, model.")
        refuse_unless(parts, "Unable to submit request because it must include at least one parts field.")
        for part in parts:
            check_part(part, can, vertex=vertex)
        responses = [part["functionResponse"] for part in parts if "functionResponse" in part]
        refuse_unless(
            len(responses) == len(open_calls),
            "Please ensure that the number of function response parts is equal to the number of function call parts "
            "of the function call turn.",
        )
        for response, call in zip(responses, open_calls, strict=True):
            refuse_unless(
                (response["name"], response.get("id")) == (call["name"], call.get("id")),
                "Please ensure that function responses are in the order of the function calls.",
            )
        mixed = responses and len(responses) < len(parts)
        refuse_unless(not (mixed and vertex and can.signs), MIXED)
        open_calls = [part["functionCall"] for part in parts if "functionCall" in part]
        refuse_unless(content["role"] == "model" or not open_calls, "a function call of the user's")
        refuse_unless(content["role"] == "user" or not responses, "a function response of the model's")
    refuse_unless(not open_calls, "a function call without a response")
    refuse_unless(contents[-1]["role"] == "user" or not (vertex and can.signs), MIXED)


def check_part(part: Part, can: Ability, *, vertex: bool) -> None:
    """One part."""
    if part.get("text") == "":
        has_more = "thoughtSignature" in part
        refuse_unless(has_more, "Unable to submit request because Model input cannot be empty.")
    if "inlineData" in part or "fileData" in part:
        mime = (part.get("inlineData") or part["fileData"])["mimeType"]
        refuse_unless(MEDIA.fullmatch(mime), f"Unsupported MIME type: {mime}")
    for key in ("functionCall", "functionResponse"):
        if key in part and "id" in part[key]:
            # The Developer API ignores what older models do not know, Vertex AI does not.
            refuse_unless(can.signs or not vertex, f"Unknown name \"id\" at '{key}': Cannot find field.")
    if not can.signs:
        refuse_unless("thoughtSignature" not in part, 'Unknown name "thoughtSignature": Cannot find field.')
    inside = part.get("functionResponse", {}).get("parts", ())
    refuse_unless(can.signs or not inside, "`function_response.parts` is not supported for this model.")
    for one in inside:
        mime = one["inlineData"]["mimeType"]
        refuse_unless(mime in IN_RESPONSES, f"Unsupported MIME type in function response: {mime}")


def check_signatures(contents: list[Content], *, known: bool) -> None:
    """In the turn that is still open, the first call of each step has a signature, and unsigned siblings of a signed
    call have none."""
    turns = [
        position
        for position, content in enumerate(contents)
        if content["role"] == "user" and not any("functionResponse" in part for part in content["parts"])
    ]
    # Parts after function responses belong to their turn.
    start = next((p for p in reversed(turns) if p == 0 or contents[p - 1]["role"] == "model"), 0)
    for position, content in enumerate(contents):
        calls = [part for part in content["parts"] if "functionCall" in part]
        if calls and position > start and not calls[0].get("thoughtSignature"):
            raise Refusal(
                "Function call is missing a thought_signature in functionCall parts. This is required for tools to "
                "work correctly, and missing thought_signature may lead to degraded model performance. Additional "
                f"data, function call `default_api:{calls[0]['functionCall']['name']}` , position {position + 1}. "
                f"{_SEE}"
            )
        for part in content["parts"]:
            signature = part.get("thoughtSignature")
            if part.get("thought"):
                refuse_unless(signature and signature != BYPASS, "a thought without its signature")
            if known and signature and signature not in (BYPASS, *_signatures_for(part, calls)):
                raise Refusal("Corrupted thought signature.")


def _signatures_for(part: Part, calls: list[Part]) -> list[str]:
    """Return the signatures that a part may have: a thought may have that of the call that it led to."""
    if "functionCall" in part:
        return [signed(part["functionCall"])]
    if part.get("thought") is True:
        return [signed(call["functionCall"]) for call in calls]
    return [signed_text(str(part.get("text", "")))]


def check_tools(body: dict[str, Any]) -> None:
    """Declarations and the calling mode."""
    names: list[str] = []
    tools = body.get("tools", ())
    for tool in tools:
        refuse_unless(len(tool) == 1, "one kind of tool in each entry")
        for function in tool.get("functionDeclarations", ()):
            names.append(function["name"])
            refuse_unless(
                re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}", function["name"]),
                "Invalid function name. Must start with a letter or an underscore.",
            )
            if "parametersJsonSchema" in function:
                refuse_unless(
                    function["parametersJsonSchema"]["type"] == "object", "parameters: not an object"
                )
                validate_json_schema(function["parametersJsonSchema"])
            elif "parameters" in function:
                refuse_unless(function["parameters"]["type"] == "OBJECT", "parameters: not an object")
                validate_openapi_schema(function["parameters"])
    refuse_unless(len(set(names)) == len(names), "Duplicate function declaration found.")
    searches = any("googleSearch" in tool for tool in tools)
    refuse_unless(not (searches and names), "Tool use with function calling is unsupported.")
    config = body.get("toolConfig", {}).get("functionCallingConfig")
    if config is not None:
        refuse_unless(names, "Function calling config is set without function_declarations.")
        allowed = config.get("allowedFunctionNames", ())
        refuse_unless(set(allowed) <= set(names), "allowed_function_names: not declared")


def check_settings(body: dict[str, Any], can: Ability, *, vertex: bool) -> None:
    """`generationConfig`."""
    config = body.get("generationConfig", {})
    output = config.get("maxOutputTokens")
    if output is not None:
        refuse_unless(output > 0, "max_output_tokens must be positive.")
        refuse_unless(
            output <= can.output or not vertex,
            f"Unable to submit request because it has a maxOutputTokens value of {output} but the supported range is "
            f"from 1 (inclusive) to {can.output + 1} (exclusive).",
        )
    refuse_unless(len(config.get("stopSequences", ())) <= 5, "stop_sequences: at most 5")
    check_thinking(config.get("thinkingConfig"), can)
    if config.get("responseMimeType") == "application/json":
        refuse_unless(
            can.signs or "tools" not in body,
            "Function calling with a response mime type: 'application/json' is unsupported",
        )
        if "responseJsonSchema" in config:
            validate_json_schema(config["responseJsonSchema"])
        elif "responseSchema" in config:
            validate_openapi_schema(config["responseSchema"])


def check_thinking(config: dict[str, Any] | None, can: Ability) -> None:
    """`thinkingConfig`."""
    if config is None:
        return
    refuse_unless(can.levels or can.budget, "thinking_config is not supported by this model.")
    level, budget = config.get("thinkingLevel"), config.get("thinkingBudget")
    refuse_unless(level is None or budget is None, "thinking_level and thinking_budget exclude each other.")
    if level is not None:
        refuse_unless(can.levels, "Thinking level is not supported for this model.")
        refuse_unless(level in can.levels, f"thinking_level {level.upper()} is not supported by this model.")
    if budget is not None:
        refuse_unless(can.budget, "Thinking budget is not supported for this model.")
        assert can.budget is not None
        least, most = can.budget
        fits = budget == -1 or (budget == 0 and can.off) or least <= budget <= most
        refuse_unless(
            fits,
            f"The thinking budget {budget} is invalid. Please choose a value between {least} and {most}.",
        )
