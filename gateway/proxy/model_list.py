"""The list of models, kept in memory so that no client waits for it.

It has the exact names of the configuration and the models that upstreams list. `ListKeeper` requests one upstream's
list, with one account after the other; again soon while none responds, and every ten minutes once one has.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from gateway.dialects.base import ListedModel, Outgoing
from gateway.http1.limits import MIB
from gateway.proxy.call import Call, Response
from gateway.proxy.upstream import UpstreamClient
from gateway.routing.credentials import Credential, RefreshError

PATIENCE = 30.0
"""Seconds for an upstream to begin its list."""

MAX_LIST = 8 * MIB
"""Bytes of one list, at most; the longest known, with 400 models and their prices, has less than one MiB."""

LIST_EVERY = 600.0
"""Seconds between two requests for an upstream's list: new models come a few times a month."""

RETRY_AFTER = 2.0
"""Seconds before an upstream that returned no list is asked again, doubled each time up to LIST_EVERY: a local server
takes seconds to start."""


class Model(NamedTuple):
    """One entry of the list."""

    id: str
    display_name: str
    owned_by: str
    created: int
    """Unix seconds at which this gateway first listed it."""
    fields: Mapping[str, Any]
    """Other values from its upstream."""

    @property
    def document(self) -> dict[str, Any]:
        """The entry in the form for clients of both API families."""
        return {
            "id": self.id,
            "object": "model",
            "type": "model",
            "display_name": self.display_name,
            "created": self.created,
            "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.created)),
            "owned_by": self.owned_by,
            "lifecycle": "active",
            **self.fields,
        }


class ModelList:
    """The models that clients can use: no patterns, no duplicates, sorted."""

    __slots__ = ("_created", "_listed", "_names", "_serves", "models", "settled")

    def __init__(self, names: Iterable[str], serves: Callable[[str], bool]) -> None:
        """`names`: the exact ones of the configuration; `serves`: returns whether some upstream serves a name."""
        self._names = tuple(names)
        self._serves = serves
        self._listed: dict[str, Sequence[ListedModel]] = {}
        self._created = int(time.time())
        self.models: dict[str, Model] = {}
        """By id, sorted."""
        self.settled: set[str] = set()
        """Upstreams that have returned their list, or failed to: there is nothing to wait for."""
        self._build()

    def store_list(self, upstream: str, models: Sequence[ListedModel]) -> None:
        """Store an upstream's list."""
        self._listed[upstream] = models
        self.settled.add(upstream)
        self._build()

    def find(self, id: str) -> Model | None:
        """Return a model, also one that only a pattern serves; None if no upstream serves it."""
        model = self.models.get(id)
        if model is None and self._serves(id):
            model = Model(id, id, "gateway", self._created, {})
        return model

    def adopt(self, old: "ModelList", upstreams: Iterable[str]) -> None:
        """Take over these upstreams' lists from before a reload, until they are requested again."""
        self._created = old._created
        self._listed = {name: old._listed[name] for name in upstreams if name in old._listed}
        self._build()

    def _build(self) -> None:
        models = {name: Model(name, name, "gateway", self._created, {}) for name in self._names}
        for upstream, listed in self._listed.items():
            for id, display_name, fields in listed:
                if self._serves(id):
                    models[id] = Model(id, display_name, upstream, self._created, fields)
        self.models = {id: models[id] for id in sorted(models)}


class ListKeeper:
    """Keeps one upstream's part of the list up to date. A failure starts no cool-down, and is logged once."""

    __slots__ = (
        "_asking",
        "_delay",
        "_model_list",
        "_outgoing",
        "_reported",
        "_stop_waiting",
        "_timer",
        "_upstream",
        "_warn",
    )

    def __init__(self, model_list: ModelList, upstream: UpstreamClient, warn: Callable[[str], None]) -> None:
        self._model_list = model_list
        self._upstream = upstream
        self._warn = warn
        self._delay = RETRY_AFTER
        self._reported = False
        self._outgoing: Outgoing | None = None
        self._asking: Call | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stop_waiting: Callable[[], None] | None = None
        """Cancels the wait for a token."""

    def start(self) -> None:
        """Request the list now, and again regularly. Does nothing for an upstream without a list."""
        self._timer = None
        self._upstream.on_success = None
        self._outgoing = self._upstream.dialect.models_request(self._upstream.upstream)
        if self._outgoing is not None:
            self._ask(list(self._upstream.credentials))
        else:
            self._model_list.settled.add(self._upstream.upstream.name)

    def stop(self) -> None:
        """Send no more requests."""
        self._upstream.on_success = None
        if self._timer is not None:
            self._timer.cancel()
        if self._asking is not None:
            self._asking.cancel()
        if self._stop_waiting is not None:
            self._stop_waiting()

    def _ask(self, accounts: list[str]) -> None:
        """Request the list with the first of these accounts that has a credential, and on failure with the next."""
        self._asking = None
        if not accounts:
            self._failed()
            return
        account, *others = accounts
        source = self._upstream.credentials[account]
        credential = source.known
        if credential is not None:
            self._send(account, others, credential)
        else:
            self._stop_waiting = source.wait(partial(self._send, account, others))

    def _send(self, account: str, others: list[str], credential: Credential | RefreshError) -> None:
        upstream, outgoing = self._upstream, self._outgoing
        self._stop_waiting = None
        if outgoing is None or not isinstance(credential, Credential):
            self._ask(others)
            return
        head = upstream.head(outgoing, upstream.fields(account, credential), b"")
        self._asking = Call(
            upstream.pool,
            outgoing.method,
            head,
            b"",
            partial(self._take, others),
            patience=PATIENCE,
            limit=MAX_LIST,
            only_ok=True,
        )
        self._asking.send()

    def _take(self, others: list[str], result: Response | str) -> None:
        """Read the list. If the response is not one, request it with another account, or later."""
        models = [] if isinstance(result, str) else self._upstream.dialect.models(result.body)
        if not models:
            self._ask(others)
            return
        self._asking = None
        self._delay = RETRY_AFTER
        self._model_list.store_list(self._upstream.upstream.name, models)
        self._again(LIST_EVERY)

    def _failed(self) -> None:
        self._model_list.settled.add(self._upstream.upstream.name)
        if not self._reported:
            self._reported = True
            self._warn(
                f'upstream "{self._upstream.upstream.name}" does not list its models; it is asked again'
            )
        self._again(self._delay)
        self._delay = min(2 * self._delay, LIST_EVERY)
        # An upstream that serves a request can probably list its models, too.
        self._upstream.on_success = self._ask_now

    def _ask_now(self) -> None:
        assert self._timer is not None
        self._timer.cancel()
        self.start()

    def _again(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self.start)
