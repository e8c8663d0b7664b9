"""Migrations and what the databases promise, each on SQLite and PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta, timezone
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event as event_of
from sqlalchemy import insert, inspect, select, text
from sqlalchemy.exc import IntegrityError, StatementError

from service.db.migrate import config, upgrade
from service.db.session import Database
from service.db.tables import Base, Job, JobEvent, JobLabel, JobScore, Token
from service.reconciler import displacing, expiry, rows
from service.reconciler import store as reconciler_store
from service.runs import lists, order, share
from service.runs.kinds import JOB
from service.runs.lists import Bound, Leader, Wanted
from service.settings import Settings


@pytest.fixture(params=["sqlite", "postgres"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'deep' / 'empty.db'}"
        return
    server = Settings(database_url=request.getfixturevalue("postgres_server")).database_url
    admin = Database(server)
    with admin.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("DROP DATABASE IF EXISTS empty"))
        connection.execute(text("CREATE DATABASE empty"))
    admin.close()
    yield server.removesuffix("/postgres") + "/empty"


def test_the_migrations_make_exactly_the_tables_that_the_code_describes(empty: str) -> None:
    db = Database(empty)
    upgrade(db)
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    db.close()


def test_migrations_can_be_taken_back_and_repeated(empty: str) -> None:
    db = Database(empty)
    for _ in range(2):
        upgrade(db)
        upgrade(db)
        with db.engine.begin() as connection:
            command.downgrade(config(connection), "base")
        assert inspect(db.engine).get_table_names() == ["alembic_version"]
    db.close()


def test_jobs_from_before_there_were_searches_keep_their_events_on_the_way_up_and_down(empty: str) -> None:
    db = Database(empty)
    if db.is_sqlite:
        Path(empty.removeprefix("sqlite:///")).parent.mkdir(parents=True)
    when = "2026-01-01 00:00:00+00:00"
    job = (
        "INSERT INTO jobs (number, id, name, family, spec, spec_digest, principal, request_digest, created_at, desired, revision,"
        " acked, started_attempt, waiting, state, reason, attempt, due_at, fence{more}) VALUES ({number}, '{id}', 'n', 'gan', '{{}}',"
        f" 'd', 'p', 'r', '{when}', 'run', 0, 1, 0, '', 'running', '', 1, '{when}', 0{{values}})"
    )
    event = f"INSERT INTO job_events (job_number, seq, attempt, time, kind, step, images, data) VALUES (1, 1, 1, '{when}', 'k', 0, 0, '{{}}')"
    with db.engine.begin() as connection:
        command.upgrade(config(connection), "0001")
        connection.exec_driver_sql(job.format(number=1, id="j-1", more="", values=""))
        connection.exec_driver_sql(event)
    upgrade(db)
    with db.read() as session:
        old = session.scalars(select(Job)).one()
        assert (old.kind, old.attempts_before, old.trial) == ("job", 0, None)
        assert (old.priority, old.preemptible) == (50, False)
        assert order.arrived(old.place, old.priority) == int(datetime.fromisoformat(when).timestamp()) * order.SECOND
        assert len(session.scalars(select(JobEvent)).all()) == 1
    with db.engine.begin() as connection:
        connection.exec_driver_sql(job.format(number=2, id="s-1", more=", kind", values=", 'search'"))
        command.downgrade(config(connection), "0001")
        assert connection.execute(text("SELECT id FROM jobs")).all() == [("j-1",)], "the old program knows no searches"
        assert connection.execute(text("SELECT seq FROM job_events")).all() == [(1,)]
    db.close()


@pytest.mark.long
def test_several_processes_that_start_at_once_migrate_once(empty: str) -> None:
    program = (
        f"from service.db.migrate import upgrade; from service.db.session import Database; upgrade(Database({empty!r}))"
    )
    started = [subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) for _ in range(3)]
    for process in started:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    db = Database(empty)
    assert set(Base.metadata.tables) <= set(inspect(db.engine).get_table_names())
    with db.read() as session:
        assert session.execute(text("SELECT name, turns FROM locks ORDER BY name")).all() == [
            (name, 0) for name in ("admission", "audit", "tape")
        ]
    db.close()


def add(db: Database, *rows: Any) -> None:
    """In one transaction."""
    with db.begin() as session:
        for item in rows:
            session.add(item)
            session.flush()


def row(**values: Any) -> Job:
    now = datetime.now(UTC)
    usual = {
        "id": "j-1", "name": "n", "family": "gan", "spec": {}, "spec_digest": "d", "principal": "p", "request_digest": "r",
        "created_at": now, "due_at": now,
    }  # fmt: skip
    return Job(**{**usual, **values})


def test_times_keep_their_instant_and_come_back_in_utc(db: Database) -> None:
    when = datetime(2026, 3, 29, 2, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    with db.begin() as session:
        session.add(row(created_at=when))
    with db.read() as session:
        read = session.scalars(select(Job)).one().created_at
    assert read == when
    assert read.utcoffset() == timedelta()


def test_a_time_without_a_zone_is_refused(db: Database) -> None:
    with pytest.raises(StatementError, match="no time zone"):
        add(db, row(created_at=datetime(2026, 1, 1)))


def test_what_fails_half_way_leaves_nothing(db: Database) -> None:
    with pytest.raises(IntegrityError):
        add(db, row(), row())
    with db.read() as session:
        assert session.scalars(select(Job)).all() == []


def test_events_need_their_job_and_go_with_it(db: Database) -> None:
    def event(number: int) -> JobEvent:
        return JobEvent(
            job_number=number, seq=1, attempt=1, time=datetime.now(UTC), kind="k", step=0, images=0, data={}
        )

    with pytest.raises(IntegrityError):
        add(db, event(999))
    with db.begin() as session:
        job = row()
        session.add(job)
        session.flush()
        session.add(event(job.number))
    with db.begin() as session:
        session.execute(text("DELETE FROM jobs"))
    with db.read() as session:
        assert session.scalars(select(JobEvent)).all() == []


def test_readers_are_not_held_up_by_a_writer(db: Database) -> None:
    with db.begin() as writer:
        writer.add(row())
        writer.flush()
        with db.read() as reader:
            assert reader.scalars(select(Job)).all() == []


def test_writers_of_one_process_wait_for_their_turn_without_a_connection(db: Database) -> None:
    """SQLite has them poll for its lock, with pauses that grow: whoever has waited long waits longer."""
    if not db.is_sqlite:
        return

    def write(number: int) -> None:
        with db.begin() as session:
            session.add(row(id=f"j-{number}"))

    with ThreadPoolExecutor(8) as pool:
        with db.begin() as first:
            first.add(row(id="j-first"))
            first.flush()
            others = [pool.submit(write, number) for number in range(8)]
            done, _ = wait(others, timeout=0.2)
            assert not done
            assert db.engine.pool.checkedout() == 1  # type: ignore[attr-defined]
        for other in others:
            other.result()
    with db.read() as session:
        assert len(session.scalars(select(Job.id)).all()) == 9


def test_sqlite_keeps_a_write_ahead_log_and_foreign_keys(db: Database) -> None:
    if not db.is_sqlite:
        return
    with db.read() as session:
        values = {
            name: session.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "foreign_keys", "synchronous")
        }
        assert session.execute(text("PRAGMA busy_timeout")).scalar() == 15_000
    assert values == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2}


def test_a_token_digest_is_unique(db: Database) -> None:
    now = datetime.now(UTC)
    with pytest.raises(IntegrityError):
        add(db, *(Token(id=name, name=name, scope="user", digest="same", created_at=now) for name in "ab"))


def test_a_plain_postgres_url_means_the_driver_that_is_installed() -> None:
    assert Settings(database_url="postgresql://u@h/d").database_url == "postgresql+psycopg://u@h/d"
    assert "secret" not in repr(Settings(database_url="postgresql://u:secret@h/d"))


def plan(db: Database, statement: Any) -> str:
    """How the database would carry it out, without looking at how many rows there are."""
    dialect = db.engine.dialect
    sql = str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    with db.read() as session:
        if db.is_sqlite:
            return "\n".join(
                str(row[3]) for row in session.execute(text(f"EXPLAIN QUERY PLAN {sql}".replace(":", r"\:")))
            )
        session.execute(text("SET LOCAL enable_seqscan = off"))
        session.execute(text("SET LOCAL enable_sort = off"))
        session.execute(text("SET LOCAL enable_bitmapscan = off"))
        return "\n".join(str(row[0]) for row in session.execute(text(f"EXPLAIN {sql}".replace(":", r"\:"))))


def fill(db: Database, count: int) -> None:
    """Jobs of which hardly any runs, as after a year."""
    rows = [
        {
            "id": f"j-{number}", "name": f"n-{number % 50}", "family": ("gan", "wgan")[number % 2], "spec": {}, "spec_digest": "d",
            "principal": "p", "request_digest": "r", "created_at": datetime.now(UTC), "due_at": datetime.now(UTC),
            "state": "succeeded" if number % 100 else "running", "owner": f"o-{number % 20}",
        }
        for number in range(count)
    ]  # fmt: skip
    with db.begin() as session:
        session.execute(insert(Job), rows)
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not db.is_sqlite:
            connection.execute(text("ANALYZE jobs"))


FILTERS = [
    {name: value for name, value in zip(("state", "name", "family"), values, strict=True) if value is not None}
    for values in product((None, "running"), (None, "n-3"), (None, "gan"))
]


@pytest.mark.parametrize("filters", [{}, {"state": "running"}, {"name": "n-3"}, {"family": "gan"}], ids=str)
def test_what_a_person_owns_is_an_index_away_whatever_else_is_asked_for(db: Database, filters: dict[str, str]) -> None:
    fill(db, 2000)
    found = plan(db, lists.listed(JOB, Wanted(owner="o-3", **filters), before=1000, limit=51))
    leads = {"name": "ix_jobs_list_name", "family": "ix_jobs_list_family", "state": "ix_jobs_list_owner_state"}
    if db.is_sqlite or "family" not in filters:
        assert next((leads[name] for name in filters), "ix_jobs_list_owner") in found
    assert "SCAN" not in found.upper().replace("INDEX SCAN", "")
    assert "TEMP B-TREE" not in found
    assert "Sort" not in found


@pytest.mark.parametrize("filters", FILTERS, ids=lambda filters: "+".join(filters) or "none")
def test_every_filter_of_a_list_is_an_index_away_and_in_order(db: Database, filters: dict[str, str]) -> None:
    fill(db, 2000)
    statement = lists.listed(JOB, Wanted(**filters), before=1000, limit=51)
    found = plan(db, statement)
    wanted = [name for name in ("name", "family", "state") if name in filters]
    index = {
        (): "ix_jobs_kind", ("state",): "ix_jobs_list_state", ("name",): "ix_jobs_list_name", ("family",): "ix_jobs_list_family",
        ("name", "state"): "ix_jobs_list_name_state", ("family", "state"): "ix_jobs_list_family_state",
    }  # fmt: skip
    known = index.get(tuple(wanted))
    if wanted in ([], ["family"]) and not db.is_sqlite:
        assert "Index Scan" in found, "half of all rows: any order by number will do"
    elif known is not None:
        assert known in found
    else:
        assert "ix_jobs_list_name" in found, "names are many; the family is looked up in the rows of the name"
    assert "SCAN" not in found.upper().replace("INDEX SCAN", "")
    assert "TEMP B-TREE" not in found
    assert "Sort" not in found


@pytest.mark.parametrize(
    ("wanted", "leader", "index"),
    [
        (Wanted(labels=(("team", "a"),)), ("team", "a"), "ix_job_labels_list"),
        (Wanted(labels=(("team", "a"), ("run", "3")), state="succeeded", family="gan"), ("run", "3"), "ix_job_labels_list"),  # type: ignore[arg-type]
        (Wanted(labels=(("team", "a"),), state="running"), None, "ix_jobs_list_state"),  # type: ignore[arg-type]
        (Wanted(scores=(Bound("fid", "<", 20.0),)), Bound("fid", "<", 20.0), "ix_job_scores_list"),
        (Wanted(scores=(Bound("fid", "<", 20.0),), name="n-3"), None, "ix_jobs_list_name"),
    ],
    ids=["label", "labels", "label+state", "score", "score+name"],
)  # fmt: skip
def test_labels_and_scores_are_an_index_away_and_in_order(
    db: Database, wanted: Wanted, leader: Leader, index: str
) -> None:
    fill(db, 2000)
    with db.begin() as session:
        marked = [{"job_number": number, "kind": "job"} for number in range(1, 2001)]
        session.execute(insert(JobLabel), [{**mark, "name": "team", "value": "a"} for mark in marked])
        session.execute(
            insert(JobLabel), [{**mark, "name": "run", "value": str(mark["job_number"] % 50)} for mark in marked]
        )
        session.execute(
            insert(JobScore), [{**mark, "name": "fid", "value": float(mark["job_number"])} for mark in marked]
        )
    with db.read() as session:
        assert lists.leader_of(session, JOB, wanted) == leader
    found = plan(db, lists.listed(JOB, wanted, leader, before=1000, limit=51))
    if db.is_sqlite:
        assert index in found.splitlines()[0], found
        assert "SCAN" not in found
        assert "TEMP B-TREE" not in found
    else:
        assert "Seq Scan" not in found
        assert "Sort" not in found


def test_what_the_reconciler_asks_each_round_is_an_index_away(db: Database) -> None:
    fill(db, 2000)
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.startswith("SELECT") and "jobs" in statement:
            asked.append(statement)

    event_of.listen(db.engine, "before_cursor_execute", note)
    now = datetime.now(UTC)
    rows.anyone_waits(db)
    rows.leave(db)
    with db.read() as session:
        rows.pulse(session, now, 5)
        rows.line(session, now, 5, ())
        displacing.departed(session, now)
    reconciler_store.due(db, now, timedelta(seconds=30), 10)
    expiry.look(db, now)
    event_of.remove(db.engine, "before_cursor_execute", note)
    assert len(asked) == 8
    if not db.is_sqlite:
        return  # it knows how few rows these indexes have, and may read them as it likes
    with db.read() as session:
        for statement in asked:
            values = tuple(0 for _ in range(statement.count("?")))
            found = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
            wanted = (
                ["ix_jobs_leaving"]
                if "<> 'run'" in statement
                else ["ix_jobs_queue", "ix_jobs_watched", "ix_jobs_yielding"]
            )
            wanted = ["ix_jobs_limit"] if "limit_at" in statement else wanted
            assert any(name in str(found) for name in wanted), (statement, found)


def test_what_a_submission_asks_of_its_owners_runs_is_an_index_away(db: Database) -> None:
    fill(db, 2000)
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        asked.extend([statement] if statement.startswith("SELECT") else [])

    with db.read() as session:
        event_of.listen(db.engine, "before_cursor_execute", note)
        share.of(session, "o-3", 50, datetime.now(UTC))
        event_of.remove(db.engine, "before_cursor_execute", note)
        if not db.is_sqlite:
            return
        held = ("COVERING INDEX ix_jobs_owner_line", "ix_jobs_list_owner_state", "sights")
        for statement, wanted in zip(asked, (held, ("owner_hours",)), strict=True):
            values = tuple(0 for _ in range(statement.count("?")))
            found = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
            assert all(name in str(found) for name in wanted), (statement, found)
            assert not any("SCAN jobs" in str(step) for step in found)


def test_jobs_from_before_the_queue_had_columns_keep_their_place_and_what_they_take(empty: str) -> None:
    db = Database(empty)
    if db.is_sqlite:
        Path(empty.removeprefix("sqlite:///")).parent.mkdir(parents=True)
    when = "2026-01-01 00:00:00+00:00"
    job = (
        "INSERT INTO jobs (id, kind, name, family, spec, spec_digest, principal, request_digest, created_at, desired, revision,"
        " acked, started_attempt, waiting, state, reason, attempt, due_at, fence) VALUES"
        f" ('{{id}}', '{{kind}}', 'n', 'gan', '{{spec}}', 'd', 'p', 'r', '{when}', 'run', 0, 1, 0, '', '{{state}}', '', 1, '{when}', 0)"
    )
    resources = '{"workers": 4, "min_workers": 2, "cpus_per_worker": 1.5, "gpus_per_worker": 1}'
    spec = f'{{"resources": {resources}}}'
    with db.engine.begin() as connection:
        command.upgrade(config(connection), "0002")
        for values in (
            {"id": "j-1", "kind": "job", "state": "queued", "spec": spec},
            {"id": "s-1", "kind": "search", "state": "succeeded", "spec": f'{{"base": {spec}}}'},
            {"id": "j-2", "kind": "job", "state": "running", "spec": "{}"},
        ):
            connection.exec_driver_sql(job.format(**values))
    upgrade(db)
    with db.read() as session:
        found = session.execute(
            select(Job.id, Job.workers, Job.worker_cpus, Job.worker_gpus, Job.watched).order_by(Job.number)
        ).all()
    assert found == [("j-1", 2, 1.5, 1.0, False), ("s-1", 4, 1.5, 1.0, False), ("j-2", 0, 0.0, 0.0, True)]
    db.close()


def test_scores_from_before_lists_were_filtered_by_them_are_found(empty: str) -> None:
    db = Database(empty)
    if db.is_sqlite:
        Path(empty.removeprefix("sqlite:///")).parent.mkdir(parents=True)
    when = "2026-01-01 00:00:00+00:00"
    job = (
        "INSERT INTO jobs (number, id, kind, name, family, spec, progress, spec_digest, principal, request_digest, created_at, desired,"
        " revision, acked, started_attempt, waiting, state, reason, attempt, due_at, fence) VALUES"
        f" ({{number}}, '{{number}}', '{{kind}}', 'n', 'gan', '{{spec}}', {{progress}}, 'd', 'p', 'r', '{when}', 'run', 0, 1, 0, '',"
        f" 'succeeded', '', 1, '{when}', 0)"
    )
    trial = (
        "INSERT INTO trials (job_number, number, id, state, score, images, record, stop) VALUES"
        " (3, {number}, 't', 'completed', {score}, 1, '{{}}', false)"
    )
    progress = """'{"scores": {"fid": 12, "kid": null, "odd": true, "precision": 0.5}, "step": 3}'"""
    with db.engine.begin() as connection:
        command.upgrade(config(connection), "0005")
        connection.exec_driver_sql(job.format(number=1, kind="job", spec="{}", progress=progress))
        connection.exec_driver_sql(job.format(number=2, kind="job", spec="{}", progress="NULL"))
        spec = '{"metric": "fid", "mode": null}'
        connection.exec_driver_sql(job.format(number=3, kind="search", spec=spec, progress="NULL"))
        for number, score in enumerate(("7.5", "NULL", "3.5")):
            connection.exec_driver_sql(trial.format(number=number, score=score))
    upgrade(db)
    with db.read() as session:
        columns = (JobScore.job_number, JobScore.name, JobScore.value, JobScore.kind)
        found = session.execute(select(*columns).order_by(JobScore.job_number, JobScore.name)).all()
    assert found == [(1, "fid", 12.0, "job"), (1, "precision", 0.5, "job"), (3, "fid", 3.5, "search")]
    db.close()


def test_runs_from_before_tokens_had_owners_are_those_of_whoever_a_token_was_named_after(empty: str) -> None:
    db = Database(empty)
    if db.is_sqlite:
        Path(empty.removeprefix("sqlite:///")).parent.mkdir(parents=True)
    when = "2026-01-01 00:00:00+00:00"
    with db.engine.begin() as connection:
        command.upgrade(config(connection), "0009")
        for token, name, scope in (("t-1", "ada", "user"), ("bootstrap", "bootstrap", "admin"), ("t-2", "j-1", "job")):
            connection.exec_driver_sql(
                "INSERT INTO tokens (id, name, scope, digest, attempt, created_at) VALUES"
                f" ('{token}', '{name}', '{scope}', '{token}', 0, '{when}')"
            )
        for number, principal in enumerate(("t-1", "bootstrap", "t-gone")):
            connection.exec_driver_sql(
                "INSERT INTO jobs (id, kind, name, family, spec, spec_digest, principal, request_digest, created_at, desired,"
                " revision, acked, started_attempt, waiting, state, reason, attempt, due_at, fence) VALUES"
                f" ('j-{number}', 'job', 'n', 'gan', '{{}}', 'd', '{principal}', 'r', '{when}', 'run', 0, 1, 0, '', 'queued', '', 1,"
                f" '{when}', 0)"
            )
    upgrade(db)
    with db.read() as session:
        assert session.scalars(select(Job.owner).order_by(Job.number)).all() == ["ada", "admin", "t-gone"]
        assert dict(session.execute(select(Token.id, Token.owner)).all()) == {
            "t-1": "ada",
            "bootstrap": "admin",
            "t-2": "",
        }
    db.close()


@pytest.mark.databases
def test_a_connection_that_the_server_ended_while_it_was_idle_is_not_what_a_request_gets(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.db.session.IDLE_SECONDS", 0.0)
    db = Database(postgres_database)
    with db.read() as one, db.read() as another:
        ended = {session.scalar(text("SELECT pg_backend_pid()")) for session in (one, another)}
    killer = Database(postgres_database)
    with killer.read() as session:
        for pid in ended:
            session.scalar(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
    with db.read() as one, db.read() as another:
        assert not ended & {session.scalar(text("SELECT pg_backend_pid()")) for session in (one, another)}
    for each in (db, killer):
        each.close()


@pytest.mark.databases
def test_a_connection_that_was_just_used_is_not_tried_again(postgres_database: str) -> None:
    db, tried = Database(postgres_database), []
    db.engine.dialect.do_ping = lambda connection: tried.append(connection)  # type: ignore[method-assign]
    for _ in range(3):
        with db.read() as session:
            session.scalar(text("SELECT 1"))
    assert not tried
    db.close()
