"""One training step in the plain form and in ours, on the same numbers of images."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.biggan import plain
from trainer.data.stream import RealBatch
from trainer.engine.distributed import Distributed
from trainer.engine.memory import keep_freed_memory
from trainer.engine.metrics import Means, Stopwatch
from trainer.engine.state import TrainState
from trainer.engine.step import Stepper
from trainer.families.biggan.arch import BigganArch
from trainer.objective.orthogonal import regularise_
from trainer.spec import Adam, JobSpec

Step = Callable[[], object]


def real_images(spec: JobSpec, count: int | None = None) -> RealBatch:
    """One batch of noise, or so many rows of one; its content costs nothing."""
    count = count or spec.train.batch
    source, arch = torch.Generator().manual_seed(0), spec.arch
    shape = (count, arch.channels, arch.resolution, arch.resolution)
    images = torch.randint(256, shape, generator=source, dtype=torch.uint8)
    return RealBatch(images, torch.randint(arch.classes, (count,), generator=source), 0, 0)


def ours(spec: JobSpec) -> tuple[Step, nn.Module]:
    """The product's own step with all that it does beside the nets (latents, metrics, schedules); and its G."""
    stepper = _stepper(spec, Distributed.create(spec, world=1))
    return stepper.step, stepper.state.players["G"].net


def our_step(spec: JobSpec, world: int = 1) -> Step:
    """Ours alone, or as one of several workers."""
    return _stepper(spec, Distributed.create(spec, world=world)).step


REGULARISATIONS = 5


def regularisations(spec: JobSpec) -> Step:
    """The gradient of orthogonal regularisation of our G, added to its own, so many times: alone it would begin with cold
    caches and threads asleep, while in a step it follows a gradient."""
    generator = ours(spec)[1]

    def repeated() -> None:
        for _ in range(REGULARISATIONS):
            regularise_(generator, 1e-4)

    return repeated


def _stepper(spec: JobSpec, distributed: Distributed) -> Stepper:
    batch = real_images(spec, spec.local_batch(distributed.world))

    def batches() -> Iterator[RealBatch]:
        while True:
            yield batch

    return Stepper(TrainState.create(spec, distributed), distributed, batches(), Means(), Stopwatch())


def plain_with_memory_kept(spec: JobSpec) -> Step:
    """The plain form in a process that is told what ours is told: to keep freed memory."""
    keep_freed_memory()
    return PlainStep(spec)


class PlainStep:
    """The public code's step: D on generated and real images in one pass, `d_steps` times; then G through D, which takes no
    gradients; then the moving average, tensor by tensor."""

    def __init__(self, spec: JobSpec) -> None:
        arch = spec.arch
        assert isinstance(arch, BigganArch)
        torch.manual_seed(spec.train.seed)
        self.arch, self.spec, self.batch = arch, spec, spec.train.batch
        self.G, self.D = plain.Generator(arch), plain.Discriminator(arch)
        self.average = copy.deepcopy(self.G)
        self.g_adam, self.d_adam = (self._adam(name, net) for name, net in (("G", self.G), ("D", self.D)))
        found = real_images(spec)
        self.images, self.labels = found.images, found.labels

    def __call__(self) -> None:
        """One step."""
        self._freeze(self.G, True)
        self._freeze(self.D, False)
        real = self.images.float() / 127.5 - 1.0
        for _ in range(self.spec.objective.d_steps):
            self.d_adam.zero_grad()
            z, labels = self._latents()
            with torch.no_grad():
                fake = self.G(z, labels)
            logits = self.D(torch.cat([fake, real]), torch.cat([labels, self.labels]))
            loss = F.relu(1.0 + logits[: self.batch]).mean() + F.relu(1.0 - logits[self.batch :]).mean()
            loss.backward()
            self.d_adam.step()
        self._freeze(self.G, False)
        self._freeze(self.D, True)
        self.g_adam.zero_grad()
        z, labels = self._latents()
        (-self.D(self.G(z, labels), labels).mean()).backward()
        self.g_adam.step()
        self._average()

    def _latents(self) -> tuple[Tensor, Tensor]:
        return torch.randn(self.batch, self.arch.latent.dim), torch.randint(self.arch.classes, (self.batch,))

    def _average(self) -> None:
        assert self.spec.ema is not None
        decay, theirs = self.spec.ema.decay, self.G.state_dict()
        with torch.no_grad():
            for name, tensor in self.average.state_dict().items():
                tensor.copy_(tensor * decay + theirs[name] * (1 - decay))

    def _adam(self, player: str, net: nn.Module) -> torch.optim.Optimizer:
        settings = self.spec.optimizers[player]
        assert isinstance(settings, Adam)
        betas = (settings.beta1, settings.beta2)
        return torch.optim.Adam(net.parameters(), lr=settings.lr, betas=betas, eps=settings.eps)

    def _freeze(self, net: nn.Module, frozen: bool) -> None:
        for parameter in net.parameters():
            parameter.requires_grad_(not frozen)
