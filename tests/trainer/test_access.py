"""Which addresses data may be read from."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.access import Access, check_host, what_is

PUBLIC = Access(hosts=())
SPECIAL = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1",
    "192.0.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
    "168.63.129.16", "192.88.99.1",
    "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "2001:db8::1", "100::1", "::7f00:1",
    "3fff::1", "64:ff9b:1::1", "fd00:ec2::254",
]  # fmt: skip


@pytest.mark.parametrize("address", SPECIAL)
def test_what_is_not_public_is_refused_unless_it_is_allowed(address: str) -> None:
    assert not PUBLIC.admits(address)
    assert Access().admits(address)
    assert Access(hosts=(address.partition("%")[0],)).admits(address)
    assert what_is(address).endswith("address")


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_the_public_internet_is_open(address: str) -> None:
    assert PUBLIC.admits(address)


def forms(address: IPv4Address) -> list[IPv6Address]:
    """IPv6 addresses that lead to the IPv4 one: mapped, NAT64, 6to4, Teredo."""
    value = int(address)
    return [
        IPv6Address((0xFFFF << 32) | value),
        IPv6Address((0x64FF9B << 96) | value),
        IPv6Address((0x2002 << 112) | (value << 80)),
        IPv6Address((0x20010000 << 96) | (0x08080808 << 64) | (value ^ 0xFFFFFFFF)),
    ]


@given(st.ip_addresses(v=4))
def test_an_ipv6_form_is_worth_no_more_than_the_ipv4_address_that_it_leads_to(address: IPv4Address) -> None:
    for form in forms(address):
        if not PUBLIC.admits(str(address)):
            assert not PUBLIC.admits(str(form)), form


@given(st.ip_addresses(), st.integers(0, 32))
def test_a_network_allows_what_is_in_it_and_nothing_else_that_is_private(address: object, prefix: int) -> None:
    network = Access(hosts=(f"{address}/{prefix}",))
    assert network.admits(str(address)) or ":" in str(address)  # some IPv6 forms stand for two addresses
    assert network.admits("127.0.0.1") == Access(hosts=(f"{address}/{prefix}", "10.0.0.0/32")).admits("127.0.0.1")


def test_a_name_is_trusted_with_whatever_it_resolves_to_and_no_other_name_is() -> None:
    access = Access(hosts=("Data.lan",))
    assert access.trusts("data.lan.")
    assert not access.trusts("evil.data.lan")
    assert not access.trusts("lan")
    assert not access.admits("10.0.0.1")


@pytest.mark.parametrize("entry", ["*", "data.lan", "10.0.0.0/8", "10.0.0.1", "::1", "[::1]", "fd00::/8", "nas_1"])
def test_hosts_addresses_and_networks_can_be_allowed(entry: str) -> None:
    assert check_host(f" {entry} ") == entry


@pytest.mark.parametrize("entry", ["", "http://data.lan", "data.lan:80", "10.0.0.0/99", "a b"])
def test_other_entries_are_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="no host name, address or network"):
        check_host(entry)
