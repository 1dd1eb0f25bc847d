"""The gateway of this repository, started as its users start it.

Key check on, a model table, sticky routing over two accounts, a log line for each request: nothing
is turned off for the measurement.
"""

from dataclasses import replace

from bench.peers.base import ROOT, ROWS, Install, Peer, Site
from bench.programs import model_table
from bench.requests import API_KEY

APART = """
[sharing]
workers = false
"""

CONFIG = """\
[server]
host = "127.0.0.1"
port = {port}

[auth]
mode = "all_except_health"
api_key = "{key}"

[upstreams.bench]
kind = "anthropic"
base_url = "http://127.0.0.1:{upstream_port}"
models = {models}

[[upstreams.bench.accounts]]
email = "first@example.com"
api_key = "sk-upstream-1"

[[upstreams.bench.accounts]]
email = "second@example.com"
api_key = "sk-upstream-2"

[upstreams.gemini]
kind = "gemini"
base_url = "http://127.0.0.1:{upstream_port}"
models = {gemini}

[[upstreams.gemini.accounts]]
email = "third@example.com"
api_key = "sk-upstream-3"

[upstreams.openai]
kind = "openai"
base_url = "http://127.0.0.1:{upstream_port}/v1"
models = {openai}

[[upstreams.openai.accounts]]
email = "fourth@example.com"
api_key = "sk-upstream-4"
"""


def _inline(table: dict[str, str]) -> str:
    return "{ " + ", ".join(f'"{name}" = "{value}"' for name, value in table.items()) + " }"


def render(site: Site) -> str:
    """gateway.toml for this site."""
    return CONFIG.format(
        port=site.port,
        upstream_port=site.upstream_port,
        key=API_KEY,
        models=_inline(model_table()),
        gemini=_inline(model_table(translated="gemini")),
        openai=_inline(model_table(translated="openai")),
    )


def files(site: Site) -> dict[str, str]:
    """The config file."""
    return {"gateway.toml": render(site)}


def command(program: str, site: Site) -> list[str]:
    """`python -m gateway serve`."""
    return [program, "-m", "gateway", "serve", "--config", str(site.directory / "gateway.toml")]


def command_two_workers(program: str, site: Site) -> list[str]:
    """The same with two processes."""
    return [*command(program, site), "--workers", "2"]


DISTRIBUTIONS = ("h11", "orjson", "uvloop")

PEER = Peer(
    name="gateway",
    about="this repository, python -m gateway serve",
    install=Install(kind="ours", program="gateway"),
    command=command,
    files=files,
    environ=lambda site: {"PYTHONPATH": str(ROOT)},
    rows=frozenset(ROWS),
    disk=DISTRIBUTIONS,
)

TWO_WORKERS = Peer(
    name="gateway-2",
    about="this repository with --workers 2",
    install=Install(kind="ours", program="gateway"),
    command=command_two_workers,
    files=files,
    environ=lambda site: {"PYTHONPATH": str(ROOT)},
    rows=frozenset(ROWS),
    disk=DISTRIBUTIONS,
)

TWO_APART = replace(
    TWO_WORKERS,
    name="gateway-2-apart",
    about="the same, and they share nothing",
    files=lambda site: {"gateway.toml": render(site) + APART},
)
