"""No proxy at all: what the load and the upstream themselves cost."""

from bench.peers.base import RELAY_ROWS, Install, Peer

PEER = Peer(
    name="direct",
    about="the upstream itself",
    install=Install(kind="ours"),
    command=None,
    rows=RELAY_ROWS - {"footprint"},
    why_not={"footprint": "there is no peer process", "translate": "nothing translates"},
)
