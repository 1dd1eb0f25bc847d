"""The list of models, kept in memory so that no client waits for it.

It holds the exact names of the configuration and what upstreams list themselves. `refresh` asks them; an upstream
that cannot be asked, or has no list, keeps what it last had. When to ask is the application's business.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice

from gateway.http1.client_connection import ClientConnection, UpstreamError
from gateway.http1.heads import ResponseHead
from gateway.http1.limits import MIB
from gateway.http1.pool import Call, Pool
from gateway.proxy.content_encoding import UnreadableCoding, content_decoder
from gateway.proxy.token_refresh import TokenRefresher
from gateway.proxy.upstream import UpstreamClient
from gateway.routing.credentials import Credential, RefreshError

PATIENCE = 30.0
"""Seconds an upstream gets to begin its list."""

MAX_LIST = 8 * MIB
"""Bytes of one list; the longest known, with 400 models and their prices, has less than one MiB."""


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of the list."""

    id: str
    display_name: str
    owned_by: str
    created: int
    """Unix seconds: when this gateway began to list it."""

    @property
    def created_at(self) -> str:
        """The same as RFC 3339."""
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.created))


class ModelList:
    """What can be asked for: no patterns, no duplicates, sorted."""

    __slots__ = ("_created", "_listed", "_names", "_serves", "models")

    def __init__(self, names: Iterable[str], serves: Callable[[str], bool]) -> None:
        """`names`: the exact ones of the configuration; `serves`: whether some upstream takes a name."""
        self._names = tuple(names)
        self._serves = serves
        self._listed: dict[str, list[tuple[str, str]]] = {}
        self._created = int(time.time())
        self.models: tuple[Model, ...] = ()
        self._build()

    def listed(self, upstream: str, models: list[tuple[str, str]]) -> None:
        """An upstream lists these (id, display name)."""
        self._listed[upstream] = models
        self._build()

    def adopt(self, old: "ModelList", upstreams: Iterable[str]) -> None:
        """Take over what these upstreams listed before a reload, until they are asked again."""
        self._created = old._created
        self._listed = {name: old._listed[name] for name in upstreams if name in old._listed}
        self._build()

    def _build(self) -> None:
        models = {name: Model(name, name, "gateway", self._created) for name in self._names}
        for upstream, listed in self._listed.items():
            for id, display_name in listed:
                if self._serves(id):
                    models[id] = Model(id, display_name, upstream, self._created)
        self.models = tuple(models[id] for id in sorted(models))


def refresh(catalogue: ModelList, links: Iterable[UpstreamClient], pool: Pool) -> None:
    """Ask every upstream for its list; the answers come into the catalogue when they come.

    A failure changes nothing and is nobody's cool-down.
    """
    for link in links:
        ask = partial(_ask, catalogue, link, pool)
        credential = next(filter(None, map(link.credential, link.credentials)), None)
        if credential is not None:
            ask(credential)
            continue
        keepers = (known for known in link.credentials.values() if isinstance(known, TokenRefresher))
        for keeper in islice(keepers, 1):
            keeper.wait(ask)


def _ask(
    catalogue: ModelList, link: UpstreamClient, pool: Pool, credential: Credential | RefreshError
) -> None:
    if isinstance(credential, RefreshError):
        return
    outgoing = link.dialect.models_request(link.upstream, credential)
    if outgoing is None:
        return
    listing = _Listing(partial(_take, catalogue, link))
    listing.call = pool.send(link.origin, outgoing.method, link.head(outgoing), b"", listing, PATIENCE)


def _take(catalogue: ModelList, link: UpstreamClient, body: bytes) -> None:
    models = link.dialect.models(body)
    if models:
        catalogue.listed(link.upstream.name, models)


class _Listing:
    """Receives one list. Whatever goes wrong ends it without a word."""

    __slots__ = ("_content", "_pieces", "_size", "_take", "call", "decode")

    call: Call

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self.decode = True
        self._take = take
        self._pieces: list[bytes] = []
        self._size = 0

    def head_received(self, connection: ClientConnection, head: ResponseHead) -> "_Listing | None":
        try:
            self._content = content_decoder(head.get(b"content-encoding"))
        except UnreadableCoding:
            return None
        return self if head.status == 200 else None

    def body_received(self, data: bytes, ended: bool) -> None:
        try:
            if self._content is not None:
                data = self._content.feed(data)
                if ended:
                    self._content.end()
        except UnreadableCoding:
            self.call.cancel()
            return
        self._size += len(data)
        if self._size > MAX_LIST:
            self.call.cancel()
            return
        self._pieces.append(data)
        if ended:
            self._take(b"".join(self._pieces))

    def failed(self, error: UpstreamError) -> None:
        return
