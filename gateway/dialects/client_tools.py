"""Schemas of typed tools that the client runs, for upstreams that do not know the types.

The Messages API's models know such a tool by its type; other models get a function with the schema that the API
documents for the type. Server tools, which the provider runs, are not here.
"""

from collections.abc import Mapping
from typing import Any


def _object(required: tuple[str, ...], **properties: Mapping[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _commands(*names: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(names), "description": "What to do."}


_RANGE = {
    "type": "array",
    "items": {"type": "integer"},
    "description": "For view: first and last line, counted from 1; -1 as the last line means the file's end.",
}
_PATH = _text("Absolute path of a file or directory.")
_FILE_TEXT = _text("For create: the content of the file.")
_OLD = _text("For str_replace: the text to replace, which must be there exactly once.")
_NEW = _text("For str_replace: the text in its place.")
_LINE = {
    "type": "integer",
    "description": "For insert: the line behind which to insert; 0 for the beginning.",
}
_INSERT = _text("For insert: the text to insert.")

_BASH = _object(
    (),
    command=_text("The shell command to run. Required unless the tool is restarted."),
    restart={"type": "boolean", "description": "True starts the tool again."},
)

_EDITOR = {
    "path": _PATH,
    "view_range": _RANGE,
    "file_text": _FILE_TEXT,
    "old_str": _OLD,
    "new_str": _NEW,
    "insert_line": _LINE,
}

_NEW_EDITOR = _object(
    ("command", "path"),
    command=_commands("view", "create", "str_replace", "insert"),
    **_EDITOR,
    insert_text=_INSERT,
)
_OLD_EDITOR = _object(
    ("command", "path"),
    command=_commands("view", "create", "str_replace", "insert", "undo_edit"),
    **{**_EDITOR, "new_str": _text("For str_replace and insert: the text to put there.")},
)
_EDITS = "Views, creates and edits text files."

CLIENT_TOOLS: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("bash_", "Runs a command in a shell that stays open between calls.", _BASH),
    ("text_editor_2024", _EDITS, _OLD_EDITOR),
    ("text_editor_20250124", _EDITS, _OLD_EDITOR),
    ("text_editor_", _EDITS, _NEW_EDITOR),
    (
        "memory_",
        "Keeps notes in files below /memories, which outlive this conversation.",
        _object(
            ("command",),
            command=_commands("view", "create", "str_replace", "insert", "delete", "rename"),
            path=_text("Path below /memories; not for rename."),
            view_range=_RANGE,
            file_text=_FILE_TEXT,
            old_str=_OLD,
            new_str=_NEW,
            insert_line=_LINE,
            insert_text=_INSERT,
            old_path=_text("For rename: the path as it is."),
            new_path=_text("For rename: the path as it shall be."),
        ),
    ),
)
"""Prefix of a tool's type -> description and schema; the first match counts."""

WEB_SEARCH = "web_search_"
"""Prefix of the types of Anthropic's web search tool (one per version); some upstreams have their own search."""


def as_function(tool: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return a tool that the client runs as a tool with a schema; None for one of any other type."""
    kind = tool.get("type")
    if "input_schema" in tool or kind in (None, "custom"):
        return tool
    for beginning, description, schema in CLIENT_TOOLS:
        if isinstance(kind, str) and kind.startswith(beginning):
            return {"description": description, "input_schema": schema, **tool, "type": "custom"}
    return None
