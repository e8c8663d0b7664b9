"""JobSpec: everything a job is. Complete, frozen, versioned, torch-free.

>>> from trainer.spec import JobSpec, load_spec, with_overrides
"""

from trainer.spec.data import Data
from trainer.spec.errors import FieldError, SpecError
from trainer.spec.explain import explain
from trainer.spec.files import dump_spec, load_spec, parse_spec
from trainer.spec.job import SPEC_VERSION, JobSpec, digest_of
from trainer.spec.limits import Limits
from trainer.spec.optim import Adam, RMSProp, Schedule, Sgd
from trainer.spec.overrides import with_overrides, with_values
from trainer.spec.queue import Queue
from trainer.spec.sections import (
    Checkpointing,
    Ema,
    Evaluation,
    Objective,
    Publish,
    Resources,
    Retry,
    Samples,
    Train,
)

__all__ = [
    "SPEC_VERSION", "Adam", "Checkpointing", "Data", "Ema", "Evaluation", "FieldError", "JobSpec", "Limits", "Objective",
    "Publish", "Queue", "RMSProp", "Resources", "Retry", "Samples", "Schedule", "Sgd", "SpecError", "Train",
    "digest_of", "dump_spec", "explain", "load_spec", "parse_spec", "with_overrides", "with_values",
]  # fmt: skip
