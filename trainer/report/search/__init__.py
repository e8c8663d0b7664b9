"""One HTML page about a search: what was searched, which trials are best, which fields matter.

drawing  trajectories, parallel coordinates, clouds, lineages
about, best, fields, lineage   the sections
build    all of it, into a folder

What is known of a search, and what follows from it, is `trainer.search`: found, values, importance.

    python -m trainer.report.search SEARCH_FOLDER --out DIR
"""

from trainer.report.search.build import write_search_report

__all__ = ["write_search_report"]
