"""Ferro Labs' AI gateway, Go. Speaks OpenAI's protocol to clients and has no Messages route.

Kept for its start and its memory. It listens on all interfaces and has no option against that, so run
it only where that is harmless.
"""

from bench.peers.base import RELAY_ROWS, Install, Peer, Site

CONFIG = """\
strategy:
  mode: single
targets:
  - virtual_key: anthropic
"""
NO_ROUTE = "has no Messages route: responds to POST /v1/messages with 501 proxy_not_supported"


def files(site: Site) -> dict[str, str]:
    """One provider."""
    return {"config.yaml": CONFIG}


PEER = Peer(
    name="ferrogw",
    about="Ferro Labs' AI gateway, Go",
    install=Install(kind="pip", packages=("ferrogw==1.5.10",), program="venv/bin/ferrogw"),
    command=lambda program, site: [program, "serve"],
    files=files,
    ready="/readyz",
    environ=lambda site: {
        "PORT": str(site.port),
        "GATEWAY_CONFIG": str(site.directory / "config.yaml"),
        "ANTHROPIC_API_KEY": "sk-upstream-1",
        "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{site.upstream_port}",
    },
    rows=frozenset({"footprint"}),
    why_not=dict.fromkeys(RELAY_ROWS, NO_ROUTE) | {"translate": NO_ROUTE},
    start_seconds=30.0,
)
