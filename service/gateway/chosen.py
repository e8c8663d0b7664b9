"""The gateway to where runs train, by the settings."""

from __future__ import annotations

from service.gateway.kuberay import KubeRayJobs
from service.gateway.kubernetes import Kubernetes
from service.gateway.ray_jobs import HttpRayJobs, RayJobs
from service.settings import Settings


def ray_of(settings: Settings) -> RayJobs:
    """Raises OSError where RayJobs are wanted, and this is no pod with a service account."""
    if settings.ray_jobs == "cluster":
        return HttpRayJobs(settings.ray_address, settings.ray_token_file)
    return KubeRayJobs(
        Kubernetes(settings.kubernetes_url),
        settings.rayjob_pattern,
        queue=settings.rayjob_queue,
        ttl=settings.rayjob_keep_seconds,
        ray_token=settings.ray_token_file,
    )
