"""Converts a cleaned schema to the older form: the subset of OpenAPI 3.0 for `parameters` and `responseSchema`.

The input is a cleaned JSON Schema (clean.py). The result has no references (they are inlined, to a fixed depth), no
type lists and no `oneOf`; an array has items, an object has properties, and nothing is beside `anyOf`: what applies
to all choices is repeated in each.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.dialects.json_schema.budget import Budget, SchemaTooLarge, count_nodes
from gateway.dialects.json_schema.notes import NOTE_LENGTH, describe, note

Schema = dict[str, Any]

MAX_INLINED_DEPTH = 8
"""Nested references that are inlined; a deeper tree is rare in arguments."""

GROWTH = 2
ROOM = 5_000
"""A result may have GROWTH times the input's dicts and lists, and ROOM more: what is beside choices is copied into
each, choices nest, references double. A schema that grows further is written plainly."""

MAX_DEPTH = 64
"""Levels that are written, counted through references; as in a cleaned schema."""

FORMATS: Mapping[str, frozenset[str]] = {
    "STRING": frozenset({"enum", "date-time"}),
    "INTEGER": frozenset({"int32", "int64"}),
    "NUMBER": frozenset({"float", "double"}),
}
"""Formats that the API accepts; another one is a 400."""

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
"""Keyword -> the type that a schema without `type` must mean."""

_LIMITS = ("format", "minItems", "maxItems", "minimum", "maximum")

_ANY = "(any JSON value)"
_ANY_OBJECT = "(a JSON object)"


def to_openapi(cleaned: Schema, budget: Budget) -> Schema:
    """Return the same schema in the older form. Raises SchemaTooLarge."""
    return _one(_write(cleaned, budget))


def parameters_to_openapi(cleaned: Schema, budget: Budget) -> Schema | None:
    """Return a function's parameters in the older form, always an object; None for one without properties.

    Raises SchemaTooLarge.
    """
    members = _write(cleaned, budget)
    out = members[0]
    if len(members) > 1:
        out = _one_object(members)
        out.update((key, cleaned[key]) for key in ("title", "description") if key in cleaned)
    return out if out.get("properties") else None


def _write(cleaned: Schema, budget: Budget) -> list[Schema]:
    """Write the root's choices; plainly, if they would grow too much."""
    defs = cleaned.get("$defs", {})
    root = {key: value for key, value in cleaned.items() if key != "$defs"}
    nodes = count_nodes(cleaned)
    most = ROOM + GROWTH * nodes
    budget.charge(nodes)
    work = Budget(min(most, budget.left))
    try:
        members = _Writer(defs, work, plain=False).members(root, 0, 0)
        # A property may be in several choices: one dict here is written several times.
        if count_nodes(members, most) <= most:
            return members
    except SchemaTooLarge:
        pass
    finally:
        budget.charge(min(most, budget.left) - max(work.left, 0))
    return _Writer(defs, budget, plain=True).members(root, 0, 0)


class _Writer:
    def __init__(self, defs: Mapping[str, Schema], budget: Budget, *, plain: bool) -> None:
        """`plain`: no reference is inlined, and only the first choice is kept."""
        self._budget = budget
        self._defs = {} if plain else defs
        self._plain = plain

    def schema(self, schema: Schema, depth: int, inlined: int) -> Schema:
        """Write one (sub)schema. `inlined`: how many references led here. Raises SchemaTooLarge."""
        return _one(self.members(schema, depth, inlined))

    def members(self, schema: Schema, depth: int, inlined: int) -> list[Schema]:
        """Write a (sub)schema as choices of one type each, without choices in them. Raises SchemaTooLarge."""
        self._budget.charge()
        if "$ref" in schema:
            name = schema["$ref"].removeprefix("#/$defs/")
            if inlined >= MAX_INLINED_DEPTH or name not in self._defs:
                return [{"type": "STRING", "description": f"{_ANY_OBJECT[:-1]}: {name})"}]
            return self.members(self._defs[name], depth, inlined + 1)
        if depth > MAX_DEPTH:
            return [{"type": "STRING", "description": _ANY}]
        notes: list[str] = []
        choices = schema.get("anyOf") or schema.get("oneOf") or []
        if "anyOf" in schema and "oneOf" in schema:
            notes.append(note("oneOf", schema["oneOf"], self._budget))
        if choices and self._plain:
            notes.append(note("any of", choices, self._budget))
            choices = choices[:1]
        types, nullable = _types(schema, bool(choices))
        body = self._body(schema, types, depth, inlined, notes)
        if choices:
            real = [choice for choice in choices if choice.get("type") != "null"]
            nullable = nullable or len(real) < len(choices)
            written = (self.members(_with_type(choice, types), depth + 1, inlined) for choice in real)
            members = [self._with(member, body) for group in written for member in group]
        else:
            said = notes if len(types) == 1 else []
            members = [{"type": name, **_part(body, name, said)} for name in types]
        if not members:
            members = [{"type": "STRING"}]
            notes.extend([] if choices else [_ANY])
        self._annotate(members, schema, notes, nullable or schema.get("nullable") is True)
        return members

    def _body(
        self, schema: Schema, types: list[str], depth: int, inlined: int, notes: list[str]
    ) -> dict[str, Any]:
        """Write the keywords that restrict."""
        out: Schema = {key: schema[key] for key in _LIMITS if key in schema}
        if "enum" in schema:
            values = [value for value in schema["enum"] if value is not None]
            if values and all(isinstance(value, str) for value in values) and types in ([], ["STRING"]):
                out["enum"] = values
            elif values:
                notes.append(note("one of", values, self._budget))
        if "items" in schema:
            out["items"] = self.schema(schema["items"], depth + 1, inlined)
        elif "prefixItems" in schema:
            groups = [self.members(member, depth + 1, inlined) for member in schema["prefixItems"]]
            out["items"] = _one([member for group in groups for member in group])
        elif "ARRAY" in types:
            out["items"] = {"type": "STRING", "description": _ANY}
        if "properties" in schema:
            out["properties"] = {
                name: self.schema(member, depth + 1, inlined) for name, member in schema["properties"].items()
            }
        if "required" in schema:
            out["required"] = schema["required"]
        if isinstance(schema.get("additionalProperties"), dict) and schema["additionalProperties"]:
            notes.append(note("additionalProperties", schema["additionalProperties"], self._budget))
        return out

    def _with(self, member: Schema, body: Schema) -> Schema:
        """Return a choice combined with what is beside all choices."""
        beside = _part(body, member["type"], [])
        if not beside:
            return member
        out = {**beside, **member}
        if "properties" in beside and "properties" in member:
            self._budget.charge(len(beside["properties"]) + len(member["properties"]))
            out["properties"] = {**beside["properties"], **member["properties"]}
        if "required" in beside and "required" in member:
            self._budget.charge(len(beside["required"]) + len(member["required"]))
            out["required"] = list(dict.fromkeys([*beside["required"], *member["required"]]))
        return out

    def _annotate(self, members: list[Schema], schema: Schema, notes: list[str], nullable: bool) -> None:
        """Add what applies to all choices to each; from the second on, long texts are cut."""
        title, description = schema.get("title"), schema.get("description")
        text = " ".join([description, *notes] if description else notes)
        for index, member in enumerate(members):
            if title:
                member.setdefault("title", title if not index else title[:NOTE_LENGTH])
            if text:
                known = member.pop("description", "")
                said = text if not index else text[:NOTE_LENGTH]
                self._budget.charge_text(len(said) + len(known))
                member["description"] = said if known in ("", said) else f"{said} {known}"
            if nullable:
                member["nullable"] = True


def _types(schema: Schema, has_choices: bool) -> tuple[list[str], bool]:
    """Return a schema's types by the API's names, and whether null is allowed, too."""
    given = schema.get("type", [])
    names = [name.upper() for name in ([given] if isinstance(given, str) else given)]
    nullable = "NULL" in names or None in schema.get("enum", ())
    types = [name for name in names if name != "NULL"]
    if not types and not has_choices:
        types = [name for keyword, name in _IMPLIED if keyword in schema][:1]
        if not types and (names or "enum" in schema):
            types = ["STRING"]  # for null alone: a nullable string
    return types, nullable


def _with_type(choice: Schema, types: list[str]) -> Schema:
    """Return a choice with the type of all choices, if there is one and it has none itself."""
    if "type" in choice or len(types) != 1 or choice.keys() & {"$ref", "anyOf", "oneOf"}:
        return choice
    return {**choice, "type": types[0].lower()}


def _part(body: Schema, type: str, notes: list[str]) -> Schema:
    """Return the keywords of `body` that apply to this type."""
    out = {key: body[key] for key in KEYWORDS_OF_TYPE[type] if key in body}
    if "format" in body and body["format"] not in FORMATS.get(type, ()):
        out.pop("format", None)
        notes.append(f"(format: {body['format']})")
    return out


def _one(members: Iterable[Schema]) -> Schema:
    """Return choices as one schema."""
    finished = [_finish(member) for member in members]
    return finished[0] if len(finished) == 1 else {"anyOf": finished}


def _finish(member: Schema) -> Schema:
    """Return a choice in the API's form: an object without properties becomes a described text."""
    if member["type"] != "OBJECT" or member.get("properties"):
        return member
    out: Schema = {key: member[key] for key in ("title", "description", "nullable") if key in member}
    out["type"] = "STRING"
    describe(out, [_ANY_OBJECT])
    return out


def _one_object(members: list[Schema]) -> Schema:
    """Return a choice between objects as one object, since parameters cannot be a choice.

    What all of them require is required.
    """
    objects = [member for member in members if member["type"] == "OBJECT"]
    properties: Schema = {}
    required: Counter[str] = Counter()
    for member in objects:
        for name, schema in member.get("properties", {}).items():
            properties.setdefault(name, schema)
        required.update(member.get("required", ()))
    out: Schema = {"type": "OBJECT", "properties": properties}
    always = [name for name, times in required.items() if times == len(objects)]
    if always:
        out["required"] = always
    return out
