"""Runtime: what requests need of the gateway, the parts that a configuration builds.

A reload makes another Runtime; requests under way keep the one they began with.
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
    """Return a random number from 0 up to 1: the kernel's, since the module `random` takes 2 ms of each start."""
    return int.from_bytes(urandom(6), "big") / 2**48


class Watchers(Protocol):
    """Clients that watch how the gateway is."""

    def add(self, request: "ClientRequest") -> None:
        """Show it to one more. Raises RequestError (503) where there are too many."""

    def end(self) -> None:
        """End all their responses."""


class Standing:
    """What stands while configurations change."""

    def __init__(self) -> None:
        self.current: Runtime
        """That of the present configuration."""
        self.started = time.time()
        self.recent = Recent()
        self.watchers: Watchers | None = None
        """None until there is one."""


class Runtime:
    """Everything behind the endpoints."""

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
        standing: Standing | None = None,
        random: Callable[[], float] = draw,
        sharing: "Sharing | None" = None,
    ) -> None:
        self.config = config
        self.base_url = base_url
        """What a client on this machine sets as its base URL."""
        self.upstreams = upstreams
        """By name."""
        self.routes = routes
        self.scheduler = scheduler
        self.model_list = model_list
        self.log = log
        self.debugging = log.enabled("debug")
        """Whether anybody reads what is decided."""
        self.standing = Standing() if standing is None else standing
        self.standing.current = self
        self.observers: tuple[Callable[[Record], None], ...] = (log.log,)
        """Who is told of every request when it is over."""
        self.metrics = Metrics() if metrics is None else metrics
        """What is counted of every request."""
        self.cache_watch = cache_watch
        """Who finds out what became of prompt caches; None: nobody."""
        self.client_connections: Callable[[], tuple[int, int]] = lambda: (0, 0)
        """How many connections of clients wait for a response, and how many are idle."""
        self.metrics.also = None
        if config.status.enabled is not False:
            self.metrics.also = self.standing.recent.take
        else:
            self.standing.recent = Recent()
        self.correction = Correction() if correction is None else correction
        self.random = random
        self.sharing = sharing
        """The way to other processes; None where there are none."""
        self.hash = stable_hash if sharing is not None and sharing.far else hash
        """Names a conversation by its beginning, for all who serve it; workers of one parent have one `hash`."""
        self.draining = False
        """The gateway is about to stop."""
        self.estimated: set[str] = set()
        """Wire models whose tokens were estimated here: only for those it is worth learning from responses."""

    def targets(self, model: str) -> tuple[Target, ...]:
        """Return who serves a model, best priority first. Raises RequestError (404)."""
        targets = self.scheduler.targets(self.routes.resolve(model))
        server = self.config.server
        for target in targets:
            target.lines = routing_lines(server, target.account, target.wire_model)
        return targets

    def count(self, wire_model: str, request: MessagesRequest) -> int:
        """Estimate a request's input tokens, corrected by what responses of the model have taught."""
        if len(self.estimated) >= Correction.MAX_MODELS:
            self.estimated.clear()
        self.estimated.add(wire_model)
        request.recall()
        return self.correction.apply(wire_model, estimate(request.document))

    def learn(self, request: MessagesRequest, record: Record) -> None:
        """Compare a request's estimate with the usage that its response reported."""
        if record.wire_model not in self.estimated or record.estimated or not record.output_tokens:
            return
        request.recall()
        counts = (record.input_tokens, record.cache_read_tokens, record.cache_creation_tokens)
        actual = sum(count for count in counts if count is not None)
        self.correction.observe(record.wire_model, estimate(request.document), actual)
