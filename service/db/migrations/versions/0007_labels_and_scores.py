"""Labels and scores where lists look for them"""

import json
import math
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

CHUNK = 1000
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    for table, value in (("job_labels", sa.String(length=64)), ("job_scores", sa.Double())):
        op.create_table(
            table,
            sa.Column("job_number", NUMBER, nullable=False),
            sa.Column("name", sa.String(length=64), nullable=False),
            sa.Column("value", value, nullable=False),
            sa.Column("kind", sa.String(length=16), nullable=False),
            sa.ForeignKeyConstraint(["job_number"], ["jobs.number"], ondelete="CASCADE"),
            sa.PrimaryKeyConstraint("job_number", "name"),
        )
    op.create_index("ix_job_labels_list", "job_labels", ["kind", "name", "value", "job_number"])
    op.create_index("ix_job_scores_list", "job_scores", ["kind", "name", "job_number", "value"])
    _scores_of_jobs()
    _scores_of_searches()


def downgrade() -> None:
    op.drop_table("job_scores")
    op.drop_table("job_labels")


def _scores_of_jobs() -> None:
    """As their rows show them."""
    jobs = sa.table("jobs", *(sa.column(name) for name in ("number", "kind", "progress")))
    told = sa.select(jobs.c.number, sa.cast(jobs.c.progress, sa.Text)).where(jobs.c.kind == "job")
    connection, last = op.get_bind(), 0
    while rows := connection.execute(told.where(jobs.c.number > last).order_by(jobs.c.number).limit(CHUNK)).all():
        for number, progress in rows:
            _keep("job", number, _read(progress).get("scores"))
        last = rows[-1][0]


def _scores_of_searches() -> None:
    """Those of their best trials."""
    jobs = sa.table("jobs", *(sa.column(name) for name in ("number", "kind", "spec")))
    trials = sa.table("trials", sa.column("job_number"), sa.column("score"))
    connection = op.get_bind()
    for number, text in connection.execute(
        sa.select(jobs.c.number, sa.cast(jobs.c.spec, sa.Text)).where(jobs.c.kind == "search")
    ).all():
        spec = _read(text)
        metric, mode = spec.get("metric"), spec.get("mode")
        low = mode == "min" if mode else metric not in ("precision", "recall")
        best = sa.select((sa.func.min if low else sa.func.max)(trials.c.score)).where(trials.c.job_number == number)
        _keep("search", number, {metric: connection.execute(best).scalar()})


def _read(text: str | None) -> dict[str, Any]:
    found = json.loads(text) if text else None
    return found if isinstance(found, dict) else {}


def _keep(kind: str, number: int, scores: object) -> None:
    table = sa.table("job_scores", *(sa.column(name) for name in ("job_number", "name", "value", "kind")))
    for name, value in scores.items() if isinstance(scores, dict) else ():
        numeric = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if numeric and isinstance(name, str) and 0 < len(name) <= 64:
            op.get_bind().execute(sa.insert(table).values(job_number=number, name=name, value=float(value), kind=kind))
