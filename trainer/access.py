"""What a URL may lead to: local folders, and addresses that are not on the public internet."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

ANY = "*"
Address = IPv4Address | IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SPECIAL = tuple(map(ipaddress.ip_network, ("168.63.129.16/32", "192.88.99.0/24", "3fff::/20")))
"""Special, though `ipaddress` doesn't say so: a cloud's own service at a public number, relays of 6to4, and examples (RFC 9637)."""


@dataclass(frozen=True)
class Access:
    """Where data may be read. The default is anywhere: what a person may do who starts a training by hand.

    roots: folders that local paths must lie in; empty: any. hosts: which hosts may be asked over http(s) whose address
    is not public: names (all that they resolve to), addresses, networks (`10.0.0.0/8`), or `*` for all.
    """

    roots: tuple[str, ...] = ()
    hosts: tuple[str, ...] = (ANY,)

    def trusts(self, host: str) -> bool:
        """Whether whatever the host's name resolves to may be asked."""
        name = host.rstrip(".").lower()
        return ANY in self.hosts or any(name == known.rstrip(".").lower() for known in self.hosts)

    def admits(self, address: str) -> bool:
        """Whether a connection to this address may be made: it is public, or in an allowed network."""
        if ANY in self.hosts:
            return True
        found = _addresses(address)
        allowed = [network for host in self.hosts if (network := _network(host)) is not None]
        return all(is_public(one) or any(one in network for network in allowed) for one in found)


def is_public(address: Address) -> bool:
    """Whether the address belongs to the internet at large: not to this machine, a private network or a special purpose."""
    special = address.is_multicast or address.is_reserved or address.is_loopback or address.is_link_local
    site = isinstance(address, IPv6Address) and address.is_site_local
    own = any(address in network for network in _SPECIAL)
    return address.is_global and not (special or site or own or address.is_unspecified)


def what_is(address: str) -> str:
    """The address's kind, for a message: `a loopback address`."""
    for one in _addresses(address):
        for kind in ("loopback", "link_local", "multicast", "unspecified", "private"):
            if getattr(one, f"is_{kind}"):
                return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind.replace('_', '-')} address"
    return "a reserved address"


def check_host(text: str) -> str:
    """An entry of `Access.hosts`. Raises ValueError for what can be none."""
    name = text.strip()
    plain = name.replace("-", "").replace(".", "").replace("_", "").isalnum()
    if name != ANY and _network(name) is None and not plain:
        raise ValueError(f"{text!r} is no host name, address or network; write e.g. data.lan, 10.1.2.3 or 10.0.0.0/8")
    return name


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text.strip("[]"), strict=False)
    except ValueError:
        return None


def _addresses(text: str) -> list[Address]:
    """The address; if it is an IPv6 address that stands for an IPv4 one, and packets would go there, that one."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [IPv4Address(int(address) & 0xFFFFFFFF)]
    if address.sixtofour is not None:
        return [address, address.sixtofour]
    return [address, *(address.teredo or ())]
