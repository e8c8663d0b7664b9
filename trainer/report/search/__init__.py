"""One HTML page about a search: what was searched, which trials are best, which fields matter.

found       what a page is about: the search, its trials, their order
values      values of fields as text and as places on an axis
drawing     trajectories, parallel coordinates, clouds, lineages
importance  Optuna's measure of each field's importance
about, best, fields, lineage   the sections
build       all of it, into a folder

    python -m trainer.report.search SEARCH_FOLDER --out DIR
"""

from trainer.report.search.build import write_search_report

__all__ = ["write_search_report"]
