"""What happened to a job now and then, without reading all that it measured"""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
RARE = sa.text("kind IN ('started', 'warning', 'rolled-back', 'limit', 'restarted', 'published', 'finished', 'failed')")


def upgrade() -> None:
    op.create_index("ix_job_events_rare", "job_events", ["job_number", "seq"], sqlite_where=RARE, postgresql_where=RARE)


def downgrade() -> None:
    op.drop_index("ix_job_events_rare", table_name="job_events")
