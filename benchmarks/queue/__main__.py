"""`python -m benchmarks.queue`: what ten thousand waiting jobs cost, and whether the starts that waiting jobs are told come true."""

from __future__ import annotations

from benchmarks.common import Report, arguments
from benchmarks.queue import costs, forecasts


def main() -> int:
    """0 if all targets hold."""
    parser = arguments("queue", __doc__ or "")
    parser.add_argument("--jobs", type=int, default=10_000, help="how many wait (default: 10,000; 500 with --quick)")
    parser.add_argument("--posts", type=int, default=100, help="submissions measured on either side (20 with --quick)")
    parser.add_argument(
        "--days", type=float, default=4.0, help="length of each simulated trace (default: 4; 1 with --quick)"
    )
    parser.add_argument("--traces", type=int, default=5, help="simulated traces (default: 5; 1 with --quick)")
    options = parser.parse_args()
    report = Report("queue", options)
    forecasts.measure(report, options)
    costs.measure(report, options)
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
