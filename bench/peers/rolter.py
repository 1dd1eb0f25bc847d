"""rolter, Rust (axum): an LLM proxy and load balancer."""

from bench.peers.base import Install, Peer, Site
from bench.programs import model_table
from bench.requests import API_KEY

HEAD = """\
[server]
host = "127.0.0.1"
port = {port}

[[providers]]
name = "bench"
kind = "anthropic"
api_base = "http://127.0.0.1:{upstream_port}"
api_key_env = "UPSTREAM_KEY"
allow_custom_api_base = true

[queue]
capacity = 4096
workers = 64

[[virtual_keys]]
key = "{key}"
name = "bench"
models = []
"""
ROUTE = """
[[routes]]
model = "{name}"
strategy = "round_robin"
[[routes.targets]]
provider = "bench"
model = "{wire}"
"""


def files(site: Site) -> dict[str, str]:
    """One provider, a route for each model, the client's key; the queue holds 1,000 streams that open."""
    head = HEAD.format(port=site.port, upstream_port=site.upstream_port, key=API_KEY)
    routes = [ROUTE.format(name=name, wire=wire) for name, wire in model_table().items()]
    return {"rolter.toml": head + "".join(routes)}


PEER = Peer(
    name="rolter",
    about="rolter, Rust",
    install=Install(kind="pip", packages=("rolter==0.1.0",), program="venv/bin/rolter"),
    command=lambda program, site: [program, "gateway", "--config", str(site.directory / "rolter.toml")],
    files=files,
    environ=lambda site: {
        "UPSTREAM_KEY": "sk-upstream-1",
        "ROLTER_UPDATE_CHECK": "false",
        "RUST_LOG": "warn",
    },
    why_not={"translate": "measured only as a relay here"},
    start_seconds=30.0,
)
