"""Findings of checks, and the report of them: as text for people, as JSON for machines."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import orjson

from gateway import __version__
from gateway.config.reading import printable
from gateway.proxy.request import place_of

State = Literal["ok", "warn", "fail", "skip"]

Part = Literal["here", "upstreams", "gateway"]

TITLES = {"here": "Here", "upstreams": "Upstreams", "gateway": "The gateway"}

LONGEST = 400
"""Characters shown of what a check saw; an upstream's message can be as long as a page."""

NAME_WIDTH = 34
"""Columns for the names of checks."""


class Finding(NamedTuple):
    """The result of a check. `todo` is what to do about it, or "" if nothing."""

    state: State
    saw: str
    todo: str = ""


class Fault(Exception):
    """A check failed, or is of no use; `state` says which."""

    def __init__(self, saw: str, todo: str = "", state: Literal["fail", "skip"] = "fail") -> None:
        super().__init__(saw)
        self.finding = Finding(state, saw, todo)


class Row(NamedTuple):
    """A check that was carried out, or skipped."""

    part: Part
    name: str
    finding: Finding
    seconds: float = 0.0


def warn(saw: str, todo: str = "") -> Finding:
    """Return a finding for what works, or may work, but deserves a look."""
    return Finding("warn", saw, todo)


def skip(why: str) -> Finding:
    """Return a finding for a check that was not carried out."""
    return Finding("skip", why)


async def carry_out(
    part: Part, name: str, check: Callable[[], Awaitable[Finding | str]], patience: float
) -> Row:
    """Carry out a check within `patience` seconds; an exception becomes a finding. A text means that all is well."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(patience):
            found = await check()
        finding = Finding("ok", found) if isinstance(found, str) else found
    except Fault as fault:
        finding = fault.finding
    except TimeoutError:
        finding = Finding("fail", f"nothing within {patience:g} s")
    except Exception as error:
        # The error's text may hold a part of a body.
        finding = Finding("fail", f"the check itself failed: {place_of(error)}")
    return Row(part, name, finding, time.monotonic() - began)


def failed(rows: Iterable[Row]) -> bool:
    """Return whether a check failed."""
    return any(row.finding.state == "fail" for row in rows)


def as_text(rows: Sequence[Row]) -> str:
    """Return the report for people: a line for each check, what to do below it."""
    lines: list[str] = []
    for part, title in TITLES.items():
        chosen = [row for row in rows if row.part == part]
        if chosen:
            lines += [*([""] if lines else []), title]
        for row in chosen:
            state, saw, todo = row.finding
            took = f" ({row.seconds * 1000:.0f} ms)" if row.seconds >= 0.001 and state != "skip" else ""
            lines.append(f"  {state:<4}  {_short(row.name):<{NAME_WIDTH}} {_short(saw)}{took}")
            if todo:
                lines.append(f"        -> {_short(todo)}")
    counts = {
        state: sum(row.finding.state == state for row in rows) for state in ("ok", "warn", "fail", "skip")
    }
    return "\n".join([*lines, "", ", ".join(f"{count} {state}" for state, count in counts.items() if count)])


def as_json(rows: Sequence[Row]) -> str:
    """Return the report for machines: `version`, `ok`, and `checks`, an object for each."""
    document: dict[str, Any] = {
        "version": __version__,
        "ok": not failed(rows),
        "checks": [
            {
                "part": row.part,
                "name": _short(row.name),
                "state": row.finding.state,
                "saw": _short(row.finding.saw),
                "todo": _short(row.finding.todo),
                "seconds": round(row.seconds, 3),
            }
            for row in rows
        ],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()


def _short(text: str) -> str:
    """Return a text on one line, at most LONGEST long, without control characters and lone surrogates."""
    text = printable(text.encode("utf-8", "backslashreplace").decode())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
