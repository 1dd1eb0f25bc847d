"""gateway.toml for the soak: an upstream for the good, one for each bad behaviour, one translated."""

from bench.soak.scenarios import ALONE, GEMINI, GOOD

KEY = "sk-soak-client"

_HEAD = """\
[server]
host = "127.0.0.1"
port = {port}

[auth]
mode = "all_except_health"
api_key = "{key}"

[retry]
max_wait = "2s"
"""
_UPSTREAM = """
[upstreams.{name}]
kind = "{kind}"
base_url = "http://127.0.0.1:{port}"
priority = {priority}
models = {{ {models} }}
"""
_ACCOUNT = """
[[upstreams.{name}.accounts]]
email = "{email}@example.com"
api_key = "sk-{name}-{number}"
"""
ACCOUNTS = 2


def _upstream(name: str, kind: str, port: int, models: dict[str, str], priority: int = 0) -> str:
    table = ", ".join(f'"{asked}" = "{wire}"' for asked, wire in models.items())
    text = _UPSTREAM.format(name=name, kind=kind, port=port, models=table, priority=priority)
    for number in range(1, ACCOUNTS + 1):
        text += _ACCOUNT.format(name=name, email=f"{name}{number}", number=number)
    return text


def render(port: int, upstream_port: int) -> str:
    """The whole file."""
    parts = [_HEAD.format(port=port, key=KEY)]
    good = {f"soak-{name}": f"soak-{name}" for name in GOOD}
    parts.append(_upstream("good", "anthropic", upstream_port, good))
    for name in ALONE:
        models = {f"soak-{name}": f"soak-{name}"}
        if name == "overloaded":
            models["soak-fallback"] = "soak-overloaded"
        parts.append(_upstream(name, "anthropic", upstream_port, models))
    parts.append(
        _upstream("fallback", "anthropic", upstream_port, {"soak-fallback": "soak-json"}, priority=1)
    )
    translated = {f"soak-gemini-{name}": f"soak-{name}" for name in GEMINI}
    parts.append(_upstream("translated", "gemini", upstream_port, translated))
    return "".join(parts)
