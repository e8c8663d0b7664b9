"""A RayJob of KubeRay's for each attempt, with a Ray cluster of its own, behind the Protocol that the one long-lived cluster has.

The clusters are made after the RayCluster that is there anyway (`pattern`): its head, and so many pods of the group that holds the
run's workers best. Kubernetes starts and removes the machines; with a LocalQueue of Kueue's the whole run is admitted at once, or waits
there. The RayJob, and with it its cluster, goes some minutes after its end. Read in KubeRay 1.6 and 1.7, `apis/ray/v1/rayjob_types.go`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from service.gateway.dashboard import RayUnreachableError
from service.gateway.kubernetes import Kubernetes, message
from service.gateway.ray_jobs import HttpRayJobs, Node, RayFailedError, RayJob, RayRefusedError, RayStatus
from service.gateway.shapes import Group, Wanted, choose, groups, own_cluster

API = "/apis/ray.io/v1/namespaces"
LABEL = "agon.dev/run"
OURS = "app.kubernetes.io/managed-by"
GROUP, PODS = "agon.dev/group", "agon.dev/pods"
"""Which pods it takes, and how many: clusters are not shared, so a pod is a whole run's."""
QUEUE = "kueue.x-k8s.io/queue-name"
MANAGER = "agon"
UNLIKELY = "Failed"
"""How KubeRay says that a run's cluster, or its submission, came to nothing."""


class KubeRayJobs:
    """The real one. Thread-safe."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        pattern: str,
        *,
        queue: str = "",
        ttl: float = 300.0,
        secret: str = "agon-ray-token",  # noqa: S107 — its name
        ray_token: Path | None = None,
        dashboard: str = "http://{cluster}-head-svc:8265",
    ) -> None:
        """pattern: the RayCluster's name. queue: Kueue's LocalQueue; "": no Kueue. ttl: seconds from a run's end to that of its RayJob.
        secret: the Secret of Ray's token, which `ray_token` is a file of. dashboard: where a run's own cluster answers."""
        self._kubernetes, self._pattern, self._queue, self._ttl = kubernetes, pattern, queue, ttl
        self._secret, self._token, self._dashboard = secret, ray_token, dashboard

    def submit(self, submission_id: str, entrypoint: str, metadata: dict[str, str]) -> None:
        """See RayJobs. The name is the submission's, so Kubernetes itself refuses a second one."""
        spec, known = self._pattern_now()
        wanted = Wanted(int(metadata["agon_workers"]), float(metadata["agon_cpus"]), float(metadata["agon_gpus"]))
        chosen = choose(known, wanted)
        if chosen is None:
            raise RayRefusedError(
                f"no group of RayCluster {self._pattern} holds {wanted.workers} workers with {wanted.cpus:g} CPUs and {wanted.gpus:g} GPUs "
                "each; add one, or raise its maxReplicas"
            )
        group, pods = chosen
        if not self._queue:  # else Kueue's quotas count
            others = [one for one in self._alive() if _in(one, group.name) and _name(one) != submission_id]
            taken = sum(int(one["metadata"]["labels"].get(PODS, 0)) for one in others)
            if taken + pods > group.most:
                raise RayUnreachableError(
                    f"group {group.name} of RayCluster {self._pattern} has {taken} of {group.most} pods in use, and this run takes {pods}"
                )
        body = self._body(submission_id, entrypoint, metadata, own_cluster(spec, *chosen, self._secret), chosen)
        response = self._kubernetes.create(self._jobs(), body)
        if response.is_success:
            return
        if response.status_code == 409:  # it is there already, or still
            found = self._kubernetes.get(self._job(submission_id))
            if found is None or _going(found):
                raise RayUnreachableError(f"the RayJob {submission_id} of before is still being removed")
            return
        if response.status_code in (400, 422) or "denied the request" in message(response):
            raise RayRefusedError(f"Kubernetes refused the RayJob: {message(response)}")
        raise RayFailedError(f"Kubernetes answered {response.status_code}: {message(response)}")

    def status(self, submission_id: str) -> RayJob | None:
        """See RayJobs."""
        found = self._kubernetes.get(self._job(submission_id))
        if found is None:
            return None
        if gave_up(found) and not _going(found):  # its driver may still run: what follows it must not
            self._kubernetes.delete(self._job(submission_id), found)
        return read(found)

    def stop(self, submission_id: str) -> None:
        """See RayJobs. Ray gives a driver that runs its signals; what has no cluster yet, or one that doesn't answer, is deleted."""
        found = self._kubernetes.get(self._job(submission_id))
        if found is None or _going(found) or read(found).status.ended:
            return
        cluster = found.get("status", {}).get("rayClusterName")
        if cluster and found["status"].get("jobStatus") in ("PENDING", "RUNNING"):
            ray = HttpRayJobs(self._dashboard.format(cluster=cluster), self._token)
            try:
                ray.stop(submission_id)
                return
            except RayUnreachableError:  # its head is gone, or not there yet
                pass
            finally:
                ray.close()
        self._kubernetes.delete(self._job(submission_id), found)

    def logs(self, submission_id: str) -> str | None:
        """See RayJobs. The driver writes its own; what one that never could would have said is KubeRay's message."""
        found = self._kubernetes.get(self._job(submission_id))
        return None if found is None else str(found.get("status", {}).get("message", ""))

    def submissions(self) -> list[RayJob]:
        """See RayJobs."""
        return [read(one) for one in self._all()]

    def nodes(self) -> list[Node]:
        """What may be started after the pattern, all of it free: who runs there is known from the control plane's own runs."""
        return [
            Node(f"{group.name}/{number}", group.cpus, group.cpus, group.gpus, group.gpus, group.memory, group.memory)
            for group in self._pattern_now()[1]
            for number in range(group.most)
        ]

    def ping(self) -> None:
        """See RayJobs."""
        self._pattern_now()

    def close(self) -> None:
        """See RayJobs."""
        self._kubernetes.close()

    def _body(
        self,
        submission_id: str,
        entrypoint: str,
        metadata: dict[str, str],
        cluster: dict[str, Any],
        chosen: tuple[Group, int],
    ) -> dict[str, Any]:
        """The RayJob."""
        labels = {
            GROUP: chosen[0].name,
            PODS: str(chosen[1]),
            OURS: MANAGER,
            LABEL: metadata.get("agon_job", submission_id),
            **({QUEUE: self._queue} if self._queue else {}),
        }
        return {
            "apiVersion": "ray.io/v1",
            "kind": "RayJob",
            "metadata": {"name": submission_id, "labels": labels},
            "spec": {
                "entrypoint": entrypoint,
                "jobId": submission_id,
                "metadata": metadata,
                "submissionMode": "HTTPMode",
                "backoffLimit": 0,  # another attempt is the control plane's to make
                "shutdownAfterJobFinishes": True,
                "ttlSecondsAfterFinished": int(self._ttl),
                "suspend": bool(self._queue),  # until Kueue admits it
                "rayClusterSpec": cluster,
            },
        }

    def _all(self) -> list[dict[str, Any]]:
        return self._kubernetes.list(self._jobs(), f"{OURS}={MANAGER}")

    def _alive(self) -> list[dict[str, Any]]:
        """Those whose pods are there, or to come."""
        return [one for one in self._all() if not read(one).status.ended]

    def _pattern_now(self) -> tuple[dict[str, Any], list[Group]]:
        """Its spec and its groups. Raises RayUnreachableError."""
        spec = self._spec_of_pattern()
        try:
            return spec, groups(spec)
        except (ValueError, LookupError, TypeError) as error:
            raise RayUnreachableError(f"the groups of RayCluster {self._pattern} can't be read: {error}") from error

    def _spec_of_pattern(self) -> dict[str, Any]:
        found = self._kubernetes.get(f"{API}/{self._kubernetes.namespace}/rayclusters/{self._pattern}")
        if found is None:
            raise RayUnreachableError(
                f"there is no RayCluster {self._pattern} in namespace {self._kubernetes.namespace}"
            )
        return dict(found["spec"])

    def _jobs(self) -> str:
        return f"{API}/{self._kubernetes.namespace}/rayjobs"

    def _job(self, name: str) -> str:
        return f"{self._jobs()}/{name}"


def _name(found: dict[str, Any]) -> str:
    return str(found["metadata"]["name"])


def _in(found: dict[str, Any], group: str) -> bool:
    return bool(found["metadata"].get("labels", {}).get(GROUP) == group)


def _going(found: dict[str, Any]) -> bool:
    """Whether it is being deleted: until it is gone, its driver may run."""
    return "deletionTimestamp" in found["metadata"]


def gave_up(found: dict[str, Any]) -> bool:
    """Whether KubeRay has ended a RayJob whose driver ran: the cluster is there for some time yet."""
    status = found.get("status") or {}
    return status.get("jobDeploymentStatus") == UNLIKELY and status.get("jobStatus") in ("PENDING", "RUNNING")


def read(found: dict[str, Any]) -> RayJob:
    """A RayJob as the reconciler sees it: what Ray says of its driver, and before that what KubeRay says."""
    status = found.get("status") or {}
    told, deployed = status.get("jobStatus") or "", status.get("jobDeploymentStatus") or ""
    name, words = found["metadata"]["name"], str(status.get("message") or "")
    if told in RayStatus.__members__ and RayStatus(told).ended:
        return RayJob(name, RayStatus(told), words)
    if deployed == UNLIKELY and not _going(found) and not gave_up(found):
        reason = str(status.get("reason") or "Failed")
        return RayJob(name, RayStatus.FAILED, f"KubeRay: {reason}{f': {words}' if words else ''}")
    return RayJob(name, RayStatus.RUNNING if told == "RUNNING" else RayStatus.PENDING, words)
