"""SearchSpec: a job spec with some of its fields replaced by distributions. Torch-free and Ray-free.

distributions   what a field may be drawn from
fields          what a search is asked for: base, space, algorithm, budget
spec            the search: that its fields fit together, and how it is read
space           from values to a trial's spec: paths, types, conditions, draws
trial           what is written down of each trial
found           what has become of a search: its trials, and which are better
values          values of fields as text, and as places on an axis
importance      how much each field matters (imports Optuna)
"""

from trainer.search.distributions import Choice, Distribution, LogUniform, QUniform, RandInt, Uniform
from trainer.search.fields import Algorithm, Asha, Budget, Pbt
from trainer.search.spec import SearchSpec, load_search, parse_search, with_search_values
from trainer.search.trial import TrialClone, TrialRecord, TrialResult, TrialState

__all__ = [
    "Algorithm", "Asha", "Budget", "Choice", "Distribution", "LogUniform", "Pbt", "QUniform", "RandInt", "SearchSpec", "TrialClone",
    "TrialRecord", "TrialResult", "TrialState", "Uniform", "load_search", "parse_search",
    "with_search_values",
]  # fmt: skip
