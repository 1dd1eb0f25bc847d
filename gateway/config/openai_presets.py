"""Known OpenAI-compatible hosts: their address, how they take a key, and traits that differ from the defaults."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from gateway.config.openai_traits import EFFORTS


class Preset(NamedTuple):
    """A known host: its address, the header of its key, and traits that differ from the defaults."""

    base_url: str = ""
    """Empty: the configuration must give it."""
    auth_header: str = "authorization"
    local: bool = False
    """It runs on this machine and needs no key."""
    traits: Mapping[str, Any] = MappingProxyType({})

    @property
    def values(self) -> Mapping[str, Any]:
        """Return it as the keys of an upstream."""
        place = {"base_url": self.base_url} if self.base_url else {}
        return {**place, "auth_header": self.auth_header, **self.traits}


_OPENAI = {
    "max_tokens_field": "max_completion_tokens",
    "thinking": "effort",
    "efforts": EFFORTS,
    "documents": "file",
    "cache_key": "prompt_cache_key",
    "tool_ids": "64",
}
_EFFORTS = {"thinking": "effort", "efforts": ("none", "low", "medium", "high")}
_COMPLETION = {"max_tokens_field": "max_completion_tokens"}
_TEMPLATE = {"thinking": "template", "echo": "reasoning_content", "top_k": True}


def _local(port: int, **traits: Any) -> Preset:
    return Preset(base_url=f"http://127.0.0.1:{port}/v1", local=True, traits=traits)


PRESETS: Mapping[str, Preset] = {
    "openai": Preset(base_url="https://api.openai.com/v1", traits={**_OPENAI, "wire": "responses"}),
    "azure": Preset(auth_header="api-key", traits={**_OPENAI, "description_limit": 1024}),
    "openrouter-openai": Preset(
        base_url="https://openrouter.ai/api/v1",
        traits={
            "thinking": "openrouter",
            "efforts": EFFORTS,
            "echo": "details",
            "documents": "file",
            "cache_control": True,
            "cache_key": "session_id",
            "top_k": True,
            "web_search": {"plugins": [{"id": "web"}]},
        },
    ),
    "deepseek-openai": Preset(
        base_url="https://api.deepseek.com/v1",
        traits={
            "thinking": "deepseek",
            "efforts": ("low", "high", "max"),
            "echo": "reasoning_content",
            "echo_required": True,
            "json": "object",
            "images": "note",
        },
    ),
    "moonshot-openai": Preset(
        base_url="https://api.moonshot.ai/v1",
        traits={
            "thinking": "moonshot",
            "echo": "reasoning_content",
            "echo_required": True,
            "tool_ids": "kimi",
            "json": "object",
        },
    ),
    "zai-openai": Preset(
        base_url="https://api.z.ai/api/paas/v4",
        traits={
            "thinking": "zai",
            "echo": "reasoning_content",
            "tool_choice": "auto",
            "json": "object",
            "body": {"tool_stream": True},
        },
    ),
    "minimax-openai": Preset(
        base_url="https://api.minimax.io/v1",
        traits={
            **_COMPLETION,
            "thinking": "minimax",
            "echo": "details",
            "tool_choice": "auto",
            "json": "prompt",
            "parallel_tool_calls": False,
            "images": "note",
        },
    ),
    "qwen": Preset(
        base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        traits={
            "thinking": "qwen",
            "echo": "reasoning_content",
            "json": "object",
            "top_k": True,
            "web_search": {"enable_search": True},
        },
    ),
    "mistral": Preset(
        base_url="https://api.mistral.ai/v1",
        traits={
            "thinking": "effort",
            "efforts": ("none", "high"),
            "echo": "parts",
            "tool_ids": "alnum9",
            "after_tool": "assistant",
            "prefill": "prefix",
            "stream_usage": False,
        },
    ),
    "groq": Preset(
        base_url="https://api.groq.com/openai/v1",
        traits={**_COMPLETION, "thinking": "effort", "echo": "none"},
    ),
    "cerebras": Preset(
        base_url="https://api.cerebras.ai/v1",
        traits={**_COMPLETION, "thinking": "effort", "echo": "none", "images": "note"},
    ),
    "xai": Preset(
        base_url="https://api.x.ai/v1", traits={**_COMPLETION, "stop": "cut", "wire": "responses"}
    ),
    "together": Preset(
        base_url="https://api.together.xyz/v1", traits={"thinking": "effort", "top_k": True}
    ),
    "vllm": _local(8000, **_TEMPLATE),
    "sglang": _local(30000, **_TEMPLATE),
    "llamacpp-openai": _local(8080, **_TEMPLATE, schema="plain"),
    "ollama-openai": _local(11434, **_EFFORTS, images="data"),
    "lmstudio-openai": _local(1234, **_EFFORTS, images="data", tool_choice="words"),
    "litellm": _local(4000, **_EFFORTS, cache_control=True),
}  # fmt: skip
"""A name that already means a host's Messages endpoint gets `-openai`."""
