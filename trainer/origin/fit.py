"""Which parameters of a checkpoint new nets can take, and what a person has to be asked about. Pure, and without torch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from trainer.spec import FieldError
from trainer.spec.errors import short

CHANGED = "changed"
"""In place of names: all that doesn't fit."""
ANEW = 'let it start anew ("restart": ["changed"]; --restart changed), or keep the field that shapes it'
BEHIND = 'leave it behind ("restart": ["changed"]; --restart changed), or keep the field that makes it'
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """A tensor of a net. parameter: whether it is trained; what isn't (running statistics, vectors of spectral norms) belongs to
    the parameters of its module."""

    shape: Shape
    parameter: bool = True


@dataclass(frozen=True)
class Fit:
    """Names are `PLAYER/NAME`. taken: what the new nets have of the checkpoint. anew: what of them starts anew. behind: what of
    the checkpoint they don't have. problems: what nobody agreed to, and words that mean nothing here; then nothing is taken."""

    taken: tuple[str, ...]
    anew: tuple[str, ...]
    behind: tuple[str, ...]
    problems: tuple[FieldError, ...]


def fit(expected: Mapping[str, Part], saved: Mapping[str, Shape], restart: Sequence[str] = ()) -> Fit:
    """expected: the new nets'. saved: the checkpoint's. restart: as a request has it."""
    asked = {name for name in expected.keys() | saved.keys() if any(means(word, name) for word in restart)}
    unlike = {name for name, part in expected.items() if saved.get(name) != part.shape}
    anew = {name for name in asked | unlike if name in expected}
    modules = {_module(name) for name in anew if expected[name].parameter}
    follow = {name for name, part in expected.items() if not part.parameter and _module(name) in modules}
    behind = saved.keys() - expected.keys()
    taken = [name for name in expected if name not in anew | follow]
    known = {*asked, *follow} | (unlike | behind if CHANGED in restart else set())
    problems = [*_unknown(restart, expected.keys() | saved.keys()), *_unasked(expected, saved, known)]
    if not problems and not any(expected[name].parameter for name in taken):
        problems = [FieldError(path="from", message="nothing of the checkpoint would be taken", fix="submit a recipe")]
    return Fit(
        tuple(taken),
        tuple(name for name in expected if name in anew),
        tuple(sorted(behind)),
        tuple(problems),
    )


def means(word: str, name: str) -> bool:
    """Whether a word of `restart` means that parameter: `D`, `D/head.weight`, `D/head.*`."""
    return fnmatchcase(name, word) or name.startswith(f"{word}/")


def nets_of(saved: Mapping[str, Shape]) -> dict[str, Shape]:
    """The nets' tensors of a checkpoint, `net/G/…` as `G/…`."""
    return {name.removeprefix("net/"): shape for name, shape in saved.items() if name.startswith("net/")}


def same(saved: Mapping[str, Shape]) -> dict[str, Part]:
    """What nets of the same arch expect: what there is."""
    return {name: Part(shape) for name, shape in saved.items()}


def _unasked(expected: Mapping[str, Part], saved: Mapping[str, Shape], known: Collection[str]) -> Iterator[FieldError]:
    for name, part in expected.items():
        if name in known or saved.get(name) == part.shape:
            continue
        if name in saved:
            message = f"is {list(saved[name])} in the checkpoint and {list(part.shape)} in the new nets"
        else:
            message = f"is new: {list(part.shape)}"
        yield FieldError(path=name, message=message, fix=ANEW)
    for name in sorted(saved.keys() - expected.keys() - set(known)):
        yield FieldError(path=name, message="is in the checkpoint, and the new nets have no such parameter", fix=BEHIND)


def _unknown(restart: Sequence[str], names: Collection[str]) -> Iterator[FieldError]:
    players = ", ".join(sorted({name.partition("/")[0] for name in names}))
    for word in restart:
        if word != CHANGED and not any(means(word, name) for name in names):
            message, fix = (
                "names no parameter",
                f"write changed, a player ({players}), or PLAYER/NAME with * for anything",
            )
            yield FieldError(path="from.restart", message=message, value=short(word), fix=fix)


def _module(name: str) -> str:
    return name.rpartition(".")[0]
