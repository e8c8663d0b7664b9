"""What each exception of Ray means for a job: a table by name, so that it needs neither Ray nor torch.

By the class's name alone: Ray Train gives its public classes another module than the one that defines them.

Complete for the installed Ray: `tests/trainer/launch_ray/test_ray_errors.py` lists the classes of `ray.exceptions`, Ray Train, Tune and the
state API, and fails when an upgrade brings one that the table lacks. A class that is not in it counts as its nearest base.

`INSIDE`: it only carries another exception, which is what counts; by itself it says nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from trainer.wire import FailureKind


class Fault(NamedTuple):
    """What an exception of Ray says. `words` stand before its own text; "a worker" becomes the one that failed."""

    kind: FailureKind
    words: str


INSIDE = None
PACKAGES = ("ray", "grpc")
_CLUSTER, _LOST, _BUG = FailureKind.CLUSTER_FAILED, FailureKind.WORKER_LOST, FailureKind.INTERNAL


TABLE: dict[str, Fault | None] = {
    "RayError": Fault(_CLUSTER, "Ray failed"),
    "CrossLanguageError": Fault(_BUG, "an error of another language"),
    "TaskCancelledError": Fault(_CLUSTER, "Ray was told to cancel a part of this job"),
    "RayTaskError": INSIDE,
    "UserCodeException": INSIDE,
    # Processes and nodes
    "LocalRayletDiedError": Fault(_CLUSTER, "Ray's process on a node died"),
    "WorkerCrashedError": Fault(_LOST, "a worker was lost"),
    "RayActorError": Fault(_LOST, "a worker was lost"),
    "ActorDiedError": Fault(_LOST, "a worker was lost"),
    "ActorUnavailableError": Fault(_CLUSTER, "a worker can't be reached"),
    "NodeDiedError": Fault(_LOST, "a worker was lost with its node"),
    "AsyncioActorExit": Fault(_CLUSTER, "a process of Ray was told to end"),
    "ActorHandleNotFoundError": Fault(_CLUSTER, "Ray no longer knows a process: it was started anew meanwhile"),
    "ActorAlreadyExistsError": Fault(_CLUSTER, "a process of an earlier attempt is there yet"),
    # What a node is short of
    "OutOfMemoryError": Fault(
        FailureKind.OUT_OF_MEMORY, "a worker was ended by Ray because its node's memory was full"
    ),
    "OutOfDiskError": Fault(FailureKind.DISK_FULL, "the disk of a worker's node is full"),
    "ObjectStoreFullError": Fault(_CLUSTER, "Ray's object store is full"),
    # Starting and placing
    "TaskUnschedulableError": Fault(_CLUSTER, "Ray could not start a part of this job"),
    "ActorUnschedulableError": Fault(_CLUSTER, "a worker could not be started"),
    "RuntimeEnvSetupError": Fault(_CLUSTER, "Ray could not set up a worker's environment"),
    "TaskPlacementGroupRemoved": Fault(_CLUSTER, "the workers' places were taken away"),
    "ActorPlacementGroupRemoved": Fault(_CLUSTER, "the workers' places were taken away"),
    # Talking
    "RaySystemError": Fault(_CLUSTER, "Ray had an error of its own"),
    "AuthenticationError": Fault(_CLUSTER, "Ray refused this job's token"),
    "RpcError": Fault(_CLUSTER, "Ray can't be reached"),
    "GetTimeoutError": Fault(_CLUSTER, "Ray did not answer in time"),
    "RayChannelError": Fault(_CLUSTER, "Ray's channel between two processes failed"),
    "RayChannelTimeoutError": Fault(_CLUSTER, "Ray's channel between two processes failed"),
    "RayDirectTransportError": Fault(_CLUSTER, "Ray's transport between two processes failed"),
    # Objects
    "ObjectLostError": Fault(_CLUSTER, "Ray lost an object"),
    "ObjectFetchTimedOutError": Fault(_CLUSTER, "Ray did not fetch an object in time"),
    "ReferenceCountingAssertionError": Fault(_CLUSTER, "Ray lost an object"),
    "OwnerDiedError": Fault(_CLUSTER, "Ray lost an object with its owner"),
    "ObjectReconstructionFailedError": Fault(_CLUSTER, "Ray lost an object"),
    "PlasmaObjectNotAvailable": Fault(_CLUSTER, "Ray did not deliver an object in time"),
    # Wrong use, which would be ours
    "ObjectFreedError": Fault(_BUG, "an object of Ray was used after it was freed"),
    "PendingCallsLimitExceeded": Fault(_BUG, "too many calls of one process wait"),
    "ObjectRefStreamEndOfStreamError": Fault(_BUG, "a stream of Ray was read beyond its end"),
    "StreamingGeneratorReplayInconsistentError": Fault(_BUG, "a stream of Ray differed when it was computed again"),
    "OufOfBandObjectRefSerializationException": Fault(_BUG, "a reference of Ray was pickled"),
    "RayCgraphCapacityExceeded": Fault(_BUG, "a channel of Ray is full"),
    "UnserializableException": Fault(_BUG, "an error that can't be unpickled here"),
    # Ray Train
    "TrainingFailedError": INSIDE,
    "WorkerGroupError": INSIDE,
    "ControllerError": INSIDE,
    "NCCLHangError": Fault(_CLUSTER, "the GPUs of several workers no longer hear one another"),
    "PreemptionError": Fault(_LOST, "a worker was lost because its node was taken away"),
    "RayTrainError": Fault(_CLUSTER, "Ray Train failed"),
    "UserExceptionWithTraceback": INSIDE,
    "WorkerHealthCheckFailedError": INSIDE,
    "WorkerHealthCheckTimeoutError": Fault(_LOST, "a worker no longer answers"),
    "WorkerGroupStartupTimeoutError": Fault(_CLUSTER, "the workers got no place in time"),
    "WorkerGroupStartupFailedError": Fault(_LOST, "the workers died while they started"),
    "InsufficientClusterResourcesError": Fault(FailureKind.NO_CAPACITY, "the cluster is too small for this job"),
    "CheckpointManagerInitializationError": Fault(_CLUSTER, "Ray Train can't read what it wrote"),
    "CollectiveTimeoutError": Fault(_CLUSTER, "the workers did not meet in time"),
    "BroadcastCollectiveTimeoutError": Fault(_CLUSTER, "the workers did not meet in time"),
    "SynchronizationBarrierResetError": Fault(_CLUSTER, "a worker was lost while the others waited for it"),
    "RASQueryError": Fault(_CLUSTER, "the GPUs' network did not answer"),
    # Of its first version, which Tune still brings
    "SessionMisuseError": Fault(_BUG, "a function of Ray Train was called outside a training"),
    "TrainBackendError": Fault(_CLUSTER, "Ray Train failed"),
    "TrainingWorkerError": Fault(_LOST, "a worker was lost"),
    "InactiveWorkerGroupError": Fault(_CLUSTER, "the workers are gone"),
    # Tune
    "TuneError": INSIDE,
    "_AbortTrialExecution": Fault(_BUG, "Tune gave a trial up"),
    "_SubCategoryTuneError": Fault(_CLUSTER, "Tune failed"),
    "_TuneStopTrialError": Fault(_CLUSTER, "Tune could not end a trial"),
    "_TuneStartTrialError": Fault(_CLUSTER, "Tune could not start a trial"),
    "_TuneNoNextExecutorEventError": Fault(_CLUSTER, "Tune lost sight of its trials"),
    "RecursiveDependencyError": Fault(_BUG, "the search space depends on itself"),
    "StartTraceback": INSIDE,
    "StartTracebackWithWorkerRank": INSIDE,
    # The state API
    "DataSourceUnavailable": Fault(_CLUSTER, "Ray can't be reached"),
    "RayStateApiException": Fault(_CLUSTER, "Ray did not say how it is"),
    "ServerUnavailable": Fault(_CLUSTER, "Ray can't be reached"),
}


def row(error: BaseException) -> tuple[bool, Fault | None]:
    """Whether the exception is one of Ray's, and its row."""
    for cls in type(error).__mro__:
        if cls.__module__.partition(".")[0] in PACKAGES and cls.__qualname__ in TABLE:
            return True, TABLE[cls.__qualname__]
    return False, INSIDE
