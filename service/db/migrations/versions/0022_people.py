"""Roles of people, browser sessions; expiry, last use and rotation of tokens; whose datasets are"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"

TIMES = ("expires_at", "used_at", "rotated_at", "old_until")


def upgrade() -> None:
    for name in TIMES:
        op.add_column("tokens", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.add_column("tokens", sa.Column("old_digest", sa.String(length=64), nullable=True))
    op.create_index("ix_tokens_old", "tokens", ["old_digest"], unique=True)
    op.create_index("ix_tokens_owner", "tokens", ["owner"])
    op.create_table(
        "people",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "sessions",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("token_digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index("ix_sessions_expires", "sessions", ["expires_at"])
    op.add_column("datasets", sa.Column("owner", sa.String(length=64), server_default="", nullable=False))


def downgrade() -> None:
    op.execute("ALTER TABLE datasets DROP COLUMN owner")
    op.drop_table("sessions")
    op.drop_table("people")
    for name in ("ix_tokens_owner", "ix_tokens_old"):
        op.drop_index(name, table_name="tokens")
    for column in ("old_digest", *TIMES):
        op.execute(f"ALTER TABLE tokens DROP COLUMN {column}")
