"""What MLflow is still to be told of runs"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

UNTOLD = sa.text("untold_at IS NOT NULL AND mlflow_run_id IS NOT NULL")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("noted", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("untold", sa.String(length=32), server_default="", nullable=False))
    op.add_column("jobs", sa.Column("untold_at", sa.DateTime(timezone=True)))
    op.create_index("ix_jobs_untold", "jobs", ["untold_at"], sqlite_where=UNTOLD, postgresql_where=UNTOLD)


def downgrade() -> None:
    op.drop_index("ix_jobs_untold", table_name="jobs")
    for column in ("untold_at", "untold", "noted"):
        op.execute(f"ALTER TABLE jobs DROP COLUMN {column}")
