"""`python -m benchmarks.page`: how fast the page is in a real browser, beside MLflow's page on the same data.

10,000 runs that have ended, and one with 1,000 sample grids. Both servers run on this machine, each in a process of its own; a
headless Chromium visits both in turns, each time with an empty cache, then again with a full one. Measured in the browser: when something
is painted, when what one came for is there, how long it takes , what moved, what was sent.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import Report, arguments
from benchmarks.page import data, servers
from benchmarks.page.browser import chromium, visit
from benchmarks.page.data import Sizes
from service.settings import Settings

FULL, QUICK = Sizes(10_000, 1000), Sizes(200, 20)
TURNS = 5
KEYS = 40
VIEW = {"width": 1280, "height": 800}
STEP = """
async ([moves, jump]) => {
  const times = [];
  const timeline = document.querySelector(".timeline");
  const form = document.querySelector(".tools form");
  const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
  const shown = () => Number(timeline.querySelector(".stage img").alt.split(" ").at(-1));
  for (const step of moves) {
    const begun = performance.now();
    if (jump) {
      form.elements.step.value = step;
      form.requestSubmit();
    } else {
      timeline.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft", bubbles: true, cancelable: true }));
    }
    while (shown() !== step) await frame();
    await frame();
    times.push(performance.now() - begun);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return times;
}
"""
"""From the key, or from a step that is typed, until its picture is in the page and a frame has passed."""
THEIRS = """
async (names) => {
  const times = [];
  const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
  const image = () => [...document.images].find((one) => one.src.startsWith("blob:") && one.complete && one.naturalWidth > 100);
  for (const name of names) {
    const says = (one) => [...one.childNodes].some((part) => part.nodeType === 3 && part.textContent.trim() === name);
    const entry = [...document.querySelectorAll("body *")].filter(says).at(-1);
    const before = image()?.src;
    const begun = performance.now();
    entry.click();
    while (!image() || image().src === before) await frame();
    await frame();
    times.push(performance.now() - begun);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return times;
}
"""
"""The same in MLflow's tree of artifacts: from a click on a file until its picture is there."""


def main() -> int:
    """0 if all targets hold."""
    options = arguments("page", __doc__ or "").parse_args()
    report, sizes = Report("page", options), QUICK if options.quick else FULL
    turns = 2 if options.quick else TURNS
    folder = Path(tempfile.mkdtemp(prefix="agon-page-"))
    try:
        _measure(report, folder, sizes, turns, options.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report.note("server, browser and whatever else ran share the machine's cores; both pages were visited in turns")
    return report.finish()


def _measure(report: Report, folder: Path, sizes: Sizes, turns: int, seed: int) -> None:
    grids, home, theirs = (folder / name for name in ("grids", "home", "mlflow"))
    for each in (grids, home, theirs):
        each.mkdir()
    data.draw_grids(grids, sizes, seed)
    settings = Settings(home=home)
    long = data.fill_agon(settings, sizes, grids, seed)
    store = f"sqlite:///{theirs / 'mlflow.db'}"
    experiment, run = data.fill_mlflow(store, theirs, sizes, grids, seed)
    with servers.agon(home) as ours, servers.mlflow(store, theirs) as other, chromium() as browser:
        token = (home / "token").read_text().strip()
        agon = lambda: _signed_in(browser, ours, token)  # noqa: E731
        plain = lambda: browser.new_context(viewport=VIEW)  # noqa: E731
        newest = sizes.grids * data.EVERY
        pictures = f"{other}/#/experiments/{experiment}/runs/{run}/artifacts/samples/step-{newest:09d}.png"
        visits: list[tuple[str, str, Callable[[], Any], str, str]] = [
            ("Agon", "list", agon, f"{ours}/runs", "text=digits-"),
            ("MLflow", "list", plain, f"{other}/#/experiments/{experiment}/runs", "text=digits-"),
            ("Agon", "run", agon, f"{ours}/runs/{long}", ".timeline .stage img"),
            ("MLflow", "run", plain, pictures, "img[src^='blob:']"),
        ]
        found: dict[tuple[str, str, str], list[dict[str, float]]] = {}
        for _ in range(turns):
            for whose, what, context_of, url, there in visits:
                context = context_of()
                for cache in ("empty", "full"):
                    page, measured = visit(context, url, there)
                    found.setdefault((whose, what, cache), []).append(measured)
                    page.close()
                context.close()
        for (whose, what, cache), measured in found.items():
            report.row(page=whose, what=what, cache=cache, visits=len(measured), **_medians(measured))
        moves = [newest - data.EVERY * number for number in range(1, min(KEYS, sizes.grids - 1) + 1)]
        jumps = random.Random(seed).sample(range(data.EVERY, newest, data.EVERY), min(KEYS, sizes.grids - 2))
        names = [f"step-{step:09d}.png" for step in moves]
        took = {
            "next grid, by a key": _ours(agon, f"{ours}/runs/{long}", moves, jump=False),
            "another grid, by its step": _ours(agon, f"{ours}/runs/{long}", jumps, jump=True),
        }
        try:
            took["MLflow: next grid, by a click"] = _theirs(plain, pictures, names)
        except Exception as error:  # another version of it has another tree
            report.note(f"MLflow's tree of artifacts could not be clicked through: {str(error).splitlines()[0]}")
        for what, figures in took.items():
            report.row(interaction=what, **figures)
    _targets(report, found, took)


def _signed_in(browser: Any, url: str, token: str) -> Any:
    context = browser.new_context(viewport=VIEW)
    reply = context.request.post(f"{url}/v1/session", data={"token": token}, headers={"Origin": url})
    assert reply.ok, reply.text()
    return context


def _medians(measured: list[dict[str, float]]) -> dict[str, float]:
    names = measured[0].keys()
    return {name: round(median(one.get(name, 0.0) for one in measured), 3) for name in names}


def _ours(context_of: Callable[[], Any], url: str, moves: list[int], *, jump: bool) -> dict[str, float]:
    context = context_of()
    page, _ = visit(context, url, ".timeline .stage img")
    page.wait_for_function(
        "Number(document.querySelector('.timeline input').max) > 100"
    )  # its script has taken it over
    times = page.evaluate(STEP, [moves, jump])
    context.close()
    return _quantiles(times)


def _theirs(context_of: Callable[[], Any], url: str, names: list[str]) -> dict[str, float]:
    context = context_of()
    page, _ = visit(context, url, "img[src^='blob:']")
    page.wait_for_selector(f"text={names[0]}")
    times = page.evaluate(THEIRS, names)
    context.close()
    return _quantiles(times)


def _quantiles(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    at = {f"p{share}_ms": round(ordered[min(len(ordered) - 1, len(ordered) * share // 100)], 1) for share in (50, 95)}
    return {**at, "count": len(ordered)}


def _targets(
    report: Report, found: dict[tuple[str, str, str], list[dict[str, float]]], took: dict[str, dict[str, float]]
) -> None:
    for what, words in (("list", "the list of runs"), ("run", "a run with its grids")):
        ours, theirs = _medians(found["Agon", what, "empty"]), _medians(found["MLflow", what, "empty"])
        report.at_most(f"first paint of {words}", 1000, measured=ours["first_paint"], unit="ms")
        report.at_most(f"layout shift of {words}", 0.0, measured=ours["shift"])
        share = round(ours["there_ms"] / theirs["there_ms"], 3)
        report.at_most(f"{words}: time until it is there ÷ MLflow's", 1.0, measured=share)
    for what in ("next grid, by a key", "another grid, by its step"):
        report.at_most(f"p95 of the {what}", 100, measured=took[what]["p95_ms"], unit="ms")


if __name__ == "__main__":
    raise SystemExit(main())
