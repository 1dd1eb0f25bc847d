"""The strict fake as a process, with a configuration for a gateway in front of it.

    python -m tests.fakes.gemini [--vertex] [--model M] [--config FILE]

Prints its address once it listens. On SIGTERM or SIGINT it prints the number of requests and its refusals; the exit
code is 1 if it refused anything other than a rate limit.
"""

import asyncio
import signal
import sys
from argparse import ArgumentParser
from pathlib import Path

from tests.fakes.gemini.server import ACCOUNTS, gemini_upstream

PATH = "/v1/projects/p/locations/l/publishers/google/models/{model}:streamGenerateContent"


def configuration(url: str, model: str, *, vertex: bool) -> str:
    """A gateway.toml for a gateway on any port in front of the fake."""
    lines = ["[server]", "port = 0", "", "[upstreams.fake]", 'kind = "gemini"', f'base_url = "{url}"']
    lines += [f'path = "{PATH}"'] if vertex else []
    lines.append(f'models = {{ "*" = "{model}" }}')
    for name, key in ACCOUNTS.items():
        lines += ["[[upstreams.fake.accounts]]", f'email = "{name}"', f'api_key = "{key}"']
    return "\n".join([*lines, ""])


def write(config: Path, text: str) -> None:
    """Write a configuration that holds keys."""
    config.write_text(text)
    config.chmod(0o600)


async def serve(model: str, vertex: bool, config: Path | None) -> int:
    """Serve until a signal comes; returns the exit code."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with gemini_upstream() as up:
        if config is not None:
            write(config, configuration(up.url, model, vertex=vertex))
        print(f"fake Gemini: listening on {up.url}", flush=True)
        await stopped.wait()
    refused = up.refused
    print(f"fake Gemini: {len(up.requests)} requests, {len(refused)} refused", flush=True)
    for target, words in refused:
        print(f"refused {target}: {words}", file=sys.stderr)
    return 1 if refused else 0


def main() -> int:
    """Read the arguments and serve."""
    parser = ArgumentParser(
        prog="python -m tests.fakes.gemini", description="A Gemini upstream that is strict."
    )
    parser.add_argument("--vertex", action="store_true", help="write a configuration for Vertex AI's paths")
    parser.add_argument("--model", default="gemini-3.8-flash", help="the wire model for every name")
    parser.add_argument("--config", type=Path, metavar="FILE", help="write a gateway's configuration here")
    options = parser.parse_args()
    return asyncio.run(serve(options.model, options.vertex, options.config))


if __name__ == "__main__":
    sys.exit(main())
