"""What owners used by the hour, and how many GPU-hours they may use a week"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_table(
        "owner_hours",
        sa.Column("owner", sa.String(length=64), primary_key=True),
        sa.Column("hour", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("cpu_seconds", sa.Double(), nullable=False),
        sa.Column("accelerator_seconds", sa.Double(), nullable=False),
    )
    op.add_column("owner_caps", sa.Column("gpu_hours_week", sa.Double(), nullable=True))


def downgrade() -> None:
    op.execute("ALTER TABLE owner_caps DROP COLUMN gpu_hours_week")
    op.drop_table("owner_hours")
