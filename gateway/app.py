"""Gateway: builds everything from a Config, stands behind the HTTP server, starts, reloads, drains and stops.

The one place where the parts are put together. Running it as a process is `process`'s work.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from random import random

from gateway.config import Account, Config, Upstream
from gateway.dialects.base import Dialect
from gateway.endpoints import router
from gateway.endpoints.access import AccessControl
from gateway.http1.dial import client_context, origin_of, proxy_for
from gateway.http1.exchange import Exchange
from gateway.http1.forms import MAX_FORMS, Form
from gateway.http1.pool import Pool
from gateway.http1.server import Server
from gateway.messages.errors import RequestError, error_body
from gateway.messages.errors import error_type as type_of
from gateway.messages.token_estimate import Correction
from gateway.proxy.model_list import ModelList, refresh
from gateway.proxy.request import JSON, ClientRequest, Headers, new_id
from gateway.proxy.runtime import Runtime
from gateway.proxy.token_refresh import TokenRefresher
from gateway.proxy.upstream import UpstreamClient
from gateway.routing.credentials import Credential, OAuthToken, credential_of
from gateway.routing.model_routes import ModelRoutes
from gateway.routing.scheduler import Scheduler
from gateway.telemetry.access_log import AccessLog

LIST_EVERY = 600.0
"""Seconds between two looks at the upstreams' model lists."""

Entrance = tuple[router.Route, router.Endpoint]

SHUTTING_DOWN = "the gateway is shutting down; the next one that starts will serve this request"


class StartError(Exception):
    """The gateway cannot start. The message is one line for the operator."""


def dialect_of(kind: str, log: AccessLog) -> Dialect:
    """How a kind of upstream speaks; each is imported when a configuration first names it."""
    if kind == "gemini":
        from gateway.dialects.gemini.dialect import GeminiDialect

        return GeminiDialect(random, log.warning)
    from gateway.dialects.anthropic import AnthropicDialect

    return AnthropicDialect()


def link_of(upstream: Upstream, dialect: Dialect, pool: Pool, environ: Mapping[str, str]) -> UpstreamClient:
    """An upstream with its place, its way of speaking and its accounts' credentials."""
    proxy = upstream.proxy.reveal() if upstream.proxy else proxy_for(upstream.base_url, environ)
    return UpstreamClient(
        upstream=upstream,
        origin=origin_of(upstream.base_url, proxy=proxy, ca_file=upstream.ca_file),
        dialect=dialect,
        credentials={account.name: paid_by(account, pool, environ) for account in upstream.accounts},
    )


def paid_by(account: Account, pool: Pool, environ: Mapping[str, str]) -> Credential | TokenRefresher:
    """What an account pays with, or who has its tokens fetched. Raises StartError naming the file at fault."""
    credential = credential_of(account)
    if credential is not None:
        return credential
    assert account.oauth_file is not None
    try:
        token = OAuthToken(account.oauth_file.read_bytes())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StartError(f"account {account.name}: {account.oauth_file}: {reason}") from error
    return TokenRefresher(token, pool, proxy_for(token.uri, environ))


def server_context(config: Config) -> ssl.SSLContext | None:
    """The listening side's TLS; None for plain HTTP. Raises StartError naming the file at fault."""
    tls = config.server.tls
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    load_certificate(context, config)
    return context


def load_certificate(context: ssl.SSLContext, config: Config) -> None:
    """(Re)load certificate and key; connections from now on get them. Raises StartError."""
    tls = config.server.tls
    assert tls is not None
    try:
        context.load_cert_chain(tls.certificate, tls.private_key)
    except OSError as error:
        reason = (error.reason or "not PEM") if isinstance(error, ssl.SSLError) else error.strerror
        raise StartError(
            f"server.tls: {tls.certificate} and {tls.private_key} cannot be used together: {reason}"
        ) from error


def cannot_listen(host: str, port: int, error: OSError) -> StartError:
    """The operator's line for an address that cannot be had."""
    # asyncio's own text repeats the address; a name that does not resolve has only that text.
    code = error.errno or 0
    reason = os.strerror(code) if code > 0 else error.strerror
    return StartError(f"cannot listen on {host} port {port}: {reason}")


class Gateway:
    """One gateway: an HTTP application and its life cycle."""

    def __init__(self, config: Config, log: AccessLog, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self._log = log
        self._pool = Pool(config.server.limits)
        self._tls: ssl.SSLContext | None = None
        self._lister: asyncio.TimerHandle | None = None
        self.port = config.server.port
        self.services = self._build(config, None)
        self._admission = AccessControl(config)
        self._entrances: dict[Form, tuple[Entrance, Headers]] = {}
        """What requests of a form lead to, and their CORS fields: all of their admission but the key."""
        self._doubled_v1_told = False
        self.server = Server(self, config.server.limits)

    def _build(self, config: Config, old: Runtime | None) -> Runtime:
        dialects = self._dialects(config, old)
        links = {u.name: link_of(u, dialects[u.kind], self._pool, self._environ) for u in config.upstreams}
        routes = ModelRoutes(config.models, config.upstreams)
        scheduler = Scheduler(config.upstreams)
        catalogue = ModelList(routes.exact_names(), routes.serves)
        if old is not None:
            scheduler.adopt(old.scheduler)
            catalogue.adopt(old.catalogue, links)
        return Runtime(
            config=config,
            base_url=base_url(config, self.port),
            links=links,
            routes=routes,
            scheduler=scheduler,
            pool=self._pool,
            catalogue=catalogue,
            log=self._log,
            correction=old.correction if old is not None else Correction(),
        )

    def _dialects(self, config: Config, old: Runtime | None) -> dict[str, Dialect]:
        """One dialect a kind, kept over a reload since it may hold signatures."""
        known: dict[str, Dialect] = {}
        if old is not None:
            known = {link.upstream.kind: link.dialect for link in old.links.values()}
        for upstream in config.upstreams:
            if upstream.kind not in known:
                known[upstream.kind] = dialect_of(upstream.kind, self._log)
        return known

    # The life cycle.

    async def start(self, *, listing: bool = True, sockets: Sequence[socket.socket] = ()) -> None:
        """Listen, on `sockets` if there are any; with `listing`, also keep the upstreams' model lists.

        Raises StartError.
        """
        config = self.services.config
        self._tls = server_context(config)
        server = config.server
        try:
            ports = [
                await self.server.listen(server.host, server.port, tls=self._tls, sock=sock)
                for sock in sockets or (None,)
            ]
        except OSError as error:
            raise cannot_listen(server.host, server.port, error) from error
        self.port = ports[0]
        self.services.base_url = base_url(config, self.port)
        if listing:
            self._list_models()

    def _list_models(self) -> None:
        services = self.services
        refresh(services.catalogue, services.links.values(), self._pool)
        self._lister = asyncio.get_running_loop().call_later(LIST_EVERY, self._list_models)

    def reload(self, config: Config) -> None:
        """Serve by another configuration from the next request on. Raises StartError, which changes nothing."""
        config = self._in_place(config)
        server_context(config)
        client_context.cache_clear()
        draining = self.services.draining
        self.services = self._build(config, self.services)
        self.services.draining = draining
        if self._tls is not None:
            load_certificate(self._tls, config)
        self._admission = AccessControl(config)
        self._entrances.clear()
        self.server.limits = self._pool.limits = config.server.limits
        if self._lister is not None:
            self._lister.cancel()
            self._list_models()

    def _in_place(self, config: Config) -> Config:
        """The configuration with the place where this gateway listens already: who may come in depends on it."""
        here, there = self.services.config.server, config.server
        if (there.host, there.port, there.tls is None) == (here.host, here.port, here.tls is None):
            return config
        self._log.warning("host, port and TLS on or off take effect at the next start")
        tls = there.tls if there.tls is not None and here.tls is not None else here.tls
        return replace(config, server=replace(there, host=here.host, port=here.port, tls=tls))

    def drain(self) -> None:
        """Finish what is under way, begin nothing more."""
        self.services.draining = True
        self.server.drain()

    async def stop(self, patience: float | None = 0.0) -> bool:
        """Drain for at most `patience` seconds, then close everything. False if requests were cut off."""
        self.drain()
        clean = await self.server.wait_closed(patience)
        self.server.close()
        self.server.abort()
        if self._lister is not None:
            self._lister.cancel()
        self._pool.close()
        await self.server.wait_closed(1.0)
        return clean

    # The HTTP server's application.

    def admit(self, exchange: Exchange) -> None:
        """Judge a request by its head; see http1.server.Application."""
        answer = ClientRequest(exchange, self._log)
        try:
            endpoint = self._admitted(answer)
        except RequestError as error:
            answer.fail(error)
            return
        except Exception as error:
            answer.crashed(error)
            return
        if endpoint is not None:
            exchange.on_request = partial(self._run, endpoint, answer, self.services)

    def protocol_error(
        self, status: int, message: str, exchange: Exchange | None
    ) -> tuple[Sequence[tuple[bytes, bytes]], bytes]:
        """An error of HTTP's own, in the protocol's shape; see http1.server.Application."""
        cors: Headers = ()
        if exchange is None:
            request_id = new_id("req_")
            self._log.info(f"refused a connection's bytes with {status}: {message}")
        else:
            answer = ClientRequest.of(exchange, self._log)
            answer.record.error = message
            request_id, cors = answer.request_id, answer.cors
        type = "overloaded_error" if status == 503 else type_of(status)
        body = error_body(status, message, request_id, type=type)
        return [JSON, (b"request-id", request_id.encode()), *cors], body

    def _admitted(self, answer: ClientRequest) -> router.Endpoint | None:
        """The endpoint of an admitted request; None when it is answered already. Raises RequestError."""
        head = answer.exchange.head
        form = head.form
        known = self._entrances.get(form) if form is not None else None
        if known is None:
            found = self._judged(answer)
            if form is not None and found is not None:
                if len(self._entrances) >= MAX_FORMS:
                    self._entrances.clear()
                self._entrances[form] = (found, answer.cors)
        else:
            found, answer.cors = known
            answer.record.key = self._admission.check_key(head, health=found[0].health)
        if found is None:
            return None
        route, endpoint = found
        if self.services.draining and not route.health:
            raise RequestError(503, SHUTTING_DOWN, headers=[(b"retry-after", b"1")])
        return endpoint

    def _judged(self, answer: ClientRequest) -> Entrance | None:
        """What a request asks for, judged by its whole head. None when it is answered already. Raises RequestError."""
        head = answer.exchange.head
        admission = self._admission
        admission.check_host(head)
        origin = admission.check_origin(head)
        if origin is not None:
            answer.cors = ((b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"origin"))
        path = head.target.partition("?")[0]
        route, doubled = router.find(path)
        if head.method == "OPTIONS" and (path == "*" or route is not None):
            self._options(answer, route)
            return None
        answer.record.key = admission.check_key(head, health=route is not None and route.health)
        base = self.services.base_url
        if route is None:
            raise router.not_found(path, base)
        endpoint = route.methods.get(head.method)
        if endpoint is None:
            raise router.wrong_method(route, head.method)
        if doubled and not self._doubled_v1_told:
            self._doubled_v1_told = True
            self._log.warning(f"a client's base URL ends in /v1: set it to {base} (served all the same)")
        return route, endpoint

    @staticmethod
    def _options(answer: ClientRequest, route: router.Route | None) -> None:
        allow = router.allowed(route) if route is not None else b"GET, HEAD, OPTIONS, POST"
        headers = [(b"allow", allow)]
        if answer.cors:
            asked = answer.exchange.head.get(b"access-control-request-headers")
            headers.append((b"access-control-allow-methods", allow))
            if asked is not None:
                headers.append((b"access-control-allow-headers", asked))
        answer.respond(200, b"", headers)

    def _run(self, endpoint: router.Endpoint, answer: ClientRequest, services: Runtime) -> None:
        try:
            endpoint(answer, services)
        except RequestError as error:
            answer.fail(error)
        except Exception as error:
            answer.crashed(error)


def base_url(config: Config, port: int) -> str:
    """What a client on this machine sets as its base URL."""
    host = config.server.host or "127.0.0.1"
    if host.strip("0.:") == "":
        # Bound to every address: loopback is the one that a client on this machine can always use.
        host = "::1" if ":" in host else "127.0.0.1"
    if ":" in host:
        host = f"[{host}]"
    return f"http{'s' if config.server.tls is not None else ''}://{host}:{port}"
