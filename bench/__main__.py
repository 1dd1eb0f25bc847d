"""`python -m bench`: measure, count calls, report, install peers. See README.md here."""

import argparse
import contextlib
import signal
import sys
from pathlib import Path

from bench import calls, installer, peers
from bench.peers.base import BENCH, ROWS
from bench.report import markdown
from bench.results import Results
from bench.run import Plan, perform

RESULTS = BENCH / "results"
ALL_ROWS = (*ROWS, calls.ROW)
"""Those that peers do, and the count of the gateway's calls."""
COMMANDS = ("run", "calls", "report", "install", "peers")


def parser() -> argparse.ArgumentParser:
    """The command line; `run` is meant when no command is named."""
    made = argparse.ArgumentParser(
        prog="python -m bench", description="Measure the gateway beside its peers."
    )
    commands = made.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure (the default)")
    run.add_argument("--rows", default=",".join(ALL_ROWS), help="of " + ", ".join(ALL_ROWS))
    run.add_argument("--peers", help="of " + ", ".join(peers.PEERS))
    run.add_argument("--rounds", type=int, default=5, help="A B C, then C B A, ... (default 5)")
    run.add_argument("--seconds", type=float, default=3.0, help="of each measurement (default 3)")
    run.add_argument("--quick", action="store_true", help="a smoke run of half a minute; saves nothing")
    run.add_argument("--out", type=Path, help=f"where results go (default {RESULTS}; --quick: nowhere)")
    counted = commands.add_parser("calls", help="how many calls the interpreter makes for one request")
    counted.add_argument("--detail", action="store_true", help="list them in order, and by function")
    report = commands.add_parser("report", help="print the report of a results file")
    report.add_argument("file", type=Path)
    install = commands.add_parser("install", help="install peers from PyPI and npm into bench/.peers")
    install.add_argument("names", nargs="+", metavar="PEER")
    commands.add_parser("peers", help="list the peers, and which are installed")
    return made


def _run(arguments: argparse.Namespace) -> int:
    rows = [row.strip() for row in arguments.rows.split(",")]
    unknown = [row for row in rows if row not in ALL_ROWS]
    if unknown:
        print(f"no row {', '.join(unknown)}; there are {', '.join(ALL_ROWS)}", file=sys.stderr)
        return 2
    default = peers.QUICK if arguments.quick else peers.DEFAULT
    names = arguments.peers.split(",") if arguments.peers else list(default)
    plan = Plan(
        rows=tuple(rows),
        peers=tuple(peers.choose([name.strip() for name in names])),
        rounds=1 if arguments.quick else max(1, arguments.rounds),
        seconds=0.5 if arguments.quick else max(0.5, arguments.seconds),
        quick=arguments.quick,
        out=arguments.out or (None if arguments.quick else RESULTS),
    )
    print(markdown(perform(plan)))
    return 0


def _peers() -> int:
    for peer in peers.PEERS.values():
        state = "ready" if peer.command is None or peer.program() else f"missing: {peer.how_to_install()}"
        print(f"{peer.name:12} {peer.about} ({state})")
    return 0


def main(words: list[str]) -> int:
    """Run a command; the exit status."""
    if not words or (words[0] not in COMMANDS and words[0] not in ("-h", "--help")):
        words = ["run", *words]
    arguments = parser().parse_args(words)
    try:
        if arguments.command == "run":
            return _run(arguments)
        if arguments.command == "calls":
            return calls.main(detail=arguments.detail)
        if arguments.command == "report":
            with arguments.file.open(encoding="utf-8") as lines:
                print(markdown(Results.read(lines)))
            return 0
        if arguments.command == "install":
            return installer.install(peers.choose(arguments.names))
        return _peers()
    except ValueError as problem:
        print(problem, file=sys.stderr)
        return 2


def _terminated(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        raise SystemExit(main(sys.argv[1:]))
    raise SystemExit(130)
