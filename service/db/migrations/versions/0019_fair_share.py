"""By how much runs count as submitted later, for what their owners used and had in hand"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

WAITING = sa.text("state IN ('submitted', 'queued')")
BEFORE = [
    *("state", "number", "desired", "due_at", "workers", "worker_cpus", "worker_gpus"),
    *("attempt", "place", "priority", "revision", "owner"),
]
OF_OWNER = ["owner", "state", "workers", "worker_cpus", "worker_gpus", "place", "priority", "delay"]


def upgrade() -> None:
    op.add_column("jobs", sa.Column("delay", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("load", sa.JSON(none_as_null=True), nullable=True))
    _index([*BEFORE, "delay"])
    op.create_index("ix_jobs_owner_line", "jobs", OF_OWNER, sqlite_where=WAITING, postgresql_where=WAITING)


def downgrade() -> None:
    op.drop_index("ix_jobs_owner_line", table_name="jobs")
    _index(BEFORE)
    for column in ("load", "delay"):
        op.execute(f"ALTER TABLE jobs DROP COLUMN {column}")


def _index(columns: list[str]) -> None:
    op.drop_index("ix_jobs_queue", table_name="jobs")
    op.create_index("ix_jobs_queue", "jobs", columns, sqlite_where=WAITING, postgresql_where=WAITING)
