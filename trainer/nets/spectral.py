"""Spectral normalisation (Miyato et al. 2018): layers whose weight is W / σ̂(W), where σ̂ estimates W's largest singular value.

σ̂ = uᵀWv, with u and v from power iteration (their Algorithm 1): v ← Wᵀu / ‖Wᵀu‖, u ← Wv / ‖Wv‖, once for each value of
the weights. W is differentiated through σ̂ with u and v held fixed.

When it iterates: in `iterate_(net)`, which a family's phases run after each update of the net (`Phase.after_update`), and
nowhere else. So u and v belong to the weights as they are, one iteration for each value of the weights, which is what the
algorithm asks for; a forward pass changes nothing, in training or in evaluation. All passes over the same weights
compute the same function: D's on real and on fake images, those of penalties, those of the other player's phase, and
those of an update's micro-batches, as one large batch would. Implementations that iterate in each training pass have a σ̂
that converges a little further for weights that did not change. (The passes can't find out by themselves whether an
optimiser changed W: torch's fused ones don't count as writes in a parameter's version. An update that no iteration
follows leaves training passes with the σ̂ of the weights before it.)

A moving average of weights is not what its net's u and v were found for, and no iteration follows it: before it is used, they
are set to the singular vectors of the averaged weights themselves (`converge_`).

u and v depend on the weights and on each other alone, so DDP's ranks, which start equal, stay equal, and a restored
training goes on with the same bits. The norm is in the weights' precision: autocast is off in it.

Shape legend: O rows of W (outputs, or labels of an embedding), F columns of W (all that the other dimensions hold).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear, normalize

from trainer.nets.resample import Conv3, ConvPool3, UpConv3

Layer = TypeVar("Layer", bound=nn.Conv2d | nn.Linear | nn.Embedding)
FIRST_ITERATIONS = 8
"""Power iterations when a layer is made, so that a net means something before its first update."""


class Spectral(nn.Module):
    """What normalised layers share: buffers `u` [O], `v` [F], unit vectors, and `sigma`, σ̂ at the last iteration."""

    weight: Tensor
    u: Tensor
    v: Tensor
    sigma: Tensor
    _iterated: tuple[Tensor, tuple[int, ...]] | None = None
    """The weight of the last iteration and the versions of weight and buffers after it: while they have these, `sigma` is σ̂
    of W as it is, but for a fused optimiser's update, which counts as no version; so an iteration has to follow it."""
    _converged = False
    """Whether that iteration was the last of infinitely many."""

    def start(self) -> None:
        """Make the buffers for the weights as they are; u begins at random, from torch's global generator."""
        matrix = self.weight.detach().flatten(1)
        self.register_buffer("u", normalize(torch.randn_like(matrix[:, 0]), dim=0))
        self.register_buffer("v", torch.zeros_like(matrix[0]))
        self.register_buffer("sigma", torch.zeros_like(matrix[0, 0]))
        for _ in range(0 if matrix.is_meta else FIRST_ITERATIONS):
            self.iterate()

    def __getstate__(self) -> dict[str, Any]:
        """What a copy has: its weight counts versions of its own."""
        return {name: value for name, value in self.__dict__.items() if name != "_iterated"}

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """What `to`, `double` and their like do, which no version tells of."""
        self._iterated = None
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def iterate(self) -> None:
        """One power iteration."""
        with _exact(self.weight):
            matrix = _matrix(self.weight)
            v = normalize(torch.mv(matrix.T, self.u), dim=0)
            product = torch.mv(matrix, v)
            self.v.copy_(_in_order(v, self.weight))
            self.u.copy_(normalize(product, dim=0))
            self.sigma.copy_(torch.dot(self.u, product))
        self._remember(converged=False)

    @torch.no_grad()
    def converge(self) -> None:
        """Set u, v and σ̂ to what endless iteration tends to: W's first singular vectors and its largest singular value, from
        the eigenvectors of the smaller of WWᵀ and WᵀW in float64.

        A function of the weights alone, whatever the vectors were before. Does nothing while they belong to the weights as they
        are, nor for weights that are not finite, which have none.
        """
        if self._converged and self._is_current():
            return
        with _exact(self.weight):
            matrix = _matrix(self.weight).double()
            if not bool(torch.isfinite(matrix).all()):
                return
            tall = matrix.shape[0] > matrix.shape[1]
            first = torch.linalg.eigh(matrix.T @ matrix if tall else matrix @ matrix.T).eigenvectors[:, -1]
            u = normalize(torch.mv(matrix, first), dim=0) if tall else first
            v = first if tall else normalize(torch.mv(matrix.T, first), dim=0)
            self.u.copy_(u)
            self.v.copy_(_in_order(v, self.weight))
            self.sigma.copy_(self.norm())
        self._remember(converged=True)

    def _remember(self, converged: bool) -> None:
        self._iterated = None if self.weight.is_inference() else (self.weight, self._versions())
        self._converged = converged

    def norm(self) -> Tensor:
        """σ̂(W), a scalar above 0, differentiable in W."""
        with _exact(self.weight):
            norm: Tensor = torch.dot(self.u, torch.mv(_matrix(self.weight), _as_stored(self.v, self.weight)))
            return norm

    def normalised(self) -> Tensor:
        """W / σ̂(W), in W's shape and precision.

        In training, where each iteration follows the update that it belongs to, σ̂ is the one that it found, if it can be.
        """
        if not self.training:
            return self.weight / self.norm()
        sigma = self.sigma if self._is_current() else self.norm().detach()
        if torch.is_grad_enabled() and self.weight.requires_grad:
            divided: Tensor = _Divided.apply(self.weight, self.u, self.v, sigma)  # type: ignore[no-untyped-call]
            return divided
        return self.weight / sigma

    def _is_current(self) -> bool:
        """Whether the weights are those of the last iteration."""
        if self._iterated is None or self.weight.is_inference():
            return False
        weight, versions = self._iterated
        return weight is self.weight and versions == self._versions()

    def _versions(self) -> tuple[int, ...]:
        return tuple(tensor._version for tensor in (self.weight, self.u, self.v, self.sigma))


class _Divided(torch.autograd.Function):
    """W / σ, W's shape, with the scalar σ = uᵀWv known; u [O], v [F] in the order of W's own columns. Its gradient has no
    gradient in W: σ's part of it would be missing. Penalties of D's gradient by its images don't ask for that."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, u: Tensor, v: Tensor, sigma: Tensor) -> Tensor:
        divided = weight / sigma
        ctx.save_for_backward(divided, u, v, sigma)
        return divided

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None, None]:
        """∂/∂W of ⟨dy, W / uᵀWv⟩ = (dy − ⟨dy, W / σ⟩ u vᵀ) / σ."""
        divided, u, v, sigma = ctx.saved_tensors
        dy = dy.to(divided.dtype)
        if _channels_last(divided):
            dy = dy.contiguous(memory_format=torch.channels_last)
        with _exact(divided):
            slope = -torch.dot(_matrix(dy).flatten(), _matrix(divided).flatten())
            rows = torch.addr(_matrix(dy), u * slope, _as_stored(v, divided)).div_(sigma)
        if not _channels_last(divided):
            return rows.view(divided.shape), None, None, None
        outputs, inputs, height, width = divided.shape
        return rows.view(outputs, height, width, inputs).permute(0, 3, 1, 2), None, None, None


def _channels_last(weight: Tensor) -> bool:
    return weight.dim() == 4 and not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last)


def _matrix(weight: Tensor) -> Tensor:
    """W as [O, F], a view: the columns of a kernel that is channels last are in the order in which they are stored."""
    return (weight.permute(0, 2, 3, 1) if _channels_last(weight) else weight).flatten(1)


def _as_stored(v: Tensor, weight: Tensor) -> Tensor:
    """v [F] in the order of `_matrix`'s columns."""
    return v.view(weight.shape[1:]).permute(1, 2, 0).flatten() if _channels_last(weight) else v


def _in_order(v: Tensor, weight: Tensor) -> Tensor:
    """v [F] of `_matrix`'s columns in the order of W's own, which checkpoints have whatever the format."""
    if not _channels_last(weight):
        return v
    inputs, height, width = weight.shape[1:]
    return v.view(height, width, inputs).permute(2, 0, 1).flatten()


class _Convolution(Spectral, nn.Conv2d):
    """A convolution of any kind here, by W / σ̂(W)."""

    def forward(self, input: Tensor) -> Tensor:
        output: Tensor = self._conv_forward(input, self.normalised(), self.bias)
        return output


class SpectralConv2d(_Convolution):
    """`nn.Conv2d` by W / σ̂(W)."""


class SpectralConv3(_Convolution, Conv3):
    """`Conv3` by W / σ̂(W)."""


class SpectralUpConv3(_Convolution, UpConv3):
    """`UpConv3` by W / σ̂(W), W the 3 × 3 weight."""


class SpectralConvPool3(_Convolution, ConvPool3):
    """`ConvPool3` by W / σ̂(W), W the 3 × 3 weight."""


class SpectralLinear(Spectral, nn.Linear):
    """`nn.Linear` by W / σ̂(W)."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.normalised(), self.bias)


class SpectralEmbedding(Spectral, nn.Embedding):
    """`nn.Embedding` by W / σ̂(W); only the rows looked up are divided."""

    def forward(self, input: Tensor) -> Tensor:
        return embedding(input, self.weight) / self.norm()


_KINDS: dict[type[nn.Module], type[Spectral]] = {
    nn.Conv2d: SpectralConv2d,
    Conv3: SpectralConv3,
    UpConv3: SpectralUpConv3,
    ConvPool3: SpectralConvPool3,
    nn.Linear: SpectralLinear,
    nn.Embedding: SpectralEmbedding,
}


def iterate_(net: nn.Module) -> None:
    """One power iteration in each normalised layer of the net, in place. To be called after each update of its weights."""
    for module in net.modules():
        if isinstance(module, Spectral):
            module.iterate()


def converge_(net: nn.Module) -> None:
    """Give each normalised layer of the net the singular vectors of its weights, in place: for weights that no iteration has
    followed, as those of a moving average. What was done already for the same weights is not done again."""
    for module in net.modules():
        if isinstance(module, Spectral):
            module.converge()


def spectral(layer: Layer) -> Layer:
    """The same layer, from now on with the weight W / σ̂(W). Parameters keep their names and their values W.

    layer: initialised already. Raises TypeError for a kind of layer that is not known here.
    """
    if type(layer) not in _KINDS:
        known = ", ".join(kind.__name__ for kind in _KINDS)
        raise TypeError(f"no spectral norm for a {type(layer).__name__}; there is one for {known}")
    changed: Any = layer
    changed.__class__ = _KINDS[type(layer)]
    changed.start()
    return layer


@contextmanager
def _exact(weight: Tensor) -> Iterator[None]:
    """Inside, matrix products are in the weights' precision. Enters autocast only to leave it, so that exports stay plain."""
    kind = weight.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        with torch.autocast(kind, enabled=False):
            yield
    else:
        yield
