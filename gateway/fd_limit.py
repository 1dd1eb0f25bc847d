"""The limit of descriptors: each connection takes one, and so does its request to an upstream.

The soft limit that a process begins with (1,024 on most systems, 256 on macOS) is meant for programs that use
`select`. It is raised as far as it may be; where that is not enough, fewer connections are let in, so that the one
too many hears so, and no request that was let in fails for want of a descriptor.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from gateway.config import Config
from gateway.http1.server_connection import MAX_REFUSED

OTHER_DESCRIPTORS = 64
"""Descriptors not used by connections: event loop, listeners, standard streams, files; 14 were counted."""


def fit_to_limit(config: Config, warn: Callable[[str], None]) -> Config:
    """Raise the limit of descriptors, and return the configuration with as many connections as they suffice for.

    `warn` is called when that is fewer than the configuration says.
    """
    limits = config.server.limits
    spare = OTHER_DESCRIPTORS + MAX_REFUSED + limits.pool_max_idle * len(config.upstreams)
    needed = 2 * limits.max_connections + spare
    available = raise_limit(needed)
    if available >= needed:
        return config
    connections = max(1, available // 4, (available - spare) // 2)
    warn(
        f"server.max_connections is {limits.max_connections}, for which {needed} descriptors may be needed, and this "
        f"process can have {available}: at most {connections} connections are let in (raise the limit: ulimit -Hn)"
    )
    server = replace(config.server, limits=replace(limits, max_connections=connections))
    return replace(config, server=server)


def raise_limit(needed: int) -> int:
    """Raise the process's soft limit to `needed` descriptors, or as far as the hard limit lets it; return the
    number it can have then. Nothing is ever lowered."""
    try:
        import resource
    except ImportError:
        # Windows has no such limit for sockets.
        return needed
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return max(soft, needed)
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    # Some systems have a bound of their own below an infinite hard limit.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft
