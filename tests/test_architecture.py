"""The rules of the house, held by reading the tree: arrows point down, sans-I/O is sans I/O, sizes, mirrors.

Each rule is a function from a tree's root to complaints. It is run on this repository, and on small
made-up trees that break it, so that it is known to be able to fail.
"""

import ast
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

import gateway

ROOT = Path(__file__).parents[1]

GIT = shutil.which("git")

FLOORS = (
    {"http1", "telemetry", "systemd"},
    {"config"},
    {"messages"},
    {"routing"},
    {"dialects"},
    {"proxy"},
    {"endpoints"},
    {"app", "fd_limit", "operator"},
    {"process"},
    {"demo", "workers"},
    {"cli"},
    {"__main__"},
)
"""Rooms from the ground up. A module imports from its own room and from the floors below."""

FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

NARROWER = {"demo": {"http1", "telemetry", "config", "messages", "app", "process"}}
"""Rooms that may see less than all below them: the embedded upstream shares no code with what it is asked by."""

SANS_IO = {
    "config",
    "messages",
    "routing",
    "dialects",
    "http1.forms",
    "http1.framing",
    "http1.heads",
    "http1.limits",
    "http1.lines",
    "http1.grammar",
    "telemetry.usage",
}
"""Rooms and modules that do no I/O and have no clock and no chance of their own."""

IMPURE = {
    "asyncio",
    "random",
    "secrets",
    "select",
    "selectors",
    "socket",
    "ssl",
    "threading",
    "time",
    "uvloop",
}

TOP_LEVEL = {
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "bench",
    "fixtures",
    "gateway",
    "pyproject.toml",
    "tests",
}
"""What the repository's top level may hold besides names that begin with a dot."""

DEPENDENCIES = {"h11", "orjson", "uvloop"}

MODULE_LINES = 400
FUNCTION_LINES = 60

Rule = Callable[[Path], list[str]]


def modules(root: Path) -> list[Path]:
    """The package's modules, relative to the root."""
    return sorted(path.relative_to(root) for path in (root / "gateway").rglob("*.py"))


def parsed(root: Path, module: Path) -> ast.Module:
    return ast.parse((root / module).read_bytes(), str(module))


def dotted(module: Path) -> str:
    """The module's name without the package's own: "http1.pool", "cli", "" for the package itself."""
    parts = module.with_suffix("").parts[1:]
    return ".".join(parts[:-1] if parts[-1:] == ("__init__",) else parts)


def imports(root: Path, module: Path) -> Iterator[tuple[int, str]]:
    """Every import, wherever in the module it is: its line, and the absolute name it asks for."""
    for node in ast.walk(parsed(root, module)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module.parent.parts[: len(module.parent.parts) - node.level + 1] if node.level else ()
            base = ".".join([*package, *([node.module] if node.module else [])])
            # `from gateway import app` asks for a module, `from gateway import __version__` does not.
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
            name = node.args[0] if node.args else None
            known = isinstance(name, ast.Constant) and isinstance(name.value, str)
            yield node.lineno, str(name.value) if isinstance(name, ast.Constant) and known else "?"


def called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def arrows(root: Path) -> list[str]:
    """A module imports from its own room and the floors below."""
    rooms = {dotted(module).partition(".")[0] for module in modules(root)} - {""}
    found = [f"gateway/{room} is on no floor" for room in sorted(rooms - FLOOR.keys())]
    for module in modules(root):
        room = dotted(module).partition(".")[0]
        below = {other for other in FLOOR if FLOOR[other] < FLOOR.get(room, -1)}
        for line, name in imports(root, module):
            package, _, rest = name.partition(".")
            target = rest.partition(".")[0]
            if name == "?":
                found.append(f"{module}:{line} imports a name that is computed")
            elif package == "gateway" and target in rooms - {room} - (NARROWER.get(room, below) & below):
                found.append(f"{module}:{line} imports gateway.{target}")
    return found


def purity(root: Path) -> list[str]:
    """A sans-I/O module imports nothing that does I/O, waits, or has a clock or dice."""
    return [
        f"{module}:{line} imports {name.partition('.')[0]}"
        for module in modules(root)
        if dotted(module).partition(".")[0] in SANS_IO or dotted(module) in SANS_IO
        for line, name in imports(root, module)
        if name.partition(".")[0] in IMPURE
    ]


def sizes(root: Path) -> list[str]:
    """A module says what it is and can be read in one sitting, a function fits on a screen."""
    found = []
    for module in modules(root):
        tree = parsed(root, module)
        lines = len((root / module).read_bytes().splitlines())
        if not ast.get_docstring(tree):
            found.append(f"{module} has no docstring")
        if lines > MODULE_LINES:
            found.append(f"{module} has {lines} lines")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length >= FUNCTION_LINES:
                    found.append(f"{module}:{node.lineno} {node.name} has {length} lines")
    return found


def mirrors(root: Path) -> list[str]:
    """A module has its test module, in the same place under tests/; a package that only re-exports has none."""
    found = []
    for module in modules(root):
        only_names = module.name == "__init__.py" and not any(
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            for node in ast.walk(parsed(root, module))
        )
        mirror = Path("tests", *module.parts[1:-1], f"test_{module.stem.strip('_')}.py")
        if not only_names and not (root / mirror).is_file():
            found.append(f"{module} has no {mirror}")
    return found


def top_level(root: Path) -> list[str]:
    """The top level holds what it should: what git tracks, or, without git, what it would not ignore."""
    if GIT and (root / ".git").exists():
        listed = git(root, "ls-files", "-z").split("\0")
        names = {line.partition("/")[0] for line in listed if line}
    else:
        ignored = (root / ".gitignore").read_text().split() if (root / ".gitignore").exists() else []
        names = {
            path.name
            for path in root.iterdir()
            if not any(fnmatch(path.name, pattern.rstrip("/")) for pattern in ignored)
        }
    return sorted(f"{name} is not a top-level name" for name in names - TOP_LEVEL if name[0] != ".")


def git(root: Path, *arguments: str) -> str:
    """What git says of a tree, whatever repository a hook that runs the tests has in its environment."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = [GIT or "git", "-c", f"safe.directory={root}", *arguments]
    return subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True, check=True).stdout


def dependencies(root: Path) -> list[str]:
    """Three packages at run time, no more and no less."""
    listed = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[^A-Za-z0-9_.-]", requirement)[0] for requirement in listed}
    return sorted(f"{name} is one dependency too many or too few" for name in names ^ DEPENDENCIES)


RULES: list[Rule] = [arrows, purity, sizes, mirrors, top_level, dependencies]


@pytest.mark.parametrize("rule", RULES)
def test_this_repository_keeps_the_rule(rule: Rule) -> None:
    assert rule(ROOT) == []


def test_the_version_is_told_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == gateway.__version__


def planted(root: Path, files: dict[str, str]) -> Path:
    """A tree with these files."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


ARROWS: list[tuple[dict[str, str], list[str]]] = [
    ({"cli.py": "from gateway import app, __version__", "app.py": ""}, []),
    ({"messages/a.py": "from gateway.messages import b\nimport gateway.config", "config.py": ""}, []),
    ({"config/a.py": "from gateway.http1.limits import Limits", "http1/limits.py": ""}, []),
    (
        {"http1/a.py": "from gateway.telemetry.usage import x", "telemetry/usage.py": ""},
        ["gateway/http1/a.py:1 imports gateway.telemetry"],
    ),
    ({"app.py": "from gateway import cli", "cli.py": ""}, ["gateway/app.py:1 imports gateway.cli"]),
    (
        {"messages/a.py": "\nimport gateway.routing.retries as p", "routing/plan.py": ""},
        ["gateway/messages/a.py:2 imports gateway.routing"],
    ),
    (
        {"messages/a.py": "def f():\n  from gateway.proxy import relay", "proxy/relay.py": ""},
        ["gateway/messages/a.py:2 imports gateway.proxy"],
    ),
    (
        {"http1/a.py": "from ..config import x\nfrom . import b\nfrom .b import c", "config.py": ""},
        ["gateway/http1/a.py:1 imports gateway.config"],
    ),
    (
        {"http1/deep/a.py": "from ... import config\nfrom ..b import c", "config.py": ""},
        ["gateway/http1/deep/a.py:1 imports gateway.config"],
    ),
    (
        {"http1/a.py": 'import importlib\nimportlib.import_module("gateway.config")', "config.py": ""},
        ["gateway/http1/a.py:2 imports gateway.config"],
    ),
    (
        {"http1/a.py": "__import__(name)\n__import__()"},
        [
            "gateway/http1/a.py:1 imports a name that is computed",
            "gateway/http1/a.py:2 imports a name that is computed",
        ],
    ),
    (
        {
            "demo/a.py": "from gateway.routing import plan\nfrom gateway import app",
            "routing/plan.py": "",
            "app.py": "",
        },
        ["gateway/demo/a.py:1 imports gateway.routing"],
    ),
    ({"__init__.py": "from gateway import cli", "cli.py": ""}, ["gateway/__init__.py:1 imports gateway.cli"]),
    (
        {"cellar/a.py": "from gateway import cli", "cli.py": "from gateway.cellar import a"},
        [
            "gateway/cellar is on no floor",
            "gateway/cellar/a.py:1 imports gateway.cli",
            "gateway/cli.py:1 imports gateway.cellar",
        ],
    ),
]


@pytest.mark.parametrize(("files", "complaints"), ARROWS)
def test_arrows_that_point_up_are_seen(tmp_path: Path, files: dict[str, str], complaints: list[str]) -> None:
    tree = {f"gateway/{name}": text for name, text in files.items()}
    assert arrows(planted(tmp_path, tree)) == complaints


@pytest.mark.parametrize(
    ("name", "text", "complaints"),
    [
        ("messages/a.py", "import time", ["imports time"]),
        ("messages/a.py", "from time import monotonic", ["imports time"]),
        ("dialects/gemini/a.py", "def f():\n    import asyncio.events", ["imports asyncio"]),
        ("routing/a.py", "if True:\n    from random import random as r", ["imports random"]),
        ("config/loader.py", "import socket, ssl", ["imports socket", "imports ssl"]),
        ("http1/framing.py", 'from importlib import import_module\nimport_module("ssl")', ["imports ssl"]),
        ("http1/pool.py", "import asyncio", []),
        ("app.py", "import time", []),
        ("messages/a.py", "import timeit\nfrom gateway.messages import time", []),
    ],
)
def test_impure_modules_are_seen(tmp_path: Path, name: str, text: str, complaints: list[str]) -> None:
    found = purity(planted(tmp_path, {f"gateway/{name}": text}))
    assert [complaint.partition(" ")[2] for complaint in found] == complaints
    assert all(complaint.startswith(f"gateway/{name}:") for complaint in found)


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        ('"""Yes."""\n' + "x = 1\n" * 399, []),
        ('"""Yes."""\n' + "x = 1\n" * 400, ["gateway/a.py has 401 lines"]),
        ("x = 1\n", ["gateway/a.py has no docstring"]),
        ('"""Yes."""\ndef f():\n' + "    x = 1\n" * 58, []),
        ('"""Yes."""\ndef f():\n' + "    x = 1\n" * 59, ["gateway/a.py:2 f has 60 lines"]),
        (
            '"""Yes."""\nclass A:\n    async def g(self):\n' + "        x = 1\n" * 60,
            ["gateway/a.py:3 g has 61 lines"],
        ),
    ],
)
def test_what_is_too_long_or_unnamed_is_seen(tmp_path: Path, text: str, complaints: list[str]) -> None:
    assert sizes(planted(tmp_path, {"gateway/a.py": text})) == complaints


def test_modules_without_a_test_module_are_seen(tmp_path: Path) -> None:
    tree = {
        "gateway/__init__.py": '__version__ = "1"',
        "gateway/__main__.py": "",
        "gateway/cli.py": "",
        "gateway/http1/__init__.py": '"""Only names."""\nfrom gateway.http1.pool import Pool',
        "gateway/http1/pool.py": "",
        "gateway/demo/__init__.py": "def serve(): ...",
        "tests/test_cli.py": "",
        "tests/http1/test_pool.py": "",
    }
    assert mirrors(planted(tmp_path, tree)) == [
        "gateway/__main__.py has no tests/test_main.py",
        "gateway/demo/__init__.py has no tests/demo/test_init.py",
    ]


@pytest.mark.parametrize("tracked", sorted({False, GIT is not None}))
def test_strangers_at_the_top_level_are_seen(tmp_path: Path, tracked: bool) -> None:
    tree = dict.fromkeys(("README.md", "gateway/a.py", "notes.md", "docs/a.md", ".ci/run", "build/x"), "")
    planted(tmp_path, {**tree, ".gitignore": "build/\n"})
    if tracked:
        git(tmp_path, "init", "--quiet")
        git(tmp_path, "add", ".")
        planted(tmp_path, {"untracked.md": ""})
    assert top_level(tmp_path) == ["docs is not a top-level name", "notes.md is not a top-level name"]


@pytest.mark.parametrize(
    ("listed", "complaints"),
    [
        (["h11>=0.16", "orjson", "uvloop>=0.21; sys_platform != 'win32'"], []),
        (["h11", "orjson", "uvloop", "requests>2"], ["requests is one dependency too many or too few"]),
        (["h11", "uvloop[x]"], ["orjson is one dependency too many or too few"]),
    ],
)
def test_other_dependencies_are_seen(tmp_path: Path, listed: list[str], complaints: list[str]) -> None:
    text = "[project]\ndependencies = " + str(listed).replace("'win32'", "win32")
    assert dependencies(planted(tmp_path, {"pyproject.toml": text})) == complaints
