"""The documents as a reader has them: which there are, their blocks of code, their paragraphs, their headings and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
GENERATED = frozenset({ROOT / "docs" / "spec.md", ROOT / "docs" / "cli.md"})
"""Written from the code by `make docs`, which keeps their form."""
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
BY_HAND = tuple(page for page in PAGES if page not in GENERATED)
MARKDOWN = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True)
class Block:
    """One block of code between fences, or indented by four columns (then without a language)."""

    page: Path
    line: int
    """Of the first line of the code, from 1."""
    language: str
    info: str
    """What stands behind the language: `file=arch.py`."""
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Paragraph:
    """Lines `first` to `last` (from 0, exclusive) of a page that a reader sees as running text."""

    first: int
    last: int


@cache
def tokens(text: str) -> list[Token]:
    """The page's tokens, inline ones as children of their blocks."""
    return MARKDOWN.parse(text)


def blocks(pages: tuple[Path, ...] = PAGES) -> Iterator[Block]:
    """All blocks of code of these pages, from top to bottom."""
    for page in pages:
        for token in tokens(page.read_text()):
            if token.type in ("fence", "code_block"):
                language, _, info = token.info.strip().partition(" ")
                assert token.map is not None
                yield Block(page, token.map[0] + (2 if token.type == "fence" else 1), language, info, token.content)


def paragraphs(text: str) -> Iterator[Paragraph]:
    """Running text: paragraphs and the items of lists. Headings, tables, code, comments and pictures are none."""
    found = tokens(text)
    for before, token in pairwise(found):
        if before.type == "paragraph_open" and token.map is not None and token.children:
            if all(child.type in ("image", "softbreak") for child in token.children):
                continue
            yield Paragraph(*token.map)


def anchors(text: str) -> set[str]:
    """The names by which GitHub links to the page's headings."""
    found = tokens(text)
    names: list[str] = []
    for before, token in pairwise(found):
        if before.type == "heading_open":
            said = "".join(child.content for child in token.children or () if child.type in ("text", "code_inline"))
            name = re.sub(r"[^\w\- ]", "", said.lower()).replace(" ", "-")
            names.append(f"{name}-{names.count(name)}" if name in names else name)
    return set(names)


def links(text: str) -> Iterator[str]:
    """Where links and pictures lead, in running text, headings and tables."""
    for token in tokens(text):
        for child in token.children or ():
            target = child.attrGet("href" if child.type == "link_open" else "src")
            if child.type in ("link_open", "image") and target is not None:
                yield str(target)


def spans(text: str) -> Iterator[str]:
    """What stands in single backticks, in running text, headings and tables."""
    for token in tokens(text):
        yield from (child.content for child in token.children or () if child.type == "code_inline")
