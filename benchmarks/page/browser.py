"""What a real browser measures of a page: when something is painted, when what one came for is there, what moved, what it cost."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
WAIT_MS = 120_000
WATCH = """
(() => {
  window.seen = { shift: 0, events: [] };
  new PerformanceObserver((list) => { for (const one of list.getEntries()) if (!one.hadRecentInput) seen.shift += one.value; })
    .observe({ type: "layout-shift", buffered: true });
  new PerformanceObserver((list) => { for (const one of list.getEntries()) seen.events.push([one.name, one.duration]); })
    .observe({ type: "event", durationThreshold: 16, buffered: true });
})();
"""
"""Before any script of the page: layout shifts nobody asked for, and how long the browser took to answer what one did (Event Timing)."""
MEASURED = """
() => ({
  first_paint: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? null,
  bytes: performance.getEntriesByType("navigation")[0].transferSize
    + performance.getEntriesByType("resource").reduce((sum, one) => sum + one.transferSize, 0),
  requests: 1 + performance.getEntriesByType("resource").length,
  elements: document.getElementsByTagName("*").length,
  shift: window.seen.shift,
})
"""


@contextmanager
def chromium() -> Iterator[Any]:
    """Raises RuntimeError if the machine has none."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("AGON_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        raise RuntimeError("there is no Chromium here; on Debian: apt install chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(QUIET))
        yield browser
        browser.close()


def visit(context: Any, url: str, there: str, settle: float = 1.0) -> tuple[Any, dict[str, float]]:
    """Go to a URL in a new tab until an element that `there` selects is to be seen; the tab, and what was measured."""
    page = context.new_page()
    page.add_init_script(WATCH)
    begun = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.wait_for_selector(there, state="visible", timeout=WAIT_MS)
    took = time.perf_counter() - begun
    page.wait_for_timeout(settle * 1000)  # what comes later shifts what is there already
    found = page.evaluate(MEASURED)
    return page, {
        "there_ms": round(took * 1e3),
        **{name: round(value, 4) for name, value in found.items() if value is not None},
    }
