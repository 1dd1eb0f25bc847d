"""Checks of upstreams: connection, each account's credential, each configured model. They cost no tokens."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from difflib import get_close_matches
from functools import partial
from secrets import token_hex
from typing import Any
from urllib.parse import urlsplit

from gateway.app import Gateway
from gateway.config import Config, Secret, Sharing, Upstream
from gateway.http1.dial import Origin, dial
from gateway.http1.upstream_request import ConnectError
from gateway.listening import StartError
from gateway.messages.errors import RequestError
from gateway.operator.doctor.certificates import life_of, todo_for
from gateway.operator.doctor.findings import Fault, Finding, Row, carry_out, skip, warn
from gateway.operator.doctor.free_calls import TimedResponse, count_tokens, list_models
from gateway.operator.doctor.reach import Address, addresses, clock, connect, skew_of
from gateway.proxy.upstream import UpstreamClient
from gateway.routing.credentials import Credential, RefreshError
from gateway.routing.model_routes import ModelRoutes
from gateway.telemetry.access_log import AccessLog

DEADLINE = 7.0
"""Seconds for all checks of an upstream: with those of the gateway, the doctor takes less than ten."""

STEP = 4.0
"""Seconds for one check of an upstream."""

FEW = 8
"""Accounts checked at a time: hosts limit bursts."""

ASKED_FOR = 8
"""Unlisted models that are checked one by one, at most."""

NEAREST = 3
"""Similar names suggested for a model that is not listed, at most."""

ACCESS_WORDS = ("scope", "permission")
"""In a refusal these mean a key with limited rights: some hosts have keys that may not list models."""

ANY_MODEL = "claude-haiku-4-5"
"""Used where no table names a model: there, clients' names go upstream unchanged."""


async def look_at_upstreams(config: Config, environ: Mapping[str, str]) -> list[Row]:
    """Check all upstreams of a configuration, and this machine's clock against theirs."""
    visits = [_Visit(config, upstream, environ) for upstream in config.upstreams]
    found = await asyncio.gather(*(visit.rows() for visit in visits))
    skews = [skew for visit in visits for skew in visit.skews]

    async def judge() -> Finding | str:
        return clock(skews) if skews else skip("no upstream sent its time")

    return [await carry_out("here", "clock", judge, STEP), *(row for rows in found for row in rows)]


def wire_models(config: Config, upstream: str) -> list[str]:
    """Return the models of an upstream that the configuration's tables lead to."""
    routes = ModelRoutes(config.models, config.upstreams)
    found: dict[str, None] = {}
    for table in (config.models, *(each.models for each in config.upstreams)):
        for name in table:
            try:
                candidates = routes.resolve(name)
            except RequestError:
                continue
            found |= {each.wire_model: None for each in candidates if each.upstream == upstream}
    # A pattern without a fixed target passes on the names that clients send.
    return [model for model in found if "*" not in model]


class _Visit:
    """The checks of one upstream, over the connections and with the credentials that serving would use."""

    def __init__(self, config: Config, upstream: Upstream, environ: Mapping[str, str]) -> None:
        self.skews: list[float] = []
        self._config = config
        self._upstream = upstream
        self._environ = environ
        self._models = wire_models(config, upstream.name)
        self._addresses: list[Address] = []
        self._reachable = False
        self._listed: set[str] | None = None
        self._public: bool | None = None
        self._deadline = 0.0
        self._once = asyncio.Lock()

    async def rows(self) -> list[Row]:
        """Carry out the checks until one fails; return their rows."""
        loop = asyncio.get_running_loop()
        self._deadline = loop.time() + DEADLINE
        only = self._config._replace(upstreams=(self._upstream,), models={}, sharing=Sharing())
        try:
            gateway = Gateway(only, AccessLog(lambda line: None), self._environ)
        except StartError as error:
            return [Row("upstreams", f"{self._upstream.name}: accounts", Finding("fail", str(error)))]
        client = gateway.runtime.upstreams[self._upstream.name]
        rows: list[Row] = []
        try:
            steps: dict[str, Callable[[UpstreamClient], Awaitable[Finding | str]]] = {
                "name": self._name,
                "connect": self._connect,
                "TLS" if client.pool.origin.scheme == "https" else "HTTP": self._dial,
            }
            for name, step in steps.items():
                rows.append(await self._row(name, partial(step, client)))
                # One silent address is a fault, but the checks continue if another address works.
                if rows[-1].finding.state == "fail" and not (name == "connect" and self._reachable):
                    return rows
            free = asyncio.Semaphore(FEW)

            async def account(name: str) -> Row:
                async with free:
                    return await self._row(f"account {name}", partial(self._account, client, name))

            rows += await asyncio.gather(*(account(each.name) for each in self._upstream.accounts))
            rows.append(await self._row("models", partial(self._names, client)))
        finally:
            await gateway.stop(0.0)
        return rows

    async def _row(self, name: str, check: Callable[[], Awaitable[Finding | str]]) -> Row:
        left = self._deadline - asyncio.get_running_loop().time()
        return await carry_out(
            "upstreams", f"{self._upstream.name}: {name}", check, max(0.1, min(STEP, left))
        )

    async def _name(self, client: UpstreamClient) -> Finding | str:
        host, port, via = _first_hop(client.pool.origin)
        self._addresses = await addresses(host, port)
        return f"{host}{via}, {len(self._addresses)} addresses"

    async def _connect(self, client: UpstreamClient) -> Finding | str:
        todo = "is a firewall or a proxy in between?"
        if client.pool.origin.proxy is not None:
            todo = "correct the upstream's proxy, or HTTPS_PROXY"
        elif self._upstream.base_url.startswith("http://"):
            todo = "start it, or correct base_url"
        found = await connect(self._addresses, todo)
        self._reachable = True
        return found

    async def _dial(self, client: UpstreamClient) -> Finding | str:
        origin = client.pool.origin
        limits = client.pool.limits._replace(connect_timeout=STEP)
        try:
            connection = await dial(origin, limits)
        except ConnectError as error:
            todo = todo_for(error.message) or _proxy_todo(error.message)
            raise Fault(error.message, todo) from None
        try:
            tls: Any = connection.transport.get_extra_info("ssl_object")
            if tls is None:
                return f"connected{_first_hop(origin)[2]}"
            life = life_of(tls.getpeercert())
            # The expiry of a public host's certificate is the host's concern.
            if isinstance(life, Finding) and origin.ca_file is not None:
                return life
            life = life.saw if isinstance(life, Finding) else life
            return f"{tls.version()}, certificate {life}{_first_hop(origin)[2]}"
        finally:
            connection.abort()

    # Accounts.

    async def _account(self, client: UpstreamClient, account: str) -> Finding | str:
        credential = await self._credential(client, account)
        found = await self._by_list(client, account, credential) or await self._by_count(
            client, account, credential
        )
        if found is not None:
            return found
        if credential.kind == "bearer":
            return "its login was renewed"
        why = "everybody may list its models" if self._public else "nothing that is free"
        return warn(
            f"{why}, and so nothing says whether its key is taken", "gateway doctor --spend asks for a token"
        )

    async def _by_list(
        self, client: UpstreamClient, account: str, credential: Credential
    ) -> Finding | str | None:
        """Check an account by listing models; None if that proves nothing. Raises Fault."""
        response = await list_models(client, account, credential)
        if response is None or response.status != 200:
            return None if response is None else self._verdict(client, response)
        self._note(response)
        models = client.dialect.models(response.body)
        if not models:
            _check_no_page(response)
            return None
        self._listed = {*(self._listed or ()), *(model.id for model in models)}
        if credential.kind == "none":
            return f"no key is needed, {len(models)} models"
        if credential.kind == "bearer" or not await self._is_public(client, account):
            return f"taken, {len(models)} models"
        local = self._upstream.base_url.startswith("http://")
        return f"{len(models)} models; no key is asked for" if local else None

    async def _by_count(
        self, client: UpstreamClient, account: str, credential: Credential
    ) -> Finding | str | None:
        """Check an account by counting tokens; None if that proves nothing. Raises Fault."""
        model = self._models[0] if self._models else ANY_MODEL
        response = await count_tokens(client, model, account, credential)
        if response is None or response.status != 200:
            return None if response is None else self._verdict(client, response)
        self._note(response)
        if client.dialect.count(response.body) is not None:
            return "taken (count_tokens)"
        _check_no_page(response)
        return None

    async def _credential(self, client: UpstreamClient, account: str) -> Credential:
        source = client.credentials[account]
        known = source.known
        if known is not None:
            return known
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Credential | RefreshError] = loop.create_future()
        stop_waiting = source.wait(lambda result: None if done.done() else done.set_result(result))
        try:
            result = await done
        finally:
            stop_waiting()
        if isinstance(result, RefreshError):
            todo = "log in again, and replace its oauth_file" if result.status == 401 else "try again later"
            raise Fault(client.censor(str(result)), todo)
        return result

    async def _is_public(self, client: UpstreamClient, account: str) -> bool:
        """Return whether the list needs no valid key. Tried once, with a random key."""
        async with self._once:
            if self._public is None:
                unknown = Credential("api_key", Secret(f"doctor-{token_hex(16)}"))
                listing = await list_models(client, account, unknown)
                self._public = listing is not None and listing.status == 200
            return self._public

    def _verdict(self, client: UpstreamClient, response: TimedResponse) -> Finding | None:
        """Return what a status other than 200 proves about the account; None if nothing. Raises Fault."""
        self._note(response)
        status = response.status
        said = f"{status}: {client.censor(response.words)}"
        if status == 401 and not any(word in response.words.lower() for word in ACCESS_WORDS):
            raise Fault(f"its key is refused, {said}", "correct the account's api_key, or what it refers to")
        if status == 402:
            raise Fault(f"there is nothing to pay with, {said}", "look at the account's billing")
        if 300 <= status < 400:
            raise Fault(f"it redirects elsewhere ({status})", "is base_url right? Redirects are not followed")
        if status == 429:
            return warn(f"limited, {said}", "its key is taken; other accounts serve meanwhile")
        if status >= 500:
            return warn(f"in trouble, {said}", "try again later")
        return None

    def _note(self, response: TimedResponse) -> None:
        skew = skew_of(response.headers, response.sent, response.got)
        if skew is not None:
            self.skews.append(skew)

    # Models.

    async def _names(self, client: UpstreamClient) -> Finding | str:
        if not self._models:
            return skip("no table names a model: clients' names go there as they are")
        listed = self._listed or set()
        missing = [model for model in self._models if not {model, f"{model}:latest"} & listed]
        unknown = [
            _with_nearest(model, listed)
            for index, model in enumerate(missing)
            if index >= ASKED_FOR or not await self._exists(client, model, listed)
        ]
        if not unknown:
            return f"{len(self._models)} of the tables, all there"
        if self._listed is None:
            return skip(f"it lists none: nothing says whether {', '.join(unknown)} exists")
        return warn(
            f"not in its list: {', '.join(unknown)}",
            "correct the models table, unless it is an alias",
        )

    async def _exists(self, client: UpstreamClient, model: str, listed: set[str]) -> bool:
        """Return whether an upstream that counts tokens has a model that it does not list. Raises Fault if not."""
        for account in self._upstream.accounts:
            credential = client.credentials[account.name].known
            response = None
            if credential is not None:
                response = await count_tokens(client, model, account.name, credential)
            if response is not None and response.status == 200:
                return True
            # Any other 404 means that the host cannot count.
            if response is not None and response.status in (400, 404) and model in response.words:
                raise Fault(f"there is no {_with_nearest(model, listed)}", "correct the models table")
        return False


def _check_no_page(response: TimedResponse) -> None:
    """Check that a response is not a web page. Raises Fault."""
    if response.headers.get("content-type", "").startswith("text/html"):
        raise Fault(
            "it responds with a web page", "is base_url right? It is the address of an API, not of a site"
        )


def _with_nearest(model: str, listed: set[str]) -> str:
    near = get_close_matches(model, sorted(listed), n=NEAREST, cutoff=0.5)
    return f"{model} (nearest: {', '.join(near)})" if near else model


def _first_hop(origin: Origin) -> tuple[str, int, str]:
    """Return host and port that connections go to, and a note about a proxy, without its password."""
    if origin.proxy is None:
        return origin.host, origin.port, ""
    parts = urlsplit(origin.proxy)
    host, port = parts.hostname or "", parts.port or 80
    return host, port, f" (through the proxy {host}:{port})"


def _proxy_todo(words: str) -> str:
    if "status 407" in words:
        return 'the proxy wants a login: proxy = "http://user:password@host:port"'
    return "does the proxy let this host through?" if "proxy" in words else ""
