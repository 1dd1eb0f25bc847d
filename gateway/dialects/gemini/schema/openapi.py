"""The older schema form: the subset of OpenAPI 3.0 that `parameters` and `responseSchema` take.

Made from a cleaned JSON Schema (schema.py). There are no references (they are written out, to a fixed
depth), no type lists and no `oneOf`; an array says what its items are, and beside `anyOf` stands nothing
that restricts.
"""

from collections.abc import Mapping
from typing import Any

from gateway.messages.json_documents import write_document

Schema = dict[str, Any]

MAX_INLINED_DEPTH = 8
"""References inside references that are written out; a tree deeper than that is rare in arguments."""

GROWTH = 2
ROOM = 5_000
"""An output may have GROWTH x the input's dicts and lists, and ROOM more: what stands beside choices goes
into each of them, choices nest, references double. One that grows further is written plainly."""

MAX_DEPTH = 64
"""Levels written, counted through references; as in a cleaned schema."""

FORMATS: Mapping[str, frozenset[str]] = {
    "STRING": frozenset({"enum", "date-time"}),
    "INTEGER": frozenset({"int32", "int64"}),
    "NUMBER": frozenset({"float", "double"}),
}
"""Formats the API accepts; another one is a 400."""

KEYWORDS_OF_TYPE: Mapping[str, tuple[str, ...]] = {
    "STRING": ("enum", "format"),
    "INTEGER": ("minimum", "maximum", "format"),
    "NUMBER": ("minimum", "maximum", "format"),
    "BOOLEAN": (),
    "ARRAY": ("items", "minItems", "maxItems"),
    "OBJECT": ("properties", "required"),
}

_IMPLIED = (
    ("properties", "OBJECT"),
    ("items", "ARRAY"),
    ("prefixItems", "ARRAY"),
    ("minimum", "NUMBER"),
    ("maximum", "NUMBER"),
)
"""Keyword -> the type that a schema without one must mean."""

_LIMITS = ("format", "minItems", "maxItems", "minimum", "maximum")

_ANY = "(any JSON value)"


def to_openapi(cleaned: Schema, *, parameters: bool) -> Schema:
    """The same schema in the older form. With `parameters`, an object whatever it was."""
    defs = cleaned.get("$defs", {})
    root = {key: value for key, value in cleaned.items() if key != "$defs"}
    most = ROOM + GROWTH * count_nodes(cleaned)
    try:
        out = _Writer(defs, most, plain=False).schema(root, 0, 0)
    except _TooLarge:
        out = {}
    if not out or count_nodes(out, most) > most:
        out = _Writer(defs, most, plain=True).schema(root, 0, 0)
    if parameters and out.get("type") != "OBJECT":
        out = _one_object(out)
    return out


def count_nodes(value: object, most: float = float("inf")) -> int:
    """The dicts and lists in a document, each place counted; stops soon after `most`."""
    count = 0
    rest = [value]
    while rest and count <= most:
        one = rest.pop()
        if isinstance(one, dict):
            count += 1
            rest.extend(one.values())
        elif isinstance(one, list):
            count += 1
            rest.extend(one)
    return count


class _TooLarge(Exception):
    """The schema is not worth going on with."""


class _Writer:
    def __init__(self, defs: Mapping[str, Schema], most: int, *, plain: bool) -> None:
        """At most `most` schemas are written. `plain`: no reference is written out, and of choices only
        the first stays."""
        self._left = most
        self._defs = {} if plain else defs
        self._plain = plain

    def schema(self, schema: Schema, depth: int, inlined: int) -> Schema:
        """`inlined`: how many references led here."""
        self._left -= 1
        if self._left < 0:
            raise _TooLarge
        notes: list[str] = []
        if "$ref" in schema:
            name = schema["$ref"].removeprefix("#/$defs/")
            if inlined >= MAX_INLINED_DEPTH or name not in self._defs:
                return {"type": "OBJECT", "description": f"(a nested {name})"}
            return self.schema(self._defs[name], depth, inlined + 1)
        if depth > MAX_DEPTH:
            return {"type": "STRING", "description": _ANY}
        out: Schema = {key: schema[key] for key in ("title", "description") if key in schema}
        choices = schema.get("anyOf") or schema.get("oneOf")
        if "anyOf" in schema and "oneOf" in schema:
            notes.append(_note("oneOf", schema["oneOf"]))
        if choices and self._plain:
            notes.append(_note("any of", choices))
            choices = choices[:1]
        types, nullable = self._types(schema, bool(choices))
        body = self._body(schema, types, depth, inlined, notes)
        if choices:
            self._choose(out, body, types, choices, depth, inlined)
        elif len(types) == 1:
            out["type"] = types[0]
            out.update(_part(body, types[0], notes))
        elif types:
            out["anyOf"] = [{"type": name, **_part(body, name, [])} for name in types]
        else:
            out["type"] = "STRING"
            notes.append(_ANY)
        if nullable or schema.get("nullable") is True:
            out["nullable"] = True
        if notes:
            out["description"] = " ".join([out["description"], *notes] if "description" in out else notes)
        return out

    def _types(self, schema: Schema, has_choices: bool) -> tuple[list[str], bool]:
        """(types in the API's names, whether null is one more)."""
        given = schema.get("type", [])
        names = [name.upper() for name in ([given] if isinstance(given, str) else given)]
        nullable = "NULL" in names or None in schema.get("enum", ())
        types = [name for name in names if name != "NULL"]
        if not types and not has_choices:
            types = [name for keyword, name in _IMPLIED if keyword in schema][:1]
            if not types and "enum" in schema:
                types = ["STRING"]
            elif not types and names:
                types = ["STRING"]  # only null: a string that may be null
        return types, nullable

    def _body(
        self, schema: Schema, types: list[str], depth: int, inlined: int, notes: list[str]
    ) -> dict[str, Any]:
        """The keywords that restrict, each already in the older form."""
        out: Schema = {key: schema[key] for key in _LIMITS if key in schema}
        if "enum" in schema:
            values = [value for value in schema["enum"] if value is not None]
            if values and all(isinstance(value, str) for value in values) and types in ([], ["STRING"]):
                out["enum"] = values
            elif values:
                notes.append(_note("one of", values))
        if "items" in schema:
            out["items"] = self.schema(schema["items"], depth + 1, inlined)
        elif "prefixItems" in schema:
            members = [self.schema(member, depth + 1, inlined) for member in schema["prefixItems"]]
            out["items"] = members[0] if len(members) == 1 else {"anyOf": members}
        elif "ARRAY" in types:
            out["items"] = {"type": "STRING", "description": _ANY}
        if "properties" in schema:
            out["properties"] = {
                name: self.schema(member, depth + 1, inlined) for name, member in schema["properties"].items()
            }
        if "required" in schema:
            out["required"] = schema["required"]
        if isinstance(schema.get("additionalProperties"), dict) and schema["additionalProperties"]:
            notes.append(_note("additionalProperties", schema["additionalProperties"]))
        return out

    def _choose(
        self, out: Schema, body: Schema, types: list[str], choices: list[Schema], depth: int, inlined: int
    ) -> None:
        """`anyOf`: what restricts all choices goes into each of them."""
        members = []
        for choice in choices:
            if choice.get("type") == "null":
                out["nullable"] = True
                continue
            typed = choice
            if "type" not in choice and len(types) == 1 and not choice.keys() & {"$ref", "anyOf", "oneOf"}:
                typed = {**choice, "type": types[0].lower()}
            member = self.schema(typed, depth + 1, inlined)
            members.append(_with(member, body))
        if len(members) == 1:
            only = members[0]
            texts = [text for text in (out.get("description"), only.get("description")) if text]
            out.update(only)
            if texts:
                out["description"] = " ".join(dict.fromkeys(texts))
        elif members:
            out["anyOf"] = members
        else:
            out["type"] = "STRING"


def _part(body: Schema, type: str, notes: list[str]) -> Schema:
    """What of `body` is about values of this type."""
    out = {key: body[key] for key in KEYWORDS_OF_TYPE[type] if key in body}
    if "format" in body and body["format"] not in FORMATS.get(type, ()):
        out.pop("format", None)
        notes.append(f"(format: {body['format']})")
    return out


def _with(member: Schema, body: Schema) -> Schema:
    """A choice that also keeps to what stands beside all choices."""
    if "anyOf" in member:
        return {**member, "anyOf": [_with(inner, body) for inner in member["anyOf"]]}
    beside = _part(body, member["type"], [])
    out = {**beside, **member}
    if "properties" in beside and "properties" in member:
        out["properties"] = {**beside["properties"], **member["properties"]}
    if "required" in beside and "required" in member:
        out["required"] = list(dict.fromkeys([*beside["required"], *member["required"]]))
    return out


def _one_object(schema: Schema) -> Schema:
    """Choices between objects as one object: parameters are never a choice. Required is what all require."""
    properties: Schema = {}
    required: list[list[str]] = []
    rest = [schema]
    while rest:
        member = rest.pop(0)
        if "anyOf" in member:
            rest.extend(member["anyOf"])
        elif member["type"] == "OBJECT":
            properties = {**member.get("properties", {}), **properties}
            required.append(member.get("required", []))
    out: Schema = {key: schema[key] for key in ("title", "description") if key in schema}
    out["type"] = "OBJECT"
    if properties:
        out["properties"] = properties
    always = [name for name in required[0] if all(name in names for names in required)] if required else []
    if always:
        out["required"] = always
    return out


def _note(key: str, value: object) -> str:
    text = write_document(value).decode()
    return f"({key}: {text[:240]}{'…' if len(text) > 240 else ''})"
