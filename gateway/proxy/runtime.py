"""Runtime: what requests use of the gateway, built from a configuration.

A reload makes another Runtime; requests in progress keep theirs.
"""

import time
from collections.abc import Callable, Mapping
from os import urandom
from typing import TYPE_CHECKING, Protocol

from gateway.config import Config
from gateway.messages.request import MessagesRequest
from gateway.messages.token_estimate import Correction, estimate
from gateway.proxy.cache_watch import CacheWatch
from gateway.proxy.model_list import ModelList
from gateway.proxy.response_headers import routing_lines
from gateway.proxy.upstream import UpstreamClient
from gateway.routing.accounts import Target
from gateway.routing.model_routes import ModelRoutes
from gateway.routing.rendezvous import stable_hash
from gateway.routing.scheduler import Scheduler
from gateway.telemetry.access_log import AccessLog, Record
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.recent import Recent

if TYPE_CHECKING:
    from gateway.proxy.request import ClientRequest
    from gateway.sharing.peers import Sharing


def draw() -> float:
    """Return a random number in [0, 1) from the kernel, since importing `random` takes 2 ms of each start."""
    return int.from_bytes(urandom(6), "big") / 2**48


class Watchers(Protocol):
    """Clients that watch the status."""

    def add(self, request: "ClientRequest") -> None:
        """Start a stream for a client. Raises RequestError (503) if there are too many."""

    def end(self) -> None:
        """End all streams."""


class ProcessState:
    """State that outlives configurations."""

    def __init__(self) -> None:
        self.current: Runtime
        """The present configuration's."""
        self.started = time.time()
        self.recent = Recent()
        self.watchers: Watchers | None = None
        """None until there is one."""


class Runtime:
    """The services behind the endpoints."""

    def __init__(
        self,
        config: Config,
        *,
        base_url: str,
        upstreams: Mapping[str, UpstreamClient],
        routes: ModelRoutes,
        scheduler: Scheduler,
        model_list: ModelList,
        log: AccessLog,
        correction: Correction | None = None,
        metrics: Metrics | None = None,
        cache_watch: CacheWatch | None = None,
        process_state: ProcessState | None = None,
        random: Callable[[], float] = draw,
        sharing: "Sharing | None" = None,
    ) -> None:
        self.config = config
        self.base_url = base_url
        """The base URL for a client on this machine."""
        self.upstreams = upstreams
        """By name."""
        self.routes = routes
        self.scheduler = scheduler
        self.model_list = model_list
        self.log = log
        self.debugging = log.enabled("debug")
        """Whether the log has level debug."""
        self.process_state = ProcessState() if process_state is None else process_state
        self.process_state.current = self
        self.observers: tuple[Callable[[Record], None], ...] = (log.log,)
        """Called with the record of each request that has ended."""
        self.metrics = Metrics() if metrics is None else metrics
        """Counters of requests."""
        self.cache_watch = cache_watch
        """Watches prompt caches; None if that is turned off."""
        self.client_connections: Callable[[], tuple[int, int]] = lambda: (0, 0)
        """Returns how many client connections wait for a response, and how many are idle."""
        self.metrics.also = None
        if config.status.enabled is not False:
            self.metrics.also = self.process_state.recent.take
        else:
            self.process_state.recent = Recent()
        self.correction = Correction() if correction is None else correction
        self.random = random
        self.sharing = sharing
        """The connection to other processes; None if there are none."""
        self.hash = stable_hash if sharing is not None and sharing.far else hash
        """Hashes a conversation's beginning, equally in all processes that share; workers of one parent share
        `hash`."""
        self.draining = False
        """Whether the gateway is stopping."""
        self.estimated: set[str] = set()
        """Wire models whose tokens were estimated here: only for those is a correction learnt from responses."""

    def targets(self, model: str) -> tuple[Target, ...]:
        """Return the targets for a model, best priority first. Raises RequestError (404)."""
        targets = self.scheduler.targets(self.routes.resolve(model))
        server = self.config.server
        for target in targets:
            target.lines = routing_lines(server, target.account, target.wire_model)
        return targets

    def count(self, wire_model: str, request: MessagesRequest) -> int:
        """Estimate a request's input tokens, with the model's correction."""
        if len(self.estimated) >= Correction.MAX_MODELS:
            self.estimated.clear()
        self.estimated.add(wire_model)
        request.recall()
        return self.correction.apply(wire_model, estimate(request.document))

    def learn(self, request: MessagesRequest, record: Record) -> None:
        """Compare a request's estimate with the usage in its response."""
        if record.wire_model not in self.estimated or record.estimated or not record.output_tokens:
            return
        request.recall()
        counts = (record.input_tokens, record.cache_read_tokens, record.cache_creation_tokens)
        actual = sum(count for count in counts if count is not None)
        self.correction.observe(record.wire_model, estimate(request.document), actual)
