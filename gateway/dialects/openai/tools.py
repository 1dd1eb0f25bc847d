"""Converts tools and the tool choice for an OpenAI-compatible host."""

from collections.abc import Callable, Mapping
from typing import Any

from gateway.config.openai_traits import Traits
from gateway.dialects.client_tools import WEB_SEARCH, as_function
from gateway.dialects.openai.schema import Schemas
from gateway.dialects.tool_names import NameRule, ToolNames
from gateway.messages.errors import RequestError
from gateway.messages.json_values import as_list

NAMES = NameRule(first="A-Za-z0-9_-", characters="A-Za-z0-9_-")
"""The API's rule for a function's name."""

WORDS: Mapping[str, str] = {"auto": "auto", "any": "required", "none": "none"}
"""`tool_choice.type` -> the API's word."""


class Tools:
    """The functions of one request, in the form that both wires share."""

    def __init__(
        self,
        tools: object,
        traits: Traits,
        names: ToolNames,
        schemas: Schemas,
        upstream: str,
        warn: Callable[[str], None],
    ) -> None:
        """Convert a request's `tools` for the upstream of this name.

        Raises RequestError(400) for a server tool that the host lacks.
        """
        self.functions: list[dict[str, Any]] = []
        """`{name, description, parameters}` of each function."""
        self.overflow: list[str] = []
        """Text beyond the limit of descriptions, for the end of the system prompt."""
        self.body: Mapping[str, Any] = {}
        """Body fields for the whole request: the host's own web search."""
        self._traits = traits
        self._names = names
        self._schemas = schemas
        searches = ""
        for tool in as_list(tools):
            kind = tool.get("type")
            function = as_function(tool)
            if function is not None:
                self.functions.append(self._function(function))
            elif kind.startswith(WEB_SEARCH):
                searches = kind
            elif traits.unsupported_tools == "error":
                raise _unsupported(tool.get("name", kind), kind, upstream)
            else:
                warn(f"the tool type {kind} is unknown to the upstream {upstream}: left out")
        if searches and self.functions:
            warn(f"web search cannot stand beside other tools at the upstream {upstream}: left out")
        elif searches and traits.web_search:
            self.body = traits.web_search
        elif searches and traits.unsupported_tools == "error":
            raise _unsupported("web_search", searches, upstream)

    def _function(self, tool: Mapping[str, Any]) -> dict[str, Any]:
        function: dict[str, Any] = {"name": self._names.wire(str(tool.get("name", "")))}
        description = tool.get("description")
        if isinstance(description, str) and description:
            limit = self._traits.description_limit
            if limit and len(description) > limit:
                self.overflow.append(f"More about the tool {function['name']}: {description[limit:]}")
                description = description[:limit]
            function["description"] = description
        function["parameters"] = self._schemas.parameters(tool.get("input_schema"))
        return function

    def choice(self, choice: object) -> object:
        """Return the converted `tool_choice`: a word, a function's name as `{"name"}`, or None for no field.

        Where the host accepts no names, all tools but the named one are removed.
        """
        kind = choice.get("type") if isinstance(choice, dict) else None
        if not self.functions or self._traits.tool_choice == "auto" or not isinstance(choice, dict):
            return None
        if kind != "tool":
            return WORDS.get(str(kind))
        name = self._names.wire(str(choice.get("name", "")))
        named = [function for function in self.functions if function["name"] == name]
        if self._traits.tool_choice == "full" or not named:
            return {"name": name}
        self.functions = named
        return "required"


def _unsupported(name: object, kind: object, upstream: str) -> RequestError:
    return RequestError(
        400,
        f"tools: {name!r} (type {kind!r}) is a tool of Anthropic's, and the upstream {upstream!r} has no such tool; "
        'remove it, or set unsupported_tools = "drop"',
    )
