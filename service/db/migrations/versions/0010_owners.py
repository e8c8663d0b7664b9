"""Whose runs and tokens are"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

LISTS = {
    "ix_jobs_list_owner": ["kind", "owner", "number"],
    "ix_jobs_list_owner_state": ["kind", "owner", "state", "number"],
}


def upgrade() -> None:
    for table in ("tokens", "jobs"):
        op.add_column(table, sa.Column("owner", sa.String(length=64), server_default="", nullable=False))
    # Until now a token was a person, and of a job that outlived its token nothing but the token's id is known.
    op.execute("UPDATE tokens SET owner = CASE WHEN id = 'bootstrap' THEN 'admin' ELSE name END WHERE scope <> 'job'")
    op.execute(
        "UPDATE jobs SET owner = coalesce((SELECT owner FROM tokens WHERE tokens.id = jobs.principal), jobs.principal)"
    )
    for name, columns in LISTS.items():
        op.create_index(name, "jobs", columns)


def downgrade() -> None:
    for name in LISTS:
        op.drop_index(name, table_name="jobs")
    for table in ("jobs", "tokens"):
        op.execute(f"ALTER TABLE {table} DROP COLUMN owner")
