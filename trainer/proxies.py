"""Proxies of the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY), and what never goes through one: this machine's own
addresses, and those of the stack's parts. Imports nothing heavy; the control plane uses it too.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

LOOPBACK = ("localhost", "127.0.0.1", "::1")
VARIABLES = ("http_proxy", "https_proxy", "all_proxy")


def is_loopback(host: str) -> bool:
    """Whether a host's name or address says that it is this machine."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def direct(environ: Mapping[str, str], *urls: str) -> dict[str, str]:
    """What to add to a process's environment so that loopback and the hosts of these URLs are reached without a proxy.

    Empty where the environment names no proxy. Both spellings get the same value: libraries differ in which they read.
    """
    if not any(environ.get(name) or environ.get(name.upper()) for name in VARIABLES):
        return {}
    known = f"{environ.get('no_proxy', '')},{environ.get('NO_PROXY', '')}".split(",")
    hosts = [*(host.strip() for host in known), *LOOPBACK, *(urlsplit(url).hostname or "" for url in urls)]
    value = ",".join(dict.fromkeys(host for host in hosts if host))
    return {"no_proxy": "*", "NO_PROXY": "*"} if "*" in hosts else {"no_proxy": value, "NO_PROXY": value}


def go_direct(*urls: str) -> None:
    """As :func:`direct`, for this process and those that it starts."""
    os.environ.update(direct(os.environ, *urls))


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for an http(s) URL; None: it is reached directly."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or proxy_bypass(host):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
