"""An index of the few that shall leave the queue"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

LEAVING = sa.text("state || '' IN ('submitted', 'queued') AND desired <> 'run'")


def upgrade() -> None:
    op.create_index("ix_jobs_leaving", "jobs", ["number"], sqlite_where=LEAVING, postgresql_where=LEAVING)


def downgrade() -> None:
    op.drop_index("ix_jobs_leaving", table_name="jobs")
