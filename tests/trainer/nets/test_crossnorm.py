"""Cross-replica batch norm against one process with the whole batch, in real gloo processes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.distributed as dist
from forked import context, free_port, join_group, leave_group
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.parallel import DistributedDataParallel

from trainer.nets.norm import CrossReplicaNorm, uses_batch_statistics

ROWS, CHANNELS = 8, 5


def batch() -> Tensor:
    """[8, 5, 3, 2]: means far from 0 and different variances, between the ranks' rows too."""
    x = torch.randn(ROWS, CHANNELS, 3, 2, generator=torch.Generator().manual_seed(1))
    x = x * torch.arange(1, CHANNELS + 1).view(1, -1, 1, 1) + 30
    return x + torch.arange(ROWS).view(-1, 1, 1, 1)


class Net(nn.Module):
    """Two norms with something between them, and a loss that is no symmetric function of the rows."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.first, self.second = CrossReplicaNorm(CHANNELS), CrossReplicaNorm(4)
        self.mix = nn.Conv2d(CHANNELS, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.mix(self.first(x)).tanh())
        return y


def measure(rank: int, world: int, *, autocast: bool = False) -> dict[str, Any]:
    """What rank `rank` of `world` computes on its rows: a frozen pass, then forward and backward, then evaluation."""
    net: Any = Net()
    called = net if world == 1 else DistributedDataParallel(net, broadcast_buffers=False)
    rows = slice(rank * ROWS // world, (rank + 1) * ROWS // world)
    x = batch()[rows].requires_grad_(True)
    target = torch.randn(ROWS, 4, 3, 2, generator=torch.Generator().manual_seed(2))[rows]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        with torch.no_grad():
            net(x * 0.5)
        y = called(x)
    apart, (gain, bias) = (
        CrossReplicaNorm(CHANNELS),
        torch.randn(2, ROWS, CHANNELS, generator=torch.Generator().manual_seed(3)),
    )
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        scaled = apart.scaled(x, gain[rows], bias[rows])
    (y.float() * target).mean().backward()
    assert x.grad is not None
    return {
        "y": y.detach(),
        "scaled": scaled,
        "scaled by": torch.cat([apart.running_mean, apart.running_var]),
        "dx": x.grad / world,  # the mean over this rank's rows is `world` times their share of the whole mean
        "weight": net.mix.weight.grad,
        "mean": net.first.running_mean.clone(),
        "var": net.first.running_var.clone(),
        "seen": int(net.first.num_batches_tracked),
        "evaluated": net.eval()(x).detach(),
    }


def work(rank: int, world: int, port: int, folder: str) -> None:
    join_group(rank, world, port)
    dist.init_process_group("gloo")
    found = [measure(rank, world), measure(rank, world, autocast=True)]
    torch.save({"found": found, "refused": refused(rank)}, f"{folder}/{world}-{rank}.pt")
    leave_group()


def refused(rank: int) -> str:
    """What this rank says to a batch of which it has more rows than rank 0."""
    try:
        CrossReplicaNorm(3)(torch.randn(2 + rank, 3))
    except RuntimeError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    """By world size, what each rank found."""
    folder = str(tmp_path_factory.mktemp("groups"))
    ports = {world: free_port() for world in (2, 4)}
    ranks = [(rank, world) for world in (2, 4) for rank in range(world)]
    workers = [context().Process(target=work, args=(rank, world, ports[world], folder)) for rank, world in ranks]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(200)
    assert [worker.exitcode for worker in workers] == [0] * len(workers)
    found: dict[int, list[dict[str, Any]]] = {1: [{"found": [measure(0, 1), measure(0, 1, autocast=True)]}]}
    for rank, world in ranks:
        found.setdefault(world, []).append(torch.load(f"{folder}/{world}-{rank}.pt"))
    return found


def together(found: list[dict[str, Any]], name: str, run: int = 0) -> Tensor:
    """The ranks' rows, one after the other."""
    return torch.cat([result["found"][run][name] for result in found])


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_together_compute_what_one_process_does_with_the_whole_batch(
    measured: dict[int, list[dict[str, Any]]], world: int
) -> None:
    for name in ("y", "dx", "scaled", "evaluated"):
        one, several = together(measured[1], name), together(measured[world], name)
        torch.testing.assert_close(several, one, rtol=1e-5, atol=1e-5 * float(one.abs().max()))
    one = measured[1][0]["found"][0]
    for rank in measured[world]:
        for name in ("weight", "mean", "var", "scaled by"):
            torch.testing.assert_close(rank["found"][0][name], one[name], rtol=1e-5, atol=1e-5)
            assert torch.equal(rank["found"][0][name], measured[world][0]["found"][0][name])  # the same on all ranks
        assert rank["found"][0]["seen"] == 2  # the frozen pass and the one with a gradient


@pytest.mark.parametrize("world", [1, 2])
def test_under_autocast_statistics_stay_float32(measured: dict[int, list[dict[str, Any]]], world: int) -> None:
    exact, rough = measured[1][0]["found"][0], measured[world][0]["found"][1]
    for name in ("mean", "var"):  # of the first norm, whose input is float32
        torch.testing.assert_close(rough[name], exact[name], rtol=1e-5, atol=1e-5)
    close = (together(measured[world], "y", run=1).float() - exact["y"]).abs()
    assert float(close.mean()) < 0.02  # bf16 has 8 bits
    assert float(close.mean()) > 0.0


@pytest.mark.parametrize("world", [2, 4])
def test_unequal_rows_are_refused(measured: dict[int, list[dict[str, Any]]], world: int) -> None:
    for rank, found in enumerate(measured[world]):
        assert f"this rank has {2 + rank} values a channel" in found["refused"]


def test_one_process_is_batch_norm_without_an_affine_part() -> None:
    ours, torchs = CrossReplicaNorm(CHANNELS, momentum=0.3, eps=1e-3), nn.BatchNorm2d(CHANNELS, 1e-3, 0.3, affine=False)
    assert torch.equal(ours(batch()), torchs(batch()))
    assert torch.equal(ours.eval()(batch()), torchs.eval()(batch()))
    assert list(ours.state_dict()) == list(torchs.state_dict())
    assert list(ours.parameters()) == []
    assert uses_batch_statistics(ours)


@pytest.mark.parametrize("own", [False, True], ids=["of all rows", "of each row"])
@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("momentum", [0.3, None])
def test_scaled_is_gain_times_the_normalised_map_plus_bias(own: bool, gradient: bool, momentum: float | None) -> None:
    ours = CrossReplicaNorm(CHANNELS, momentum).double()
    torchs = nn.BatchNorm2d(CHANNELS, 1e-5, momentum, affine=False).double()
    gain, bias = torch.randn(2, *((ROWS, CHANNELS) if own else (1, CHANNELS)), dtype=torch.float64)
    x = batch().double()
    with torch.set_grad_enabled(gradient):
        for shift in (0.0, 5.0, -3.0):  # training passes, then evaluation
            if shift < 0:
                ours, torchs = ours.eval(), torchs.eval()
            found = ours.scaled(x + shift, *((gain, bias) if own else (gain[0], bias[0])))
            wanted = gain[:, :, None, None] * torchs(x + shift) + bias[:, :, None, None]
            torch.testing.assert_close(found, wanted, rtol=0.0, atol=1e-10)
    for name, buffer in torchs.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), buffer, rtol=1e-12, atol=0.0)


def test_evaluation_without_gradients_has_the_bits_of_what_is_exported_with_them() -> None:
    norm, (gain, bias) = CrossReplicaNorm(CHANNELS), torch.randn(2, CHANNELS)
    norm(batch())
    norm.eval()
    traced = norm.scaled(batch(), gain, bias)
    with torch.inference_mode():
        assert torch.equal(norm.scaled(batch(), gain, bias), traced)


def test_a_single_value_a_channel_has_no_variance() -> None:
    norm = CrossReplicaNorm(3)
    with torch.no_grad(), pytest.raises(ValueError, match="more than one value"):
        norm.scaled(torch.randn(1, 3, 1, 1), torch.ones(3), torch.zeros(3))
    assert norm.running_var.isfinite().all()


def test_statistics_of_fake_maps_are_not_computed() -> None:
    with FakeTensorMode(allow_fallback_kernels=False):
        norm = CrossReplicaNorm(3)
        with torch.no_grad():
            y = norm.scaled(torch.randn(4, 3, 2, 2), torch.ones(3), torch.zeros(3))
        mean, var = torch.batch_norm_update_stats(
            torch.randn(4, 3, 2, 2).bfloat16(), torch.zeros(3), torch.ones(3), 0.0
        )
    assert y.shape == (4, 3, 2, 2)
    assert (mean.shape, mean.dtype, var.shape, var.dtype) == ((3,), torch.float32, (3,), torch.float32)


def test_half_precision_maps_are_normalised_by_float32_statistics() -> None:
    ours, x = CrossReplicaNorm(CHANNELS), batch().bfloat16()
    y = ours(x)
    assert y.dtype == torch.bfloat16
    assert ours.running_mean is not None
    torch.testing.assert_close(ours.running_mean, 0.1 * x.double().mean((0, 2, 3)).float(), rtol=1e-5, atol=0)


def test_ranks_can_be_left_out_for_statistics_of_ones_own() -> None:
    ours = copy.deepcopy(CrossReplicaNorm(2))
    ours.across_ranks = False
    assert ours(torch.randn(4, 2)).shape == (4, 2)
    with pytest.raises(ValueError, match=r"takes \[B, C, …\]"):
        ours(torch.randn(4))


def test_evaluation_exports_with_any_batch() -> None:
    norm = CrossReplicaNorm(CHANNELS)
    norm(batch())
    program = torch.export.export(norm.eval(), (batch(),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.testing.assert_close(program.module()(batch()[:3]), norm(batch()[:3]))
