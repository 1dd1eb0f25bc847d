"""Completion scripts for shells: `gateway completion` prints one, generated from the argument parser.

The parser says what an argument takes: its choices, or a file where its type is `Path` or `file_name`. An argument
with the metavar of the subcommands (`gateway help COMMAND`) takes a command's name.
"""

import re
from argparse import REMAINDER, SUPPRESS, Action, ArgumentParser, _SubParsersAction
from collections.abc import Callable, Iterator
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from gateway.operator.command_line import file_name


class Argument(NamedTuple):
    """An option or a positional argument of a command."""

    names: tuple[str, ...]
    """An option's spellings; empty for a positional argument."""
    about: str
    metavar: str
    """The placeholder of its value; "" if it takes none."""
    choices: tuple[str, ...]
    file: bool
    many: bool
    """Whether it may be repeated."""
    rest: bool
    """Whether it takes all remaining words: another program's command line."""


class Table(NamedTuple):
    """The arguments of a command, or of the program itself under the name ""."""

    name: str
    about: str
    options: tuple[Argument, ...]
    places: tuple[Argument, ...]


def script(parser: ArgumentParser, shell: str) -> str:
    """Return the script for a shell. `parser` must have subcommands."""
    return "\n".join(SCRIPTS[shell](parser.prog, tables(parser)))


def tables(parser: ArgumentParser) -> list[Table]:
    """Return the tables of a parser: first the program's own, whose positional argument is the command."""
    (commands,) = (action for action in parser._actions if isinstance(action, _SubParsersAction))
    names = tuple(commands.choices)
    texts = {action.dest: action.help or "" for action in commands._choices_actions}

    def read(name: str, about: str, of: ArgumentParser) -> Table:
        shown = [action for action in of._actions if action.help is not SUPPRESS]
        found = [_argument(of, action, names, str(commands.metavar)) for action in shown]
        options = tuple(one for one in found if one.names)
        return Table(name, about, options, tuple(one for one in found if not one.names))

    return [
        read("", "", parser),
        *(read(name, texts.get(name, ""), commands.choices[name]) for name in names),
    ]


def _argument(parser: ArgumentParser, action: Action, commands: tuple[str, ...], command: str) -> Argument:
    about = parser._get_formatter()._expand_help(action) if action.help else ""
    metavar = str(action.metavar or action.dest) if action.nargs != 0 else ""
    choices = tuple(map(str, action.choices or ()))
    if not action.option_strings and metavar == command:
        choices = commands
    return Argument(
        names=tuple(action.option_strings),
        about=" ".join(about.split()),
        metavar=metavar,
        choices=choices,
        file=action.type in (Path, file_name),
        many=action.nargs in ("*", "+") or type(action).__name__ == "_AppendAction",
        rest=action.nargs == REMAINDER,
    )


# Bash: one function, which walks the words before the cursor.


def bash(program: str, found: list[Table]) -> Iterator[str]:
    """Yield the lines of a script for bash."""
    name = "_" + re.sub(r"\W", "_", program)
    valued = [(table, one) for table in found for one in table.options if one.metavar]
    yield f'# Completion of {program} for bash: eval "$({program} completion bash)"'
    yield f"{name}() {{"
    yield BASH_WALK.replace("VALUED", "|".join(_bash_pattern(*pair) for pair in valued) or "''")
    yield '    case "$command:$value" in'
    for table, one in valued:
        if one.file or one.choices:
            yield f"        {_bash_pattern(table, one)}) {_bash_offer(one)} ;;"
    yield "        *:?*) ;;"
    for table in found:
        options = " ".join(quote(name) for one in table.options for name in one.names)
        yield f"        {quote(table.name)}:)"
        yield f"            options=({options})"
        if table.places:
            yield '            case "$place" in'
            for index, one in enumerate(table.places):
                yield f"                {'*' if one.many or one.rest else index}) {_bash_offer(one)} ;;"
            yield "            esac"
        yield "            ;;"
    yield "    esac"
    yield BASH_END
    yield f"complete -F {name} {quote(program)}"


BASH_WALK = """\
    local cur="${COMP_WORDS[COMP_CWORD]}" command="" value="" place=0 files="" rest="" skip="" word i
    local -a words=() options=()
    COMPREPLY=()
    [[ "$cur" == "=" ]] && cur=""
    for ((i = 1; i < COMP_CWORD; i++)); do
        word="${COMP_WORDS[i]}"
        # Bash cuts words at these: `--option=value`, `http://host`.
        if [[ "$word" == "=" ]]; then continue; fi
        if [[ "$word" == ":" ]]; then skip=1; continue; fi
        if [[ -n "$skip" ]]; then skip=""; continue; fi
        if [[ -n "$value" ]]; then value=""; continue; fi
        if [[ "$word" == "--" ]]; then rest=1 files=1; break; fi
        if [[ "$word" == -* ]]; then
            case "$command:$word" in VALUED) value="$word" ;; esac
        elif [[ -z "$command" ]]; then
            command="$word"
        else
            place=$((place + 1))
        fi
    done"""

BASH_END = """\
    if [[ -z "$value$rest" && ( "$cur" == -* || ( -z "$files" && ${#words[@]} -eq 0 ) ) ]]; then
        files="" words=("${options[@]}")
    fi
    if [[ -n "$files" ]]; then
        # Bash 3, as macOS has it, knows no compopt.
        local IFS=$'\\n'
        compopt -o default 2>/dev/null || COMPREPLY=($(compgen -f -- "$cur"))
        return
    fi
    for word in "${words[@]}"; do
        [[ "$word" == "$cur"* ]] && COMPREPLY+=("$word")
    done
}"""


def _bash_pattern(table: Table, one: Argument) -> str:
    return "|".join(f"{quote(table.name)}:{name}" for name in one.names)


def _bash_offer(one: Argument) -> str:
    return "files=1" if one.file or one.rest else f"words=({' '.join(map(quote, one.choices))})"


# Zsh: the shell's own `_arguments` does the work.


def zsh(program: str, found: list[Table]) -> Iterator[str]:
    """Yield the lines of a script for zsh."""
    top, *commands = found
    name = "_" + re.sub(r"\W", "_", program)
    yield f"#compdef {program}"
    yield f'# Completion of {program} for zsh, behind compinit: eval "$({program} completion zsh)"'
    yield f"{name}() {{"
    yield '    local curcontext="$curcontext" context state line'
    yield "    typeset -A opt_args"
    yield "    local -a commands=("
    for table in commands:
        yield f"        {quote(f'{_escape(table.name)}:{_escape(table.about)}')}"
    yield "    )"
    yield f"    _arguments -C {' '.join(_zsh_options(top))} '1: :->command' '*:: :->rest' && return"
    yield '    case "$state" in'
    yield "        command) _describe -t commands command commands ;;"
    yield "        rest)"
    yield '            case "$words[1]" in'
    for table in commands:
        specs = [*_zsh_options(table), *map(_zsh_place, table.places)]
        yield f"                {quote(table.name)}) _arguments {' '.join(specs)} ;;"
    yield "            esac ;;"
    yield "    esac"
    yield "}"
    # Autoloaded from the function path the file is the function's body; else it is evaluated.
    yield f'if [[ "$funcstack[1]" == {name} ]]; then {name} "$@"; else compdef {name} {quote(program)}; fi'


def _zsh_options(table: Table) -> Iterator[str]:
    for one in table.options:
        others = "" if one.many else f"({' '.join(one.names)})"
        for name in one.names:
            value = f":{_escape(one.metavar)}:{_zsh_action(one)}" if one.metavar else ""
            equals = "=" if value and name.startswith("--") else ""
            yield quote(f"{'*' * one.many}{others}{name}{equals}[{_escape(one.about)}]{value}")


def _zsh_place(one: Argument) -> str:
    before = "*::" if one.rest else "*" * one.many
    return quote(f"{before}:{_escape(one.metavar)}:{_zsh_action(one)}")


def _zsh_action(one: Argument) -> str:
    if one.rest:
        return '{ [[ "$words[1]" == -- ]] && shift words && (( CURRENT-- )); _normal }'
    if one.file:
        return "_files"
    words = (re.sub(r"([^\w./-])", r"\\\1", word) for word in one.choices)
    return f"({' '.join(words)})" if one.choices else " "


def _escape(text: str) -> str:
    """Escape a text for `_arguments` and `_describe`."""
    return re.sub(r"([\\:\[\]])", r"\\\1", text)


# Fish: one line for each thing that can be completed, with the condition under which it can.


def fish(program: str, found: list[Table]) -> Iterator[str]:
    """Yield the lines of a script for fish."""
    at = "__" + re.sub(r"\W", "_", program) + "_at"
    begin = f"complete -c {_fish(program)}"
    yield f"# Completion of {program} for fish: {program} completion fish | source"
    yield f"function {at}"
    yield "    set -l words (commandline -opc)"
    yield '    test "$words[2]" = "$argv[1]"'
    yield "end"
    yield f"{begin} -f"
    for table in found:
        where = f"{begin} -n {_fish(f'{at} {_fish(table.name)}')}"
        for one in table.options:
            names = " ".join(f"-{'l' if name[:2] == '--' else 's'} {name.lstrip('-')}" for name in one.names)
            yield f"{where} {names} -d {_fish(one.about)}{_fish_value(one) if one.metavar else ''}"
        for one in table.places:
            if table.name:
                yield where + _fish_value(one).replace(" -r", "")
    for table in found[1:]:
        where = f"{begin} -n {_fish(f'{at} {_fish(str())}')}"
        yield f"{where} -a {_fish(_fish(table.name))} -d {_fish(table.about)}"


def _fish_value(one: Argument) -> str:
    if one.file or one.rest:
        return " -r -F"
    words = " ".join(map(_fish, one.choices))
    return f" -r -f -a {_fish(words)}" if words else " -r -f"


def _fish(text: str) -> str:
    """Quote a text as one word of fish."""
    if re.fullmatch(r"[\w.-]+", text):
        return text
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SCRIPTS: dict[str, Callable[[str, list[Table]], Iterator[str]]] = {"bash": bash, "zsh": zsh, "fish": fish}
