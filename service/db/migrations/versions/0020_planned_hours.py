"""What runs will use, as far as that is known when they are submitted"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"

SECONDS = ("planned_cpu_seconds", "planned_accelerator_seconds")


def upgrade() -> None:
    for name in SECONDS:
        op.add_column("jobs", sa.Column(name, sa.Double(), nullable=True))
    op.add_column("jobs", sa.Column("planned_by", sa.String(length=8), server_default="", nullable=False))
    op.add_column("deleted_usage", sa.Column("planned_runs", sa.Integer(), server_default="0", nullable=False))
    for name in SECONDS:
        op.add_column("deleted_usage", sa.Column(name, sa.Double(), server_default="0", nullable=False))


def downgrade() -> None:
    for column in ("planned_runs", *SECONDS):
        op.execute(f"ALTER TABLE deleted_usage DROP COLUMN {column}")
    for column in ("planned_by", *SECONDS):
        op.execute(f"ALTER TABLE jobs DROP COLUMN {column}")
