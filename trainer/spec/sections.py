"""The sections of a job spec, each with the checks that concern it alone. Progress is in images and steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from trainer.retention import Keep
from trainer.schema import MOST_BATCH, MOST_IMAGES, MOST_STEPS, MOST_WEIGHT, Frozen
from trainer.spec.data import location

LossName = Literal["minimax", "non-saturating", "hinge", "wasserstein", "least-squares", "relativistic", "own"]
MetricName = Literal["fid", "kid", "precision", "recall", "reconstruction"]
HIGHER_IS_BETTER: frozenset[str] = frozenset({"precision", "recall"})
"""Of the metrics, those of which more is better; of the others less is."""


class Clip(Frozen):
    """Weight clipping of D after each of its updates (Arjovsky et al. 2017, Algorithm 1)."""

    kind: Literal["clip"] = "clip"
    bound: float = Field(default=0.01, gt=0.0, le=MOST_WEIGHT)
    """Weights are clamped to [-bound, bound]."""


class GradientPenalty(Frozen):
    """Two-sided gradient penalty between real and fake (Gulrajani et al. 2017, Eq. 3)."""

    kind: Literal["gradient-penalty"] = "gradient-penalty"
    weight: float = Field(default=10.0, gt=0.0, le=MOST_WEIGHT)
    """Factor of the penalty in D's loss."""
    interval: int = Field(default=1, ge=1, le=MOST_STEPS)
    """Applied every that many steps, times that many (lazy regularisation)."""


class R1(Frozen):
    """Gradient penalty on real images, weight/2 · E‖∇D(x)‖² (Mescheder et al. 2018, Eq. 9)."""

    kind: Literal["r1"] = "r1"
    weight: float = Field(default=10.0, gt=0.0, le=MOST_WEIGHT)
    """Factor of the penalty in D's loss."""
    interval: int = Field(default=1, ge=1, le=MOST_STEPS)
    """Applied every that many steps, times that many (lazy regularisation)."""


class R2(Frozen):
    """Gradient penalty on generated images, weight/2 · E‖∇D(G(z))‖² (Mescheder et al. 2018, Eq. 10)."""

    kind: Literal["r2"] = "r2"
    weight: float = Field(default=10.0, gt=0.0, le=MOST_WEIGHT)
    """Factor of the penalty in D's loss."""
    interval: int = Field(default=1, ge=1, le=MOST_STEPS)
    """Applied every that many steps, times that many (lazy regularisation)."""


class Orthogonal(Frozen):
    """Orthogonal regularisation of G, weight · Σ‖WWᵀ ⊙ (1 − I)‖²_F over its matrices (Brock et al. 2018, Eq. 3)."""

    kind: Literal["orthogonal"] = "orthogonal"
    weight: float = Field(default=1e-4, gt=0.0, le=MOST_WEIGHT)
    """Factor β of the penalty; its exact gradient is added to G's. The authors' code adds half of it: 1e-4 there is 5e-5."""


Penalty = Annotated[Clip | GradientPenalty | R1 | R2 | Orthogonal, Field(discriminator="kind")]


class DWarmup(Frozen):
    """Steps with more updates of D, which keep a critic near its optimum (Arjovsky et al. 2017, authors' code)."""

    d_steps: int = Field(default=100, ge=1, le=10_000)
    """D's updates in each of these steps."""
    steps: int = Field(default=25, ge=0, le=MOST_STEPS)
    """The first that many steps are such steps."""
    every: int | None = Field(default=500, ge=1, le=MOST_STEPS)
    """After them, every step whose number is a multiple of this; null: no more."""

    def applies(self, step: int) -> bool:
        """Whether step number `step` (from 0) has `d_steps` updates of D."""
        return step < self.steps or (self.every is not None and step % self.every == 0)


class Objective(Frozen):
    """The adversarial loss, what regularises it, and how often D steps."""

    loss: LossName = "non-saturating"
    """Pair of losses for D and G; `own` where the family has losses of its own, and only there."""
    penalties: tuple[Penalty, ...] = ()
    """What regularises D, and with `orthogonal` G; each kind at most once."""
    d_steps: int = Field(default=1, ge=1, le=1000)
    """D's updates per step, each on a new batch of real images (n_critic)."""
    d_warmup: DWarmup | None = None
    """Steps with more updates of D than `d_steps`; null: none."""


class Ema(Frozen):
    """Exponential moving average of G's weights; sampling, evaluation and publishing use it."""

    decay: float = Field(default=0.999, ge=0.0, lt=1.0)
    """Factor per step."""
    start_images: int = Field(default=0, ge=0, le=MOST_IMAGES)
    """Until then the average is a copy of G."""


class MicroBatch(Frozen):
    """Images that a worker holds at once, by phase: gradients of G and of D accumulate separately."""

    G: int | None = Field(default=None, ge=1, le=MOST_BATCH)
    """In phases in which D doesn't step; null: no accumulation."""
    D: int | None = Field(default=None, ge=1, le=MOST_BATCH)
    """Real images (and as many generated ones) in the phases in which D steps; null: no accumulation."""


class Train(Frozen):
    """How long, how much at once, how precisely."""

    images: int = Field(default=1_000_000, ge=1, le=MOST_IMAGES)
    """Length of the training in real images shown; the last step may overshoot by less than one step."""
    batch: int = Field(default=64, ge=1, le=MOST_BATCH)
    """Global batch over all workers."""
    micro_batch: (
        Annotated[
            Annotated[int, Field(ge=1, le=MOST_BATCH), Tag("number")] | Annotated[MicroBatch, Tag("each")],
            Discriminator(lambda given: "each" if isinstance(given, Mapping | MicroBatch) else "number"),
        ]
        | None
    ) = None
    """Images a worker holds at once; gradients accumulate to its share of the batch. A number for all phases, or one for
    each: `{G: 32, D: 16}`. Batch norm's statistics are a micro-batch's. None: no accumulation."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """`bf16` runs the forward passes under autocast; weights and optimiser stay float32."""
    channels_last: bool = False
    """Keeps convolutions' weights, and by them the maps, as [B, H, W, C] in memory: faster for large convolutions, and
    the same but for rounding."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """Seeds initial weights, sample order, latents, dropout: all that is random."""
    log_steps: int = Field(default=20, ge=1, le=MOST_STEPS)
    """Steps between two progress reports; metrics leave the device only then."""

    def micro(self, players: Sequence[str]) -> int | None:
        """Images a worker holds at once in a phase in which these players step; None: all of its share."""
        if isinstance(self.micro_batch, MicroBatch):
            return self.micro_batch.D if "D" in players else self.micro_batch.G
        return self.micro_batch


class Checkpointing(Frozen):
    """When the state is saved and what is kept."""

    every_steps: int = Field(default=500, ge=1, le=MOST_STEPS)
    """Steps between two checkpoints; one more follows the last step."""
    keep_last: int = Field(default=3, ge=1, le=100_000)
    """Newest checkpoints kept."""
    keep_best: Annotated[
        Annotated[bool, Tag("yes")] | Annotated[int, Field(ge=0, le=1000), Tag("number")],
        Discriminator(lambda given: "number" if str(given).lstrip("-").isdigit() else "yes"),
    ] = True
    """Also keep the checkpoint with the best `publish.metric` (without `publish`: the first of `evaluation.metrics`); a number:
    those with so many best."""
    keep_every_images: int | None = Field(default=None, ge=1, le=MOST_IMAGES)
    """Also keep the first checkpoint at or behind each multiple of so many images; null: none of those."""

    @property
    def keep(self) -> Keep:
        """How many of each kind stay."""
        return Keep(self.keep_last, int(self.keep_best), self.keep_every_images)


class Samples(Frozen):
    """Sample grids from a fixed latent."""

    every_steps: int = Field(default=500, ge=1, le=MOST_STEPS)
    """Steps between two grids; one more follows the last step."""
    count: int = Field(default=64, ge=1, le=1024)
    """Images of one grid."""


class Evaluation(Frozen):
    """Scores of the EMA generator against the training images."""

    every_steps: int | None = Field(default=None, ge=1, le=MOST_STEPS)
    """Steps between evaluations; None evaluates once, at the end."""
    metrics: tuple[MetricName, ...] = ("fid", "kid")
    """Fréchet distance, kernel distance, the share of samples near real images (precision) and vice versa (recall), and
    for families with an encoder the mean squared difference of an image and its reconstruction, pixels in [0, 1]."""
    samples: int = Field(default=10_000, ge=16, le=10_000_000)
    """Generated images (and at most as many real ones)."""
    standing_batches: int = Field(default=0, ge=0, le=10_000)
    """Batches that the batch norms of the sampled generator take their statistics from, anew, each time before it is
    sampled, scored or published; from latents that are truncated as those that are sampled. 0: training's running
    statistics. Batches are of `train.micro_batch` (or a worker's share of `train.batch`)."""
    truncations: tuple[Annotated[float, Field(ge=0.01, le=10.0)], ...] = ()
    """Thresholds of the truncation curve in the model card: scored once, at the end, each on `samples` images, 10,000 at
    most. (): no curve. Normal priors only."""
    extractor: str = Field(default="classifier", max_length=2000)
    """`classifier`: a small net trained once per dataset and cached. Otherwise the path or URL of a TorchScript or
    `pt2` file that maps uint8-range float images [B, 3, H, W] to features [B, F] (e.g. Inception)."""

    @field_validator("extractor")
    @classmethod
    def _allowed(cls, extractor: str) -> str:
        return location(extractor)

    @field_validator("metrics")
    @classmethod
    def _distinct(cls, metrics: tuple[MetricName, ...]) -> tuple[MetricName, ...]:
        if len(set(metrics)) < len(metrics):
            raise ValueError("names a metric twice")
        return metrics


class Resources(Frozen):
    """What the job takes of the cluster."""

    workers: int = Field(default=1, ge=1, le=4096)
    """DDP workers (one process each)."""
    min_workers: int | None = Field(default=None, ge=1, le=4096)
    """Elastic minimum; None: not elastic."""
    cpus_per_worker: float = Field(default=1.0, ge=0.001, le=4096.0)
    """CPUs that Ray reserves for each worker."""
    gpus_per_worker: int = Field(default=0, ge=0, le=1)
    """0 trains on the CPU (gloo), 1 on a GPU (NCCL)."""


class Retry(Frozen):
    """What happens after failures that are not the job's own fault (worker, node or driver lost)."""

    worker_failures: int = Field(default=3, ge=0, le=10_000)
    """Restarts of the worker group from the last checkpoint within one attempt."""
    attempts: int = Field(default=3, ge=1, le=100)
    """Submissions to the cluster before the job fails."""


class Publish(Frozen):
    """Registers the finished generator."""

    model: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    """Registered model's name."""
    gate: Literal["better", "always", "never"] = "better"
    """When alias `champion` moves to the new version: if `metric` is better than the incumbent's on the same dataset
    digest and extractor; always; never."""
    metric: MetricName = "fid"
    """What the gate compares. Higher is better for precision and recall, lower for the others."""
    encoder: bool | None = None
    """Whether the encoder is published with the generator; null: if the family has one."""
