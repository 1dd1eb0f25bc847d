"""`make pyz`: one file that runs wherever there is Python, also where there is no home to keep anything in."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from glob import glob
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from urllib.request import Request, urlopen
from zipfile import ZipFile

import pytest

import gateway
from tests.support.spawned import CONFIG, PATIENCE, ROOT, Spawned, get

NOWHERE = "/dev/null"
"""A home directory in which no user can create anything."""

MEMORY = 64 * 1024
"""KiB."""


@pytest.fixture(scope="module")
def pyz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file, made for this Python."""
    out = tmp_path_factory.mktemp("pyz") / "gateway.pyz"
    subprocess.run([sys.executable, f"{ROOT}/.ci/pyz.py", "--out", str(out)], check=True, timeout=300)
    return out


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home for its cache, so that only the first run pays for it."""
    return tmp_path_factory.mktemp("home")


def version(
    pyz: Path, environ: Mapping[str, str], directory: Path = Path("/")
) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(pyz), "--version"]
    return subprocess.run(command, env=environ, cwd=directory, capture_output=True, text=True, check=False)


def peak(pid: int) -> int:
    """The most memory that a process has had, in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def test_pyz_has_its_dependencies(pyz: Path, home: Path) -> None:
    run = version(pyz, {"HOME": str(home)})
    assert (run.returncode, run.stderr) == (0, "")
    lines = run.stdout.splitlines()
    assert lines[0] == f"gateway {gateway.__version__}"
    assert [line.split()[0] for line in lines[2:]] == ["h11", "orjson", "uvloop"]
    assert not any("not installed" in line for line in lines)
    (kept,) = (home / ".cache" / "gateway").glob("gateway.pyz_*")
    assert list(kept.rglob("cli.*.pyc"))


def test_pyz_has_the_store_client_only_with_its_extra(pyz: Path) -> None:
    with ZipFile(pyz) as files:
        assert not any("/redis/" in name for name in files.namelist())
    spec = spec_from_file_location("pyz", ROOT / ".ci" / "pyz.py")
    assert spec is not None
    assert spec.loader is not None
    builder = module_from_spec(spec)
    spec.loader.exec_module(builder)
    needed, wanted = builder.requirements(["sharing"])
    assert [name.partition(">")[0] for name in (*needed, *wanted)] == ["h11", "orjson", "redis", "uvloop"]
    assert builder.requirements([]) == ([name for name in needed if not name.startswith("redis")], wanted)
    with pytest.raises(SystemExit, match="there are no extras tea"):
        builder.requirements(["sharing", "tea"])


def test_a_service_has_its_own_cache(pyz: Path, tmp_path: Path) -> None:
    """systemd gives a dynamic user's as a link."""
    cache, link = tmp_path / "private", tmp_path / "gateway"
    cache.mkdir(0o755)
    link.symlink_to(cache)
    run = version(pyz, {"CACHE_DIRECTORY": str(link), "HOME": NOWHERE, "TMPDIR": NOWHERE})
    assert (run.returncode, run.stderr) == (0, "")
    assert list(cache.glob("gateway.pyz_*"))


@pytest.mark.parametrize("start", ["first", "second"])
def test_the_demo_without_a_home(pyz: Path, home: Path, start: str) -> None:
    """Only the temporary directory can be written to; its unpacked copy is used again."""
    environ = {"PATH": "", "HOME": NOWHERE, "TMPDIR": str(home)}
    command = [sys.executable, str(pyz), "demo", "--port", "0"]
    with Spawned(command, pyz, environ, directory=Path("/")) as running:
        body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hello!"}]}
        url = f"http://127.0.0.1:{running.port}/v1/messages"
        request = Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
        with urlopen(request, timeout=PATIENCE) as response:
            assert json.load(response)["type"] == "message"
        with urlopen(f"http://127.0.0.1:{running.port}/status", timeout=PATIENCE) as response:
            assert response.read().startswith(b"<!doctype html>")
        assert peak(running.process.pid) < MEMORY
        running.signal("INT")
        running.wait()
    assert running.process.returncode == 0
    (kept,) = home.glob("gateway-*/gateway.pyz_*")
    assert kept.parent.stat().st_mode & 0o777 == 0o700


def test_nothing_is_unpacked_in_the_working_directory(pyz: Path, home: Path, tmp_path: Path) -> None:
    run = version(pyz, {"HOME": "~", "TMPDIR": str(home)}, tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_a_cache_directory_of_another_user_is_not_used(pyz: Path, tmp_path: Path) -> None:
    run = version(pyz, {"HOME": NOWHERE, "TMPDIR": str(tmp_path)})
    assert run.returncode == 0
    (place,) = tmp_path.glob("gateway-*")
    place.chmod(0o777)
    run = version(pyz, {"HOME": NOWHERE, "TMPDIR": str(tmp_path)})
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == "gateway: there is no directory to unpack this file in: set SHIV_ROOT to one\n"
    place.rename(tmp_path / "theirs")
    (tmp_path / "theirs").chmod(0o700)
    place.symlink_to("theirs")
    assert version(pyz, {"HOME": NOWHERE, "TMPDIR": str(tmp_path)}).returncode == 1
    assert version(pyz, {"HOME": NOWHERE, "TMPDIR": str(tmp_path), "SHIV_ROOT": str(place)}).returncode == 0


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_copy_is_unpacked_again(pyz: Path, home: Path, damage: str) -> None:
    environ = {"HOME": str(home)}
    assert version(pyz, environ).returncode == 0
    (file,) = (home / ".cache" / "gateway").rglob("gateway/workers.py")
    before = file.read_bytes()
    if damage == "cut":
        file.write_bytes(before[:100])
    else:
        file.unlink()
    run = version(pyz, environ)
    assert (run.returncode, run.stderr) == (0, "")
    assert file.read_bytes() == before


def old_pythons() -> list[str]:
    """Pythons of this machine that are too old."""
    found = []
    for version in ("2.7", "3.6", "3.8", "3.10"):
        kept = glob(f"{Path.home()}/.pyenv/versions/{version}.*/bin/python")
        found += [python for python in (*kept, shutil.which(f"python{version}")) if python is not None][:1]
    return found


@pytest.mark.parametrize("python", old_pythons())
def test_a_python_that_is_too_old(pyz: Path, python: str) -> None:
    run = subprocess.run([python, str(pyz)], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("gateway: Python 3.11 or later is needed, and this is Python ")
    assert run.stderr.count("\n") == 1


def test_a_python_without_matching_modules() -> None:
    """The start script before a build has inserted its requirements."""
    command = [sys.executable, f"{ROOT}/.ci/pyz_main.py"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith("gateway: this file is for ")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_pyz_serves(pyz: Path, home: Path, tmp_path: Path, workers: str) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(CONFIG)
    config.chmod(0o600)
    # The file looks for a Python in PATH.
    environ = {"HOME": str(home), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    command = [str(pyz), "serve", "--config", str(config), "--port", "0", "--workers", workers]
    with Spawned(command, config, environ) as running:
        assert get(running.port, "/healthz") == 200
        running.signal("TERM")
        errors = running.wait()
    assert running.process.returncode == 0
    assert "Traceback" not in errors
