"""Which `Host` and `Origin` a server of ours answers for: the one rule of the HTTP API and the page.

A web page can send its visitor's browser to any address, under a name of its own that it points there (DNS rebinding): `Host` then holds
that name, and `Origin` that page's.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from urllib.parse import urlsplit


class HostRule:
    """Allowed are the names of this machine and the bound address; names without a dot (containers, a local network) and plain addresses where
    more than loopback is bound; and the hosts of allowed origins.

    Args:
      bound: the address that the server listens on.
      origins: web pages that may ask, as `http://host:port`; `*` for all.
      domains: names under which a tunnel of ours makes the server known, with all below them.
    """

    def __init__(self, bound: str, origins: Collection[str] = (), domains: Collection[str] = ()) -> None:
        self.origins = {origin.rstrip("/").lower() for origin in origins}
        self._domains = tuple(f".{domain}" for domain in domains)
        self._names = {"localhost", bound.lower().strip("[]"), *(host_of(netloc_of(origin)) for origin in self.origins)}
        self._is_local = is_loopback(bound)
        if not self._is_local:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def takes_host(self, host: str) -> bool:
        """Whether a request under this `Host` (empty where there is none) is for us."""
        if not host:
            return True
        name = host_of(host)
        if name in self._names or name.endswith(self._domains):
            return True
        if self._is_local:
            return is_loopback(name)
        return "." not in name or _is_address(name)

    def takes_origin(self, origin: str | None, host: str) -> bool:
        """Whether a web page of this origin (None where the request is not from one) may send what it sends to `host`."""
        return origin is None or "*" in self.origins or origin.lower() in self.origins or netloc_of(origin) == host.lower()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def netloc_of(origin: str) -> str:
    """Host and port of an origin; empty where it is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def host_of(netloc: str) -> str:
    """The name in `name:port` or `[address]:port`."""
    if netloc.startswith("["):
        return netloc[1:].partition("]")[0].lower()
    return netloc.partition(":")[0].lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
