"""Brings a database to the newest schema. Run at start by the API and the reconciler, or as `python -m service.db.migrate`."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from service.db.session import Database
from service.settings import Settings

LOCK = 0x41474F4E  # any number that no other user of the database takes


def upgrade(database: Database) -> None:
    """Apply the missing migrations. Several processes may start at once: one migrates, the others wait."""
    if database.is_sqlite and database.engine.url.database:
        Path(database.engine.url.database).parent.mkdir(parents=True, exist_ok=True)
    with database.engine.begin() as connection:  # SQLite: BEGIN IMMEDIATE is the lock
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        command.upgrade(config(connection), "head")


def config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, bound to an open connection."""
    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    found.attributes["connection"] = connection
    return found


def main() -> None:
    """Upgrade the database that the settings name."""
    database = Database(Settings().database_url)
    upgrade(database)
    database.close()


if __name__ == "__main__":
    main()
