"""What owners may have at once"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

WAITING = sa.text("state IN ('submitted', 'queued')")
BEFORE = [
    *("state", "number", "desired", "due_at", "workers", "worker_cpus", "worker_gpus"),
    *("attempt", "place", "priority", "revision"),
]


def upgrade() -> None:
    op.create_table(
        "owner_caps",
        sa.Column("owner", sa.String(length=64), primary_key=True),
        *(sa.Column(name, sa.Integer(), nullable=True) for name in ("running", "workers", "gpus", "waiting")),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
    )
    _index([*BEFORE, "owner"])


def downgrade() -> None:
    _index(BEFORE)
    op.drop_table("owner_caps")


def _index(columns: list[str]) -> None:
    op.drop_index("ix_jobs_queue", table_name="jobs")
    op.create_index("ix_jobs_queue", "jobs", columns, sqlite_where=WAITING, postgresql_where=WAITING)
