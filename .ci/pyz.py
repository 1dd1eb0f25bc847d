"""Builds dist/gateway.pyz, the gateway with all it needs but Python in one file; `make pyz` runs this.

shiv, not pex; both were tried. With 64 MB of memory and nothing but a temporary directory to write to, shiv's archive
starts within a second, in 49 MB; pex's takes two, and is killed if that directory is in memory too. From a warm cache
shiv's archive costs 15 ms of CPU more than an installed gateway, pex's 75 ms. What shiv does not do is done here: an
order of files that depends on nothing, and (in pyz_start.py) a cache also where there is no home.

The same input gives the same bytes, wherever and whenever it is built.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

ROOT = Path(__file__).resolve().parents[1]

SOURCES = ("gateway", "pyproject.toml", "README.md", "LICENSE")

PLATFORMS = ("manylinux2014_x86_64", "manylinux2014_aarch64", "macosx_11_0_arm64")
"""pip's names of the oldest systems for which all wheels exist."""

VERSIONS = ("3.11", "3.12", "3.13")

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that an archive can hold."""

FILE_MODE = 0o100644 << 16


def main() -> None:
    """Build the file that the command line asks for."""
    parser = argparse.ArgumentParser(description="Build gateway.pyz.")
    parser.add_argument("--platforms", choices=("this", "all"), default="this", help="this: of this Python")
    parser.add_argument("--extras", default="", help="optional dependencies to bring, as sharing")
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "gateway.pyz")
    options = parser.parse_args()
    out: Path = options.out
    with TemporaryDirectory() as scratch:
        wheels, site, archive = Path(scratch, "wheels"), Path(scratch, "site"), Path(scratch, "archive")
        build_wheel(Path(scratch, "source"), wheels)
        needed, wanted = requirements(options.extras.split())
        for target in targets(options.platforms):
            download(wheels, target, needed, wanted)
        for wheel in sorted(wheels.iterdir()):
            with ZipFile(wheel) as files:
                files.extractall(site)
        entry = ("--entry-point", "gateway.cli:main")
        run("shiv", "--reproducible", *entry, "--site-packages", site, "--output-file", archive)
        out.parent.mkdir(parents=True, exist_ok=True)
        rewrite(archive, out, start(site))
    print(f"{out}: {out.stat().st_size:,} bytes")


def run(module: str, *arguments: str | Path) -> None:
    """Run a module of this Python as a command. Raise CalledProcessError."""
    environ = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "SOURCE_DATE_EPOCH": "315532800"}
    subprocess.run([sys.executable, "-m", module, *arguments], env=environ, check=True)


def build_wheel(source: Path, wheels: Path) -> None:
    """Build the project's own wheel, from a copy: setuptools leaves things behind where it builds."""
    source.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, source / name)
    run("pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, source)


def targets(platforms: str) -> list[list[str]]:
    """Return for each machine and Python the options that make pip choose wheels for it."""
    if platforms == "this":
        return [[]]
    return [
        [
            *("--platform", platform, "--python-version", version),
            *("--implementation", "cp", "--abi", f"cp{version.replace('.', '')}"),
        ]
        for version in VERSIONS
        for platform in PLATFORMS
    ]


def requirements(extras: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what the archive must bring, with some extras, and what it brings where there is a wheel of it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    unknown = set(extras) - project["optional-dependencies"].keys()
    if unknown:
        sys.exit(f"there are no extras {', '.join(sorted(unknown))}")
    listed = [
        *project["dependencies"],
        *(each for name in extras for each in project["optional-dependencies"][name]),
    ]
    wanted = [name for name in listed if name.startswith("uvloop")]
    return [name for name in listed if name not in wanted], wanted


def download(wheels: Path, target: list[str], needed: Sequence[str], wanted: Sequence[str]) -> None:
    """Fetch the dependencies' wheels for one target. Where there is none of uvloop, the standard loop serves."""
    options = ["--quiet", "--only-binary", ":all:", "--dest", str(wheels), *target]
    try:
        run("pip", "download", *options, *needed, *wanted)
    except subprocess.CalledProcessError:
        run("pip", "download", *options, *needed)
        print(f"no wheel of uvloop {' '.join(target)}: the standard event loop will serve", file=sys.stderr)


def start(site: Path) -> str:
    """Return the archive's `pyz_start.py`, with what its native modules are for."""
    suits = tuple(sorted({path.name[path.name.index(".") :] for path in site.glob("orjson/*.so")}))
    text = Path(__file__).with_name("pyz_start.py").read_text()
    return text.replace("SUITS: tuple[str, ...] = ()", f"SUITS: tuple[str, ...] = {suits!r}")


def rewrite(archive: Path, out: Path, start: str) -> None:
    """Write the archive once more: files in order, without the modes and times of this machine, and with our start."""
    ours = {"__main__.py": Path(__file__).with_name("pyz_main.py").read_text(), "pyz_start.py": start}
    with ZipFile(archive) as files, out.open("wb") as file:
        file.write(b"#!/usr/bin/env python3\n")
        with ZipFile(file, "w") as written:
            for name in sorted({*files.namelist(), *ours}):
                info = ZipInfo(name, EPOCH)
                info.external_attr = FILE_MODE
                info.compress_type = ZIP_DEFLATED
                written.writestr(info, ours[name] if name in ours else files.read(name))
    out.chmod(0o755)


if __name__ == "__main__":
    main()
