import pytest
from checkpoint_doubles import small_spec

from trainer.engine.distributed import Distributed


@pytest.fixture
def distributed() -> Distributed:
    """One worker on the CPU."""
    return Distributed.create(small_spec(), world=1)
