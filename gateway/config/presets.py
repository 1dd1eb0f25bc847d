"""Known upstreams: what `preset = "..."` fills in, by name. Every field can still be set in the file."""

from collections.abc import Mapping

from gateway.config.kinds import KINDS, Preset

PRESETS: Mapping[str, Preset] = {
    preset: {"kind": name, **fields}
    for name, kind in KINDS.items()
    for preset, fields in kind.presets.items()
}

LOCAL = frozenset[str]().union(*(kind.local_presets for kind in KINDS.values()))
"""Servers on one's own machine: they ask for no key."""
