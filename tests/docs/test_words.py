"""One word for one thing: what people read has none of the tempting other words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import PAGES, ROOT

from service.app import create_app
from service.settings import Settings

INSTEAD = {
    r"data[ -]sets?": "dataset",
    r"hyper-?parameters?": "field, or value of a trial",
    r"sweeps?": "search",
    r"presets?": "recipe",
    r"training run": "training, or job",
    r"(runs? of MLflow|MLflow's runs?)": "MLflow run",
    r"(grids? of samples|samples? grids(?= of)|image grids?)": "sample grid",
    r"check[ -]points?": "checkpoint",
    r"image counts?": "images",
    r"(global|training) iterations?": "step",
    r"re-?tries": "attempts, or tries",
    r"(architecture|model) family": "family",
    r"model revisions?": "version",
    r"meta-?data file": "manifest",
}
EXCEPTIONS: set[tuple[str, str]] = set()
"""(document, word) of which the word means something else."""
GLOSSARY = ROOT / "docs" / "index.md"


def wrong(text: str) -> Iterator[tuple[str, str]]:
    """Words that stand for something that has another name, and that name. What is code says what it must."""
    prose = re.sub(r"`[^`]*`|```.*?```", "", text, flags=re.DOTALL)
    for pattern, right in INSTEAD.items():
        for found in re.finditer(rf"\b{pattern}\b", prose, re.IGNORECASE):
            yield found[0].lower(), right


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_document_says_each_thing_by_its_name(page: Path) -> None:
    """The help of the command line and the descriptions of specs are documents, too: cli.md, spec.md."""
    name = str(page.relative_to(ROOT))
    assert [found for found in wrong(page.read_text()) if (name, found[0]) not in EXCEPTIONS] == []


def test_the_api_says_each_thing_by_its_name(tmp_path: Path) -> None:
    document = create_app(Settings(home=tmp_path)).openapi()
    texts = list(_texts(document))
    assert len(texts) > 200
    assert [found for text in texts for found in wrong(text)] == []


def _texts(node: Any) -> Iterator[str]:
    """Summaries and descriptions."""
    if isinstance(node, dict):
        yield from (node[key] for key in ("summary", "description") if isinstance(node.get(key), str))
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _texts(value)


def test_a_wrong_word_is_seen() -> None:
    text = "A sweep over the data set, a run of MLflow and `sweep` in code. An MLflow run of a dataset's checkpoint."
    assert dict(wrong(text)) == {"sweep": "search", "data set": "dataset", "run of mlflow": "MLflow run"}


def test_the_glossary_is_sorted_and_names_each_term_once() -> None:
    terms = [line.split("|")[1].strip() for line in GLOSSARY.read_text().splitlines() if line.startswith("| ")][1:]
    assert terms == sorted(set(terms), key=str.lower)
    assert {"run", "job", "search", "trial", "attempt", "version", "checkpoint", "step", "MLflow run"} <= set(terms)
