"""Which run a job goes on with, and which checkpoint it began with"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("parent", sa.String(length=40), nullable=True))
    op.add_column("jobs", sa.Column("fork", sa.JSON(none_as_null=True), nullable=True))
    # Of these it isn't known whether they began with the trial's checkpoint.
    op.execute("UPDATE jobs SET parent = substr(trial, 1, 14) WHERE trial IS NOT NULL")
    op.create_index("ix_jobs_parent", "jobs", ["parent", "number"])


def downgrade() -> None:
    op.drop_index("ix_jobs_parent", table_name="jobs")
    for column in ("fork", "parent"):
        op.execute(f"ALTER TABLE jobs DROP COLUMN {column}")
