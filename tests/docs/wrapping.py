"""Wraps running text at 120 columns. `python tests/docs/wrapping.py` does it for all pages that are written by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pages import BY_HAND, paragraphs

WIDTH = 120
SLACK = 100
"""A line may end early, so that small changes don't move a whole paragraph, but not if the next word would end before here."""
_WORD = re.compile(r"(?:(`+)(?:(?!\1).)+?\1|\S)+")
"""Words; what stands in backticks is not parted."""
_BLOCK = re.compile(r"(?:[-+*>|=]|#+|\d+[.)])$")
"""What would begin another block if it came first in a line."""


def words(text: str) -> list[str]:
    """The unbreakable parts of a paragraph."""
    found: list[str] = []
    for match in _WORD.finditer(" ".join(text.split())):
        if found and _BLOCK.match(match[0]):
            found[-1] += f" {match[0]}"
        else:
            found.append(match[0])
    return found


def wrapped(lines: list[str]) -> list[str]:
    """A paragraph's lines anew. The first keeps what stands before its text (`- `, `1. `), the others their indent."""
    head, indent = _margins(lines)
    made = [head]
    for number, word in enumerate(words(" ".join(_bare(lines, head)))):
        glue = "" if number == 0 or made[-1] == indent else " "
        if number and len(made[-1]) + len(glue) + len(word) > WIDTH:
            made.append(indent + word)
        else:
            made[-1] += glue + word
    return made


def faults(text: str) -> Iterator[tuple[int, str]]:
    """(line from 1, what is wrong) of running text that is too long or broken too early."""
    lines = text.splitlines()
    for paragraph in paragraphs(text):
        own = lines[paragraph.first : paragraph.last]
        for number, line in enumerate(own):
            if len(line) > WIDTH and len(words(line.strip())) > 1:
                yield paragraph.first + number + 1, f"{len(line)} columns"
            if number + 1 < len(own) and len(line) + 1 + len(words(own[number + 1])[0]) <= SLACK:
                yield paragraph.first + number + 1, "ends early"


def rewrapped(text: str) -> str:
    """The page with each faulty paragraph wrapped anew."""
    lines, wrong = text.splitlines(), {number - 1 for number, _ in faults(text)}
    for paragraph in reversed(list(paragraphs(text))):
        if wrong & set(range(paragraph.first, paragraph.last)):
            lines[paragraph.first : paragraph.last] = wrapped(lines[paragraph.first : paragraph.last])
    return "\n".join(lines) + "\n"


def _margins(lines: list[str]) -> tuple[str, str]:
    marker = re.match(r"\s*(?:[-*+] |\d+[.)] )?", lines[0])
    assert marker is not None
    return marker[0], " " * len(marker[0])


def _bare(lines: list[str], head: str) -> list[str]:
    return [lines[0][len(head) :], *(line.strip() for line in lines[1:])]


if __name__ == "__main__":
    for page in BY_HAND:
        page.write_text(rewrapped(page.read_text()))
