"""Portkey's gateway, Node (Hono): the provider and its address come with each request's headers."""

from bench.peers.base import Install, Peer, Site

PEER = Peer(
    name="portkey",
    about="Portkey's AI gateway, Node",
    install=Install(
        kind="npm",
        packages=("@portkey-ai/gateway@1.15.2",),
        program="node_modules/@portkey-ai/gateway/build/start-server.js",
    ),
    command=lambda program, site: ["node", program, f"--port={site.port}", "--headless"],
    ready="/",
    headers=lambda site: headers(site),
    environ=lambda site: {"NODE_ENV": "production"},
    why_not={"translate": "measured only as a relay here"},
    start_seconds=60.0,
)


def headers(site: Site) -> tuple[tuple[str, str], ...]:
    """Anthropic's protocol, at the bench's upstream."""
    return (
        ("x-portkey-provider", "anthropic"),
        ("x-portkey-custom-host", f"http://127.0.0.1:{site.upstream_port}/v1"),
    )
