"""Known upstreams: what `preset = "..."` fills in. Every field can still be set in the file.

The values are those a configuration would hold, already read (`system_role` True means "fold").
"""

from collections.abc import Mapping
from typing import Any


def _host(base_url: str, **more: Any) -> Mapping[str, Any]:
    """A host that speaks the Messages protocol but knows no messages of role system."""
    return {"kind": "anthropic", "base_url": base_url, "system_role": True, **more}


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "anthropic": {"kind": "anthropic", "base_url": "https://api.anthropic.com"},
    "zai": _host("https://api.z.ai/api/anthropic"),
    "bigmodel": _host("https://open.bigmodel.cn/api/anthropic"),
    "moonshot": _host("https://api.moonshot.ai/anthropic"),
    "deepseek": _host("https://api.deepseek.com/anthropic"),
    "minimax": _host("https://api.minimax.io/anthropic"),
    # Its guide for Claude Code sets the token variable, which is sent as a bearer token.
    "openrouter": _host("https://openrouter.ai/api", auth_header="authorization"),
    "gemini": {"kind": "gemini", "base_url": "https://generativelanguage.googleapis.com"},
    "ollama": _host("http://127.0.0.1:11434"),
    "lmstudio": _host("http://127.0.0.1:1234"),
    "llamacpp": _host("http://127.0.0.1:8080"),
}

LOCAL = frozenset({"ollama", "lmstudio", "llamacpp"})
"""Servers on one's own machine: they ask for no key."""
