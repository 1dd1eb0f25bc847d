"""Renames tools for upstreams that allow fewer characters than the Messages protocol.

A legal name is kept. Any other is shortened and gets a hash of itself, so that it is the same in every request of a
conversation, whatever other tools there are. Names in a response are changed back.
"""

import re
from collections.abc import Iterable
from hashlib import blake2b
from itertools import count
from typing import NamedTuple

from gateway.messages.json_values import dicts_in

LONGEST = 64
"""Characters of a name that both Gemini and OpenAI accept."""

_HASH = 8
"""Hexadecimal digits of the hash in a changed name."""


_LONGEST_PREFIXED = 4 * LONGEST
"""Characters of a name that are searched for a namespace."""


class NameRule(NamedTuple):
    """An upstream's rule for the name of a function. At most LONGEST characters."""

    characters: str
    """Legal characters, in the syntax of a regular expression's brackets."""
    first: str
    """Legal first characters; "_" must be among them."""

    def is_legal(self, name: str) -> bool:
        """Return whether the upstream accepts this name as it is."""
        if not 0 < len(name) <= LONGEST:
            return False
        return re.fullmatch(f"[{self.first}][{self.characters}]*", name) is not None

    def shorten(self, name: str) -> str:
        """Return a legal beginning of a name, with room for a hash."""
        plain = re.sub(f"[^{self.characters}]", "_", name[: LONGEST - _HASH - 2])
        return plain if re.match(f"[{self.first}]", plain) else "_" + plain


class ToolNames:
    """The names of one request's tools: the client's and the upstream's."""

    __slots__ = ("_rule", "_taken", "_wire", "changed")

    def __init__(self, rule: NameRule, names: Iterable[str] = ()) -> None:
        """`names`: the client's names of the declared tools; legal ones are never assigned to other tools."""
        self._rule = rule
        self._taken = {name for name in names if rule.is_legal(name)}
        self._wire = {name: name for name in self._taken}
        self.changed: dict[str, str] = {}
        """The upstream's name -> the client's, for those that differ."""

    def wire(self, name: str) -> str:
        """Return the upstream's name for the client's name."""
        known = self._wire.get(name)
        return known if known is not None else self._new(name)

    def original(self, wire: str) -> str:
        """Return the client's name for the upstream's name `wire`.

        Models put a namespace in front of names (`default_api:Read`): if no tool has the whole name, the part behind a
        `:` or `.` counts, if a tool has that.
        """
        if wire not in self._taken:
            ends = (wire[mark.end() :] for mark in re.finditer("[:.]", wire[:_LONGEST_PREFIXED]))
            wire = next((end for end in ends if end in self._taken), wire)
        return self.changed.get(wire, wire)

    def _new(self, name: str) -> str:
        wire = name
        if name in self._taken or not self._rule.is_legal(name):
            wire = self._free(name)
            self.changed[wire] = name
        self._taken.add(wire)
        self._wire[name] = wire
        return wire

    def _free(self, name: str) -> str:
        """Return an unused legal name. The hash is cryptographic, so that clients cannot make names collide."""
        plain = self._rule.shorten(name)
        raw = name.encode("utf-8", "surrogatepass")
        salts = (attempt.to_bytes(8, "big") for attempt in count())
        digests = (blake2b(raw, digest_size=_HASH // 2, salt=salt).hexdigest() for salt in salts)
        return next(wire for digest in digests if (wire := f"{plain}_{digest}") not in self._taken)


def tool_names(rule: NameRule, tools: object) -> ToolNames:
    """Return the names of a request's `tools`."""
    names = (tool.get("name") for tool in dicts_in(tools))
    return ToolNames(rule, [name for name in names if isinstance(name, str)])
