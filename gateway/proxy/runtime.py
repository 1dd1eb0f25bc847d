"""What a client request needs of the gateway: the parts that a configuration builds, in one value.

A reload makes another Runtime; requests under way keep the one they began with.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import random

from gateway.config import Config
from gateway.http1.pool import Pool
from gateway.messages.request import MessagesRequest
from gateway.messages.token_estimate import Correction, estimate
from gateway.proxy.model_list import ModelList
from gateway.proxy.upstream import UpstreamClient
from gateway.routing.model_routes import ModelRoutes
from gateway.routing.scheduler import Scheduler
from gateway.telemetry.access_log import AccessLog, Record


@dataclass(slots=True, kw_only=True)
class Runtime:
    """Everything behind the endpoints."""

    config: Config
    base_url: str
    """What a client on this machine sets as its base URL."""
    links: Mapping[str, UpstreamClient]
    """By upstream name."""
    routes: ModelRoutes
    scheduler: Scheduler
    pool: Pool
    catalogue: ModelList
    log: AccessLog
    correction: Correction = field(default_factory=Correction)
    estimated: set[str] = field(default_factory=set)
    """Wire models whose tokens were estimated here: only for those it is worth learning from answers."""
    random: Callable[[], float] = random
    draining: bool = False
    """The gateway is about to stop."""

    def count(self, wire_model: str, request: MessagesRequest) -> int:
        """An estimate of a request's input tokens, corrected by what answers of the model have taught."""
        if len(self.estimated) >= Correction.MAX_MODELS:
            self.estimated.clear()
        self.estimated.add(wire_model)
        return self.correction.apply(wire_model, estimate(request.document))

    def learn(self, request: MessagesRequest, record: Record) -> None:
        """A request was answered: compare its estimate with the usage that was reported."""
        if record.wire_model not in self.estimated or not record.output_tokens:
            return
        counts = (record.input_tokens, record.cache_read_tokens, record.cache_creation_tokens)
        actual = sum(count for count in counts if count is not None)
        self.correction.observe(record.wire_model, estimate(request.document), actual)
