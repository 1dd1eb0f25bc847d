"""The start of gateway.pyz: finds a place where the archive can be unpacked, then leaves the rest to shiv.

Native modules cannot be loaded out of an archive. Unpacked they are kept, so that only the first start pays for it.
"""

import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES

SUITS: tuple[str, ...] = ()
"""How the names of the native modules in the archive end; filled in when it is built."""


def places() -> Iterator[str]:
    """Where the archive can be unpacked: in the service's cache, the user's, the temporary directory."""
    if "CACHE_DIRECTORY" in os.environ and usable(os.environ["CACHE_DIRECTORY"], os.stat):
        yield os.environ["CACHE_DIRECTORY"]
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    mine = os.path.join(cache, "gateway")
    # Of a user without a home `~` stays as it is.
    if os.path.isabs(mine) and usable(mine, os.stat):
        yield mine
    import tempfile

    # Others can write there too: a link, which they could turn elsewhere later, is not followed.
    shared = os.path.join(tempfile.gettempdir(), f"gateway-{os.geteuid()}")
    if usable(shared, os.lstat):
        yield shared


def usable(place: str, look: Callable[[str], os.stat_result]) -> bool:
    """Whether this user can write to a directory, and nobody else: what is in it will be run."""
    try:
        os.makedirs(place, mode=0o700, exist_ok=True)
        status = look(place)
    except OSError:
        return False
    mine = status.st_uid == os.geteuid() and status.st_mode & 0o170022 == 0o040000
    return mine and os.access(place, os.W_OK | os.X_OK)


def start() -> None:
    """Run the gateway."""
    if not set(SUITS) & set(EXTENSION_SUFFIXES):
        made = ", ".join(suffix.split(".")[1] for suffix in SUITS)
        sys.exit(
            f"gateway: this file is for {made}, and this Python is {EXTENSION_SUFFIXES[0].split('.')[1]}"
        )
    if "SHIV_ROOT" not in os.environ:
        try:
            os.environ["SHIV_ROOT"] = next(places())
        except (OSError, StopIteration):
            sys.exit("gateway: there is no directory to unpack this file in: set SHIV_ROOT to one")
    # What is unpacked is a cache: bytecode is kept too.
    sys.dont_write_bytecode = False
    # shiv's own part of the archive.
    import_module("_bootstrap").bootstrap()


start()
