"""Where scenarios put what they measure."""

from __future__ import annotations

from typing import Any

from benchmarks.common import Report
from benchmarks.control_plane.load import Outcome
from benchmarks.control_plane.world import Spent


class Book:
    """The rows of one database in the report, and what the sampler said of each."""

    def __init__(self, report: Report, database: str) -> None:
        self.report, self.database = report, database

    def row(self, scenario: str, what: str, **values: Any) -> None:
        """One line."""
        self.report.row(database=self.database, scenario=scenario, what=what, **values)

    def load(self, scenario: str, what: str, outcome: Outcome, offered: float, spent: Spent) -> None:
        """One line of a load, and its profile."""
        self.row(scenario, what, **outcome.row(offered), **spent.row(sum(outcome.statuses.values())))
        self.profile(scenario, what, spent)

    def profile(self, scenario: str, what: str, spent: Spent) -> None:
        """What limits it."""
        profiles = self.report.more.setdefault("profiles", {})
        profiles[f"{self.database}: {scenario}: {what}"] = list(spent.lines)

    def at_most(self, name: str, bound: float, measured: float, unit: str) -> None:
        """A target."""
        self.report.at_most(f"{self.database}: {name}", bound, measured=measured, unit=unit)

    def at_least(self, name: str, bound: float, measured: float, unit: str) -> None:
        """The same."""
        self.report.at_least(f"{self.database}: {name}", bound, measured=measured, unit=unit)
