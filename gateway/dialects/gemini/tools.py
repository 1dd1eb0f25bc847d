"""Tools on their way to Gemini: their names, their declarations, and which of them may be called.

Gemini's names know fewer characters than the Messages protocol's. A name that does not fit is changed
the same way in declarations, calls and results, and changed back in the answer.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from zlib import crc32

from gateway.config import Upstream
from gateway.dialects.gemini.schema.clean import SchemaCache
from gateway.messages.errors import RequestError

LEGAL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}")
"""What the API takes as a function's name."""

_ILLEGAL = re.compile(r"[^A-Za-z0-9_.:-]")

MODES: Mapping[str, str] = {"auto": "AUTO", "any": "ANY", "tool": "ANY", "none": "NONE"}
"""`tool_choice.type` -> `functionCallingConfig.mode`."""

WEB_SEARCH = "web_search_"
"""Beginning of the server tool's types, one a version; Gemini has a search of its own."""


class ToolNames:
    """The names of one request's tools, the client's and the upstream's.

    Legal names stay as they are; another one is shortened and gets a check sum of itself, so that it is
    the same in every request of a conversation whatever tools stand beside it.
    """

    __slots__ = ("_taken", "_wire", "changed")

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._taken = {name for name in names if LEGAL_NAME.fullmatch(name)}
        self._wire = {name: name for name in self._taken}
        self.changed: dict[str, str] = {}
        """The upstream's name -> the client's, of those that differ."""

    def wire(self, name: str) -> str:
        """The name as the upstream gets it."""
        known = self._wire.get(name)
        return known if known is not None else self._new(name)

    def _new(self, name: str) -> str:
        wire = name
        if not LEGAL_NAME.fullmatch(name) or name in self._taken:
            plain = _ILLEGAL.sub("_", name)[:54]
            if not plain or not (plain[0].isalpha() or plain[0] == "_"):
                plain = "_" + plain
            seed = 0
            while True:
                seed = crc32(name.encode("utf-8", "surrogatepass"), seed)
                wire = f"{plain}_{seed:08x}"
                if wire not in self._taken:
                    break
            self.changed[wire] = name
        self._taken.add(wire)
        self._wire[name] = wire
        return wire


def tool_names(tools: object) -> ToolNames:
    """The names of a request's `tools`."""
    listed = tools if isinstance(tools, list) else []
    names = [tool.get("name") for tool in listed if isinstance(tool, dict)]
    return ToolNames([name for name in names if isinstance(name, str)])


def gemini_tools(
    tools: object, upstream: Upstream, names: ToolNames, schemas: SchemaCache, warn: Callable[[str], None]
) -> list[dict[str, Any]]:
    """The request's `tools`; [] for none. Raises RequestError(400) for a server tool that Gemini lacks."""
    declarations: list[dict[str, Any]] = []
    searches = False
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, dict):
            continue
        kind = tool.get("type")
        if "input_schema" in tool or kind in (None, "custom"):
            declarations.append(_declaration(tool, upstream, names, schemas))
        elif isinstance(kind, str) and kind.startswith(WEB_SEARCH):
            searches = True
        elif upstream.options.unsupported_tools == "error":
            raise RequestError(
                400,
                f"tools: {tool.get('name', kind)!r} (type {kind!r}) runs on the provider's servers, and the "
                f'upstream {upstream.name!r} has no such tool; remove it, or set unsupported_tools = "drop"',
            )
        else:
            warn(f"the tool type {kind} is unknown to the upstream {upstream.name}: left out")
    if declarations:
        if searches:
            warn(f"web search cannot stand beside other tools at the upstream {upstream.name}: left out")
        return [{"functionDeclarations": declarations}]
    return [{"googleSearch": {}}] if searches else []


def _declaration(
    tool: Mapping[str, Any], upstream: Upstream, names: ToolNames, schemas: SchemaCache
) -> dict[str, Any]:
    declaration: dict[str, Any] = {"name": names.wire(str(tool.get("name", "")))}
    if isinstance(tool.get("description"), str) and tool["description"]:
        declaration["description"] = tool["description"]
    form = upstream.options.schema
    parameters = schemas.parameters(tool.get("input_schema"), form)
    if parameters is not None:
        declaration["parametersJsonSchema" if form == "json" else "parameters"] = parameters
    return declaration


def tool_config(choice: object, names: ToolNames) -> dict[str, Any] | None:
    """`toolConfig` for a `tool_choice`; None for none, or one of a kind that is not known."""
    kind = choice.get("type") if isinstance(choice, dict) else None
    mode = MODES.get(kind) if isinstance(kind, str) else None
    if mode is None or not isinstance(choice, dict):
        return None
    config: dict[str, Any] = {"mode": mode}
    if kind == "tool" and isinstance(choice.get("name"), str):
        config["allowedFunctionNames"] = [names.wire(choice["name"])]
    return {"functionCallingConfig": config}
