"""Whose turn it is: priority, and the place in the queue that follows from it"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

WAITING = sa.text("state IN ('submitted', 'queued')")
BEFORE = ["state", "number", "desired", "due_at", "workers", "worker_cpus", "worker_gpus", "attempt"]
# A run of the usual priority stands fifty hours ahead of its arrival.
PLACES = {
    "sqlite": "UPDATE jobs SET place = (CAST(strftime('%s', created_at) AS INTEGER) - 180000) * 1000000",
    "postgresql": "UPDATE jobs SET place = (CAST(extract(epoch FROM created_at) AS BIGINT) - 180000) * 1000000",
}


def upgrade() -> None:
    op.add_column("jobs", sa.Column("priority", sa.Integer(), server_default="50", nullable=False))
    op.add_column("jobs", sa.Column("preemptible", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("jobs", sa.Column("place", sa.BigInteger(), server_default="0", nullable=False))
    op.execute(PLACES[op.get_bind().dialect.name])
    _index([*BEFORE, "place", "priority", "revision"])


def downgrade() -> None:
    _index(BEFORE)
    for column in ("place", "preemptible", "priority"):
        op.execute(f"ALTER TABLE jobs DROP COLUMN {column}")


def _index(columns: list[str]) -> None:
    op.drop_index("ix_jobs_queue", table_name="jobs")
    op.create_index("ix_jobs_queue", "jobs", columns, sqlite_where=WAITING, postgresql_where=WAITING)
