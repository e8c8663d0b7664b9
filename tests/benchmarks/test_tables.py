"""README and docs quote the committed results and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import tables
from benchmarks.serving import table


@pytest.mark.parametrize("document", tables.TABLES, ids=lambda path: path.name)
def test_documents_quote_the_committed_results(document: Path) -> None:
    assert tables.drawn(document) == document.read_text(), "run `python -m benchmarks.tables`"


def test_the_readme_has_five_figures_and_says_which_fall_short() -> None:
    lines = tables.figures().splitlines()[2:]
    assert len(lines) == 5
    assert any("| yes |" in line for line in lines)
    assert any("| **no** |" in line for line in lines)


def test_a_figure_that_no_result_has_is_refused() -> None:
    for file in ("biggan", "reproduce/bigan"):
        with pytest.raises(LookupError, match="called 'speed'"):
            tables.figures({file: ("speed", "how fast it is")})


def test_a_figure_short_of_its_target_is_shown_as_such(tmp_path: Path) -> None:
    target = {"name": "speed", "target": "≥ 2", "measured": 1.5, "holds": False}
    report = {"benchmark": "data", "commit": "a" * 40, "quick": False, "targets": [target]}
    (tmp_path / "data.json").write_text(json.dumps(report))
    (tmp_path / "data-quick.json").write_text(json.dumps({**report, "quick": True}))
    lines = tables.table(tmp_path).splitlines()
    assert len(lines) == 3
    assert "| 1.5 | **no** |" in lines[2]


def test_a_document_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="markers"):
        tables.updated("# Agon", "", "benchmarks")


def test_equal_digests_are_one_line_that_shows_a_difference(tmp_path: Path) -> None:
    targets = [
        {"name": f"state {i}", "target": "= ab", "measured": "ab" if i else "cd", "holds": bool(i)} for i in range(3)
    ]
    report = {"benchmark": "resume", "commit": "a" * 40 + "-dirty", "quick": False, "targets": targets}
    (tmp_path / "resume.json").write_text(json.dumps(report))
    (line,) = tables.table(tmp_path).splitlines()[2:]
    assert "| all 3 | 2 | **no** | `aaaaaaa-dirty` |" in line


def test_a_name_with_a_bar_stays_in_its_cell(tmp_path: Path) -> None:
    target = {"name": "|W₁ − |θ||", "target": "≤ 1", "measured": 0.5, "holds": True}
    report = {"benchmark": "divergence", "commit": "a" * 40, "quick": False, "targets": [target]}
    (tmp_path / "divergence.json").write_text(json.dumps(report))
    (line,) = tables.table(tmp_path).splitlines()[2:]
    assert r"| \|W₁ − \|θ\|\| | ≤ 1 |" in line


def test_what_a_control_plane_takes_stands_beside_what_it_took_and_falls_short_in_bold(tmp_path: Path) -> None:
    targets = [
        {"name": "sqlite: events taken", "target": "≥ 2000 /s", "measured": 1825.0, "holds": False},
        {"name": "postgres: events taken", "target": "≥ 2000 /s", "measured": 2400.0, "holds": True},
        {"name": "sqlite: looked at", "target": "≤ 5 s", "measured": 4.1, "holds": True},
    ]
    report = {"targets": targets, "before": {"commit": "a" * 40, "targets": {"sqlite: events taken": 1333.0}}}
    (tmp_path / "control_plane.json").write_text(json.dumps(report))
    assert tables.load(tmp_path).splitlines()[2:] == [
        "| events taken | ≥ 2000 /s | 1,333 | **1,825** |  | 2,400 |",
        "| looked at | ≤ 5 s |  | 4.1 |  |  |",
    ]


def test_what_asking_costs_is_drawn_from_all_turns_of_one_result(tmp_path: Path) -> None:
    net = {"model": "small", "resolution": 28, "weights_mb": 0.5}
    rows = [
        {"start": "nothing runs", "model": "small", "seconds": 9.1, "asked": 1},
        {"memory": "all loaded", "controller_mb": 1.4, "proxy_mb": 2.0, "replica_mb": 3.0},
        *({"latency": words, **net, "p50_ms": 1.5, "p99_ms": 2.0, "count": 9} for words in table.LATENCY),
        *({"load": "small", "turn": turn, "clients": 16, "n": 16, "images_per_s": 10.0 * turn} for turn in (1, 2, 3)),
        *({"alone": "small", "turn": turn, "n": 16, "images_per_s": 40.0} for turn in (1, 2, 3)),
        {"share": "small", "clients": 16, "n": 16, "of_a_process": 0.5},
        {"scale": "to no replica", "seconds": 16.0, "idle_seconds": 15},
    ]
    (tmp_path / "serving.json").write_text(json.dumps({"rows": rows}))
    latency, rates, times, memory = (
        part.splitlines()[2:] for part in table.table(tmp_path / "serving.json").split("\n\n")
    )
    assert latency == ["| small, 28 px, weights 0.5 MB | 1.5 (2) | 1.5 (2) | 1.5 (2) |"]
    assert rates == ["| small | 16 | 40 | 20 | 50% |"]
    assert times == ["| nothing runs: small | 9.1 |", "| to no replica | 16.0 |"]
    assert memory == ["| all loaded | 1 | 2 | 3 |"]
