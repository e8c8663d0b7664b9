"""An index of what was measured at which step"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

SCORED = sa.text("kind = 'scores'")


def upgrade() -> None:
    op.create_index(
        "ix_job_events_scored", "job_events", ["job_number", "step"], sqlite_where=SCORED, postgresql_where=SCORED
    )


def downgrade() -> None:
    op.drop_index("ix_job_events_scored", table_name="job_events")
