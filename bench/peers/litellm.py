"""LiteLLM's proxy: the most used LLM gateway, Python (FastAPI, uvicorn) with native parts.

1.82.7, 1.82.8 and 1.107.0 on PyPI were compromised releases: never pin one of those.
"""

import json

from bench.peers.base import Install, Peer, Site
from bench.programs import model_table
from bench.requests import API_KEY


def files(site: Site) -> dict[str, str]:
    """One entry per model; each goes to the upstream as Anthropic's API."""
    models = [
        {
            "model_name": name,
            "litellm_params": {
                "model": f"anthropic/{wire}",
                "api_base": f"http://127.0.0.1:{site.upstream_port}",
                "api_key": "sk-upstream-1",
            },
        }
        for name, wire in model_table().items()
    ]
    config = {
        "model_list": models,
        "general_settings": {"master_key": API_KEY},
        "litellm_settings": {"telemetry": False, "drop_params": True},
    }
    return {"config.yaml": json.dumps(config, indent=1)}


def command(program: str, site: Site) -> list[str]:
    """One worker; JSON is YAML."""
    options = [
        "--config",
        str(site.directory / "config.yaml"),
        "--host",
        "127.0.0.1",
        "--port",
        str(site.port),
    ]
    return [program, *options, "--num_workers", "1", "--telemetry", "False"]


PEER = Peer(
    name="litellm",
    about="LiteLLM's proxy, Python",
    install=Install(kind="pip", packages=("litellm[proxy]==1.104.4",), program="venv/bin/litellm"),
    command=command,
    files=files,
    ready="/health/liveliness",
    environ=lambda site: {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_MODE": "PRODUCTION",
        "NO_DOCS": "True",
        "LITELLM_LOG": "ERROR",
    },
    why_not={"translate": "measured only as a relay here"},
    start_seconds=120.0,
)
