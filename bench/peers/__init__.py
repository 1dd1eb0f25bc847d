"""The peers by name. One module each; those of DEFAULT run unless others are named."""

from bench.peers import (
    claude_code_router,
    direct,
    ferrogw,
    firstpass,
    floor,
    gateway,
    haproxy,
    litellm,
    lmnr,
    nginx,
    portkey,
    rolter,
    smg,
)
from bench.peers.base import Peer

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        direct.PEER,
        floor.PEER,
        nginx.PEER,
        haproxy.PEER,
        gateway.PEER,
        gateway.TWO_WORKERS,
        gateway.TWO_APART,
        litellm.PEER,
        claude_code_router.PEER,
        portkey.PEER,
        smg.PEER,
        ferrogw.PEER,
        lmnr.PEER,
        rolter.PEER,
        firstpass.PEER,
    )
}
DEFAULT = ("direct", "floor", "nginx", "haproxy", "gateway")
QUICK = ("direct", "floor", "nginx", "gateway")


def choose(names: list[str]) -> list[Peer]:
    """The peers of these names. ValueError names the unknown ones and the known."""
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise ValueError(f"no peer {', '.join(unknown)}; there are {', '.join(PEERS)}")
    return [PEERS[name] for name in names]
