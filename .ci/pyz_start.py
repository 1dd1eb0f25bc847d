"""The start of gateway.pyz: finds a place where the archive can be unpacked, then leaves the rest to shiv.

Native modules cannot be loaded out of an archive. What was unpacked is kept, so that only the first start pays for it,
and is unpacked again when a file of it is missing or has another size.
"""

import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.machinery import EXTENSION_SUFFIXES
from typing import Any

SUITS: tuple[str, ...] = ()
"""How the names of the native modules in the archive end; filled in when it is built."""


def places() -> Iterator[str]:
    """Yield where the archive can be unpacked: in the service's cache, the user's, the temporary directory."""
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
    """Return whether this user can write to a directory, and nobody else: what is in it will be run."""
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
    shiv = import_module("_bootstrap")
    if is_damaged(shiv):
        os.environ["SHIV_FORCE_EXTRACT"] = "1"
    shiv.bootstrap()


def is_damaged(shiv: Any) -> bool:
    """Return whether there is an unpacked copy of this archive that is not whole."""
    import json

    with shiv.current_zipfile() as archive:
        environment = json.loads(archive.read("environment.json"))
        unpacked = shiv.cache_path(archive, os.environ["SHIV_ROOT"], environment["build_id"])
        if not unpacked.exists():
            return False
        for info in archive.infolist():
            if info.filename.startswith("site-packages/") and not info.is_dir():
                try:
                    if os.stat(os.path.join(unpacked, info.filename)).st_size != info.file_size:
                        return True
                except OSError:
                    return True
    return False
