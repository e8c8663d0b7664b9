"""Who may reach whom, evaluated from NetworkPolicies as Kubernetes defines them: what none selects is open, else what one of them lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

NAMESPACE = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Party:
    """A pod, or an address outside (which has no labels)."""

    name: str
    namespace: str = ""
    """Empty: outside of the cluster."""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    ports: Mapping[str, int] = field(default_factory=dict, hash=False)
    """By name."""
    address: str = "10.1.2.3"
    """Blocks of addresses count for pods, too: some networks apply them so."""


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """A label selector; an empty one selects everything."""
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions", ()):
        value, wanted = labels.get(expression["key"]), expression.get("values", ())
        holds = {
            "In": value in wanted,
            "NotIn": value not in wanted,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[expression["operator"]]
        if not holds:
            return False
    return True


def reaches(
    policies: Iterable[Mapping[str, Any]], source: Party, target: Party, port: int, protocol: str = "TCP"
) -> bool:
    """Whether the source's egress and the target's ingress let a connection through."""
    policies = list(policies)
    return _lets(policies, source, target, target, port, protocol, "egress") and _lets(
        policies, target, source, target, port, protocol, "ingress"
    )


def _lets(
    policies: list[Mapping[str, Any]],
    subject: Party,
    other: Party,
    target: Party,
    port: int,
    protocol: str,
    direction: str,
) -> bool:
    """By the policies that select the subject, in one direction."""
    found = [
        policy["spec"]
        for policy in policies
        if subject.namespace == policy["metadata"]["namespace"]
        and selects(policy["spec"]["podSelector"], subject.labels)
        and direction.capitalize() in policy["spec"]["policyTypes"]
    ]
    rules = [rule for spec in found for rule in spec.get(direction, ())]
    peer = "to" if direction == "egress" else "from"
    return not found or any(
        _names(rule.get(peer), other, subject.namespace) and _opens(rule.get("ports"), target, port, protocol)
        for rule in rules
    )


def _names(peers: list[Mapping[str, Any]] | None, other: Party, namespace: str) -> bool:
    """Whether a rule's peers include the other end; a rule without peers includes all."""
    return not peers or any(_is(peer, other, namespace) for peer in peers)


def _is(peer: Mapping[str, Any], other: Party, namespace: str) -> bool:
    if block := peer.get("ipBlock"):
        address = ip_address(other.address)
        inside = address in ip_network(block["cidr"])
        return inside and not any(address in ip_network(cut) for cut in block.get("except", ()))
    if not other.namespace:
        return False
    there = selects(peer["namespaceSelector"], {NAMESPACE: other.namespace}) if "namespaceSelector" in peer else (
        other.namespace == namespace
    )  # fmt: skip
    return there and selects(peer.get("podSelector", {}), other.labels)


def _opens(ports: list[Mapping[str, Any]] | None, target: Party, port: int, protocol: str) -> bool:
    """Whether a rule lists the port; one without ports lists all. A name means the target's port of that name."""
    for listed in ports or ():
        wanted = listed.get("port", port)
        number = target.ports.get(wanted) if isinstance(wanted, str) else wanted
        if listed.get("protocol", "TCP") != protocol or number is None:
            continue
        if number <= port <= listed.get("endPort", number):
            return True
    return not ports
