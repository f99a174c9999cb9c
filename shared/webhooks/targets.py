"""Which URLs webhooks may be sent to: those at public addresses, and private ones that an operator lists.

Whoever may name a URL could otherwise have the fleet ask servers that only the fleet reaches (server-side
request forgery). A literal address is checked when it is named. A name is checked by what it resolves to
when a delivery is sent, and the connection goes to an address that was checked: what the name resolves to a
moment later (DNS rebinding) is not asked again.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from shared.errors import SwiftError
from shared.setting_checks.addresses import check_host, join_port

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
#: As `socket.getaddrinfo`.
Resolver = Callable[..., Sequence[Any]]

MAX_URL_CHARS = 2048
PORTS = {"http": 80, "https": 443}
UNLESS_LISTED = ", unless SWIFT_WEBHOOK_PRIVATE_TARGETS lists it"
#: Printable ASCII without the backslash, which browsers and libraries read in different ways.
_URL = re.compile(r"[!-\[\]-~]+")
#: What ``is_global`` of the standard library calls global, in some version, and is not one host's address.
_SPECIAL_IPV4 = [
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # 6to4 relays
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",
    )
]
#: The only range of unicast addresses that is given to hosts; NAT64 (64:ff9b::) and all else is outside it.
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_SPECIAL_IPV6 = [
    ipaddress.ip_network(network)
    for network in (
        "2001::/23",  # Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: any IPv4 address, private ones too
        "3fff::/20",  # documentation
    )
]


class TargetRefused(SwiftError):
    """The host of a webhook has no address that it may be sent to, now."""

    code = "webhook_target_refused"
    retryable = True


class Target(NamedTuple):
    """What a URL of a webhook says; ``path`` has the query, ``host`` no brackets."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def host_header(self) -> str:
        """The value of ``Host``: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else join_port(self.host, self.port)


class Targets:
    """Checks URLs and addresses; ``private`` lists hosts and networks that are allowed although not public.

    An entry is a name, ``.example.com`` (with subdomains), an address or a network as ``10.0.0.0/8``, as
    `shared.setting_checks.addresses.check_host_entry` has checked.
    """

    def __init__(self, private: Iterable[str], resolve: Resolver = socket.getaddrinfo) -> None:
        self._resolve = resolve
        self._networks = []
        names = set()
        for entry in private:
            try:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                names.add(entry.lower().removesuffix("."))
        self._domains = tuple(name for name in names if name.startswith("."))
        self._names = names - {*self._domains}

    def read(self, url: str) -> Target:
        """What ``url`` says; raises `ValueError`, a clause that follows "it"."""
        if len(url) > MAX_URL_CHARS:
            raise ValueError(f"must have at most {MAX_URL_CHARS} characters")
        if not _URL.fullmatch(url):
            raise ValueError("must consist of printable ASCII characters other than \\")
        target = _parse(url)
        address = _literal(target.host)
        if address is not None and not self.permits(address):
            raise ValueError(f"must not name a private or special address{UNLESS_LISTED}")
        is_local = target.host == "localhost" or target.host.endswith(".localhost")
        if is_local and not self._lists(target.host):
            raise ValueError(f"must not name this machine{UNLESS_LISTED}")
        return target

    def find_addresses(self, target: Target) -> list[str]:
        """The addresses of a target that may be connected to, at least one, in the resolver's order.

        Raises `TargetRefused`, also when the name resolves to nothing.
        """
        try:
            found = self._resolve(target.host, target.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise TargetRefused("the name of its host does not resolve") from None
        addresses = [_address(str(entry[4][0])) for entry in found]
        permitted = [str(one) for one in addresses if self._lists(target.host) or self.permits(one)]
        if not permitted:
            raise TargetRefused("its host has no public address")
        return list(dict.fromkeys(permitted))

    def permits(self, address: Address) -> bool:
        """Whether an address is public, or in a listed network."""
        return is_public(address) or any(address in network for network in self._networks)

    def _lists(self, host: str) -> bool:
        return host in self._names or host.endswith(self._domains) or f".{host}" in self._domains


def is_public(address: Address) -> bool:
    """Whether an address is one of the public internet, of a single host, and no way to another address."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not any(address in network for network in _SPECIAL_IPV4)
    return address in _GLOBAL_UNICAST and not any(address in network for network in _SPECIAL_IPV6)


def _parse(url: str) -> Target:
    form = "must be https://HOST/PATH or http://HOST/PATH"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(form) from None
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError(form)
    if "@" in parts.netloc:
        raise ValueError("must hold no credentials: receivers check the signature")
    if "#" in url:
        raise ValueError("must have no #")
    if port == 0:
        raise ValueError("must have a port from 1 to 65535")
    host = parts.hostname.removesuffix(".")
    check_host(host)
    return Target(parts.scheme, host, port or PORTS[parts.scheme], _path(parts))


def _path(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _literal(host: str) -> Address | None:
    """The address that a host spells, in any way that resolvers read: 2130706433, 0177.1, 0x7f.1."""
    try:
        return _address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def _address(text: str) -> Address:
    """An address without its zone; of an IPv4 address that is mapped into IPv6 the former."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address
