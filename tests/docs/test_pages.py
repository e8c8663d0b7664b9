"""README and docs as a reader finds them: wrapped alike, no link leads nowhere, what they name exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from pages import BY_HAND, PAGES, ROOT, anchors, links, tokens
from wrapping import faults, rewrapped

README, INDEX = ROOT / "README.md", ROOT / "docs" / "index.md"
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
PATH = re.compile(r"(?<![\w./$}-])(?:trainer|service|tests|benchmarks|docs|docker|k8s|\.ci)/[\w./-]*\w")
MODULE = re.compile(r"(?<![\w./-])(?:trainer|service|benchmarks)(?:\.(?!md\b)\w+)+")
FILE = re.compile(r"(?<![\w./<>*-])(?:\w+/)*\w+\.py\b")
MADE = frozenset(
    {"docker/.env", *(f"docker/secrets/{name}" for name in ("token", "mlflow-password", "aws-credentials"))}
    | {"trainer.families.mlp.arch"}
)
"""What commands of the documents, or the reader who follows the example, make."""
LOADED = frozenset({"generator.py", "nets.py", "draws.py", "parameters.py", "loader.py", "train.py", "converter.py"})
"""Files of a published package, and of the authors' code of BigGAN."""


def test_the_readme_is_read_in_minutes() -> None:
    assert len(README.read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", BY_HAND, ids=lambda page: page.name)
def test_running_text_is_wrapped_alike(page: Path) -> None:
    assert list(faults(page.read_text())) == [], "run `python tests/docs/wrapping.py`"


def test_wrapping_changes_spaces_alone_and_finds_what_is_too_long_or_too_short() -> None:
    text = (
        "# A head\n\n- an item with `code that stays together` and\n  more\n\n"
        + "word " * 40
        + "- 3\n\n| a | b |\n|---|---|\n"
    )
    assert [line for line, _ in faults(text)] == [3, 6]
    made = rewrapped(text)
    assert list(faults(made)) == []
    assert made.split() == text.split()
    assert "- an item with `code that stays together` and more\n" in made
    assert not re.search(r"^- 3", made, re.MULTILINE), "a dash that comes first would begin a list"


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    assert list(dead(page, page.read_text())) == []


def test_a_dead_link_is_seen() -> None:
    text = "# One\n\n[a](#one) [b](#two) [c](docs/none.md) [d](docs/index.md#nowhere) ![e](docs/images/none.png) [f](https://x.org)"
    assert list(dead(README, text)) == ["#two", "docs/none.md", "docs/index.md#nowhere", "docs/images/none.png"]


def dead(page: Path, text: str) -> Iterator[str]:
    """Links to files or headings that aren't there; other servers aren't asked."""
    for target in links(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        if not file.exists() or (anchor and anchor not in anchors(text if file == page else file.read_text())):
            yield target


def test_every_committed_picture_is_shown() -> None:
    shown = {(page.parent / target).resolve() for page in PAGES for target in links(page.read_text())}
    assert {path for path in (ROOT / "docs" / "images").rglob("*") if path.is_file()} <= shown


def test_the_index_has_every_document_and_the_readme_too() -> None:
    for page in (INDEX, README):
        linked = {(page.parent / target.partition("#")[0]).resolve() for target in links(page.read_text())}
        assert set(PAGES) - {page, README} <= linked, page.name


@each_page
def test_every_path_and_module_that_a_document_names_exists(page: Path) -> None:
    assert list(missing(page.read_text())) == []


def test_a_path_or_module_that_is_gone_is_seen() -> None:
    text = "`trainer/engine/loop.py` `trainer/engine/none.py` `launch/compose.py` `launch/none.py` trainer.wire trainer.none"
    text += " `trainer.spec.JobSpec` `trainer.spec.Nothing` benchmarks.common.Report `k8s/base` `k8s/none`"
    gone = {"trainer/engine/none.py", "k8s/none", "trainer.none", "trainer.spec.Nothing", "launch/none.py"}
    assert set(missing(text)) == gone


def missing(text: str) -> Iterator[str]:
    """Paths, modules and what stands in modules that the repository hasn't."""
    for path in dict.fromkeys(PATH.findall(text)):
        if not (ROOT / path).exists() and path not in MADE:
            yield path
    for name in dict.fromkeys(MODULE.findall(text)):
        if not _importable(name) and name not in MADE:
            yield name
    for name in dict.fromkeys(FILE.findall(text)):
        if name not in LOADED and not any(f"/{file}".endswith(f"/{name}") for file in sources()):
            yield name


@cache
def sources() -> frozenset[str]:
    """The Python files of the repository, from its root."""
    folders = ("trainer", "service", "benchmarks", "tests")
    return frozenset(str(file.relative_to(ROOT)) for folder in folders for file in (ROOT / folder).rglob("*.py"))


def _importable(name: str) -> bool:
    """Whether it is a package, a module, or a name in one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:end])
        source = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if source.exists():
            rest = parts[end:]
            return not rest or re.search(rf"\b{rest[0]}\b", source.read_text()) is not None
    return False


@each_page
def test_headings_are_one_tree(page: Path) -> None:
    """One title, and no level is left out on the way down."""
    levels = [int(token.tag[1]) for token in tokens(page.read_text()) if token.type == "heading_open"]
    assert levels[0] == 1
    if page.name != "spec.md":  # of two specs
        assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


@pytest.mark.parametrize("page", BY_HAND, ids=lambda page: page.name)
def test_an_empty_line_stands_before_and_behind_each_heading(page: Path) -> None:
    lines = ["", *page.read_text().splitlines(), ""]
    places = [token.map for token in tokens(page.read_text()) if token.type == "heading_open" and token.map]
    assert [lines[last] for first, last in places if lines[first] or lines[last + 1]] == []
