"""What the queue decides by in columns of its own, indexes for it and for each filter of the lists"""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

WAITING = sa.text("state IN ('submitted', 'queued')")
LISTS = {
    "ix_jobs_list_state": ["kind", "state", "number"],
    "ix_jobs_list_name": ["kind", "name", "number"],
    "ix_jobs_list_family": ["kind", "family", "number"],
    "ix_jobs_list_name_state": ["kind", "name", "state", "number"],
    "ix_jobs_list_family_state": ["kind", "family", "state", "number"],
}
QUEUE = ["state", "number", "desired", "due_at", "workers", "worker_cpus", "worker_gpus", "attempt"]
CHUNK = 1000


def upgrade() -> None:
    # Columns are added, not the table rebuilt: on SQLite a rebuilt `jobs` would take its events along when it is dropped.
    op.add_column("jobs", sa.Column("workers", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("worker_cpus", sa.Double(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("worker_gpus", sa.Double(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("lacks", sa.String(length=8), server_default="", nullable=False))
    op.add_column("jobs", sa.Column("watched", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.execute("UPDATE jobs SET watched = true WHERE state IN ('starting', 'running', 'stopping')")
    _needs()
    op.drop_index("ix_jobs_name", table_name="jobs")
    op.drop_index("ix_jobs_state_due", table_name="jobs")
    for name, columns in LISTS.items():
        op.create_index(name, "jobs", columns)
    op.create_index("ix_jobs_queue", "jobs", QUEUE, sqlite_where=WAITING, postgresql_where=WAITING)
    watched = sa.text("watched")
    op.create_index("ix_jobs_watched", "jobs", ["due_at"], sqlite_where=watched, postgresql_where=watched)


def downgrade() -> None:
    for name in ("ix_jobs_watched", "ix_jobs_queue", *LISTS):
        op.drop_index(name, table_name="jobs")
    op.create_index("ix_jobs_state_due", "jobs", ["state", "due_at"])
    op.create_index("ix_jobs_name", "jobs", ["name"])
    for column in ("watched", "lacks", "worker_gpus", "worker_cpus", "workers"):
        op.execute(f"ALTER TABLE jobs DROP COLUMN {column}")


def _needs() -> None:
    """Of the jobs that may still run, from their specs."""
    jobs = sa.table("jobs", *(sa.column(name) for name in ("number", "kind", "spec", "state")))
    connection, last = op.get_bind(), 0
    while True:
        rows = connection.execute(
            sa.select(jobs.c.number, jobs.c.kind, sa.cast(jobs.c.spec, sa.Text))
            .where(jobs.c.number > last, sa.or_(jobs.c.kind == "search", jobs.c.state.not_in(["succeeded", "failed", "cancelled"])))
            .order_by(jobs.c.number)
            .limit(CHUNK)
        ).all()  # fmt: skip
        if not rows:
            return
        found = [(number, _need(kind, json.loads(spec))) for number, kind, spec in rows]
        for number, need in found:
            if need is not None:
                connection.execute(
                    sa.text("UPDATE jobs SET workers = :w, worker_cpus = :c, worker_gpus = :g WHERE number = :n"),
                    {"n": number, "w": need[0], "c": need[1], "g": need[2]},
                )
        last = rows[-1][0]


def _need(kind: str, spec: dict[str, Any]) -> tuple[int, float, float] | None:
    try:
        resources = spec.get("base", spec)["resources"]
        workers = (kind == "job" and resources["min_workers"]) or resources["workers"]
        return int(workers), float(resources["cpus_per_worker"]), float(resources["gpus_per_worker"])
    except (KeyError, TypeError, ValueError):
        return None  # a spec of a version that had no resources: it takes no place, and its driver says what is wrong
