"""Tool calls assembled from a stream's deltas, which hosts order and identify in different ways.

Blocks of a message follow each other, deltas may be interleaved. One call is *current* and streams as it arrives; other
calls, and text that arrives meanwhile, wait until it is complete. Promises that no call ends before its arguments are
one JSON object, unless the limit cut the response. JSON is never repaired: a repaired `rm` is another command.
"""

import re
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import orjson

from gateway.dialects.base import StreamFailure
from gateway.dialects.ids import new_id
from gateway.messages.json_documents import read_document, write_document
from gateway.messages.json_values import as_dict, as_text, json_in
from gateway.messages.stream import StreamWriter
from gateway.routing.failures import Failure, FailureKind

LEGAL_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Ids that every client accepts; others are replaced."""

NOTHING = ("{}", "null", "[]")
"""Arguments that some hosts send for none, or before the real ones."""

FREE_CHECKS = 64 * 1024
CHECKS = 4
"""Before a call's end its arguments are parsed for at most FREE_CHECKS characters plus CHECKS times what arrived:
without a bound, text between any two deltas would make the work quadratic."""


class Call:
    """One call being assembled."""

    __slots__ = ("_checked", "_pieces", "encoded", "held", "id", "kept", "name", "size", "started", "stopped")

    def __init__(self, id: str) -> None:
        self.id = id
        """The host's id; "" if it has none."""
        self.name = ""
        self._pieces: list[str] = []
        self.size = 0
        """Characters of the arguments."""
        self.held = False
        """Whether the arguments are, so far, one of NOTHING."""
        self.encoded = False
        """Whether the arguments are a JSON string that contains JSON."""
        self.started = False
        self.stopped = False
        self.kept: dict[str, Any] = {}
        """Values that must be sent back with the call and do not fit into its block."""
        self._checked = 0

    def add_name(self, name: object) -> None:
        """Add a name or a piece of one. A repeated name is ignored, a longer version replaces it."""
        if isinstance(name, str) and name and not self.started and name != self.name:
            self.name = name if name.startswith(self.name) else self.name + name

    def add_arguments(self, arguments: object) -> str:
        """Add to the arguments; return the part that can be written now. Raises StreamFailure."""
        if isinstance(arguments, dict):
            arguments = write_document(arguments).decode()
        if not isinstance(arguments, str) or not arguments:
            return ""
        if self.held or not self._pieces:
            bare = arguments.strip()
            if not bare or bare in NOTHING:
                self.held = self.held or bare in NOTHING
                return ""
            if self.stopped:
                raise broken(f"the upstream sent arguments after the end of its call of {self.name!r}")
            self.held = False
            self.encoded = bare[0] == '"'
        elif self._repeats(arguments):
            return ""
        elif self.stopped:
            if arguments.isspace():
                return ""
            raise broken(f"the upstream sent arguments after the end of its call of {self.name!r}")
        self._pieces.append(arguments)
        self.size += len(arguments)
        return "" if self.encoded else arguments

    def _repeats(self, piece: str) -> bool:
        """Return whether a piece repeats all of the arguments, in any spelling or as a JSON string."""
        ends = piece[0] + piece[-1]
        if ends not in ("{}", '""') or not self._pieces[-1].endswith("}") or not self.is_complete():
            return False
        again = json_in(_decode(piece))
        return again is not None and again == json_in("".join(self._pieces))

    def is_complete(self) -> bool:
        """Whether the arguments are already one JSON object."""
        if self.held:
            return True
        if not self._pieces or not self._pieces[-1].rstrip().endswith('"' if self.encoded else "}"):
            return False
        if self._checked > FREE_CHECKS + CHECKS * self.size:
            return False
        self._checked += self.size
        return _is_object(self.text)

    @property
    def is_whole(self) -> bool:
        """Whether the arguments are one JSON object, if nothing follows; empty ones count as `{}`."""
        return not self._pieces or _is_object(self.text)

    @property
    def text(self) -> str:
        """The arguments so far."""
        text = "".join(self._pieces) or "{}"
        return _decode(text) if self.encoded else text

    @property
    def has_arguments(self) -> bool:
        return self.held or bool(self._pieces)


class Waiting:
    """Content of another kind that waits for the end of a call."""

    __slots__ = ("items", "kind")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.items: list[Any] = []


class Calls:
    """All calls of one response, and the content that waits behind them."""

    def __init__(
        self,
        writer: StreamWriter,
        names: Mapping[str, str],
        used: Collection[str],
        random: Callable[[], float],
        release: Callable[[str, list[Any]], None],
    ) -> None:
        """`names`: changed tool names, the host's -> the client's. `used`: ids in the history. `random` returns
        [0, 1), for ids. `release` gets (kind, items) of content that had to wait."""
        self._writer = writer
        self._names = names
        self._used = used
        self._random = random
        self._release = release
        self._given: set[str] = set()
        """Ids in this response."""
        self._by_id: dict[str, Call] = {}
        self._by_index: dict[int, Call] = {}
        self.last: Call | None = None
        """The call that began last."""
        self._current: Call | None = None
        self._queue: deque[Call | Waiting] = deque()
        self.ids: dict[str, Call] = {}
        """Calls that have begun in the output, by the client's ids."""
        self.characters = 0
        """Characters of all arguments."""

    @property
    def count(self) -> int:
        """The number of calls that have begun in the output."""
        return len(self.ids)

    def kept(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield (id, values) of calls with values that must be sent back; after `finish`."""
        for id, call in self.ids.items():
            text = call.text
            if (
                call.stopped
                and text != write_document(read_document(text.encode("utf-8", "surrogatepass"))).decode()
            ):
                # The arguments in the host's own spelling, so that its prefix cache matches.
                call.kept["arguments"] = text
            if call.kept:
                yield id, call.kept

    def delta(self, delta: Mapping[str, Any], index: object) -> None:
        """Add a piece of a call. Raises StreamFailure."""
        function = as_dict(delta.get("function"))
        name, arguments = function.get("name"), function.get("arguments")
        call = self._call_of(delta.get("id"), index, name, arguments)
        call.add_name(name)
        if delta.get("extra_content") is not None:
            call.kept["extra_content"] = delta["extra_content"]
        piece = call.add_arguments(arguments)
        self.characters += len(piece)
        if call is self._current:
            if call.started:
                self._writer.tool_input(piece)
            elif piece and call.name:
                self._start(call)
            if self._queue and call.is_complete():
                self._advance(call)

    def make_way(self, kind: str) -> bool:
        """Return whether content of this kind can be written now; if not, it must `wait`."""
        if self._current is None:
            return True
        last = self._queue[-1] if self._queue else None
        if not (isinstance(last, Waiting) and last.kind == kind) and self._current.is_complete():
            self._advance(self._current)
        return self._current is None

    def wait(self, kind: str, item: object) -> None:
        """Keep content until the calls before it are complete."""
        last = self._queue[-1] if self._queue else None
        if not isinstance(last, Waiting) or last.kind != kind:
            last = Waiting(kind)
            self._queue.append(last)
        last.items.append(item)

    def is_sound(self, *, cut: bool) -> bool:
        """Return whether the response could end now. `cut`: by its limit."""
        return cut or self._fault() is None

    def finish(self, *, cut: bool) -> None:
        """Write what is left. Raises StreamFailure for an invalid call."""
        fault = None if cut else self._fault()
        if fault is not None:
            raise broken(fault)
        rest, self._queue = [*self._pending()], deque()
        self._current = None
        for item in rest:
            if isinstance(item, Waiting):
                self._release(item.kind, item.items)
            elif not cut or (item.has_arguments and item.name and item.is_whole):
                self._write(item)
            elif item.started:
                # Write the incomplete arguments as they are, as the API does.
                self._writer.stop_block()

    def _pending(self) -> list[Call | Waiting]:
        return [*([self._current] if self._current is not None else ()), *self._queue]

    def _fault(self) -> str | None:
        for item in self._pending():
            if isinstance(item, Call) and not item.name:
                return "the upstream made a tool call without a name"
            if isinstance(item, Call) and not item.is_whole:
                return f"the upstream ended its call of {item.name!r} with arguments that are no JSON object"
        return None

    def _call_of(self, id: object, index: object, name: object, arguments: object) -> Call:
        """Return the call that a delta belongs to, a new one if it begins one."""
        id = as_text(id)
        known = self._by_id.get(id) if id else None
        if known is not None:
            return known
        named = isinstance(name, str) and bool(name)
        latest = self._by_index.get(index) if isinstance(index, int) else None
        if id and named:
            return self._begin(id, index)
        if latest is None and isinstance(index, int) and (id or named):
            return self._begin(id, index)
        target = latest or self.last
        if target is None or (
            named and not id and _says_something(arguments) and self._is_over(target, name, arguments)
        ):
            return self._begin(id, index)
        if id and not target.id:
            target.id = id
            self._by_id[id] = target
        return target

    def _is_over(self, call: Call, name: object, arguments: object) -> bool:
        """Return whether a delta with a name and without an id begins another call than this one."""
        if call.held and not call.stopped and name == call.name:
            return False
        return (call.stopped or call.is_complete()) and arguments != call.text

    def _begin(self, id: str, index: object) -> Call:
        call = self.last = Call(id)
        if id:
            self._by_id[id] = call
        if isinstance(index, int):
            self._by_index[index] = call
        if self._current is None:
            self._current = call
            return call
        self._queue.append(call)
        if self._current.name and not self._current.started and not self._current.encoded:
            self._start(self._current)
        if self._current.is_complete():
            self._advance(self._current)
        return call

    def _advance(self, complete: Call) -> None:
        """Write the end of the current call, which is complete, and the content that waited for it."""
        self._write(complete)
        self._current = None
        while self._queue:
            item = self._queue.popleft()
            if isinstance(item, Waiting):
                self._release(item.kind, item.items)
            elif self._queue and item.name and item.is_complete():
                self._write(item)
            else:
                self._current = item
                if item.name and item.has_arguments and not item.held and not item.encoded:
                    self._start(item)
                return

    def _start(self, call: Call) -> None:
        """Open the call's block and write its arguments so far."""
        call.started = True
        id = call.id
        if not LEGAL_ID.fullmatch(id) or id in self._used or id in self._given:
            id = new_id("toolu_", self._random)
        self._given.add(id)
        self.ids[id] = call
        self._writer.tool_start(id, self._names.get(call.name, call.name))
        if call.has_arguments and not call.held and not call.encoded:
            self._writer.tool_input(call.text)

    def _write(self, call: Call) -> None:
        """Write a complete call's block, or the rest of it."""
        whole = call.encoded
        if not call.started:
            self._start(call)
        if whole:
            self._writer.tool_input(call.text)
        call.stopped = True
        self._writer.stop_block()


def broken(message: str) -> StreamFailure:
    """Return the failure for a response that cannot be understood."""
    return StreamFailure(Failure(kind=FailureKind.UNUSABLE, status=502, message=message, type="api_error"))


def _says_something(arguments: object) -> bool:
    return isinstance(arguments, dict) or (isinstance(arguments, str) and bool(arguments.strip()))


def _is_object(text: str) -> bool:
    """Return whether a text is one JSON object for every JSON parser, so one without NaN."""
    try:
        return type(orjson.loads(text)) is dict
    except ValueError:
        pass
    import json

    try:
        # It may contain lone surrogates, which orjson rejects and clients accept.
        return type(json.loads(text, parse_constant=_refuse)) is dict
    except (ValueError, RecursionError):
        return False


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _decode(text: str) -> str:
    """Return the content of a JSON string; the text itself if it is not one."""
    try:
        inner = read_document(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        return text
    return inner if isinstance(inner, str) else text
