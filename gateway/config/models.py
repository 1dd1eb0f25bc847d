"""Tables from model names to models: their parsers, and warnings about probable mistakes."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from gateway.config.kinds import KINDS
from gateway.config.parsers import check_word, integer
from gateway.config.presets import LOCAL
from gateway.config.reading import Mistake, Parser, Reading, join, nearest, read_table, table_of
from gateway.config.values import Upstream

CLIENTS_NAME = "claude-opus-5-5"
"""A name as clients send it."""

NOT_WILDCARDS = re.compile(r"\?|\[(?!1m\])[^\]]*\]|(?<![0-9])\.\*|^\^|\$$")
"""Syntax of other pattern languages. `[1m]` is a suffix of real names; after a digit a dot separates versions."""


MAX_CONTEXT = 100_000_000
"""Tokens, at most; the largest known window has ten million."""


class ModelTarget(NamedTuple):
    """The model that a name leads to."""

    model: str
    context: int = 0
    """Tokens of its context window, 0 if the configuration does not say."""


def target(reading: Reading, path: str, value: object) -> ModelTarget:
    """Read one model: its name, or a table with its name and context window."""
    if isinstance(value, dict) and value.keys() & TARGET.keys():
        found = read_table(reading, path, value, TARGET)
        if "model" not in value:
            reading.problem(f"{path}.model", "missing: a table says which model has this context")
        return ModelTarget(found.get("model", ""), found.get("context", 0))
    return ModelTarget(model_name(reading, path, value))


def model_name(reading: Reading, path: str, value: object) -> str:
    """Read one model's name."""
    if isinstance(value, dict):
        # TOML reads `claude-3.5-haiku = "x"` as a table in a table.
        name = path.rpartition("models.")[2].strip('"')
        while isinstance(value, dict) and value:
            key, value = next(iter(value.items()))
            name += f".{key}"
        raise Mistake(f'must be a string, not a table: a name with dots needs quotes, as "{name}" = "..."')
    if "*" in check_word(value):
        raise Mistake('must be one model: "*" belongs on the left side')
    if check_word(value).endswith("/"):
        raise Mistake("names no model behind the slash")
    return check_word(value)


TARGET: Mapping[str, Parser] = {"model": model_name, "context": integer(1, MAX_CONTEXT)}

model_table = table_of(check_word, target)


def divide(table: Mapping[str, ModelTarget]) -> tuple[dict[str, str], dict[str, int]]:
    """Return a table's models by name, and the context windows by model where they are given."""
    models = {name: each.model for name, each in table.items()}
    return models, {each.model: each.context for each in table.values() if each.context}


def model_warnings(models: Mapping[str, str], upstreams: Sequence[Upstream]) -> Iterator[str]:
    """Yield warnings about probable mistakes in `[models]` and in the upstreams' own tables."""
    tables = {"models": models}
    tables.update({join("upstreams", each.name) + ".models": each.models for each in upstreams})
    for path, table in tables.items():
        for name in table:
            if NOT_WILDCARDS.search(name):
                yield f'{join(path, name)}: only "*" is a wildcard; everything else stands for itself'
    names = [upstream.name for upstream in upstreams]
    for pattern, model in models.items():
        prefix, slash, _ = model.partition("/")
        if model in names:
            yield f'{join("models", pattern)}: is the name of an upstream: write "{model}/" and a model of it'
        if not slash or prefix in names:
            continue
        meant = nearest(prefix, names)
        if meant or not any(_serves(upstream, model) for upstream in upstreams):
            hint = f'; did you mean "{meant}"?' if meant else ", and none serves the whole as a model"
            yield f"{join('models', pattern)}: no upstream has this name{hint}"
    for upstream in upstreams:
        if _lacks_names(upstream, models):
            example = KINDS[upstream.kind].example_model if upstream.preset not in LOCAL else "your-model"
            yield (
                f"{join('upstreams', upstream.name)}: without a models table clients' names, such as "
                f'"{CLIENTS_NAME}", go there as they are, and it has no such model; add '
                f'models = {{ "*" = "{example}" }}'
            )


def _lacks_names(upstream: Upstream, models: Mapping[str, str]) -> bool:
    """Return whether an upstream that knows only its own models would get clients' names."""
    own_models = KINDS[upstream.kind].own_models or upstream.preset in LOCAL
    mapped = any("/" not in model or model.startswith(f"{upstream.name}/") for model in models.values())
    return own_models and not upstream.models and not mapped


def _serves(upstream: Upstream, model: str) -> bool:
    return not upstream.models or any(
        re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), model) for pattern in upstream.models
    )
