"""What all tables stand on. Times are UTC; JSON columns hold what the API returns, so that it needs no second shape."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Integer,
)  # fmt: skip
from sqlalchemy.orm import DeclarativeBase

from service.db.usage import Utc

BigId = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up INTEGER PRIMARY KEY alone
AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)
"""As `due_at`: now, whatever anyone's clock says."""


class Base(DeclarativeBase):
    """Base of the tables."""

    type_annotation_map = {datetime: Utc, dict[str, Any]: JSON(none_as_null=True)}  # noqa: RUF012 — SQLAlchemy's protocol
