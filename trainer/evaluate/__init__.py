"""Scores of generators: features, Fréchet and kernel distances, precision and recall, each with its provenance.

>>> listeners.append(Evaluator(spec, dataset, cache_dir))
"""

from trainer.evaluate.evaluator import Evaluator
from trainer.evaluate.features import Extractor, extractor
from trainer.evaluate.frechet import frechet_distance
from trainer.evaluate.kernel import kernel_distance
from trainer.evaluate.moments import Moments
from trainer.evaluate.neighbours import precision_recall

__all__ = ["Evaluator", "Extractor", "Moments", "extractor", "frechet_distance", "kernel_distance", "precision_recall"]
