"""SMG (Shepherd Model Gateway), Rust with a Python launcher: a router for inference fleets."""

from bench.peers.base import Install, Peer, Site
from bench.processes import free_port


def command(program: str, site: Site) -> list[str]:
    """The router alone, in front of one worker that speaks Anthropic's protocol."""
    return [
        program,
        "launch",
        "--host=127.0.0.1",
        f"--port={site.port}",
        "--backend=anthropic",
        "--worker-urls",
        f"http://127.0.0.1:{site.upstream_port}",
        "--log-level=warn",
        "--prometheus-host=127.0.0.1",
        f"--prometheus-port={free_port()}",
    ]


PEER = Peer(
    name="smg",
    about="Shepherd Model Gateway, Rust",
    install=Install(kind="pip", packages=("smg==1.13.0",), program="venv/bin/smg"),
    command=command,
    ready="/health",
    why_not={"translate": "measured only as a relay here"},
    start_seconds=60.0,
)
