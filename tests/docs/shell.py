"""Shell lines of the documents, taken apart far enough to see that what they call is there and takes what they give it."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from tempfile import NamedTemporaryFile
from typing import Any

import typer
from pages import ROOT, blocks

from service.cli import pulled, remote
from service.cli.app import app as agon_app
from service.cli.groups import Things
from service.cli.search import source as searches
from service.cli.source import read
from trainer.families.table import recipes
from trainer.spec import JobSpec, SpecError, with_overrides

MADE = frozenset({"mlp-digits"})
"""A recipe that the reader of adding-a-family.md makes."""
STAND_INS = ("dcgan-digits", "dcgan-64")
"""Whose specs stand for a file of the reader's: one whose data are known, one whose data are not."""
INSTALLED = frozenset({"base64", "cat", "cmp", "export", "helm", "jq", "kind", "source", "tar"})
"""Programs and words of the shell that are there, and whose arguments are the reader's own."""
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")


@dataclass
class Command:
    """A program with its arguments; what stood in `$(…)` is `@N@` in them."""

    words: list[str]
    assignments: list[str] = field(default_factory=list)

    @property
    def program(self) -> str:
        """Empty if there are assignments alone."""
        return self.words[0] if self.words else ""


class WrongError(Exception):
    """What a reader would see fail."""


def commands(text: str) -> Iterator[Command]:
    """The commands of a block, those within `$(…)` before the one that has them. Raises ValueError for open quotes."""
    outer, inner = _without_substitutions(text.replace("\\\n", " "))
    for part in inner:
        yield from commands(part)
    for line in outer.splitlines():
        words: list[str] = []
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        for word in [*lexer, ";"]:
            if set(word) <= set("|&;"):
                if words:
                    yield _command(words)
                words = []
            else:
                words.append(word)


def _command(words: list[str]) -> Command:
    while ">" in words:  # where its output goes
        at = words.index(">")
        words = words[:at] + words[at + 2 :]
    if words and words[0] == "export":
        return Command(["export"], words[1:])
    count = next((number for number, word in enumerate(words) if not _ASSIGNMENT.match(word)), len(words))
    return Command(words[count:], words[:count])


def _without_substitutions(text: str) -> tuple[str, list[str]]:
    """The text with `$(…)` numbered, and what stood in each."""
    found: list[str] = []
    while (start := text.find("$(")) >= 0:
        depth, end = 0, start + 1
        while True:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
            if depth == 0:
                break
        found.append(text[start + 2 : end - 1])
        text = f"{text[:start]}@{len(found)}@{text[end:]}"
    return text, found


def check(command: Command) -> None:
    """Raises WrongError if the reader's shell, or the program, would refuse it."""
    program, arguments = command.program, command.words[1:]
    if not program or program in INSTALLED or program == "curl":  # requests are sent by the test of REST
        return
    if "/" in program:
        if not os.access(ROOT / program, os.X_OK):
            raise WrongError(f"{program} can't be run")
    elif program in PROGRAMS:
        PROGRAMS[program](arguments)
    else:
        raise WrongError(f"{program} is no program that the set-up gives")


def agon(arguments: list[str]) -> None:
    """`agon …`: the verb, its options and values, and the spec that results."""
    context = parsed(arguments)
    metavars = {
        parameter.metavar: context.params[parameter.name]
        for parameter in context.command.params
        if parameter.name in context.params
    }
    changes = next((context.params[name] for name in ("set_", "assignments") if context.params.get(name)), ())
    try:
        if context.info_name in ("search submit", "search validate", "search edit"):
            _search(changes)
        elif sources := {metavars[name] for name in ("FILE|RECIPE", "RECIPE") if metavars.get(name)}:
            _spec(sources.pop(), changes)
        else:
            _spec("", changes)
    except SpecError as error:
        raise WrongError(f"agon {' '.join(arguments)}: {error}") from error


def _spec(source: str, changes: Sequence[str]) -> JobSpec:
    """The recipe with these changes; of a file, a stand-in that takes them. Raises SpecError, WrongError."""
    named = not (source == "" or source.endswith((".yaml", ".json")) or source in MADE)
    if named and source not in recipes():
        raise WrongError(f"{source} is no recipe")
    kept = [change for change in changes if change.partition("=")[0] != "data.url"]
    for name in (source,) if named else STAND_INS:
        try:
            return with_overrides(read(name).spec, kept)
        except SpecError as error:
            refused = error
    raise refused


def _search(changes: Sequence[str]) -> None:
    example = next(block.text for block in blocks((ROOT / "docs" / "searches.md",)) if block.language == "yaml")
    with NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(example)
        file.flush()
        searches.read(file.name, changes)


def parsed(arguments: list[str]) -> Any:
    """The verb with its arguments, as click would hand them over. Raises WrongError."""
    command, words, rest = leaf(arguments)
    try:
        return command.make_context(" ".join(words), list(rest), resilient_parsing=False)
    except Exception as error:
        if isinstance(error, typer.Exit):  # `--help`
            raise MissingError("the rest is up to the reader") from None
        if not hasattr(error, "format_message"):  # of click, which typer brings in a form of its own
            raise
        kind = MissingError if type(error).__name__ == "MissingParameter" else WrongError
        raise kind(f"agon {' '.join(arguments)}: {error.format_message()}") from error


class MissingError(WrongError):
    """An argument is left out."""


def leaf(arguments: list[str]) -> tuple[Any, list[str], list[str]]:
    """The command behind the verbs, the verbs, and what is left. Raises WrongError."""
    command: Any = _group()
    words: list[str] = []
    while hasattr(command, "commands"):
        if isinstance(command, Things):
            arguments = command.spelled(arguments)
        if not arguments or arguments[0] in ("-h", "--help"):
            raise MissingError(f"agon {' '.join(words)}: a verb is missing")
        name = arguments[0]
        if name not in command.commands and words == ["search"]:
            name, arguments = "submit", ["submit", *arguments]
        if name not in command.commands:
            raise WrongError(f"agon {' '.join([*words, name])}: no such verb")
        command, words, arguments = command.commands[name], [*words, name], arguments[1:]
        if words == ["sample"] and remote.FLAG in arguments:
            return _of(remote), [*words, remote.FLAG], [word for word in arguments if word != remote.FLAG]
        if words == ["pull"] and pulled.FLAG in arguments:
            return _of(pulled), [*words, pulled.FLAG], [word for word in arguments if word != pulled.FLAG]
        if len(words) == 1 and name in CHILDREN:
            command = _child(name)
    return command, words, arguments


CHILDREN = {
    "data": "trainer.data.__main__",
    "plan": "trainer.plan.__main__",
    "train": "trainer.launch.local",
    "pull": "trainer.publish.__main__",
    "sample": "trainer.publish.__main__",
    "import": "trainer.publish.__main__",
}
"""Verbs of `agon` that are the trainer's own, and where."""


@cache
def _group() -> Any:
    return typer.main.get_command(agon_app)


@cache
def _of(module: Any) -> Any:
    return typer.main.get_command(module.app)


@cache
def _child(name: str) -> Any:
    from importlib import import_module

    command: Any = typer.main.get_command(import_module(CHILDREN[name]).app)
    return command.commands[name] if CHILDREN[name].startswith("trainer.publish") else command


def python(arguments: list[str]) -> None:
    """`python -m MODULE …` or `python -c CODE`."""
    if arguments[:1] == ["-c"]:
        compile(arguments[1], "<document>", "exec")
        return
    if arguments[:1] != ["-m"] or not arguments[1].startswith(("trainer.", "service.", "benchmarks.")):
        raise WrongError(f"python {' '.join(arguments)}: no module of ours")
    module, rest = arguments[1], arguments[2:]
    place = ROOT.joinpath(*module.split("."))
    sources = [place.with_suffix(".py")] if place.with_suffix(".py").exists() else sorted(place.glob("*.py"))
    if not sources:
        raise WrongError(f"{module} does not exist")
    if module == "trainer.publish":
        import trainer.publish.__main__ as publish

        command: Any = typer.main.get_command(publish.app)
        if rest[0] not in command.commands:
            raise WrongError(f"{module} {rest[0]}: no such verb")
        command.commands[rest[0]].make_context(rest[0], rest[1:])
        return
    code = "".join(source.read_text() for source in (*sources, ROOT / "benchmarks" / "common.py"))
    for option in (word.partition("=")[0] for word in rest if word.startswith("--")):
        if f'"{option}"' not in code and f"{option[2:].replace('-', '_')}:" not in code:
            raise WrongError(f"{module} has no {option}")


def make(arguments: list[str]) -> None:
    """Targets and variables of the Makefile."""
    text = (ROOT / "Makefile").read_text()
    for word in arguments:
        name, assigns, _ = word.partition("=")
        there = f"$({name})" in text if assigns else re.search(rf"^{re.escape(name)}:", text, re.MULTILINE)
        if not there:
            raise WrongError(f"the Makefile has no {name}")


def pytest(arguments: list[str]) -> None:
    """Paths exist."""
    for word in arguments:
        if "/" in word and not (ROOT / word).exists():
            raise WrongError(f"{word} does not exist")


def docker(arguments: list[str]) -> None:
    """`docker compose -f FILE …`: the file exists."""
    if "-f" in arguments and not (ROOT / arguments[arguments.index("-f") + 1]).is_file():
        raise WrongError(f"docker {' '.join(arguments)}: no such file")


def kubectl(arguments: list[str]) -> None:
    """`apply -k FOLDER`: a kustomization; `port-forward svc/NAME PORT`: a service of the base with that port."""
    if "-k" in arguments and not (ROOT / arguments[arguments.index("-k") + 1] / "kustomization.yaml").is_file():
        raise WrongError(f"kubectl {' '.join(arguments)}: no kustomization")
    for word in arguments:
        if word.startswith("svc/"):
            texts = [path.read_text() for path in (ROOT / "k8s" / "base").rglob("*.yaml")]
            port = arguments[arguments.index(word) + 1]
            if not any(
                f"name: {word[4:]}" in text and "kind: Service" in text and f"port: {port}" in text for text in texts
            ):
                raise WrongError(f"kubectl {' '.join(arguments)}: no such service")


PROGRAMS: dict[str, Callable[[list[str]], None]] = {
    "agon": agon, "python": python, "make": make, "pytest": pytest, "docker": docker, "kubectl": kubectl,
}  # fmt: skip
