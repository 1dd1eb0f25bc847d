"""Laminar's pass-through for Claude Code, Rust (hyper) as a Python module: the thinnest of the gateways here."""

from bench.peers.base import Install, Peer, Site

START = """\
import sys, threading
from lmnr_claude_code_proxy import run
run(sys.argv[1], int(sys.argv[2]))
threading.Event().wait()
"""


def command(program: str, site: Site) -> list[str]:
    """Its environment's Python, which starts the proxy's thread and waits."""
    return [program, "-c", START, f"http://127.0.0.1:{site.upstream_port}", str(site.port)]


PEER = Peer(
    name="lmnr",
    about="Laminar's pass-through for Claude Code, Rust in Python",
    install=Install(
        kind="pip", packages=("lmnr-claude-code-proxy==0.2.0", "httpx==0.28.1"), program="venv/bin/python"
    ),
    command=command,
    ready="/lmnr-internal/health",
    why_not={"translate": "measured only as a relay here"},
    start_seconds=30.0,
)
