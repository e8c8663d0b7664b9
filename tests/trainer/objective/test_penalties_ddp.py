"""Penalties under real DDP: two gloo processes end with the gradients of one process on the whole batch."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
from forked import context, free_port, join_group, leave_group
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trainer.families.gan.arch import GanArch
from trainer.objective.phases import Batch, adversarial
from trainer.spec import Adam, JobSpec, Objective
from trainer.spec.sections import R1


class Critic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).double()

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        logits: Tensor = self.net(x)
        return logits.squeeze(1)


def d_gradients(critic: nn.Module, rows: slice) -> list[Tensor]:
    spec = JobSpec(
        arch=GanArch(),
        optimizers={"G": Adam(), "D": Adam()},
        objective=Objective(loss="hinge", penalties=(R1(weight=3),)),
    )
    generator = torch.Generator().manual_seed(1)
    real = torch.randn(4, 1, 2, 2, dtype=torch.float64, generator=generator)
    z = torch.randn(4, 4, dtype=torch.float64, generator=generator)
    nets = {"G": lambda z, labels: z.view(-1, 1, 2, 2), "D": critic}
    adversarial(spec)[0].loss(nets, Batch(real[rows], None, z[rows], None, 0)).total.backward()
    return [parameter.grad.clone() for parameter in critic.parameters() if parameter.grad is not None]


def work(rank: int, port: int, folder: str) -> None:
    join_group(rank, 2, port)
    dist.init_process_group("gloo")  # by TCP: with a file, the two waited for each other for ever now and then
    wrapped = DistributedDataParallel(Critic(), broadcast_buffers=False)
    gradients = d_gradients(wrapped, slice(2 * rank, 2 * rank + 2))
    if rank == 0:
        torch.save(gradients, f"{folder}/gradients.pt")
    dist.barrier()  # else one may wait for ever for the other, which has left
    leave_group()


def test_two_workers_gradients_with_a_penalty_are_those_of_one(tmp_path: Path) -> None:
    port = free_port()
    workers = [context().Process(target=work, args=(rank, port, str(tmp_path))) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(100)
    assert [worker.exitcode for worker in workers] == [0, 0]
    found = torch.load(tmp_path / "gradients.pt")
    expected = d_gradients(Critic(), slice(0, 4))
    assert len(found) == len(expected) == 4
    for one, two in zip(expected, found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)
