"""What the endpoints of jobs and of trials answer about checkpoints alike, and do to them.

Whatever removes one, or promises to keep it, holds the lock of its run's row: so it doesn't begin to train meanwhile.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Path as InPath
from fastapi import Response
from fastapi.responses import StreamingResponse

from service import paging
from service.bodies import checkpoints as bodies
from service.bodies.base import Page
from service.bodies.states import State
from service.context import Context
from service.db import tables
from service.errors import Conflict, NotFound, Unavailable
from service.ranges import TAR, attached
from service.runs import checkpoints, pins, store
from service.runs.archive import Archive, pack
from service.runs.checkpoints import Checkpoint, Which
from service.runs.scores import Scores

Named = Annotated[
    str,
    InPath(
        pattern=r"^(latest|best|[0-9]{1,18})$",
        description="A step, `latest` (the one that training would go on from), or `best` (of the best score).",
        examples=["latest", 500],
    ),
]
LOOKS = 5
"""So often one is looked for that is superseded while it is opened."""


@dataclass(frozen=True)
class Owner:
    """Whose checkpoints."""

    folder: Path
    name: str
    """For a person."""
    url: str
    """Path below which they are asked for."""
    file: str
    """What the names of files that come from there begin with."""
    run: str
    """Id of the job or search."""
    scores: Callable[[Collection[int]], Scores]
    """What is known of those steps."""


def page(ctx: Context, owner: Owner, limit: int, cursor: str | None) -> Page[bodies.Checkpoint]:
    """Complete checkpoints, newest step first. Raises Invalid."""
    root, before = ctx.settings.jobs_root, paging.decode(cursor)
    found: list[Checkpoint] = []
    for checkpoint in checkpoints.every(root, owner.folder, before):
        if len(found) == limit:
            return Page(items=_shown(ctx, owner, found), next_cursor=paging.encode(found[-1].step))
        found.append(checkpoint)
    return Page(items=_shown(ctx, owner, found))


def one(ctx: Context, owner: Owner, named: str) -> bodies.Checkpoint:
    """One of them. Raises NotFound."""
    return _shown(ctx, owner, [find(ctx, owner, named)])[0]


def find(ctx: Context, owner: Owner, named: str) -> Checkpoint:
    """Raises NotFound that says what there is instead."""
    found = checkpoints.find(ctx.settings.jobs_root, owner.folder, which(named))
    if found is not None:
        return found
    if named == "latest":
        raise NotFound(f"{owner.name} has no complete checkpoint yet; it saves one every checkpoint.every_steps steps")
    if named == "best":
        raise NotFound(
            f"{owner.name} has no best checkpoint: none was scored, or it is gone; GET {owner.url} lists all"
        )
    raise NotFound(f"{owner.name} has no complete checkpoint of step {int(named)}; GET {owner.url} lists them")


def which(named: str) -> Which:
    """As it is in a path."""
    return "latest" if named == "latest" else "best" if named == "best" else int(named)


def pin(ctx: Context, owner: Owner, named: str) -> bodies.Checkpoint:
    """Keep one until it is unpinned. Raises NotFound, Unavailable."""
    found = find(ctx, owner, named)
    with _written("be pinned"):
        if not pins.pin(ctx.settings.jobs_root, owner.folder, found):
            raise _superseded(owner, found.step)
    with ctx.db.begin() as session:  # one that is deleted meanwhile has not seen the pin: then nothing is promised
        store.get(session, owner.run, None, lock=True)
    return one(ctx, owner, str(found.step))


def unpin(ctx: Context, owner: Owner, named: str) -> None:
    """Let training's policy decide of it again. Raises NotFound, Unavailable."""
    step = find(ctx, owner, named).step
    with _written("be unpinned"):
        _clear(pins.unpin(ctx.settings.jobs_root, owner.folder, step))


def delete(ctx: Context, owner: Owner, named: str) -> None:
    """Remove one. Raises NotFound, Conflict, Unavailable."""
    root = ctx.settings.jobs_root
    with _written("be deleted"):
        with ctx.db.begin() as session:
            job = store.get(session, owner.run, None, lock=True)
            found, latest = find(ctx, owner, named), checkpoints.find(root, owner.folder, "latest")
            if found.step in checkpoints.pins(root, owner.folder):
                way = f"unpin it first: DELETE {owner.url}/{found.step}/pin"
                raise Conflict(f"the checkpoint of step {found.step} is pinned; {way}")
            if latest is not None and latest.step == found.step and not store.at_rest(job):
                raise Conflict(
                    f"{owner.name} goes on from its newest checkpoint, and {job.kind} {job.id} {_not_at_rest(job)};"
                    f" older ones can be deleted: GET {owner.url} lists them"
                )
            aside = pins.delete(root, owner.folder, found.step)
        _clear(aside)


def archive(ctx: Context, owner: Owner, named: str, asked: str | None, only_if: str | None) -> Response:
    """Its files as a tar, or the part of it that is asked for, `only_if` it is still that one. Raises NotFound, Unsatisfiable."""
    found, packed = _packed(ctx, owner, named)
    file = f"{_folder(owner, found)}.tar"
    try:
        status, begin, end, headers = attached(file, packed.tag, packed.size, asked, only_if)
    except BaseException:
        packed.close()
        raise
    headers["X-Checkpoint-Step"] = str(found.step)
    return StreamingResponse(packed.pieces(begin, end), status, headers, media_type=TAR)


def _packed(ctx: Context, owner: Owner, named: str) -> tuple[Checkpoint, Archive]:
    """Raises NotFound. `latest` may be superseded while it is opened; then there is another."""
    for _ in range(LOOKS):
        found = find(ctx, owner, named)
        try:
            return found, pack(found, _folder(owner, found))
        except FileNotFoundError:
            continue
    raise _superseded(owner, found.step)


def _folder(owner: Owner, found: Checkpoint) -> str:
    """Of its files in the archive."""
    return f"{owner.file}-{checkpoints.step_name(found.step)}"


def _superseded(owner: Owner, step: int) -> NotFound:
    return NotFound(
        f"{owner.name} has no checkpoint of step {step} any more; GET {owner.url} lists those that there are"
    )


def _not_at_rest(job: tables.Job) -> str:
    return "has a driver that is still leaving" if State(job.state).ended else f"is {job.state}"


@contextmanager
def _written(what: str) -> Iterator[None]:
    """What the disk refuses is said."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"the checkpoint can't {what}: its folder is gone") from error
    except OSError as error:
        raise Unavailable(f"the checkpoint can't {what}: {error.strerror or error}") from error


def _clear(aside: Path | None) -> None:
    if aside is not None:
        shutil.rmtree(aside, ignore_errors=True)


def _shown(ctx: Context, owner: Owner, found: list[Checkpoint]) -> tuple[bodies.Checkpoint, ...]:
    root = ctx.settings.jobs_root
    latest, best = (checkpoints.find(root, owner.folder, "latest"), checkpoints.best(root, owner.folder))
    pinned, scores = checkpoints.pins(root, owner.folder), owner.scores([item.step for item in found])
    return tuple(
        bodies.Checkpoint(
            step=item.step,
            images=checkpoints.images(item),
            bytes=item.size,
            written_at=item.written,
            newest=latest is not None and latest.step == item.step,
            best=item.step == best,
            pinned=item.step in pinned,
            scores=scores.get(item.step, {}),
            files=tuple(
                bodies.CheckpointFile(name=name, bytes=facts.size, sha256=facts.sha256)
                for name, facts in sorted(item.files.items())
            ),
            archive=f"{owner.url}/{item.step}/archive",
        )
        for item in found
    )
