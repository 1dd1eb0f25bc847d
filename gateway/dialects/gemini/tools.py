"""Converts tools and the tool choice for Gemini."""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.config import Upstream
from gateway.dialects.client_tools import WEB_SEARCH, as_function
from gateway.dialects.gemini.schema.clean import Schemas
from gateway.dialects.json_schema.budget import TOO_LARGE
from gateway.dialects.json_schema.notes import describe
from gateway.dialects.tool_names import NameRule, ToolNames
from gateway.messages.errors import RequestError
from gateway.messages.json_values import as_list

NAMES = NameRule(first="A-Za-z_", characters="A-Za-z0-9_.:-")
"""The API's rule for a function's name."""

MODES: Mapping[str, str] = {"auto": "AUTO", "any": "ANY", "tool": "ANY", "none": "NONE"}
"""`tool_choice.type` -> `functionCallingConfig.mode`."""

SERVER_TOOL = "runs on the provider's servers"

UNSUPPORTED: tuple[tuple[str, str], ...] = (
    ("computer_", "needs a model that was trained to point at screenshots in the tool's own coordinates"),
)
"""Prefix of a tool's type -> why it cannot be translated, for types that are no server tools."""


def gemini_tools(
    tools: object, upstream: Upstream, names: ToolNames, schemas: Schemas, warn: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Return the request's `tools`; [] for none.

    Raises RequestError(400) for a tool that Gemini lacks, unless the upstream's options say to drop it.
    """
    declarations: list[dict[str, Any]] = []
    searches = False
    for tool in as_list(tools):
        kind = tool.get("type")
        function = as_function(tool)
        if function is not None:
            declarations.append(_declaration(function, names, schemas))
        elif kind.startswith(WEB_SEARCH):
            searches = True
        elif upstream.options.unsupported_tools == "error":
            why = next((why for beginning, why in UNSUPPORTED if kind.startswith(beginning)), SERVER_TOOL)
            raise RequestError(
                400,
                f"tools: {tool.get('name', kind)!r} (type {kind!r}) {why}, and the upstream {upstream.name!r} has "
                'no such tool; remove it, or set unsupported_tools = "drop"',
            )
        else:
            warn(f"the tool type {kind} is unknown to the upstream {upstream.name}: left out")
    if declarations:
        if searches:
            warn(f"web search cannot stand beside other tools at the upstream {upstream.name}: left out")
        return [{"functionDeclarations": declarations}]
    return [{"googleSearch": {}}] if searches else []


def _declaration(tool: Mapping[str, Any], names: ToolNames, schemas: Schemas) -> dict[str, Any]:
    """Return the declaration of a function."""
    declaration: dict[str, Any] = {"name": names.wire(tool["name"])}
    if isinstance(tool.get("description"), str) and tool["description"]:
        declaration["description"] = tool["description"]
    parameters = schemas.parameters(tool.get("input_schema"))
    if parameters is TOO_LARGE and schemas.form == "openapi":
        describe(declaration, [TOO_LARGE["description"]])
    elif parameters is not None:
        declaration["parametersJsonSchema" if schemas.form == "json" else "parameters"] = parameters
    return declaration


def tool_config(choice: object, names: ToolNames) -> dict[str, Any] | None:
    """Return `toolConfig` for a `tool_choice`; None if there is none or its type is unknown."""
    kind = choice.get("type") if isinstance(choice, dict) else None
    mode = MODES.get(kind) if isinstance(kind, str) else None
    if mode is None or not isinstance(choice, dict):
        return None
    config: dict[str, Any] = {"mode": mode}
    if kind == "tool" and isinstance(choice.get("name"), str):
        config["allowedFunctionNames"] = [names.wire(choice["name"])]
    return {"functionCallingConfig": config}
