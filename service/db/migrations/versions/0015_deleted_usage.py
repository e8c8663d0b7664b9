"""What runs had used that were deleted"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

SECONDS = ("queue_seconds", "run_seconds", "cpu_seconds", "accelerator_seconds")


def upgrade() -> None:
    op.create_table(
        "deleted_usage",
        sa.Column("owner", sa.String(length=64), primary_key=True),
        sa.Column("kind", sa.String(length=16), primary_key=True),
        sa.Column("family", sa.String(length=64), primary_key=True),
        sa.Column("runs", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.Double(), nullable=False) for name in SECONDS),
    )


def downgrade() -> None:
    op.drop_table("deleted_usage")
