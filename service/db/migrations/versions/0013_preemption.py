"""Who makes room for whom"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

YIELDING = sa.text("yields_to IS NOT NULL")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("yields_to", sa.String(length=40)))
    op.add_column("jobs", sa.Column("yields_priority", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("yields", sa.Integer(), server_default="0", nullable=False))
    op.create_index("ix_jobs_yielding", "jobs", ["yields_to"], sqlite_where=YIELDING, postgresql_where=YIELDING)


def downgrade() -> None:
    op.drop_index("ix_jobs_yielding", table_name="jobs")
    for column in ("yields", "yields_priority", "yields_to"):
        op.execute(f"ALTER TABLE jobs DROP COLUMN {column}")
