"""GET /metrics: counters and gauges for Prometheus. A scrape of any worker returns the numbers of all."""

from typing import TYPE_CHECKING

from gateway.proxy.request import ClientRequest
from gateway.proxy.response_headers import shown_account
from gateway.proxy.runtime import Runtime

if TYPE_CHECKING:
    from gateway.telemetry.exposition import Gauges, Snapshot

KIND = "metrics"
"""The name under which processes exchange snapshots."""


def metrics(request: ClientRequest) -> None:
    """Respond with all numbers, in the text format that the client prefers."""
    from gateway.telemetry import exposition

    runtime = request.runtime
    now = request.exchange.loop.time()

    def respond(others: list[bytes]) -> None:
        try:
            found = [snapshot_of(runtime, now, apart=1), *filter(None, map(exposition.read_snapshot, others))]
            openmetrics = exposition.wants_openmetrics(request.exchange.head.get(b"accept"))
            body = exposition.render(exposition.merge(found), openmetrics=openmetrics)
            type = exposition.OPENMETRICS if openmetrics else exposition.TEXT
            request.respond(200, body, b"content-type: %b\r\n" % type)
        except Exception as error:
            request.crashed(error)

    if runtime.sharing is None:
        respond([])
    else:
        runtime.sharing.gather(KIND, respond)


def snapshot_of(runtime: Runtime, now: float, *, apart: int = 0) -> "Snapshot":
    """Return all numbers of this process, without `apart` requests that are scrapes."""
    from os import getpid
    from platform import node

    from gateway.telemetry.exposition import snapshot

    server = runtime.config.server
    # The system reuses process ids, so the start time is part of the name.
    process = f"{node()}:{getpid()}:{runtime.process_state.started}"
    return snapshot(
        process, runtime.metrics, _gauges(runtime, now, apart), lambda account: shown_account(server, account)
    )


def _gauges(runtime: Runtime, now: float, apart: int) -> "Gauges":
    """Return the gauges. Accounts that look alike to clients are one; its number is how many are available."""
    from platform import python_version

    from gateway import __version__
    from gateway.telemetry.process_stats import process_stats

    available: dict[tuple[str, ...], float] = {}
    seconds: dict[tuple[str, ...], float] = {}
    for account in runtime.scheduler.snapshot(now):
        place = account.upstream, shown_account(runtime.config.server, account.account)
        available[place] = available.get(place, 0) + account.ready
        seconds[place] = max(seconds.get(place, 0.0), account.until - now, 0.0)
    serving, idle = runtime.client_connections()
    sharing = runtime.sharing
    shared: Gauges = {}
    if sharing is not None:
        shared = {"gateway_sharing_dropped_total": {(): sharing.state.dropped}}
    pools = {id(upstream.pool): upstream.pool.counts() for upstream in runtime.upstreams.values()}
    active, kept, dialling = (sum(counts) for counts in zip((0, 0, 0), *pools.values(), strict=True))
    return {
        "gateway_account_available": available,
        "gateway_account_cooldown_seconds": seconds,
        "gateway_in_flight": {(): serving - apart},
        "gateway_connections": {
            ("client", "active"): serving,
            ("client", "idle"): idle,
            ("upstream", "active"): active,
            ("upstream", "idle"): kept,
            ("upstream", "dialling"): dialling,
        },
        **shared,
        "gateway_build_info": {(__version__, python_version()): 1},
        **{name: {(): number} for name, number in process_stats().items()},
    }
