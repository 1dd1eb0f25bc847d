"""Known upstreams: the keys that `preset = "..."` fills in, by name. The file can override each of them."""

from collections.abc import Mapping

from gateway.config.kinds import KINDS, Preset

PRESETS: Mapping[str, Preset] = {
    preset: {"kind": name, **fields}
    for name, kind in KINDS.items()
    for preset, fields in kind.presets.items()
}

LOCAL = frozenset[str]().union(*(kind.local_presets for kind in KINDS.values()))
"""Presets of servers on the user's own machine, which need no key."""
