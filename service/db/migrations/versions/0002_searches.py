"""Searches: runs of another kind, and their trials"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    # Columns are added, not the table rebuilt: on SQLite a rebuilt `jobs` would take its events along when it is dropped.
    op.add_column("jobs", sa.Column("kind", sa.String(length=16), server_default="job", nullable=False))
    op.add_column("jobs", sa.Column("trial", sa.String(length=64), nullable=True))
    op.add_column("jobs", sa.Column("attempts_before", sa.Integer(), server_default="0", nullable=False))
    op.create_index("ix_jobs_kind", "jobs", ["kind", "number"], unique=False)
    op.create_table(
        "trials",
        sa.Column("job_number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("images", sa.BigInteger(), nullable=False),
        sa.Column("record", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("stop", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["job_number"], ["jobs.number"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_number", "number"),
    )
    op.create_index("ix_trials_score", "trials", ["job_number", "score"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_trials_score", table_name="trials")
    op.drop_table("trials")
    op.execute("DELETE FROM jobs WHERE kind = 'search'")
    op.drop_index("ix_jobs_kind", table_name="jobs")
    for column in ("attempts_before", "trial", "kind"):
        op.execute(f"ALTER TABLE jobs DROP COLUMN {column}")
