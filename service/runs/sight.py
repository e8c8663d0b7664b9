"""The cluster as a reconciler last saw it: kept in the database, so that whoever answers requests needn't ask Ray."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.db.session import Database, insert_into
from service.db.tables import Sight
from service.gateway.ray_jobs import Node, NodeState

CLUSTER = "cluster"
OLD = timedelta(minutes=2)
"""What was seen that long ago says nothing any more; while anyone waits it is written more often."""
AGAIN = timedelta(seconds=30)
"""How often the same is written."""


SEEN = select(Sight.content, Sight.seen_at).where(Sight.name == CLUSTER)  # made once: every submission executes it


class Seen(NamedTuple):
    """What is known of the cluster."""

    nodes: list[Node] | str | None
    """Why nothing is known of it, if that is so; None: nobody has looked of late."""
    drivers: int | None
    """For how many runs Ray's head has memory; None: for any number, or that isn't known."""


class Watch:
    """Writes what one reconciler sees."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._content: object = None
        self._size: dict[str, list[float]] = {}
        """Of the cluster when something was known of it."""
        self._written: datetime | None = None

    def see(self, nodes: Sequence[Node] | str, now: datetime, drivers: int | None = None) -> None:
        """The cluster is so now, or nothing is known of it for that reason. now: the machine's time.

        drivers: for how many runs Ray's head has memory; None: for any number.
        """
        facts = [
            [node.id, node.cpus, node.cpus_free, node.gpus, node.gpus_free, node.state, node.group, node.grows]
            for node in nodes
            if not isinstance(node, str)
        ]
        if not isinstance(nodes, str) and nodes:
            self._size = {"size": [sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)]}
        content = {"reason": nodes, **self._size} if isinstance(nodes, str) else {"nodes": facts, "drivers": drivers}
        recent = self._written is not None and timedelta() <= now - self._written < AGAIN
        if recent and content == self._content:
            return
        with self.db.begin() as session:
            seen = {"content": content, "seen_at": now}
            write = insert_into(session, Sight).values(name=CLUSTER, **seen)
            session.execute(write.on_conflict_do_update(index_elements=[Sight.name], set_=seen))
        self._content, self._written = content, now


def seen(session: Session, now: datetime) -> Seen:
    """All that is known of it."""
    row = session.execute(SEEN).first()
    if row is None:
        return Seen(None, None)
    return Seen(told(row.content, row.seen_at, now), row.content.get("drivers"))  # an older version wrote none


def cluster(session: Session, now: datetime) -> list[Node] | str | None:
    """The nodes, or why nothing is known of them; None: nobody has looked of late."""
    return seen(session, now).nodes


def told(content: dict[str, Any] | None, seen_at: datetime, now: datetime) -> list[Node] | str | None:
    """The same of a row that was read. content: None: there is none."""
    if content is None or not -OLD < now - seen_at < OLD:
        return None
    if "reason" in content:
        return str(content["reason"])
    return [_node(*facts) for facts in content["nodes"]]


def _node(
    name: str,
    cpus: float,
    cpus_free: float,
    gpus: float,
    gpus_free: float,
    state: str = "there",
    group: str = "",
    grows: bool = False,
) -> Node:
    """One that was written; an older version wrote no more than what it has."""
    return Node(name, cpus, cpus_free, gpus, gpus_free, state=cast(NodeState, state), group=group, grows=grows)


def size(content: dict[str, Any] | None) -> tuple[float, float] | None:
    """CPUs and GPUs of the cluster when it was last seen, however long ago that is; None: it never was, or it was empty.

    content: of the row; None: there is none.
    """
    seen = content or {}
    nodes = seen.get("nodes")
    found = [sum(each[1] for each in nodes), sum(each[3] for each in nodes)] if nodes else seen.get("size")
    return None if not found else (float(found[0]), float(found[1]))
