"""claude-code-router, Node (fastify): routes Claude Code's requests to other providers.

3.x needs Node 22 and a native module that is built or downloaded at install time; 2.0.0 runs on Node
20 without either.
"""

import json

from bench.peers.base import Install, Peer, Site
from bench.programs import WIRE_MODELS
from bench.requests import API_KEY


def files(site: Site) -> dict[str, str]:
    """One provider with the Anthropic transformer, which passes requests through; no log."""
    config = {
        "PORT": site.port,
        "HOST": "127.0.0.1",
        "APIKEY": API_KEY,
        "LOG": False,
        "NON_INTERACTIVE_MODE": False,
        "API_TIMEOUT_MS": 600000,
        "Providers": [
            {
                "name": "bench",
                "api_base_url": f"http://127.0.0.1:{site.upstream_port}/v1/messages",
                "api_key": "sk-upstream-1",
                "models": list(WIRE_MODELS),
                "transformer": {"use": ["Anthropic"]},
            }
        ],
        "Router": {"default": f"bench,{WIRE_MODELS[0]}"},
    }
    return {".claude-code-router/config.json": json.dumps(config, indent=1)}


PEER = Peer(
    name="ccr",
    about="claude-code-router, Node",
    install=Install(
        kind="npm",
        packages=("@musistudio/claude-code-router@2.0.0",),
        program="node_modules/@musistudio/claude-code-router/dist/cli.js",
    ),
    command=lambda program, site: ["node", program, "start"],
    files=files,
    ready="/health",
    model=lambda wire: f"bench,{wire}",
    environ=lambda site: {"NODE_ENV": "production", "SERVICE_PORT": str(site.port)},
    why_not={"translate": "measured only as a relay here"},
    start_seconds=60.0,
)
