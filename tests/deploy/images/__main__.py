"""`make images-check`: builds the images and runs each. Needs root, buildah, debootstrap, and the package registries.

`python tests/deploy/images [--keep DIR] [TARGET …]`. With --keep the layers stay in DIR, and the next time builds take them from there.
Exit status: 0 all passed, 1 one didn't, 2 it can't be run here, which is said and counts for nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

from checks import CHECKS
from store import TARGETS, MissingError, Store, missing


def main() -> int:
    """Build, check, tell, clean up."""
    parser = argparse.ArgumentParser(prog="make images-check", description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--keep", type=Path, help="folder that the layers stay in")
    options = parser.parse_args()
    if wrong := set(options.targets) - set(TARGETS):
        parser.error(f"there is no target {', '.join(sorted(wrong))}; there are {', '.join(TARGETS)}")
    if lacks := missing():
        print(f"not run: there is no {', '.join(lacks)} here (Debian: apt-get install buildah debootstrap)")
        return 2
    folder = options.keep.absolute() if options.keep else Path(tempfile.mkdtemp(prefix="agon-images-"))
    store = Store(folder)
    try:
        store.base()
        failed = [target for target in options.targets or TARGETS if not _check(store, target)]
    except MissingError as lack:
        print(f"not run: there is no {lack}")
        return 2
    finally:
        if not options.keep:
            store.clear()
    print(f"FAILED: {', '.join(failed)}" if failed else "all images passed")
    return bool(failed)


def _check(store: Store, target: str) -> bool:
    """Build and check one. Whether it passed."""
    since = time.monotonic()
    log = store.folder / f"build-{target}.log"
    try:
        store.build(target, log)
    except subprocess.CalledProcessError:
        print(f"{target}: the build failed ({log}):\n{log.read_text(errors='replace')[-3000:]}")
        return False
    built = time.monotonic() - since
    print(f"{target}: built in {built:.0f} s, {store.megabytes(f'agon-{target}:check')} MB", flush=True)
    with tempfile.TemporaryDirectory(prefix="agon-image-") as place:
        Path(place).chmod(0o755)
        try:
            told = CHECKS[target](store, Path(place))
        except (AssertionError, RuntimeError, subprocess.SubprocessError) as error:
            print(f"{target}: FAILED: {error}")
            return False
    for line in told:
        print(f"  · {line}", flush=True)
    return True


if __name__ == "__main__":
    raise SystemExit(main())
