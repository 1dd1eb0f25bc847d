"""A gateway under test, in this process, and the check that it leaves nothing behind."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

from gateway.app import Gateway
from gateway.config import Account, Auth, Config, Retry, Secret, Server, Stream, Upstream
from gateway.http1.limits import Limits
from gateway.sharing.peers import Sharing
from gateway.telemetry.access_log import AccessLog
from tests.support.client import Client, Response, fetch
from tests.support.leftovers import leftovers
from tests.support.loops import eventually, settle

FAST = Limits(
    header_timeout=20.0,
    body_timeout=20.0,
    keep_alive_timeout=20.0,
    write_timeout=20.0,
    linger_timeout=0.2,
    connect_timeout=5.0,
    first_byte_timeout=5.0,
    first_byte_timeout_complete=5.0,
    idle_timeout=5.0,
    pool_idle_timeout=20.0,
)
"""Short enough that a hanging test ends soon; tests of a timeout make theirs shorter still."""


def account(name: str, **fields: Any) -> Account:
    return Account(name=name, api_key=Secret(f"key-of-{name}"), **fields)


def upstream(url: str, *accounts: str | Account, name: str = "up", **fields: Any) -> Upstream:
    """An anthropic upstream; its accounts' keys are `key-of-NAME`."""
    made = tuple(account(a) if isinstance(a, str) else a for a in (accounts or ("one@example.com",)))
    fields.setdefault("kind", "anthropic")
    return Upstream(name=name, base_url=url, accounts=made, **fields)


def config(
    *upstreams: Upstream,
    limits: Mapping[str, Any] | None = None,
    server: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Config:
    """A configuration on a free port, with short waits."""
    fields.setdefault("retry", Retry(max_attempts=3, max_wait=2.0))
    fields.setdefault("stream", Stream(ping_after=5.0))
    fields.setdefault("auth", Auth())
    chosen = FAST._replace(**(limits or {}))
    return Config(
        server=Server(host="127.0.0.1", port=0, limits=chosen, **(server or {})),
        upstreams=upstreams,
        **fields,
    )


_gateways: set[Gateway] = set()
"""Those that run now."""


class Running:
    """A started gateway, with what a test looks at."""

    def __init__(self, gateway: Gateway, lines: list[str]) -> None:
        self.gateway = gateway
        self.lines = lines

    @property
    def port(self) -> int:
        return self.gateway.port

    @property
    def url(self) -> str:
        return self.gateway.runtime.base_url

    def pool_state(self, upstream: str = "") -> str:
        """Return the connections to an upstream, the first without a name, as their pool counts them."""
        upstreams = self.gateway.runtime.upstreams
        pool = upstreams[upstream or next(iter(upstreams))].pool
        return repr(pool).partition(", ")[2].removesuffix("]>")

    async def post(
        self, body: bytes | dict[str, Any], target: str = "/v1/messages", **headers: str
    ) -> Response:
        """POST on a separate connection; header names with `_` for `-`."""
        pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return await fetch(self.port, "POST", target, body, pairs)

    async def get(self, target: str, **headers: str) -> Response:
        pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return await fetch(self.port, "GET", target, b"", pairs)

    async def connect(self) -> Client:
        return await Client.connect(self.port)


async def all_told(*gateways: Running) -> None:
    """Wait until each of these, which share with nobody else, has heard what the others have told."""
    sharings = [each.gateway.runtime.sharing for each in gateways]
    states = [sharing.state for sharing in sharings if sharing is not None]
    told = sum(state.published for state in states)
    await eventually(lambda: all(state.received >= told - state.published for state in states))


@asynccontextmanager
async def running(
    config: Config,
    *,
    listing: bool = False,
    format: Literal["text", "json"] = "text",
    level: Literal["info", "debug"] = "info",
    sharing: Sharing | None = None,
) -> AsyncIterator[Running]:
    """A gateway that serves `config`; at the end nothing of it may be left. It logs in `format`, at `level`.

    The upstreams' model lists are not requested unless `listing` is set, so that scripts stay short.
    """
    lines: list[str] = []
    gateway = Gateway(config, AccessLog(lines.append, format, level), environ={}, sharing=sharing)
    await gateway.start(listing=listing)
    _gateways.add(gateway)
    try:
        yield Running(gateway, lines)
    finally:
        await gateway.stop(0.0)
        if sharing is not None:
            sharing.finish()
        await settle()
        _gateways.discard(gateway)
        for each in gateway.runtime.upstreams.values():
            assert repr(each.pool).endswith("Active: 0, Idle: 0, Dialling: 0]>")
        assert not gateway.server.connections
        for account in gateway.runtime.scheduler.snapshot(0.0):
            assert account.in_flight == 0, account
        left = leftovers()
        # While another gateway runs in this loop, leftovers may belong to it.
        assert _gateways or not left, left
