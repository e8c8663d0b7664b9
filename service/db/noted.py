"""What of a run's row says which of its notes MLflow has still to be told."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Integer, String
from sqlalchemy.orm import Mapped, mapped_column

UNTOLD = "untold_at IS NOT NULL AND mlflow_run_id IS NOT NULL"
"""Rows of which MLflow is to be told something; one that it has no record of waits until it has."""


class NotedColumns:
    """Part of `jobs`. Edits write it, and whoever tells MLflow."""

    noted: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """How often its name, labels or notes were edited."""
    untold: Mapped[str] = mapped_column(String(32), default="", server_default="")
    """Which of them MLflow doesn't know yet, with commas."""
    untold_at: Mapped[datetime | None]
    """When MLflow is told, or asked again; None: it knows all."""
