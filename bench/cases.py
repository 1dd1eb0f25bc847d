"""The rows as a table of cases, and the load's job for each."""

from dataclasses import dataclass
from typing import Literal

from bench import requests
from bench.load import Job, Kind
from bench.peers.base import Peer, Site
from bench.programs import BURST, FEW, FEW_EVENTS, HOLD, JSON, Translated, client_model, paced

BURST_EVENTS = 500
SESSIONS = 16
"""Conversations among the streams: an agent and its helpers, several people."""
OPENING_SLACK = 1.5
"""Seconds added to a paced stream, for opening and settling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One measurement: which request, how often at once, which program the upstream plays."""

    row: str
    name: str
    kind: Kind
    shape: Literal["small", "agent"]
    program: str
    connections: int
    events: int = 0
    rate: int = 0
    """Events a second of a paced stream."""
    translated: Translated = ""
    """The dialect that it is translated from."""
    quick: bool = False
    """Part of a smoke run."""


def _complete(row: str, shape: Literal["small", "agent"], connections: int, *, quick: bool) -> Case:
    name = f"{connections} conn"
    return Case(
        row=row, name=name, kind="complete", shape=shape, program=JSON, connections=connections, quick=quick
    )


def _first(shape: Literal["small", "agent"], *, quick: bool) -> Case:
    return Case(
        row="ttft",
        name=shape,
        kind="first",
        shape=shape,
        program=FEW,
        connections=1,
        events=FEW_EVENTS,
        quick=quick,
    )


def _burst(row: str, *, translated: Translated = "") -> Case:
    return Case(
        row=row,
        name=f"{translated} 64 streams".strip(),
        kind="burst",
        shape="small",
        program=BURST,
        connections=64,
        events=BURST_EVENTS,
        translated=translated,
        quick=True,
    )


def _paced(row: str, streams: int, rate: int, *, translated: Translated = "", quick: bool = False) -> Case:
    return Case(
        row=row,
        name=f"{translated} {streams} x {rate}/s".strip(),
        kind="paced",
        shape="small",
        program=paced(rate),
        connections=streams,
        rate=rate,
        translated=translated,
        quick=quick,
    )


WARM_UP = _complete("small", "small", 16, quick=True)
"""Sent to a peer after its start, not counted."""


def idle_streams(count: int) -> Case:
    """`count` streams that have begun and send nothing more."""
    return Case(
        row="footprint",
        name=f"{count} idle",
        kind="hold",
        shape="small",
        program=HOLD,
        connections=count,
        events=1,
    )


CASES = (
    _complete("small", "small", 1, quick=True),
    _complete("small", "small", 16, quick=True),
    _complete("small", "small", 64, quick=False),
    _complete("agent", "agent", 1, quick=True),
    _complete("agent", "agent", 16, quick=False),
    _complete("agent", "agent", 64, quick=False),
    _first("small", quick=True),
    _first("agent", quick=False),
    _burst("burst"),
    _paced("paced", 1, 50),
    _paced("paced", 16, 50),
    _paced("paced", 200, 50, quick=True),
    _paced("paced", 1000, 10),
    _burst("translate", translated="gemini"),
    _burst("translate", translated="openai"),
    _paced("translate", 200, 50, translated="gemini"),
    _paced("translate", 200, 50, translated="openai"),
    _complete("workers", "small", 64, quick=False),
    _paced("workers", 200, 50),
)


def job_for(case: Case, peer: Peer, site: Site, seconds: float) -> Job:
    """Return the load's job: the case's requests as this peer needs them."""
    shape = requests.small() if case.shape == "small" else requests.agent()
    translated = case.translated
    model = client_model(case.program, translated=translated) if translated else peer.model(case.program)
    events = int(case.rate * (seconds + OPENING_SLACK)) if case.rate else case.events
    streamed = case.kind != "complete"
    count = events if case.kind in ("burst", "paced") else None
    body = requests.body_for(shape, model, stream=streamed, events=count)
    target = shape.path.replace("/v1/messages", peer.path)
    extra = peer.headers(site)
    rendered = [
        requests.render(
            "POST", target, site.port, requests.headers_for(shape, requests.session(number), extra), body
        )
        for number in range(min(SESSIONS, case.connections))
    ]
    return Job(
        kind=case.kind,
        port=site.port,
        requests=rendered,
        connections=case.connections,
        seconds=seconds,
        events=events,
    )
