"""Installs peers from PyPI and npm into `bench/.peers/NAME`: pinned versions, no install scripts.

Such packages are other people's code that will run on this machine. So: wheels only, npm's scripts
stay off, and a Python package that puts a .pth file with code (it would run at every start of that
interpreter) into its environment is refused unless its module here declares that this is known.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.peers.base import Peer

INSTALL_SECONDS = 900
HARMLESS_PTH = frozenset({"distutils-precedence.pth"})


def install(chosen: Sequence[Peer]) -> int:
    """Install each; 0 when all went well."""
    failures = [peer.name for peer in chosen if not _install(peer)]
    if failures:
        print(f"failed: {', '.join(failures)}", file=sys.stderr)
    return 1 if failures else 0


def _install(peer: Peer) -> bool:
    kind = peer.install.kind
    if kind == "ours":
        print(f"{peer.name}: nothing to install")
        return True
    if kind == "debian":
        print(f"{peer.name}: {peer.how_to_install()}")
        return bool(peer.program())
    folder = peer.folder
    folder.mkdir(parents=True, exist_ok=True)
    for command in commands(peer):
        print("+", " ".join(command), flush=True)
        try:
            status = subprocess.run(command, check=False, timeout=INSTALL_SECONDS, cwd=folder).returncode
        except (OSError, subprocess.TimeoutExpired) as problem:
            print(problem, file=sys.stderr)
            return False
        if status:
            return False
    suspects = [] if peer.install.pth else startup_code(folder)
    if suspects:
        shutil.rmtree(folder)
        print(f"{peer.name}: removed again, it brings start-up code: {suspects}", file=sys.stderr)
        return False
    return bool(peer.program())


def commands(peer: Peer) -> list[list[str]]:
    """Return the command that installs a peer, for its kind."""
    folder = str(peer.folder)
    if peer.install.kind == "npm":
        flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-save"]
        return [["npm", "install", "--prefix", folder, *flags, *peer.install.packages]]
    pip = [sys.executable, "-m", "pip", "--python", f"{folder}/venv/bin/python"]
    return [
        [sys.executable, "-m", "venv", "--without-pip", f"{folder}/venv"],
        [*pip, "install", "--quiet", "--only-binary", ":all:", *peer.install.packages],
    ]


def startup_code(folder: Path) -> list[str]:
    """.pth files below `folder` that run code."""
    return sorted(
        path.name
        for path in folder.rglob("*.pth")
        if path.name not in HARMLESS_PTH
        and any(
            line.startswith(("import ", "import\t"))
            for line in path.read_text("utf-8", "replace").splitlines()
        )
    )
