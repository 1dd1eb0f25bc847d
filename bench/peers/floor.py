"""The bare relay of `bench.floor`: the least that a proxy in Python can cost, on the same Python and uvloop."""

import sys

from bench.peers.base import ROOT, Install, Peer

PEER = Peer(
    name="floor",
    about="a bare asyncio relay that keeps no promise",
    install=Install(kind="ours"),
    command=lambda program, site: [
        sys.executable,
        "-m",
        "bench.floor",
        "--port",
        str(site.port),
        "--upstream",
        str(site.upstream_port),
    ],
    environ=lambda site: {"PYTHONPATH": str(ROOT)},
    why_not={"translate": "it does not translate"},
    disk=("orjson", "uvloop"),
)
