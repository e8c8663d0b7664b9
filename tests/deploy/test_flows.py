"""The network policies let through what docs/deploy.md says, and nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flows import Party, reaches
from hypothesis import given
from hypothesis import strategies as st
from manifests import EVERYTHING, K8S, Pod, named, pods, rendered
from properties import examples

DOCUMENT = K8S.parent / "docs" / "deploy.md"
RANDOM = 41_234
"""A port that nobody names."""
OURS = {
    "agon-api": "API",
    "agon-mlflow": "MLflow",
    "agon-ray-head": "Ray head",
    "agon-ray-worker": "Ray workers",
    "agon-postgres": "PostgreSQL",
    "agon-valkey": "Valkey",
}
STRANGERS = [
    Party("DNS", "kube-system", {"k8s-app": "kube-dns"}),
    Party("ingress", "ingress-nginx", {"app.kubernetes.io/name": "ingress-nginx"}),
    Party("Prometheus", "monitoring", {"app.kubernetes.io/name": "prometheus"}),
    Party("KubeRay", "operators", {"app.kubernetes.io/name": "kuberay-operator"}),
    Party("other pods", "someone", {"app.kubernetes.io/name": "agon-api", "k8s-app": "kube-dns"}),
    Party("any address", address="203.0.113.7"),
    Party("metadata", address="169.254.169.254"),
]
COMMON = (22, 53, 80, 443, 5432, 6379, 6443, 8080, RANDOM)
"""Tried at whoever isn't ours."""
PARTS = sorted(
    {path.parent.name for path in K8S.glob("components/*/*.yaml") if "\nkind: NetworkPolicy\n" in path.read_text()}
)
"""Components that bring policies."""
ANYWHERE, METADATA = STRANGERS[-2:]
"""What an address outside gets, everyone gets whom no policy names: rows tell only what goes beyond. Of the clouds' metadata
service they tell all."""


def parties(items: tuple[dict[str, Any], ...]) -> list[Party]:
    """Our pods, by what policies know them by, and everyone else."""
    by_name: dict[str, Pod] = {}
    for pod in pods(items):
        if pod.spec.get("restartPolicy") != "Never":
            by_name.setdefault(pod.name, pod)
    ours = [
        Party(
            OURS[name],
            "agon",
            pod.labels,
            {port["name"]: port["containerPort"] for item in pod.spec["containers"] for port in item.get("ports", ())},
        )
        for name, pod in sorted(by_name.items())
    ]
    return [*ours, *STRANGERS]


def flows(items: tuple[dict[str, Any], ...]) -> set[tuple[str, str, str]]:
    """(from, to, ports) of all that policies let through where one of ours takes part."""
    policies = named(items, "NetworkPolicy").values()
    everyone = parties(items)
    found = set()
    for source in everyone:
        for target in everyone:
            alone = source is target and source.name != "Ray workers"
            if alone or "agon" not in (source.namespace, target.namespace):
                continue
            tried = sorted({*target.ports.values(), RANDOM} if target.namespace == "agon" else {*COMMON})
            reached = [port for port in tried if reaches(policies, source, target, port)]
            if target in STRANGERS and target not in (ANYWHERE, METADATA):
                reached = [port for port in reached if not reaches(policies, source, ANYWHERE, port)]
            if reached:
                found.add((source.name, target.name, "all" if reached == tried else ", ".join(map(str, reached))))
    return found


def table() -> set[tuple[str, str, str, str]]:
    """(from, to, ports, with) as the document has them; several names of a cell are several rows."""
    text = DOCUMENT.read_text()
    section = text.partition("## Network\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]*)\|", section, re.MULTILINE)[1:]
    return {
        (source.strip(), target.strip(), ports.strip(), part.strip(" `"))
        for sources, targets, ports, part in rows
        if not sources.startswith("---")
        for source in sources.split(",")
        for target in targets.split(",")
    }


def test_the_document_has_every_flow_and_no_other() -> None:
    base = flows(rendered("base"))
    found = {(*flow, "") for flow in base}
    for part in PARTS:
        found |= {(*flow, part) for flow in flows(rendered(f"base+{part}")) - base}
    inner = {flow[:3] for flow in found}
    found |= {(*flow, "prod") for flow in flows(rendered("prod")) - inner}
    assert found == table()


def test_nobody_asks_the_cloud_for_the_rights_of_its_machines_and_nobody_else_comes_in() -> None:
    every = flows(rendered(EVERYTHING))
    assert not any(target == "metadata" for _, target, _ in every)
    assert not any(source in ("other pods", "any address", "metadata") for source, _, _ in every)


def test_everything_at_once_lets_through_no_more_than_its_parts() -> None:
    ports = {(source, target) for source, target, _ in flows(rendered(EVERYTHING))}
    assert ports == {(source, target) for source, target, _, _ in table()}


# -- the evaluation itself


def policy(spec: dict[str, Any]) -> dict[str, Any]:
    """In the namespace of A and B below."""
    return {"metadata": {"name": "p", "namespace": "agon"}, "spec": spec}


A = Party("a", "agon", {"app": "a"}, {"http": 80}, "10.0.0.1")
B = Party("b", "agon", {"app": "b"}, {"http": 8080}, "10.0.0.2")
C = Party("c", "else", {"app": "a"}, {}, "10.0.0.3")
OUT = Party("out", address="192.0.2.1")
DENY = policy({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})


def into_b(*peers: dict[str, Any], ports: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    rule = ({"from": list(peers)} if peers else {}) | ({"ports": ports} if ports else {})
    return policy({"podSelector": {"matchLabels": {"app": "b"}}, "policyTypes": ["Ingress"], "ingress": [rule]})


@pytest.mark.parametrize(
    ("policies", "source", "port", "expected"),
    [
        ([], A, 1, True),
        ([DENY], A, 1, False),
        ([into_b()], A, 1, True),
        ([into_b({"podSelector": {"matchLabels": {"app": "a"}}})], A, 1, True),
        ([into_b({"podSelector": {"matchLabels": {"app": "a"}}})], C, 1, False),
        ([into_b({"podSelector": {"matchLabels": {"app": "x"}}})], A, 1, False),
        ([into_b({"namespaceSelector": {}})], C, 1, True),
        ([into_b({"namespaceSelector": {}})], OUT, 1, False),
        ([into_b({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "x"}}})], C, 1, False),
        ([into_b({"namespaceSelector": {}}, {"podSelector": {"matchLabels": {"app": "x"}}})], C, 1, True),
        ([into_b({"ipBlock": {"cidr": "192.0.2.0/24"}})], OUT, 1, True),
        ([into_b({"ipBlock": {"cidr": "0.0.0.0/0", "except": ["192.0.2.0/24"]}})], OUT, 1, False),
        ([into_b(ports=[{"port": "http"}])], A, 8080, True),
        ([into_b(ports=[{"port": "http"}])], A, 80, False),
        ([into_b(ports=[{"port": "none"}])], A, 80, False),
        ([into_b(ports=[{"port": 1, "protocol": "UDP"}])], A, 1, False),
        ([into_b(ports=[{"port": 1, "endPort": 9}])], A, 9, True),
        ([DENY, into_b()], A, 1, False),
        (
            [into_b({"podSelector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["a"]}]}})],
            A,
            1,
            False,
        ),
        ([into_b({"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}})], A, 1, True),
        ([into_b({"podSelector": {"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}})], A, 1, False),
    ],
)
def test_policies_mean_what_kubernetes_says_they_mean(policies, source, port, expected) -> None:
    assert reaches(policies, source, B, port) is expected


def test_a_connection_needs_the_way_out_and_the_way_in() -> None:
    out_of_a = policy(
        {
            "podSelector": {"matchLabels": {"app": "a"}},
            "policyTypes": ["Egress"],
            "egress": [{"to": [{"podSelector": {}}]}],
        }
    )
    assert reaches([out_of_a], A, B, 1)
    assert not reaches([out_of_a], A, C, 1)
    assert not reaches([DENY, out_of_a], A, B, 1)
    assert reaches([DENY, out_of_a, into_b({"podSelector": {"matchLabels": {"app": "a"}}})], A, B, 1)
    assert not reaches([DENY, out_of_a, into_b()], B, A, 1)


LABELS = st.dictionaries(st.sampled_from(["app", "tier"]), st.sampled_from(["a", "b"]), max_size=2)
ENDS = st.builds(
    Party,
    name=st.just("p"),
    namespace=st.sampled_from(["agon", "else", ""]),
    labels=LABELS,
    ports=st.just({"http": 80}),
    address=st.sampled_from(["10.0.0.1", "169.254.169.254", "192.0.2.1"]),
)
PEERS = st.one_of(
    st.builds(lambda labels: {"podSelector": {"matchLabels": labels}}, LABELS),
    st.just({"namespaceSelector": {}}),
    st.just({"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}),
)
PORTS = st.lists(st.sampled_from([{"port": 80}, {"port": "http"}, {"port": 1, "endPort": 100}]), max_size=2)


@st.composite
def some_policies(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Of both directions."""

    def one(direction: str, peer: str) -> dict[str, Any]:
        rules = [
            {peer: draw(st.lists(PEERS, max_size=2)), "ports": draw(PORTS)} for _ in range(draw(st.integers(0, 2)))
        ]
        return policy(
            {"podSelector": {"matchLabels": draw(LABELS)}, "policyTypes": [direction], direction.lower(): rules}
        )

    kinds = st.lists(st.sampled_from([("Ingress", "from"), ("Egress", "to")]), max_size=4)
    return [one(*kind) for kind in draw(kinds)]


@examples(50)
@given(policies=some_policies(), further=some_policies(), source=ENDS, target=ENDS, port=st.sampled_from([22, 80]))
def test_a_further_policy_opens_but_never_closes_where_one_stands_already(
    policies, further, source, target, port
) -> None:
    standing = [DENY, *policies]
    if reaches(standing, source, target, port):
        assert reaches([*standing, *further], source, target, port)


@examples(50)
@given(policies=some_policies(), source=ENDS, target=ENDS, port=st.sampled_from([22, 80]))
def test_policies_let_through_no_more_than_none_do_and_their_order_means_nothing(
    policies, source, target, port
) -> None:
    assert reaches([], source, target, port)
    assert reaches(policies, source, target, port) is reaches(policies[::-1], source, target, port)
    if "agon" not in (source.namespace, target.namespace):
        assert reaches(policies, source, target, port)
