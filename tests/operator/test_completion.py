"""`gateway completion`: completions of the real shells."""

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios
from argparse import REMAINDER, SUPPRESS, ArgumentParser
from pathlib import Path

import pytest

from gateway import cli
from gateway.operator.command_line import file_name
from gateway.operator.completion import SCRIPTS, script, tables
from tests.support.spawned import PATIENCE

SETUP = {
    "bash": "bind 'set show-all-if-ambiguous on'; bind 'set bell-style none'; bind 'set enable-bracketed-paste off'",
    "zsh": "unsetopt beep; autoload -U compinit; compinit -u -D",
}

START = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}

ENVIRON = {"TERM": "dumb", "PS1": "=> ", "PATH": os.environ["PATH"], "HISTFILE": "", "LC_ALL": "C.UTF-8"}

here = pytest.mark.parametrize(
    "shell",
    [
        pytest.param(shell, marks=pytest.mark.skipif(not shutil.which(shell), reason=f"{shell} is not here"))
        for shell in cli.SHELLS
    ],
)


def hostile() -> ArgumentParser:
    """A parser whose words mean something to shells."""
    parser = ArgumentParser(prog="my-tool", description="x")
    commands = parser.add_subparsers(metavar="COMMAND")
    odd = commands.add_parser("odd", help='It\'s [odd]: $(touch pwned) `touch pwned` 100%% \\ "x"')
    odd.add_argument(
        "-k", "--kind", choices=("host:8080", "a$(touch pwned)", "it's", "plain"), help="a: [b] 'c'"
    )
    odd.add_argument("--secret", help=SUPPRESS)
    odd.add_argument("--note", action="append", metavar="'X: Y'")
    odd.add_argument("word", choices=("left", "right"))
    odd.add_argument("file", type=file_name, nargs="*")
    run = commands.add_parser("run")
    run.add_argument("--ours")
    run.add_argument("command", nargs=REMAINDER)
    commands.add_parser("none")
    return parser


def completed(shell: str, text: str, directory: Path, *lines: str) -> list[str]:
    """Return the completions that a shell in this directory, with this script, shows for each line and two tabs."""
    (directory / "script").write_text(text)
    if shell == "fish":
        return [_complete_in_fish(line, directory) for line in lines]
    terminal, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 300, 0, 0))
    with subprocess.Popen(
        START[shell],
        cwd=directory,
        env={**ENVIRON, "HOME": str(directory)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        try:
            # A shell echoes its input as well: only the sum is its own output. Behind its prompt the terminal is the
            # shell's own, and nothing else looks at keys.
            os.write(terminal, f"{SETUP[shell]}; source ./script; echo READY-$((1+1))\r".encode())
            _read_until(terminal, b"READY-2.*=> ")
            return [_typed(line, terminal) for line in lines]
        finally:
            process.kill()
            os.close(terminal)


def _complete_in_fish(line: str, directory: Path) -> str:
    quoted = line.replace("\\", "\\\\").replace("'", "\\'")
    command = ["fish", "--no-config", "-c", f"source script; complete -C '{quoted}'"]
    environ = {**ENVIRON, "HOME": str(directory)}
    run = subprocess.run(command, cwd=directory, env=environ, capture_output=True, text=True, check=True)
    assert run.stderr == ""
    return "\n".join(each.partition("\t")[0] for each in run.stdout.splitlines())


def _typed(line: str, terminal: int) -> str:
    os.write(terminal, f"{line}\t\t\x15echo DONE-$((1+1))\r".encode())
    shown = _read_until(terminal, b"DONE-2.*=> ").decode().partition("echo DONE")[0]
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x08|\x07", "", shown)


def _read_until(terminal: int, mark: bytes) -> bytes:
    found = b""
    while not re.search(mark, found, re.DOTALL):
        ready, _, _ = select.select([terminal], [], [], PATIENCE)
        assert ready, found
        found += os.read(terminal, 65536)
    return found


def words(shown: str) -> set[str]:
    return set(shown.split())


@here
def test_commands_options_choices_and_files(shell: str, tmp_path: Path) -> None:
    (tmp_path / "team.toml").touch()
    parser = cli.make_parser()
    commands, helped, options, levels, joined, *files = completed(
        shell,
        script(parser, shell),
        tmp_path,
        "gateway ",
        "gateway help ",
        "gateway serve --",
        "gateway serve --log-level ",
        "gateway serve --log-level=d",
        "gateway check te",
        "gateway serve --config te",
        "gateway serve --host te",
        "gateway te",
    )
    names = {table.name for table in tables(parser) if table.name}
    assert names <= words(commands)
    assert names <= words(helped)
    assert {"--config", "--log-level", "--workers"} <= words(re.sub("=", " ", options))
    assert {"debug", "error"} <= words(levels)
    assert "debug" in joined
    assert ["team.toml" in one for one in files] == [True, True, False, False]


@here
def test_words_that_mean_something_to_a_shell(shell: str, tmp_path: Path) -> None:
    (tmp_path / "behind.txt").touch()
    commands, kinds, places, options, *files = completed(
        shell,
        script(hostile(), shell),
        tmp_path,
        "my-tool ",
        "my-tool odd --kind ",
        "my-tool odd ",
        "my-tool odd --",
        "my-tool odd --note http://x:1/ left be",
        "my-tool run -- cat be",
        "my-tool run -- cat --",
    )
    assert "--ours" not in files.pop()
    assert {"odd", "run", "none"} <= words(commands)
    assert {"plain"} <= words(kinds)
    assert re.search(r"host\\?:8080", kinds)
    assert "touch" in kinds
    assert {"left", "right"} <= words(places)
    assert "--secret" not in options
    assert ["behind.txt" in one for one in files] == [True, True]
    assert not (tmp_path / "pwned").exists()


def test_a_bash_that_is_as_old_as_that_of_macos(tmp_path: Path) -> None:
    (tmp_path / "my team.toml").touch()
    text = script(cli.make_parser(), "bash") + "\nenable -n compopt"
    (shown,) = completed("bash", text, tmp_path, "gateway check m")
    assert "my team.toml" in shown


@pytest.mark.parametrize("shell", cli.SHELLS)
def test_everything_that_the_parser_has_is_in_the_script(shell: str) -> None:
    text = script(cli.make_parser(), shell)
    parser = cli.make_parser()
    assert set(cli.SHELLS) == set(SCRIPTS)
    (commands,) = (action.choices for action in parser._actions if isinstance(action.choices, dict))
    for name, command in {"": parser, **commands}.items():
        for action in command._actions:
            choices = list(action.choices or ()) if action.help is not SUPPRESS else []
            for word in [name, *action.option_strings, *map(str, choices)]:
                shown = word if shell != "fish" else word.lstrip("-")
                assert re.search(rf"(?<![\w-]){re.escape(shown)}(?![\w-])" if word else "", text), (
                    name,
                    word,
                )


@pytest.mark.parametrize("shell", cli.SHELLS)
def test_the_command_prints_the_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    assert capsys.readouterr().out == script(cli.make_parser(), shell) + "\n"


def test_a_parser_whose_options_take_nothing() -> None:
    parser = ArgumentParser(prog="p")
    parser.add_subparsers(metavar="COMMAND").add_parser("one")
    assert "case \"$command:$word\" in '')" in script(parser, "bash")
    assert "one" in script(parser, "zsh")
    assert "one" in script(parser, "fish")
