"""Time in the queue and on the cluster, and what the limits of a run go by"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

LIMITED = sa.text("limit_at IS NOT NULL")
SECONDS = ("queue_seconds", "run_seconds", "cpu_seconds", "accelerator_seconds")
TIMES = ("queued_at", "counted_at", "limit_at")


def upgrade() -> None:
    for name in SECONDS:
        op.add_column("jobs", sa.Column(name, sa.Double(), server_default="0", nullable=False))
    for name in TIMES:
        op.add_column("jobs", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("training_workers", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("warned", sa.String(length=64), server_default="", nullable=False))
    op.add_column("jobs", sa.Column("spent", sa.JSON(none_as_null=True), nullable=True))
    op.create_index("ix_jobs_limit", "jobs", ["limit_at"], sqlite_where=LIMITED, postgresql_where=LIMITED)


def downgrade() -> None:
    op.drop_index("ix_jobs_limit", table_name="jobs")
    for column in (*SECONDS, *TIMES, "training_workers", "warned", "spent"):
        op.execute(f"ALTER TABLE jobs DROP COLUMN {column}")
