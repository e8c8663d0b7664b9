"""Batch norm over the rows of all workers (cross-replica batch norm: Brock et al. 2018, appendix B).

Each rank's sums go through one all-reduce in the forward pass and one in the backward pass, whichever of gloo and NCCL
the process group uses. So W ranks with B/W rows each compute what one process computes on all B rows, forward and
backward. With gradient accumulation the batch is the micro-batch of all ranks.

Every rank must make the same calls in the same order, as DDP asks too: a phase that runs a frozen net (D's, on G's
images) normalises by all ranks' rows as well. In evaluation mode nothing is exchanged, and the module is a plain
`batch_norm` that torch.export can trace.

Shape legend: B rows of this rank, C channels, … further dimensions (H, W), N elements of a channel over all ranks.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import batch_norm
from torch.nn.modules.batchnorm import _BatchNorm


class CrossReplicaNorm(_BatchNorm):
    """x_BC… → (x − mean_C) / √(variance_C + eps), in x's dtype; statistics of all ranks' rows. No affine part: gain and
    bias are the caller's, and may depend on the label.

    Statistics are float32 at least (bf16 under autocast). Buffers are those of `nn.BatchNorm2d`: `running_mean`,
    `running_var` (unbiased) and `num_batches_tracked`; the same on every rank. `momentum` None averages all batches
    since `reset_running_stats` evenly, which is how standing statistics are taken.
    """

    batch_statistics = True
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, channels: int, momentum: float | None = 0.1, eps: float = 1e-5) -> None:
        """channels: C. momentum: weight of a batch in the running statistics. eps: added to the variance."""
        super().__init__(channels, eps=eps, momentum=momentum, affine=False)
        self.across_ranks = True
        """False: a training pass takes this rank's rows alone, and exchanges nothing."""
        self._checked: torch.Size | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Raises RuntimeError in training if the ranks have different numbers of rows, on those whose shape is new."""
        if not self.training or not self.across_ranks or replicas() == 1:
            return super().forward(x)
        y, mean_C, var_C, counts = _Normalise.apply(x, self.eps)  # type: ignore[no-untyped-call]
        self._check(x, counts)
        self._track(mean_C, var_C, counts[0])
        normalised: Tensor = y
        return normalised

    def scaled(self, x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
        """gain · normalised x + bias. gain and bias: [C], or [B, C] for one of each row's own.

        In a training pass without gradients, and if x has float32 at least, gain, mean and variance become one factor and
        one summand, so the map is read and written once after its statistics. Not in half precision, where they would round
        too coarsely (x less its mean is what keeps a channel whose mean is large); nor in evaluation, whose bits are to be
        those of an exported program, which is traced with gradients. Raises ValueError in training for a single value a channel.
        """
        ones = [1] * (x.dim() - 2)
        gain, bias = gain.view(*gain.shape, *ones), bias.view(*bias.shape, *ones)
        if not self.training or torch.is_grad_enabled() or x.dtype not in (torch.float32, torch.float64):
            return torch.addcmul(bias, self(x), gain)
        mean_C, var_C = self._statistics(x)
        factor = gain * (var_C + self.eps).rsqrt().view(-1, *ones)
        return torch.addcmul(bias - mean_C.view(-1, *ones) * factor, x, factor)

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """mean_C and variance_C of a training pass, tracked."""
        values, several = x.numel() // x.shape[1], self.across_ranks and replicas() > 1
        if values < 2 and not several:
            raise ValueError(f"batch norm in training needs more than one value a channel, got {list(x.shape)}")
        mean_C, var_C = _of_this_rank(x)
        counts = torch.full((1,), values, dtype=torch.float64, device=x.device)
        if several:
            mean_C, var_C, counts = _of_all_ranks(x, mean_C, var_C)
            self._check(x, counts)
        self._track(mean_C, var_C, counts[0])
        return mean_C, var_C

    @torch.no_grad()
    def _track(self, mean_C: Tensor, var_C: Tensor, count: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        unbiased = var_C * (count / (count - 1)).to(var_C.dtype)
        if self.momentum is None:
            weight = self.num_batches_tracked.to(mean_C.dtype).reciprocal()
            self.running_mean.lerp_(mean_C.to(self.running_mean.dtype), weight)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), weight)
        else:
            self.running_mean.lerp_(mean_C.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)

    def _check(self, x: Tensor, counts: Tensor) -> None:
        """The gradient of DDP weighs ranks evenly, so unequal shares would quietly be another loss. Checked whenever
        this rank's shape is new, and without the host waiting for the device."""
        if x.shape != self._checked:
            message = (
                f"cross-replica batch norm: this rank has {x.numel() // x.shape[1]} values a channel and another of the "
                f"{replicas()} has more or fewer; give every rank as many rows as the others"
            )
            total, squares = counts
            # Equality in Cauchy and Schwarz: all ranks' counts are the same. They are whole numbers, so it is exact.
            torch._assert_async(squares * replicas() == total * total, message)
            self._checked = x.shape

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"cross-replica batch norm takes [B, C, …], got {list(input.shape)}")


def replicas() -> int:
    """Ranks of the default process group; 1 without one."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _shapes(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, momentum: float
) -> tuple[Tensor, Tensor]:
    exact = torch.promote_types(x.dtype, torch.float32)
    return x.new_empty(x.shape[1], dtype=exact), x.new_empty(x.shape[1], dtype=exact)


if not torch._C._dispatch_has_kernel_for_dispatch_key("aten::batch_norm_update_stats", "Meta"):
    # Without it fake tensors compute real statistics of zeros, which takes a plan of large maps a minute, and their memory.
    torch.library.register_fake("aten::batch_norm_update_stats")(_shapes)


def _of_this_rank(x: Tensor) -> tuple[Tensor, Tensor]:
    """mean_C and biased variance_C, float32 at least: what F.batch_norm computes its statistics with."""
    # The running statistics say in which dtype, and momentum 0 leaves them.
    zeros_C = torch.zeros(x.shape[1], dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
    mean_C, var_C = torch.batch_norm_update_stats(x, zeros_C, torch.ones_like(zeros_C), 0.0)
    return mean_C, var_C


def _of_all_ranks(x: Tensor, mean_C: Tensor, var_C: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """This rank's statistics → those of all ranks' rows, and float64 counts: N, and the sum of the ranks' squared n."""
    # Sums of squares would lose the variance of a channel whose mean is large, but not in float64.
    count, mean64_C, var64_C = x.numel() // x.shape[1], mean_C.double(), var_C.double()
    counts = torch.tensor([count, count**2], dtype=torch.float64, device=x.device)
    moments = torch.cat([mean64_C * count, (var64_C + mean64_C.square()) * count, counts])
    dist.all_reduce(moments)
    sums, squares = moments[:-2].div(moments[-2]).chunk(2)
    variance = (squares - sums.square()).clamp_(min=0.0)
    return sums.to(mean_C.dtype), variance.to(mean_C.dtype), moments[-2:]


class _Normalise(torch.autograd.Function):
    """Training-mode normalisation by the statistics of all ranks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """y, mean_C, biased variance_C, and counts."""
        mean_C, var_C, counts = _of_all_ranks(x, *_of_this_rank(x))
        ctx.save_for_backward(x, mean_C, (var_C + eps).rsqrt(), counts[0])
        ctx.mark_non_differentiable(mean_C, var_C, counts)
        return batch_norm(x, mean_C, var_C, eps=eps), mean_C, var_C, counts

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Tensor, None]:
        """∂/∂x of y = (x − mean) · s with s = 1/σ: s · (dy − Σdy/N − y · Σ(dy · y)/N), sums over all ranks."""
        x, mean_C, inverse_C, total = ctx.saved_tensors
        # Its "gradient of the affine part" is Σ(dy · y) and Σdy, in one pass over memory.
        _, dot_C, sum_C = torch.ops.aten.native_batch_norm_backward(
            dy, x, torch.ones_like(mean_C), None, None, mean_C, inverse_C, True, 0.0, [False, True, True]
        )
        sums = torch.cat([sum_C, dot_C])
        dist.all_reduce(sums)
        sum_C, dot_C = (sums / total).to(mean_C.dtype).chunk(2)
        slope_C = -inverse_C.square() * dot_C
        shape = (1, -1, *[1] * (x.dim() - 2))
        offset_C = -inverse_C * sum_C - slope_C * mean_C
        dx = torch.addcmul(offset_C.view(shape), dy, inverse_C.view(shape)).addcmul_(x, slope_C.view(shape))
        return dx.to(x.dtype), None
