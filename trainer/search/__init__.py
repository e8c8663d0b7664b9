"""SearchSpec: a job spec with some of its fields replaced by distributions. Torch-free and Ray-free.

distributions   what a field may be drawn from
spec            the search: base, space, algorithm, budget
space           from values to a trial's spec: paths, types, conditions, draws
trial           what is written down of each trial
"""

from trainer.search.distributions import Choice, Distribution, LogUniform, QUniform, RandInt, Uniform
from trainer.search.spec import Algorithm, Asha, Budget, Pbt, SearchSpec, load_search, parse_search
from trainer.search.trial import Clone, Result, TrialRecord, TrialState

__all__ = [
    "Algorithm", "Asha", "Budget", "Choice", "Clone", "Distribution", "LogUniform", "Pbt", "QUniform", "RandInt", "Result",
    "SearchSpec", "TrialRecord", "TrialState", "Uniform", "load_search", "parse_search",
]  # fmt: skip
