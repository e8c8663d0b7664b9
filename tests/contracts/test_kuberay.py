"""A RayJob for each attempt: what Kubernetes is told of it, and what is made of what it says. Nobody here has a cluster: these go by an API
server of our own, and by KubeRay's types."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from kubernetes_api import Kubernetes as Server
from servers import Server as Plain
from servers import status as answer

from service.gateway.kuberay import KubeRayJobs
from service.gateway.kubernetes import Kubernetes
from service.gateway.ray_jobs import RayFailedError, RayRefusedError, RayStatus, RayUnreachableError
from service.gateway.shapes import Group, Wanted, choose, groups, own_cluster, quantity
from tests.properties import examples

PATTERN = yaml.safe_load((Path(__file__).parents[2] / "k8s" / "base" / "ray.yaml").read_text())["spec"]
NAME = "agon-j-0123456789ab-1"
FACTS = {"agon_job": "j-0123456789ab", "agon_attempt": "1", "agon_workers": "3", "agon_cpus": "2", "agon_gpus": "0"}
GPUS = {
    "groupName": "gpu-8", "minReplicas": 0, "maxReplicas": 2, "rayStartParams": {},
    "template": {"spec": {"containers": [{"name": "w", "env": [{"name": "RAY_AUTH_MODE", "value": "token"}, {"name": "A", "value": "b"}],
                                          "resources": {"requests": {"cpu": "64", "memory": "512Gi"},
                                                        "limits": {"memory": "512Gi", "nvidia.com/gpu": 8}}}]}},
}  # fmt: skip


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    found.put("RayCluster", "agon-ray", {**PATTERN, "workerGroupSpecs": [*PATTERN["workerGroupSpecs"], GPUS]})
    yield found
    found.close()


def gateway(server: Server, tmp_path: Path, **options: Any) -> KubeRayJobs:
    account = tmp_path / "account"
    return KubeRayJobs(
        Kubernetes(server.url, account if account.exists() else server.account(account)), "agon-ray", **options
    )


def made(server: Server, name: str = NAME) -> dict[str, Any]:
    return server.objects["RayJob", name]


def test_a_run_gets_a_cluster_after_the_one_that_is_there_with_as_many_pods_as_hold_it(
    server: Server, tmp_path: Path
) -> None:
    ray = gateway(server, tmp_path)
    ray.submit(NAME, "python -m trainer.launch.driver /shared/jobs/j/job.json", FACTS)
    body = made(server)
    assert body["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "agon", "agon.dev/run": "j-0123456789ab", "agon.dev/group": "workers", "agon.dev/pods": "2",
    }  # fmt: skip
    spec = body["spec"]
    assert (spec["jobId"], spec["submissionMode"], spec["backoffLimit"], spec["suspend"]) == (
        NAME,
        "HTTPMode",
        0,
        False,
    )
    assert (spec["shutdownAfterJobFinishes"], spec["ttlSecondsAfterFinished"]) == (True, 300)
    cluster = spec["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    assert (group["groupName"], group["replicas"], group["minReplicas"], group["maxReplicas"]) == ("workers", 2, 2, 2)
    assert group["template"]["spec"]["volumes"] == PATTERN["workerGroupSpecs"][0]["template"]["spec"]["volumes"]
    assert cluster["headGroupSpec"]["rayStartParams"] == PATTERN["headGroupSpec"]["rayStartParams"]
    assert cluster["authOptions"] == {"mode": "token", "secretName": "agon-ray-token"}
    names = [one["name"] for one in group["template"]["spec"]["containers"][0]["env"]]
    assert "RAY_AUTH_TOKEN" not in names and "RAY_JOB_STOP_SIGNAL" in names, "KubeRay says the token, we the rest"


def test_the_same_attempt_is_made_once_also_by_two_replicas(server: Server, tmp_path: Path) -> None:
    first, second = gateway(server, tmp_path), gateway(server, tmp_path)
    first.submit(NAME, "one", FACTS)
    second.submit(NAME, "two", FACTS)
    assert made(server)["spec"]["entrypoint"] == "one" and len(first.submissions()) == 1


def test_with_kueue_it_is_admitted_as_a_whole_or_waits(server: Server, tmp_path: Path) -> None:
    ray = gateway(server, tmp_path, queue="team-vision")
    ray.submit(NAME, "x", {**FACTS, "agon_workers": "2", "agon_cpus": "8", "agon_gpus": "8"})
    body = made(server)
    assert body["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-vision" and body["spec"]["suspend"] is True
    (group,) = body["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert (group["groupName"], group["replicas"]) == ("gpu-8", 2)
    server.operate(NAME, jobDeploymentStatus="Suspended")
    assert ray.status(NAME).status is RayStatus.PENDING  # type: ignore[union-attr]


def test_what_no_group_holds_and_what_kubernetes_refuses_is_told_and_an_outage_is_none(
    server: Server, tmp_path: Path
) -> None:
    ray = gateway(server, tmp_path)
    with pytest.raises(RayRefusedError, match="no group of RayCluster agon-ray holds 3 workers with 2 CPUs and 8 GPUs"):
        ray.submit(NAME, "x", {**FACTS, "agon_gpus": "8"})
    with pytest.raises(RayRefusedError, match="is invalid"):
        ray.submit("agon-" + "x" * 50, "x", FACTS)
    for status in (503, 429, 403):
        server.answers = [(status, "words")]
        with pytest.raises(RayUnreachableError, match="words"):
            ray.submit(NAME, "x", FACTS)
    pattern = server.objects.pop(("RayCluster", "agon-ray"))
    with pytest.raises(RayUnreachableError, match="there is no RayCluster agon-ray"):
        ray.submit(NAME, "x", FACTS)
    server.objects["RayCluster", "agon-ray"] = pattern
    assert not [name for kind, name in server.objects if kind == "RayJob"]
    (tmp_path / "account" / "token").write_text("stale")
    with pytest.raises(RayUnreachableError, match="refuses the API's service account"):
        ray.ping()
    server.close()
    with pytest.raises(RayUnreachableError, match="can't be reached"):
        ray.ping()


@pytest.mark.parametrize(
    ("told", "status", "words"),
    [
        ({}, RayStatus.PENDING, ""),
        ({"jobDeploymentStatus": "Initializing"}, RayStatus.PENDING, ""),
        ({"jobDeploymentStatus": "Running", "jobStatus": "PENDING"}, RayStatus.PENDING, ""),
        ({"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}, RayStatus.RUNNING, ""),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}, RayStatus.SUCCEEDED, ""),
        ({"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed", "message": "exit 1"}, RayStatus.FAILED, "exit 1"),
        ({"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED"}, RayStatus.STOPPED, ""),
        ({"jobDeploymentStatus": "Failed", "reason": "SubmissionFailed", "message": "no head"}, RayStatus.FAILED,
         "KubeRay: SubmissionFailed: no head"),
        ({"jobDeploymentStatus": "Something new", "jobStatus": "SOMETHING"}, RayStatus.PENDING, ""),
    ],
)  # fmt: skip
def test_what_kuberay_says_of_it(
    server: Server, tmp_path: Path, told: dict[str, str], status: RayStatus, words: str
) -> None:
    ray = gateway(server, tmp_path)
    assert ray.status(NAME) is None and ray.logs(NAME) is None
    ray.submit(NAME, "x", FACTS)
    server.operate(NAME, **told)
    found = ray.status(NAME)
    assert found is not None and (found.submission_id, found.status, found.message) == (NAME, status, words)


def test_one_that_has_not_begun_is_deleted_when_it_is_stopped_unless_another_has_its_name_by_now(
    server: Server, tmp_path: Path
) -> None:
    ray = gateway(server, tmp_path)
    ray.stop(NAME)
    ray.submit(NAME, "x", FACTS)
    real = ray._kubernetes.delete

    def late(path: str, found: dict[str, Any]) -> None:
        server.operate(NAME, jobDeploymentStatus="Running")  # it changed in between
        real(path, found)

    ray._kubernetes.delete = late  # type: ignore[method-assign]
    ray.stop(NAME)
    assert ("RayJob", NAME) in server.objects, "the next stop sees what it is now"
    ray._kubernetes.delete = real  # type: ignore[method-assign]
    ray.stop(NAME)
    assert ray.status(NAME) is None


def test_one_that_runs_is_stopped_by_ray_with_its_signals_and_deleted_where_ray_does_not_answer(
    server: Server, tmp_path: Path
) -> None:
    dashboard = Plain({f"/api/jobs/{NAME}/stop": answer(200, b'{"stopped": true}')})
    ray = gateway(server, tmp_path, dashboard=f"http://127.0.0.1:{dashboard.port}")
    ray.submit(NAME, "x", FACTS)
    server.operate(NAME, jobDeploymentStatus="Running", jobStatus="RUNNING", rayClusterName="agon-x")
    ray.stop(NAME)
    assert dashboard.lines == [f"POST /api/jobs/{NAME}/stop HTTP/1.1"] and ("RayJob", NAME) in server.objects
    dashboard.close()
    ray.stop(NAME)
    assert ("RayJob", NAME) not in server.objects


def test_only_ours_are_counted_however_many_there_are(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.gateway.kubernetes.PAGE", 2)
    ray = gateway(server, tmp_path)
    server.put("RayJob", "somebody-elses", {})
    for number in range(5):
        ray.submit(f"agon-j-{number:012x}-1", "x", FACTS)
        server.operate(f"agon-j-{number:012x}-1", jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")
    assert len(ray.submissions()) == 5


def test_no_attempt_follows_while_the_driver_before_it_may_run(server: Server, tmp_path: Path) -> None:
    ray = gateway(server, tmp_path, dashboard="http://127.0.0.1:1")
    server.lingers = True
    ray.submit(NAME, "x", FACTS)
    server.operate(NAME, jobDeploymentStatus="Running", jobStatus="RUNNING", rayClusterName="agon-x")
    ray.stop(NAME)  # its head doesn't answer, so it is deleted; its pods have a grace period
    for _ in range(2):
        found = ray.status(NAME)
        assert found is not None and not found.status.ended
        ray.stop(NAME)
    with pytest.raises(RayUnreachableError, match="still being removed"):
        ray.submit(NAME, "x", FACTS)
    server.gone(NAME)
    assert ray.status(NAME) is None
    ray.submit(NAME, "x", FACTS)
    server.operate(NAME, jobDeploymentStatus="Failed", jobStatus="RUNNING", reason="DeadlineExceeded")
    found = ray.status(NAME)
    assert found is not None and not found.status.ended, "KubeRay gave it up, and its cluster is there yet"
    assert "deletionTimestamp" in made(server)["metadata"]
    server.gone(NAME)
    assert ray.status(NAME) is None


def test_a_group_is_never_asked_for_more_pods_than_it_has(server: Server, tmp_path: Path) -> None:
    ray = gateway(server, tmp_path)
    one = {**FACTS, "agon_workers": "1", "agon_cpus": "1"}
    for number in range(4):
        ray.submit(f"agon-j-{number:012x}-1", "x", one)
    with pytest.raises(RayUnreachableError, match="has 4 of 4 pods in use, and this run takes 1"):
        ray.submit(NAME, "x", one)
    server.operate("agon-j-000000000002-1", jobDeploymentStatus="Complete", jobStatus="SUCCEEDED")
    ray.submit(NAME, "x", one)


def test_a_quota_or_a_webhook_refuses_this_one_and_not_our_rights(server: Server, tmp_path: Path) -> None:
    ray = gateway(server, tmp_path)
    real = ray._kubernetes.create
    for words, error in (
        ('rayjobs.ray.io "x" is forbidden: exceeded quota: agon', RayFailedError),
        ('admission webhook "policy" denied the request: no', RayRefusedError),
    ):

        def refused(path: str, body: dict[str, Any], words: str = words) -> Any:
            server.answers = [(403, words)]
            return real(path, body)

        ray._kubernetes.create = refused  # type: ignore[method-assign]
        with pytest.raises(error):
            ray.submit(NAME, "x", FACTS)


def test_a_pattern_that_can_not_be_read_is_told_and_no_round_ends_by_it(server: Server, tmp_path: Path) -> None:
    odd = {**GPUS, "rayStartParams": {"num-cpus": "many"}}
    server.put("RayCluster", "agon-ray", {**PATTERN, "workerGroupSpecs": [odd]})
    with pytest.raises(RayUnreachableError, match="'many' is no quantity"):
        gateway(server, tmp_path).nodes()


def test_the_cluster_is_what_may_be_started(server: Server, tmp_path: Path) -> None:
    nodes = gateway(server, tmp_path).nodes()
    assert [(node.cpus, node.gpus) for node in nodes] == [(4.0, 0.0)] * 4 + [(64.0, 8.0)] * 2
    assert nodes[-1].memory == 512 * 2**30 and all(node.cpus_free == node.cpus for node in nodes)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", 0.5),
        ("2", 2.0),
        (8, 8.0),
        ("8Gi", 8 * 2.0**30),
        ("1.5k", 1500.0),
        ("3G", 3e9),
        ("2e3", 2000.0),
        (".5", 0.5),
        ("1Ei", 2.0**60),
        ("100u", 1e-4),
    ],
)
def test_quantities_are_read_as_kubernetes_writes_them(text: object, value: float) -> None:
    assert quantity(text) == pytest.approx(value)
    for wrong in ("", "x", "1X", "-1", None):
        with pytest.raises(ValueError, match="is no quantity"):
            quantity(wrong)


@examples(200)
@given(st.data())
def test_the_chosen_group_holds_all_workers_and_leaves_the_fewest_gpus_idle(data: st.DataObject) -> None:
    sizes = st.tuples(st.integers(1, 64), st.sampled_from([0, 1, 4, 8]), st.integers(0, 4))
    known = [
        Group(f"g{number}", float(cpus), float(gpus), 0.0, most)
        for number, (cpus, gpus, most) in enumerate(data.draw(st.lists(sizes, max_size=5)))
    ]
    wanted = Wanted(
        data.draw(st.integers(1, 12)),
        data.draw(st.sampled_from([0.5, 1.0, 4.0])),
        data.draw(st.sampled_from([0.0, 1.0, 2.0])),
    )
    able = {
        group: pods
        for group in known
        for pods in range(1, group.most + 1)
        if pods * group.fits(wanted.cpus, wanted.gpus) >= wanted.workers
    }  # fmt: skip
    found = choose(known, wanted)
    if not able:
        assert found is None
        return
    assert found is not None
    group, pods = found
    each = group.fits(wanted.cpus, wanted.gpus)
    assert 0 < pods <= group.most and pods * each >= wanted.workers > (pods - 1) * each
    idle = pods * group.gpus - wanted.workers * wanted.gpus
    for other in able:
        needed = -(-wanted.workers // other.fits(wanted.cpus, wanted.gpus))
        assert idle <= needed * other.gpus - wanted.workers * wanted.gpus


def test_the_pattern_itself_is_never_changed() -> None:
    before = yaml.safe_dump(PATTERN)
    own_cluster(PATTERN, groups(PATTERN)[0], 1, "s")
    assert yaml.safe_dump(PATTERN) == before
