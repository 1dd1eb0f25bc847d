"""Gateway: builds everything from a Config, is the HTTP server's application, starts, reloads, drains and stops.

This is the one module that puts the parts together. `process` runs it as a process.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from gateway.config import KINDS, Account, Config, Upstream
from gateway.dialects.base import Dialect
from gateway.endpoints import router
from gateway.endpoints.access import KEY_FIELDS, AccessControl
from gateway.http1.dial import Origin, client_context, origin_of, proxy_for
from gateway.http1.exchange import Exchange
from gateway.http1.heads import render_lines
from gateway.http1.limits import Limits
from gateway.http1.pool import Pool
from gateway.http1.server import Server
from gateway.listening import StartError, base_url, listen_error, load_certificate, server_context
from gateway.messages.errors import RequestError, error_type
from gateway.messages.protocol import MESSAGES
from gateway.messages.request import SESSION_FIELD, conversation_id
from gateway.proxy.cache_watch import CacheWatch
from gateway.proxy.content_encoding import check_request_coding
from gateway.proxy.model_list import ListKeeper, ModelList
from gateway.proxy.request import ClientRequest, Entrance, new_id
from gateway.proxy.response_headers import JSON
from gateway.proxy.runtime import Runtime, draw
from gateway.proxy.token_refresh import TokenRefresher
from gateway.proxy.upstream import CredentialSource, Key, UpstreamClient
from gateway.routing.credentials import OAuthToken, credential_of
from gateway.routing.model_routes import ModelRoutes
from gateway.routing.scheduler import Scheduler
from gateway.routing.status import Change
from gateway.telemetry.access_log import AccessLog, Place
from gateway.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from gateway.sharing.peers import Sharing

Environ = Mapping[str, str]

NOT_JUDGED = frozenset(
    {b"content-length", b"x-request-id", b"x-client-request-id", b"traceparent"} | KEY_FIELDS
)
"""Fields that may differ between heads that lead to the same place: nothing follows from them but the key, and
every head's key is checked."""

FAREWELL = 1.0
"""Seconds to write the last response of a stopping gateway; a client that reads takes far less."""

SHUTTING_DOWN = "the gateway is shutting down; the next one that starts will serve this request"


def dialect_of(kind: str, log: AccessLog) -> Dialect:
    """Return the dialect of a kind of upstream. A dialect is imported when a configuration first names it."""
    module = import_module(f"gateway.dialects.{KINDS[kind].module}")
    dialect: Dialect = module.new_dialect(draw, log.warning)
    return dialect


class Gateway:
    """One gateway: an HTTP application and its life cycle."""

    def __init__(
        self,
        config: Config,
        log: AccessLog,
        environ: Environ | None = None,
        sharing: "Sharing | None" = None,
    ) -> None:
        """`sharing`: the channel to other processes that serve the same accounts."""
        self._environ = os.environ if environ is None else environ
        self._log = log
        self._sharing, self._store = sharing, None
        if config.sharing.url is not None:
            from gateway.sharing.store import open_store

            self._sharing, self._store = open_store(config.sharing, sharing, log)
        self._pools: dict[Origin, Pool] = {}
        self._tls: ssl.SSLContext | None = None
        self._list_keepers: list[ListKeeper] | None = None
        """One for each upstream; None while no lists are kept."""
        self.port = config.server.port
        self.runtime = self._build(config, None)
        self._access = AccessControl(config)
        self._doubled_v1_reported = False
        self.server = Server(self, config.server.limits)

    def _build(self, config: Config, old: Runtime | None) -> Runtime:
        dialects = self._dialects(config, old)
        upstreams = {
            upstream.name: self._upstream(config, upstream, dialects[upstream.kind])
            for upstream in config.upstreams
        }
        for pool in self._pools.values():
            pool.limits = config.server.limits
        routes = ModelRoutes(config.models, config.upstreams)
        scheduler = Scheduler(config.upstreams)
        scheduler.on_change = partial(self._log_change, upstreams)
        model_list = ModelList(routes.exact_names(), routes.serves)
        metrics = Metrics(router.NAMES, router.name_of)
        cache_watch = CacheWatch() if config.cache.trace else None
        if old is not None:
            scheduler.adopt(old.scheduler)
            model_list.adopt(old.model_list, upstreams)
            metrics = old.metrics
            cache_watch = cache_watch and (old.cache_watch or cache_watch)
        metrics.name_models(routes.wire_models())
        if self._sharing is not None:
            self._sharing.state.attach(
                scheduler,
                {name: store for dialect in dialects.values() for name, store in dialect.stores.items()},
                lambda name, words: upstreams[name].shown(words) if name in upstreams else "",
                share_limits=config.sharing.share_limits,
            )
        runtime = Runtime(
            config,
            base_url=base_url(config, self.port),
            upstreams=upstreams,
            routes=routes,
            scheduler=scheduler,
            model_list=model_list,
            log=self._log,
            correction=old.correction if old is not None else None,
            metrics=metrics,
            cache_watch=cache_watch,
            process_state=old.process_state if old is not None else None,
            sharing=self._sharing,
        )
        runtime.client_connections = lambda: self.server.counts()
        return runtime

    def _log_change(self, upstreams: Mapping[str, UpstreamClient], change: Change) -> None:
        """Log that an upstream, an account or a part of one was closed or opened."""
        upstream = upstreams.get(change.upstream)
        shown = str if upstream is None else upstream.shown
        place = Place(change.upstream, change.account, change.wire_model, change.feature)
        if change.opened:
            self._log.log_opened(place)
            return
        self._log.log_closed(
            place,
            about=change.about.value,
            rule=change.rule,
            status=change.status,
            words=shown(change.words),
            seconds=max(0.0, change.until - asyncio.get_running_loop().time()),
        )

    def _upstream(self, config: Config, upstream: Upstream, dialect: Dialect) -> UpstreamClient:
        """Return an upstream's client: its addresses, its dialect and its accounts' credentials."""
        limits = config.server.limits
        proxy = upstream.proxy.reveal() if upstream.proxy else proxy_for(upstream.base_url, self._environ)
        origin = origin_of(upstream.base_url, proxy=proxy, ca_file=upstream.ca_file)
        credentials = {
            account.name: self._credential_source(account, limits) for account in upstream.accounts
        }
        return UpstreamClient(upstream, self._pool(origin, limits), dialect, credentials)

    def _credential_source(self, account: Account, limits: Limits) -> CredentialSource:
        """Return what an account authenticates with. Raises StartError naming the file at fault."""
        credential = credential_of(account)
        if credential is not None:
            return Key(credential)
        assert account.oauth_file is not None
        try:
            token = OAuthToken(account.oauth_file.read_bytes())
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StartError(f"account {account.name}: {account.oauth_file}: {reason}") from error
        origin = origin_of(token.uri, proxy=proxy_for(token.uri, self._environ), ca_file=None)
        return TokenRefresher(token, self._pool(origin, limits))

    def _pool(self, origin: Origin, limits: Limits) -> Pool:
        """Return the pool of an origin. A reload keeps the pool, and so its open connections."""
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = Pool(origin, limits)
        return pool

    def _dialects(self, config: Config, old: Runtime | None) -> dict[str, Dialect]:
        """Return one dialect for each kind. A reload keeps them, since they may hold signatures."""
        known: dict[str, Dialect] = {}
        if old is not None:
            known = {each.upstream.kind: each.dialect for each in old.upstreams.values()}
        for upstream in config.upstreams:
            if upstream.kind not in known:
                known[upstream.kind] = dialect_of(upstream.kind, self._log)
        return known

    # The life cycle.

    async def start(self, *, listing: bool = True, sockets: Sequence[socket.socket] = ()) -> None:
        """Listen, on `sockets` if there are any. With `listing`, also keep the upstreams' model lists.

        Raises StartError.
        """
        if self._sharing is not None:
            from gateway.endpoints.shared import join

            # First: messages of other processes may arrive as soon as the loop runs.
            join(self.runtime.process_state, self._sharing)
        config = self.runtime.config
        self._tls = server_context(config)
        server = config.server
        try:
            ports = [
                await self.server.listen(server.host, server.port, tls=self._tls, sock=sock)
                for sock in sockets or (None,)
            ]
        except OSError as error:
            raise listen_error(server.host, server.port, error) from error
        self.port = ports[0]
        self.runtime.base_url = base_url(config, self.port)
        if self._store is not None:
            self._store.start()
        if listing:
            self._list_models()

    def _list_models(self) -> None:
        """Start keeping the model lists of the present configuration's upstreams."""
        for keeper in self._list_keepers or ():
            keeper.stop()
        runtime = self.runtime
        self._list_keepers = [
            ListKeeper(runtime.model_list, upstream, self._log.warning)
            for upstream in runtime.upstreams.values()
        ]
        for keeper in self._list_keepers:
            keeper.start()

    def reload(self, config: Config) -> None:
        """Use another configuration from the next request on. Raises StartError, which changes nothing."""
        config = self._in_place(config)
        before = self.runtime.config.sharing
        if config.sharing._replace(share_limits=before.share_limits) != before:
            self._log.warning("but for share_limits, [sharing] takes effect at the next start")
        server_context(config)
        client_context.cache_clear()
        old = self.runtime
        self.runtime = self._build(config, old)
        self.runtime.draining = old.draining
        if self._tls is not None:
            load_certificate(self._tls, config)
        self._access = AccessControl(config)
        self.server.limits = config.server.limits
        if self._list_keepers is not None:
            self._list_models()

    def _in_place(self, config: Config) -> Config:
        """Return the configuration with the address that this gateway already listens on: whether clients need a key
        depends on the address."""
        here, there = self.runtime.config.server, config.server
        if (there.host, there.port, there.tls is None) == (here.host, here.port, here.tls is None):
            return config
        self._log.warning("host, port and TLS on or off take effect at the next start")
        tls = there.tls if there.tls is not None and here.tls is not None else here.tls
        return config._replace(server=there._replace(host=here.host, port=here.port, tls=tls))

    def drain(self) -> None:
        """Finish the requests in progress; accept no more."""
        self.runtime.draining = True
        self.server.drain()
        if self.runtime.process_state.watchers is not None:
            self.runtime.process_state.watchers.end()

    async def stop(self, patience: float | None = 0.0) -> bool:
        """Drain for at most `patience` seconds (None: no limit), then close everything, with an error for the clients
        that still wait. Return False if requests were cut off."""
        self.drain()
        clean = await self.server.wait_closed(patience)
        self.server.close()
        waiting = [handler for handler in self.server.handlers() if isinstance(handler, ClientRequest)]
        for request in waiting:
            request.stop()
        await self.server.wait_closed(FAREWELL)
        self.server.abort()
        for keeper in self._list_keepers or ():
            keeper.stop()
        if self._store is not None:
            await self._store.stop()
        for pool in self._pools.values():
            pool.close()
        await self.server.wait_closed(1.0)
        return clean

    # The HTTP server's application.

    def accept(self, exchange: Exchange) -> ClientRequest | None:
        """Decide by a request's head who handles it; see http1.server_connection.Application. Raises RequestError."""
        runtime = self.runtime
        request = ClientRequest(exchange, runtime)
        entrance = exchange.head.known
        if not isinstance(entrance, Entrance) or entrance.runtime is not runtime:
            entrance = self._entrance(request)
            if entrance is None:
                return None
        request.entrance = entrance
        request.query = entrance.query
        request.cors = entrance.cors
        if runtime.draining and not entrance.health:
            raise RequestError(503, SHUTTING_DOWN, headers=[(b"retry-after", b"1")])
        return request

    def protocol_error(self, status: int, message: str, exchange: Exchange | None) -> tuple[bytes, bytes]:
        """Return a violation of HTTP as an error of the Messages API; see http1.server_connection.Application."""
        request = exchange.handler if exchange is not None else None
        cors = b""
        if isinstance(request, ClientRequest):
            request.record.error = message
            request_id, cors = request.request_id, request.cors
        else:
            request_id = new_id("req_")
            self._log.info(f"refused a connection's bytes with {status}: {message}")
        type = "overloaded_error" if status == 503 else error_type(status)
        body = MESSAGES.error_body(status, message, request_id, type=type)
        return b"%brequest-id: %b\r\n%b" % (JSON, request_id.encode(), cors), body

    def _entrance(self, request: ClientRequest) -> Entrance | None:
        """Find the entrance that a head leads to; None when it was responded to. Raises RequestError.

        All but the client's key follows from the head's constant lines and is kept with its template.
        """
        head = request.exchange.head
        template = head.template
        known = template.known if template is not None else None
        if isinstance(known, Entrance) and known.runtime is self.runtime:
            # Set before the key is checked: the response to a wrong key needs them, too.
            request.cors, request.record.path = known.cors, known.path
            key = "" if known.open else self._access.check_key(head, health=known.health)
            entrance = known if key == known.key else known.with_key(key)
        else:
            judged = self._judge(request)
            if judged is None:
                return None
            entrance = judged
            if template is not None and template.hole_names <= NOT_JUDGED:
                template.known = entrance
        head.known = entrance
        return entrance

    def _judge(self, request: ClientRequest) -> Entrance | None:
        """Find the entrance by a whole head; None when it was responded to. Raises RequestError."""
        head, access = request.exchange.head, self._access
        path, _, query = head.target.partition("?")
        record = request.record
        record.method, record.path = head.method, path
        access.check_host(head)
        origin = access.check_origin(head)
        if origin is not None:
            request.cors = render_lines(
                [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"origin")]
            )
        route, doubled = router.find(path)
        if head.method == "OPTIONS" and (path == "*" or route is not None):
            router.respond_to_options(request, route)
            return None
        key = ""
        if route is None or not route.open:
            key = record.key = access.check_key(head, health=route is not None and route.health)
        base = self.runtime.base_url
        if route is None:
            raise router.not_found(path, base)
        endpoint = route.methods.get(head.method)
        if endpoint is None:
            raise router.wrong_method(route, head.method)
        if doubled and not self._doubled_v1_reported:
            self._doubled_v1_reported = True
            self._log.warning(f"a client's base URL ends in /v1: set it to {base} (served all the same)")
        session = head.get(SESSION_FIELD)
        conversation = conversation_id({"messages": []}, session, self.runtime.hash) if session else ""
        coding = check_request_coding(head.get(b"content-encoding"))
        return Entrance(
            self.runtime,
            endpoint,
            path,
            query,
            key,
            request.cors,
            conversation,
            coding,
            health=route.health,
            open=route.open,
        )
