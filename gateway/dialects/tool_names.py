"""Names of tools for upstreams that take fewer characters than the Messages protocol.

A legal name stays as it is. Any other name is shortened and gets a hash of itself, so it is the same in
every request of a conversation with any other tools beside it. Names in a response are changed back.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from itertools import count

from gateway.messages.json_values import dicts_in

LONGEST = 64
"""Characters of a name that both Gemini and OpenAI take."""

_HASH = 8
"""Hexadecimal digits of the hash in a changed name."""


_LONGEST_PREFIXED = 4 * LONGEST
"""Characters of a name in which a namespace is looked for."""


@dataclass(frozen=True, slots=True)
class NameRule:
    """What an upstream takes as the name of a function. At most LONGEST characters."""

    characters: str
    """Legal characters, as inside the brackets of a regular expression."""
    first: str
    """Those that a name may begin with; "_" must be among them."""

    def is_legal(self, name: str) -> bool:
        """Return whether the upstream takes this name as it is."""
        if not 0 < len(name) <= LONGEST:
            return False
        return re.fullmatch(f"[{self.first}][{self.characters}]*", name) is not None

    def shortened(self, name: str) -> str:
        """Return the legal beginning of a name, with room left for a hash."""
        plain = re.sub(f"[^{self.characters}]", "_", name[: LONGEST - _HASH - 2])
        return plain if re.match(f"[{self.first}]", plain) else "_" + plain


class ToolNames:
    """The names of one request's tools: the client's and the upstream's."""

    __slots__ = ("_rule", "_taken", "_wire", "changed")

    def __init__(self, rule: NameRule, names: Iterable[str] = ()) -> None:
        """`names`: the client's names of the declared tools; legal ones among them are never given to others."""
        self._rule = rule
        self._taken = {name for name in names if rule.is_legal(name)}
        self._wire = {name: name for name in self._taken}
        self.changed: dict[str, str] = {}
        """The upstream's name -> the client's, of those that differ."""

    def wire(self, name: str) -> str:
        """Return the name as the upstream gets it."""
        known = self._wire.get(name)
        return known if known is not None else self._new(name)

    def original(self, wire: str) -> str:
        """Return the client's name of a tool that the upstream calls by `wire`.

        Models put a namespace of their own before a name (`default_api:Read`): of a name that no tool has, the
        part behind a `:` or `.` counts, if a tool has that.
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
        """Return a legal name that no tool has. The hash is strong: many names cannot be made to want the same."""
        plain = self._rule.shortened(name)
        raw = name.encode("utf-8", "surrogatepass")
        salts = (attempt.to_bytes(8, "big") for attempt in count())
        digests = (blake2b(raw, digest_size=_HASH // 2, salt=salt).hexdigest() for salt in salts)
        return next(wire for digest in digests if (wire := f"{plain}_{digest}") not in self._taken)


def tool_names(rule: NameRule, tools: object) -> ToolNames:
    """Return the names of a request's `tools`."""
    names = (tool.get("name") for tool in dicts_in(tools))
    return ToolNames(rule, [name for name in names if isinstance(name, str)])
