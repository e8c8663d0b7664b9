"""Whose kept answers are, and how large"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    op.add_column("kept_answers", sa.Column("owner", sa.String(length=64), server_default="", nullable=False))
    op.add_column("kept_answers", sa.Column("size", sa.Integer(), server_default="0", nullable=False))
    op.create_index("ix_kept_answers_owner", "kept_answers", ["owner", "at", "size"])


def downgrade() -> None:
    op.drop_index("ix_kept_answers_owner", "kept_answers")
    op.execute("ALTER TABLE kept_answers DROP COLUMN size")
    op.execute("ALTER TABLE kept_answers DROP COLUMN owner")
