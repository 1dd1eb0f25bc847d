"""A peer: a declaration that one small module per peer fills in.

A peer declares how it is installed, how it is started, what its config contains, and which rows it can do. A
row it cannot do has a reason, which the report shows in place of a number.
"""

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.programs import client_model

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
INSTALLED = BENCH / ".peers"
"""Where peers from PyPI and npm are put, one folder each; not in version control."""

ROWS = ("small", "agent", "ttft", "burst", "paced", "translate", "workers", "footprint")
RELAY_ROWS = frozenset(ROWS) - {"translate", "workers"}


@dataclass(frozen=True, slots=True)
class Site:
    """Where a peer runs this time."""

    port: int
    upstream_port: int
    directory: Path
    """Its own folder for config, temporary files and HOME."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """Where a peer comes from. `kind`: ours, debian, pip or npm; the versions are pinned here."""

    kind: str
    packages: tuple[str, ...] = ()
    program: str = ""
    """What to run: a path in the peer's folder (pip, npm), a name on PATH or in sbin (debian), its folder (ours)."""
    pth: bool = False
    """The package is known to need .pth files; else an installed one is an error (see installer)."""


def no_files(site: Site) -> dict[str, str]:
    """A peer without a config file."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One proxy to measure."""

    name: str
    about: str
    install: Install
    command: Callable[[str, Site], list[str]] | None
    """Executable and site -> what to start. None: nothing is, the load talks to the upstream itself."""
    files: Callable[[Site], dict[str, str]] = no_files
    """File name -> text, written into the site's directory before the start."""
    ready: str = "/healthz"
    path: str = "/v1/messages"
    """Replaces /v1/messages in clients' requests."""
    model: Callable[[str], str] = client_model
    """Wire model -> the model name in a client's request to this peer."""
    headers: Callable[[Site], tuple[tuple[str, str], ...]] = lambda site: ()
    """Fields a client of this peer sends besides its own; they replace those of the same name."""
    environ: Callable[[Site], Mapping[str, str]] = no_files
    """Its environment besides PATH, HOME and LANG."""
    rows: frozenset[str] = RELAY_ROWS
    why_not: Mapping[str, str] = field(default_factory=dict)
    start_seconds: float = 15.0
    """Longest wait for the first 200 on `ready`."""
    disk: tuple[str, ...] = ()
    """Debian packages, or Python distributions, whose files are the size on disk; () for the folder."""

    def reason(self, row: str) -> str:
        """Why this peer does not do `row`; "" when it does."""
        if row in self.rows:
            return ""
        return self.why_not.get(
            row, "about the gateway's own workers" if row == "workers" else "does not do this"
        )

    @property
    def folder(self) -> Path:
        """Where the installer puts it."""
        return INSTALLED / self.name

    def program(self) -> str:
        """The executable's path, "" when it is not installed."""
        if self.install.kind == "ours":
            return sys.executable
        if self.install.kind == "debian":
            places = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin" + os.pathsep + "/usr/local/sbin"
            return shutil.which(self.install.program, path=places) or ""
        path = self.folder / self.install.program
        return str(path) if path.exists() else ""

    def how_to_install(self) -> str:
        """The command that installs it."""
        if self.install.kind == "debian":
            return f"apt-get install {' '.join(self.install.packages)}"
        return f"python -m bench install {self.name}"
