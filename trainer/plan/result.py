"""What a plan says. Torch-free: the control plane, the client and the driver read it as JSON. Bytes, FLOPs and seconds throughout."""

from __future__ import annotations

from pydantic import Field

from trainer.schema import Frozen


class PlayerPlan(Frozen):
    """A player's size."""

    parameters: int
    """Numbers that are trained; exact."""
    micro_batch: int
    """Images of one forward and backward pass when the player steps, on one worker."""
    accumulation: int
    """Passes of one update."""


class PhasePlan(Frozen):
    """One kind of update, on one worker."""

    players: tuple[str, ...]
    """Who steps."""
    updates_per_step: float
    """Mean over the training."""
    flops: float
    """Of one update, mean over the training (lazy penalties come and go)."""
    memory: int
    """Bytes at its fullest moment, without the runtime."""
    seconds: float
    """Estimated time of one update without communication."""
    largest_micro_batch: int | None
    """Most images of one pass that fit the device and divide the worker's share; null: not even one image fits."""


class MemoryPlan(Frozen):
    """A worker's memory at the fullest moment of a step."""

    phase: str
    """In whose update that moment is."""
    parts: dict[str, int]
    """weights, gradients, optimizer, ema, buckets (DDP's), batch (images and latents of this worker's share), activations (what
    the backward pass needs, and what operations make in passing), runtime (the process or the GPU's context)."""
    total: int
    capacity: int | None
    """Of the device; null: unknown."""
    usable: int | None
    """Of it what is left for all parts but the runtime, less what the GPU's allocator is assumed to lose."""


class TrafficPlan(Frozen):
    """What one worker gives to all-reduces in a step, mean over the training."""

    gradients: float
    """Bytes; each update reduces its players' gradients once, whatever the accumulation."""
    statistics: float
    """Bytes of cross-replica batch norms."""
    calls: float
    """All-reduces of these norms; each costs a round trip."""


class TimePlan(Frozen):
    """Estimated by a roofline; see `assumptions`."""

    step: float
    """Seconds of a step: computation and what communication it doesn't hide."""
    computation: float
    """Seconds."""
    communication: float
    """Seconds that are not hidden behind the backward pass."""
    images_per_second: float
    """Real images, all workers."""
    steps: int
    """To `train.images`."""
    hours: float
    """To `train.images`."""
    device_hours: float
    """Hours times workers."""
    calibrated: bool
    """Whether the device's rates were measured (`agon plan --calibrate`) or come from the table."""


class Verdict(Frozen):
    """Whether it fits, and what would."""

    fits: bool | None
    """null: the device's memory is unknown."""
    micro_batch: dict[str, int] | None
    """The largest `train.micro_batch` that fits: "D" for phases in which D steps, "G" for the others; null if none does, or if the
    memory is unknown."""
    accumulation: dict[str, int] | None
    """Passes of one update with it."""
    need: str
    """For a person: "19.2 GiB of 76.8 GiB", or what it needs if the device's memory is unknown."""
    advice: str
    """For a person: the largest micro-batch, or what to change; empty if the device's memory is unknown."""

    @property
    def text(self) -> str:
        """One line for a person."""
        head = {True: "fits: ", False: "does not fit: ", None: "needs "}[self.fits]
        return head + "; ".join(filter(None, (self.need, self.advice)))


class Plan(Frozen):
    """What one worker of the job needs and does, and how long all of them take."""

    name: str
    """The job's."""
    family: str
    spec_digest: str
    """Of the spec as it was planned: with these workers and devices."""
    device: str
    title: str
    workers: int
    batch: int
    """Global."""
    local_batch: int
    """Of one worker."""
    players: dict[str, PlayerPlan]
    phases: dict[str, PhasePlan]
    flops_per_step: float
    """All workers and phases, mean over the training; a multiplication and an addition are two."""
    memory: MemoryPlan
    traffic: TrafficPlan
    time: TimePlan
    verdict: Verdict
    assumptions: tuple[str, ...] = Field(default=())
    """What the estimates rest on."""
