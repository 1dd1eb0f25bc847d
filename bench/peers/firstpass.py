"""firstpass, Rust: an Anthropic-compatible proxy; in observe mode it forwards and writes a receipt."""

from bench.peers.base import Install, Peer

PEER = Peer(
    name="firstpass",
    about="firstpass in observe mode, Rust",
    install=Install(kind="pip", packages=("firstpass==0.9.0",), program="venv/bin/firstpass-proxy"),
    command=lambda program, site: [program],
    environ=lambda site: {
        "FIRSTPASS_MODE": "observe",
        "FIRSTPASS_BIND": f"127.0.0.1:{site.port}",
        "FIRSTPASS_UPSTREAM_ANTHROPIC": f"http://127.0.0.1:{site.upstream_port}",
        "FIRSTPASS_DB": str(site.directory / "firstpass.db"),
        "RUST_LOG": "warn",
    },
    why_not={"translate": "measured only as a relay here"},
    start_seconds=30.0,
)
