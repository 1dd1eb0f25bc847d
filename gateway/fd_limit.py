"""The limit of open file descriptors: each client connection takes one, and so does its upstream request.

The soft limit that a process begins with (1,024 on most systems, 256 on macOS) is meant for programs that use
`select`. It is raised as far as the system allows. Where that is not enough, fewer connections are accepted: one
too many then gets a 503, and no accepted request fails for want of a descriptor.
"""

from collections.abc import Callable
from contextlib import suppress

from gateway.config import Config
from gateway.http1.server_connection import MAX_REFUSED

OTHER_DESCRIPTORS = 64
"""Descriptors not used by connections: event loop, listeners, standard streams, files; 14 were counted."""


def fit_to_limit(config: Config, warn: Callable[[str], None]) -> Config:
    """Raise the limit of descriptors; return the configuration with at most as many connections as fit in it.

    `warn` is called when they are fewer than the configuration says.
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
    server = config.server._replace(limits=limits._replace(max_connections=connections))
    return config._replace(server=server)


def raise_limit(needed: int) -> int:
    """Raise the process's soft limit to `needed` descriptors, or to the hard limit; return the limit that is then
    in force. Never lowers it."""
    try:
        import resource
    except ImportError:
        # Windows has no such limit for sockets.
        return needed
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return max(soft, needed)
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    # Some systems (macOS) have a further bound below an infinite hard limit.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft
