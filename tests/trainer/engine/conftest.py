import pytest
import torch
from engine_doubles import gan_spec

from trainer.engine.distributed import Distributed


@pytest.fixture
def distributed() -> Distributed:
    """One worker on the CPU, float32."""
    return Distributed.create(gan_spec(), world=1)


@pytest.fixture
def float64():
    """Everything that is built inside computes in float64."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
