"""What a process spends its processor on, by thread and by function. py-spy, which Ray brings along, samples it from outside, so that
nothing is charged to whoever gives the interpreter's lock away. What is sampled is who holds that lock: there is one in a process,
and no request gets on without it.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

EACH_SECOND = 50
"""Samples."""
SHOWN = 16
GROUPS = {"MainThread": "event loop", "AnyIO worker thread": "request threads", "reconciler": "reconciler"}
OURS = ("service/", "trainer/")
END_SECONDS = 30.0


class Sampler:
    """Samples the process from now on. Without py-spy, or the right to look into another process, it tells why there is nothing to tell."""

    def __init__(self, pid: int) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="agon-sampler-")
        self.out = Path(self.folder.name) / "stacks"
        found = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
        options = f"--rate {EACH_SECOND} --format raw --threads --nolineno --full-filenames --nonblocking --gil".split()
        command = [found or "", "record", "--pid", str(pid), "--output", str(self.out), *options]
        self.process = None
        if found:
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def stop(self) -> list[str]:
        """End, and tell it in lines."""
        if self.process is None:
            return ["no profile: py-spy is not there"]
        self.process.send_signal(signal.SIGINT)
        try:
            _, said = self.process.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            _, said = self.process.communicate()
        try:
            return (
                lines(self.out.read_text().splitlines())
                if self.out.exists()
                else [f"no profile: {said.strip()[-200:]}"]
            )
        finally:
            self.folder.cleanup()


def lines(folded: Iterable[str]) -> list[str]:
    """Shares of all samples in which a thread held the lock: by thread, by the package of the innermost function, and by our functions with
    what they call. folded: `thread;outermost (file);…;innermost (file) COUNT`.
    """
    threads, packages, ours = Counter[str](), Counter[str](), Counter[str]()
    total = 0
    for line in folded:
        stack, _, samples = line.rpartition(" ")
        thread, *frames = stack.split(";")
        if not samples.isdigit() or not frames:
            continue
        count = int(samples)
        total += count
        threads[_group(thread)] += count
        packages[_package(frames[-1])] += count
        for name in {name for frame in frames if (name := _ours(frame))}:
            ours[name] += count
    found = [f"{total} samples of who holds the interpreter's lock"]
    for title, counted, shown in (
        ("thread", threads, 4),
        ("package", packages, 12),
        ("with what it calls", ours, SHOWN),
    ):
        found += [f"{title}: {name} {100 * count / total:.0f} %" for name, count in counted.most_common(shown)]
    return found


def _group(thread: str) -> str:
    return next((group for name, group in GROUPS.items() if name in thread), "others")


def _path(frame: str) -> str:
    return frame.rpartition(" (")[2].rstrip(")")


def _package(frame: str) -> str:
    """The package of the function's file; of a database's driver the function, too, since that is where its C code is."""
    path = _path(frame)
    where = path.rpartition("site-packages/")[2] if "site-packages/" in path else path
    package = where.lstrip("/").partition("/")[0] if "site-packages/" in path else ""
    name = frame.partition(" (")[0]
    if package == "sqlalchemy" and name.startswith("do_"):
        return f"the database's driver, {name}"
    if package:
        return package
    return next((ours.rstrip("/") for ours in OURS if f"/{ours}" in f"/{path}"), f"Python's {Path(path).stem}")


def _ours(frame: str) -> str:
    """What of ours the function is called; "": it is none of ours."""
    path = _path(frame)
    for root in OURS:
        if "site-packages" not in path and f"/{root}" in path:
            return f"{root}{path.rpartition('/' + root)[2]} {frame.partition(' (')[0]}"
    return ""
