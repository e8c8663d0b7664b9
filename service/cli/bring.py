"""Images packed if need be, and registered: for `agon datasets add SOURCE`, and for `agon submit RECIPE --data SOURCE`, which also fills in
the spec's fields that follow from them."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from service.cli.output import Exit, fail, note
from service.cli.source import REGISTERED, read
from trainer.data.manifest import DatasetManifest, read_manifest
from trainer.errors import BadDataError
from trainer.families.table import arch_classes, can_be
from trainer.spec import JobSpec
from trainer.spec.sampling import listed

if TYPE_CHECKING:
    from service.client import Client, Dataset

STAND_IN = "not-yet-packed"
SIZES = range(8, 513)
URLS = ("file", "http", "https", "s3", "gs")
PREFERRED = 64
"""Pixels a side of images of many sizes, if nobody says another."""
FILLED = ("arch.classes", "arch.channels", "arch.resolution")


@dataclass(frozen=True)
class Facts:
    """What a spec must know of a dataset."""

    resolution: int
    channels: int
    classes: tuple[str, ...]


def body(client: Client, source: str, data: str, assignments: Sequence[str]) -> dict[str, Any]:
    """The spec of `source` on `data`, with the given assignments, as the API takes it. Says what it decided on stderr.

    data: images (a folder, zip or tar), a packed folder, a URL of one, or a registered dataset's name.
    Raises SpecError and the client's errors; ends the command if the data can't be used.
    """
    given = dict(assignment.partition("=")[::2] for assignment in assignments)
    if "data.url" in given:
        fail("--data and --set data.url both say what to train on; give one", Exit.USAGE)
    spec = read(source, [f"data.url={REGISTERED}{STAND_IN}", *assignments]).spec
    name, facts = _dataset(client, data, spec, given)
    filled = {path: value for path, value in _fill(spec, facts).items() if path not in given}
    _say(filled, spec, facts)
    following = [f"{path}={value}" for path, value in filled.items()]
    return read(source, [f"data.url={REGISTERED}{name}", "data.digest=null", *following, *assignments]).body()


def add(client: Client, source: str, name: str | None, resolution: int | None, channels: int | None) -> Dataset:
    """The dataset of `source`, registered as `name` or as the source is called; images are packed for the stack on this machine.

    source: images (a folder, zip or tar), a packed folder, or a URL of one. Raises the client's errors; ends the command if the
    data can't be used.
    """
    if source.partition(":")[0].lower() in URLS:
        return client.register_dataset(name or _slug(source.rstrip("/").removesuffix("/dataset.json")), source)
    path = Path(source).expanduser()
    if not path.exists() and not source.startswith("builtin:"):
        fail(
            f"{source}: is no file or folder here and no URL; give images (a folder, zip or tar) or packed data",
            Exit.USAGE,
        )
    if _packed(path) is not None:
        if resolution is not None or channels is not None:
            fail(f"{source} is packed already; --resolution and --channels go with images", Exit.USAGE)
        return client.register_dataset(name or _slug(str(path.absolute())), str(path.absolute()))
    root = _local_root(client, source, source, "agon datasets add URL")
    sizes = [size for size in SIZES if any(can_be(arch, size) for arch in arch_classes())]
    sides, colours = (None if value is None else str(value) for value in (resolution, channels))
    found = _pack(source, root, sizes, PREFERRED, sides, colours, "--alone")
    return client.register_dataset(name or found["name"], found["path"])


def _fill(spec: JobSpec, facts: Facts) -> dict[str, int]:
    classes = 0 if spec.arch.label_use == "none" else len(facts.classes)
    return dict(zip(FILLED, (classes, facts.channels, facts.resolution), strict=True))


def _say(filled: dict[str, int], spec: JobSpec, facts: Facts) -> None:
    """What was filled in, and what of it is new."""
    old = spec.model_dump(mode="json")["arch"]
    for path, value in filled.items():
        before = old[path.removeprefix("arch.")]
        was = "as it was" if before == value else f"it was {before}"
        names = f": {listed(facts.classes)}" if path == "arch.classes" and value else ""
        note(f"filled in {path}={value} ({was}){names}")
    if filled.get("arch.classes") and spec.arch.label_use == "optional":
        note("the model is conditioned on these classes; without: --set arch.classes=0")


def _dataset(client: Client, data: str, spec: JobSpec, given: dict[str, str]) -> tuple[str, Facts]:
    """The registered dataset's name, and its facts."""
    if data.startswith(REGISTERED):
        return _known(client.dataset(data.removeprefix(REGISTERED)))
    if data.partition(":")[0].lower() in URLS:
        return _registered(client, _slug(data.rstrip("/").removesuffix("/dataset.json")), data)
    path = Path(data).expanduser()
    if not path.exists() and not data.startswith("builtin:"):
        return _known(_by_name(client, data))
    if (manifest := _packed(path)) is not None:
        return _registered(client, _slug(str(path.absolute())), str(path.absolute()), manifest.digest)
    sizes = [size for size in SIZES if can_be(type(spec.arch), size)]
    root = _local_root(client, data, f"--data {data}", "agon submit RECIPE --data URL")
    found = _pack(data, root, sizes, spec.arch.resolution, given.get("arch.resolution"), given.get("arch.channels"))
    return _registered(client, found["name"], found["path"], found["manifest"]["digest"])


def _known(dataset: Dataset) -> tuple[str, Facts]:
    facts = dataset.manifest
    return dataset.name, Facts(facts.resolution, facts.channels, tuple(facts.classes))


def _by_name(client: Client, name: str) -> Dataset:
    from service.client import Invalid, NotFound

    try:
        return client.dataset(name)
    except (NotFound, Invalid):
        fail(
            f"--data {name}: is no file or folder here, no URL and no registered dataset; "
            "give images (a folder, zip or tar), a packed folder, a URL or a dataset's name",
            Exit.USAGE,
        )


def _packed(path: Path) -> DatasetManifest | None:
    """The manifest, if it is a packed dataset: StyleGAN's folders have a dataset.json, too."""
    try:
        return read_manifest(str(path)) if (path / "dataset.json").is_file() else None
    except BadDataError:
        return None


def _registered(client: Client, name: str, url: str, digest: str = "") -> tuple[str, Facts]:
    """Register it, under a name of its own if another dataset has that one."""
    from service.client import Conflict

    try:
        return _known(client.register_dataset(name, url))
    except Conflict:
        other = _slug(f"{name[:50]}-{digest[:8] or _hash(url)}")
        note(f"another dataset is called {name}; this one is registered as {other}")
        return _known(client.register_dataset(other, url))


def _local_root(client: Client, data: str, given: str, instead: str) -> Path:
    """Where images are packed for the stack on this machine; ends the command if the API is another.

    given, instead: what was typed, and what may be typed with a URL.
    """
    from service.stack import record as records
    from service.stack.layout import Layout, home_from_env

    layout = Layout(home_from_env())
    found = records.read(layout.record)
    if found is None or found.api_url != client.url:
        fail(
            f"{given}: images are packed on the machine of the stack, and {client.url} is not the stack of {layout.home}; "
            f"pack them with `agon data pack {data} OUT`, put OUT where that API reads data (a server, a bucket, its data "
            f"folders), and give its URL: {instead}",
            Exit.USAGE,
        )
    return layout.home / "data"


def _pack(
    data: str,
    root: Path,
    sizes: Sequence[int],
    preferred: int,
    resolution: str | None,
    channels: str | None,
    *options: str,
) -> dict[str, Any]:
    """Pack in a process of its own, whose progress and errors go to this terminal. Says how the source was read.

    sizes, preferred: resolutions that may be chosen, and which rather. resolution, channels: those that a person gave.
    """
    command = [
        sys.executable, "-m", "trainer.data", "bring", data, str(root),
        "--sizes", ",".join(map(str, sizes)), "--preferred", str(preferred), *options,
    ]  # fmt: skip
    for option, value in (("--resolution", resolution), ("--channels", channels)):
        if value is not None:
            command += [option, value]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise typer.Exit(Exit.FAILED)
    found: dict[str, Any] = json.loads(done.stdout)
    note(f"read as {found['layout']}: {found['read_as']}")
    for line in found["notes"]:
        note(line)
    return found


def _slug(text: str) -> str:
    """A name that a dataset may have."""
    name = re.sub(r"[^a-z0-9._-]+", "-", text.rpartition("/")[2].lower())
    return name[:60].strip("._-") or "data"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
