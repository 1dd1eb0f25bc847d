"""The rules of the code, held by reading the tree: layers, sans-I/O modules, sizes, dependencies.

Each rule is a function from a tree's root to complaints. It is run on this repository, and on one small made-up tree
that breaks it, so that it is known to be able to fail.
"""

import ast
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

import gateway

ROOT = Path(__file__).parents[1]

GIT = shutil.which("git")

LAYERS = (
    {"http1", "telemetry", "systemd", "signals", "stdio", "patterns"},
    {"config"},
    {"messages"},
    {"routing"},
    {"dialects"},
    {"sharing"},
    {"proxy"},
    {"status"},
    {"endpoints", "listening"},
    {"app", "fd_limit"},
    {"process"},
    {"demo", "workers"},
    {"operator"},
    {"cli"},
    {"__main__"},
)
"""Packages from the ground up. A module imports from its own package and from the layers below."""

LAYER = {package: layer for layer, packages in enumerate(LAYERS) for package in packages}

SANS_IO = {
    "config",
    "messages",
    "routing",
    "dialects",
    "http1.framing",
    "http1.heads",
    "http1.limits",
    "http1.template",
    "http1.grammar",
    "telemetry.metrics",
    "sharing.envelope",
    "sharing.facts",
    "sharing.frames",
    "sharing.members",
    "sharing.news",
    "sharing.seal",
    "sharing.state",
    "telemetry.usage",
}
"""Packages and modules that do no I/O and use no clock and no source of randomness."""

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
    "Dockerfile",
    "LICENSE",
    "Makefile",
    "README.md",
    "README.zh-CN.md",
    "SECURITY.md",
    "bench",
    "compose.yaml",
    "fixtures",
    "gateway",
    "pyproject.toml",
    "tests",
}
"""The allowed names at the repository's top level, besides those that begin with a dot."""

DEPENDENCIES = {"h11", "orjson", "uvloop"}

MODULE_LINES = 400
FUNCTION_LINES = 60

Rule = Callable[[Path], list[str]]


def modules(root: Path) -> list[Path]:
    """The package's modules, relative to the root."""
    return sorted(path.relative_to(root) for path in (root / "gateway").rglob("*.py"))


@cache
def nodes(root: Path, module: Path) -> list[ast.AST]:
    """All of a module, itself first."""
    return [*ast.walk(ast.parse((root / module).read_bytes(), str(module)))]


def dotted(module: Path) -> str:
    """The module's name without the package's own: "http1.pool", "cli", "" for the package itself."""
    parts = module.with_suffix("").parts[1:]
    return ".".join(parts[:-1] if parts[-1:] == ("__init__",) else parts)


def imports(root: Path, module: Path) -> Iterator[tuple[int, str]]:
    """Yield every import in the module, at any depth: its line, and the absolute name that it imports."""
    for node in nodes(root, module):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module.parent.parts[: len(module.parent.parts) - node.level + 1] if node.level else ()
            base = ".".join([*package, *([node.module] if node.module else [])])
            # `from gateway import app` imports a module, `from gateway import __version__` does not.
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
            name = node.args[0] if node.args else None
            # Of f"gateway.dialects.{...}" the beginning is enough to know the package.
            start = name.values[0] if isinstance(name, ast.JoinedStr) else name
            known = isinstance(start, ast.Constant) and isinstance(start.value, str)
            yield node.lineno, str(start.value) if isinstance(start, ast.Constant) and known else "?"


def called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def layers(root: Path) -> list[str]:
    """Return the imports that point up: a module imports from its own package and the layers below."""
    packages = {dotted(module).partition(".")[0] for module in modules(root)} - {""}
    found = [f"gateway/{package} is in no layer" for package in sorted(packages - LAYER.keys())]
    for module in modules(root):
        package = dotted(module).partition(".")[0]
        below = {other for other in LAYER if LAYER[other] < LAYER.get(package, -1)}
        for line, name in imports(root, module):
            top, _, rest = name.partition(".")
            target = rest.partition(".")[0]
            if name == "?":
                found.append(f"{module}:{line} imports a name that is computed")
            elif top == "gateway" and target in packages - {package} - below:
                found.append(f"{module}:{line} imports gateway.{target}")
    return found


def purity(root: Path) -> list[str]:
    """Return the imports of sans-I/O modules that do I/O, wait, or have a clock or dice."""
    return [
        f"{module}:{line} imports {name.partition('.')[0]}"
        for module in modules(root)
        if dotted(module).partition(".")[0] in SANS_IO or dotted(module) in SANS_IO
        for line, name in imports(root, module)
        if name.partition(".")[0] in IMPURE
    ]


def sizes(root: Path) -> list[str]:
    """Return modules without a docstring or too long for one sitting, and functions too long for a screen."""
    found = []
    for module in modules(root):
        tree = nodes(root, module)[0]
        lines = len((root / module).read_bytes().splitlines())
        assert isinstance(tree, ast.Module)
        if not ast.get_docstring(tree):
            found.append(f"{module} has no docstring")
        if lines > MODULE_LINES:
            found.append(f"{module} has {lines} lines")
        for node in nodes(root, module):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length >= FUNCTION_LINES:
                    found.append(f"{module}:{node.lineno} {node.name} has {length} lines")
    return found


def top_level(root: Path) -> list[str]:
    """Return unknown names at the top level, among files that git tracks or, without git, would not ignore."""
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
    """Return git's output for a tree, also inside a hook that sets another repository in the environment."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = [GIT or "git", "-c", f"safe.directory={root}", *arguments]
    return subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True, check=True).stdout


def dependencies(root: Path) -> list[str]:
    """Return run-time dependencies that are too many or too few."""
    listed = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[^A-Za-z0-9_.-]", requirement)[0] for requirement in listed}
    return sorted(f"{name} is one dependency too many or too few" for name in names ^ DEPENDENCIES)


RULES: list[Rule] = [layers, purity, sizes, top_level, dependencies]


@pytest.mark.parametrize("rule", RULES)
def test_this_repository_keeps_the_rule(rule: Rule) -> None:
    assert rule(ROOT) == []


def test_version_is_the_same_in_both_places() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == gateway.__version__


BROKEN: dict[Rule, tuple[dict[str, str], list[str]]] = {
    layers: (
        {
            "gateway/__init__.py": "from gateway import cli, __version__",
            "gateway/cli.py": "from gateway import app",
            "gateway/app.py": "import gateway.cellar",
            "gateway/cellar/a.py": "",
            "gateway/http1/deep/a.py": "def f():\n  from ...messages import x\nfrom ..b import c",
            "gateway/http1/b.py": "import_module(f'gateway.messages.{x}')\n__import__(name)",
            "gateway/messages/a.py": "from gateway.messages import b\nimport gateway.http1.b",
        },
        [
            "gateway/cellar is in no layer",
            "gateway/__init__.py:1 imports gateway.cli",
            "gateway/app.py:1 imports gateway.cellar",
            "gateway/http1/b.py:1 imports gateway.messages",
            "gateway/http1/b.py:2 imports a name that is computed",
            "gateway/http1/deep/a.py:2 imports gateway.messages",
        ],
    ),
    purity: (
        {
            "gateway/messages/a.py": "if True:\n    from time import monotonic\nimport timeit",
            "gateway/http1/framing.py": 'import_module("ssl")',
            "gateway/http1/pool.py": "import asyncio",
        },
        ["gateway/http1/framing.py:1 imports ssl", "gateway/messages/a.py:2 imports time"],
    ),
    sizes: (
        {
            "gateway/a.py": '"""Yes."""\n' + "x = 1\n" * 400,
            "gateway/b.py": "class A:\n    async def g(self):\n" + "        x = 1\n" * 59,
            "gateway/c.py": '"""Yes."""\n' + "x = 1\n" * 338 + "def f():\n" + "    x = 1\n" * 58,
        },
        ["gateway/a.py has 401 lines", "gateway/b.py has no docstring", "gateway/b.py:2 g has 60 lines"],
    ),
    top_level: (
        dict.fromkeys((".gitignore", "README.md", "gateway/a.py", "notes.md", "docs/a.md", ".ci/run"), ""),
        ["docs is not a top-level name", "notes.md is not a top-level name"],
    ),
    dependencies: (
        {"pyproject.toml": "[project]\ndependencies = ['h11>=0.16', 'uvloop[x]', 'requests>2']"},
        ["orjson is one dependency too many or too few", "requests is one dependency too many or too few"],
    ),
}
"""Rule -> a tree that breaks it, and the rule's findings."""


@pytest.mark.parametrize("rule", RULES)
def test_a_tree_that_breaks_the_rule_is_found(rule: Rule, tmp_path: Path) -> None:
    files, complaints = BROKEN[rule]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert rule(tmp_path) == complaints
