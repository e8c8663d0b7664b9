"""One order of what all runs tell"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UNPLACED = sa.text("place IS NULL")


def upgrade() -> None:
    op.create_table(
        "tape",
        sa.Column("id", BIG, autoincrement=True, nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=True),
        sa.Column("job_number", BIG, nullable=False),
        sa.Column("change_id", sa.BigInteger(), nullable=True),
        sa.Column("first", sa.BigInteger(), nullable=True),
        sa.Column("last", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["job_number"], ["jobs.number"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_tape_place", "tape", ["place"], unique=True)
    op.create_index("ix_tape_unplaced", "tape", ["id"], sqlite_where=UNPLACED, postgresql_where=UNPLACED)
    op.create_index("ix_tape_job_number", "tape", ["job_number"])
    op.execute("INSERT INTO locks (name, turns) VALUES ('tape', 0)")


def downgrade() -> None:
    op.drop_table("tape")
    op.execute("DELETE FROM locks WHERE name = 'tape'")
