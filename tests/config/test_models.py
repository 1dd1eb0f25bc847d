"""Tables of models: impossible entries are refused, unlikely ones get a warning."""

import pytest

from gateway.config import ConfigError, parse

ACCOUNT = 'accounts = [{ name = "a", api_key = "k" }]'

ZAI = f'[upstreams.zai]\npreset = "zai"\n{ACCOUNT}\n'
ZAI_WITH_TABLE = f'[upstreams.zai]\npreset = "zai"\nmodels = {{ "claude-*" = "glm" }}\n{ACCOUNT}\n'
GEMINI = f'[upstreams.gemini]\npreset = "gemini"\n{ACCOUNT}\n'
VERTEX = f'[upstreams.vertex]\nkind = "gemini"\nmodels = {{ "*" = "m" }}\n{ACCOUNT}\n'
OLLAMA = '[upstreams.home]\npreset = "ollama"\n'
OPENROUTER = f'[upstreams.or]\npreset = "openrouter"\n{ACCOUNT}\n'

WILDCARD = 'only "*" is a wildcard; everything else stands for itself'
NO_NAME = "no upstream has this name"
NO_MODEL = (
    'without a models table clients\' names, such as "claude-opus-5-5", go there as they are, and it has no such '
    "model; add models = "
)

WARNINGS: list[tuple[str, str, list[str]]] = [
    ('"a" = "glm"', ZAI, []),
    ('"claude-3.*" = "glm"', ZAI, []),
    ('"claude-opus-5-5[1m]" = "glm"', ZAI, []),
    ('"claude-.*" = "glm"', ZAI, [f'models."claude-.*": {WILDCARD}']),
    ('"claude-?" = "glm"', ZAI, [f'models."claude-?": {WILDCARD}']),
    ('"claude-[34]" = "glm"', ZAI, [f'models."claude-[34]": {WILDCARD}']),
    ('"^claude" = "glm"', ZAI, [f'models."^claude": {WILDCARD}']),
    (
        "",
        ZAI.replace("preset", 'models = { "a?" = "b" }\npreset'),
        [f'upstreams.zai.models."a?": {WILDCARD}'],
    ),
    ('"a" = "zia/glm"', ZAI, [f'models.a: {NO_NAME}; did you mean "zai"?']),
    ('"a" = "gemni/x"', VERTEX.replace("vertex", "gemini"), [f'models.a: {NO_NAME}; did you mean "gemini"?']),
    ('"a" = "google/x"', ZAI_WITH_TABLE, [f"models.a: {NO_NAME}, and none serves the whole as a model"]),
    ('"a" = "meta/llama"', OPENROUTER, []),
    ('"a" = "claude-meta/llama"', ZAI_WITH_TABLE, []),
    ('"a" = "zai/glm"', ZAI, []),
    ('"a" = "zai"', ZAI, ['models.a: is the name of an upstream: write "zai/" and a model of it']),
    ("", GEMINI, [f'upstreams.gemini: {NO_MODEL}{{ "*" = "gemini-3.1-pro-preview" }}']),
    ('"*" = "gemini/x"', GEMINI, []),
    ('"*" = "x"', GEMINI, []),
    ('"*" = "zai/x"', GEMINI + ZAI, [f'upstreams.gemini: {NO_MODEL}{{ "*" = "gemini-3.1-pro-preview" }}']),
    ("", VERTEX, []),
    ("", OLLAMA, [f'upstreams.home: {NO_MODEL}{{ "*" = "your-model" }}']),
    ("", ZAI, []),
]


@pytest.mark.parametrize(("models", "upstreams", "warnings"), WARNINGS)
def test_warnings(models: str, upstreams: str, warnings: list[str]) -> None:
    assert list(parse(f"[models]\n{models}\n{upstreams}", {}).warnings) == warnings


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            f'[models]\nclaude-3.5-haiku = "y"\n{ZAI}',
            "models.claude-3: must be a string, not a table: a name with "
            'dots needs quotes, as "claude-3.5-haiku" = "..."',
        ),
        (
            f'[models]\na.b.c = "y"\n{ZAI}',
            'models.a: must be a string, not a table: a name with dots needs quotes, as "a.b.c" = "..."',
        ),
        (
            f"[models]\na = {{}}\n{ZAI}",
            'models.a: must be a string, not a table: a name with dots needs quotes, as "a" = "..."',
        ),
        (
            ZAI.replace("preset", 'models.gpt-5.1 = "b"\npreset'),
            "upstreams.zai.models.gpt-5: must be a string, not a "
            'table: a name with dots needs quotes, as "gpt-5.1" = "..."',
        ),
        (
            f'[models]\n"*" = {{ name = "y" }}\n{ZAI}',
            'models."*": must be a string, not a table: a name with dots needs quotes, as "*.name" = "..."',
        ),
        (f'[models]\na = "b*"\n{ZAI}', 'models.a: must be one model: "*" belongs on the left side'),
        (f'[models]\na = "zai/"\n{ZAI}', "models.a: names no model behind the slash"),
    ],
)
def test_invalid_model_entries(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(text, {})
    assert raised.value.problems == [problem]


def test_a_model_with_its_context_window() -> None:
    text = (
        '[models]\n"fast" = { model = "zai/air", context = 128000 }\n"slow" = { model = "glm" }\n'
        f'[upstreams.zai]\npreset = "zai"\nmodels = {{ "*" = {{ model = "glm", context = 200000 }} }}\n{ACCOUNT}\n'
    )
    config = parse(text, {})
    assert (config.models, config.contexts) == ({"fast": "zai/air", "slow": "glm"}, {"zai/air": 128_000})
    assert (config.upstreams[0].models, config.upstreams[0].contexts) == ({"*": "glm"}, {"glm": 200_000})


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("{ context = 1 }", "models.a.model: missing: a table says which model has this context"),
        ('{ model = "x", context = 0 }', "models.a.context: must be from 1 to 100000000"),
        ('{ model = "x", contxt = 1 }', 'models.a.contxt: unknown key; did you mean "context"?'),
        ('{ model = "*" }', 'models.a.model: must be one model: "*" belongs on the left side'),
        ("{}", "models.a: must be a string, not a table"),
    ],
)
def test_a_table_for_a_model_that_is_wrong(value: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"[models]\na = {value}\n{ZAI}", {})
    assert caught.value.problems[0].startswith(problem)
