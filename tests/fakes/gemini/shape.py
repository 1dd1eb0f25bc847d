"""Is it Google's shape? Holds request bodies to the pydantic models of google-genai, which forbid what they do not
know."""

from typing import Any

from google.genai import types
from pydantic import BaseModel, ValidationError

from tests.fakes.gemini.refusals import Refusal, refuse_unless

FIELDS: dict[str, Any] = {
    "systemInstruction": types.Content,
    "contents": [types.Content],
    "tools": [types.Tool],
    "toolConfig": types.ToolConfig,
    "generationConfig": types.GenerationConfig,
}
"""The body of generateContent: field -> model."""


def check_shape(body: dict[str, Any]) -> None:
    """Raise Refusal for anything that generateContent would not know."""
    unknown = body.keys() - FIELDS.keys()
    refuse_unless(not unknown, f"Invalid JSON payload received. Unknown name {unknown}: Cannot find field.")
    for key, value in body.items():
        expected = FIELDS[key]
        if isinstance(expected, list):
            refuse_unless(isinstance(value, list) and value, f"{key}: is empty")
            for item in value:
                _validate(expected[0], item)
        else:
            _validate(expected, value)


def _validate(model: type[BaseModel], value: Any) -> None:
    try:
        parsed = model.model_validate(value)
    except ValidationError as error:
        raise Refusal(f"Invalid JSON payload received. {error}") from None
    _same_keys(value, parsed.model_dump(by_alias=True, exclude_unset=True))


def _same_keys(given: Any, read: Any) -> None:
    """The models also take snake_case names, which the API's JSON has not: nothing may be renamed."""
    if isinstance(given, dict):
        refuse_unless(given.keys() == read.keys(), f"Invalid JSON payload received. {set(given)} {set(read)}")
        for key, value in given.items():
            _same_keys(value, read[key])
    elif isinstance(given, list):
        for one, other in zip(given, read, strict=True):
            _same_keys(one, other)
