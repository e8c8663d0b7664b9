"""Who changed what"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"

UNPLACED = sa.text("place IS NULL AND status IS NOT NULL")


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=True),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("token", sa.String(length=40), nullable=False),
        sa.Column("token_name", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("target", sa.String(length=160), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("peer", sa.String(length=64), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("detail", sa.JSON(none_as_null=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    for name in ("owner", "action", "target"):
        op.create_index(f"ix_audit_{name}", "audit", [name, "id"])
    op.create_index("ix_audit_time", "audit", ["time"])
    op.create_index("ix_audit_place", "audit", ["place"], unique=True)
    op.create_index("ix_audit_unplaced", "audit", ["id"], sqlite_where=UNPLACED, postgresql_where=UNPLACED)
    op.execute("INSERT INTO locks (name, turns) VALUES ('audit', 0)")


def downgrade() -> None:
    op.drop_table("audit")
    op.execute("DELETE FROM locks WHERE name = 'audit'")
