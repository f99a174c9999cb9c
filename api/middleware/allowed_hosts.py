"""Host names that a server answers to. Others are refused, to prevent DNS rebinding."""

import ipaddress
import re
from collections.abc import Iterable

from shared.errors import InvalidSetting

#: A name or an address, with or without a port.
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([\w.-]+))(?::[0-9]{0,5})?", re.ASCII)


class AllowedHosts:
    """The allowed names: loopback, ``own`` if it is a single address, and those that an operator lists."""

    def __init__(self, listed: Iterable[str], *, own: str) -> None:
        patterns = {pattern.lower().removeprefix("*") or "*" for pattern in listed}
        self._any = "*" in patterns
        self._networks = [_network(one) for one in patterns if "/" in one]
        self._domains = tuple(one for one in patterns if one.startswith("."))
        names = patterns - {"*", *self._domains, *(one for one in patterns if "/" in one)}
        self._names = {_listed_name(one) for one in names} | {"localhost"}
        if own not in ("0.0.0.0", "::"):
            self._names.add(_name(own))

    def answers_to(self, host: str) -> bool:
        """Whether ``host``, with or without a port, is allowed."""
        return (self._any and _name(host) != "") or self.lists(host)

    def lists(self, host: str) -> bool:
        """Whether ``host`` is allowed by name; ``*`` does not count."""
        name = _name(host)
        if not name or name in self._names or name.endswith(".localhost"):
            return bool(name)
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return any(name == domain[1:] or name.endswith(domain) for domain in self._domains)
        return address.is_loopback or any(address in network for network in self._networks)


def _name(host: str) -> str:
    """A host without its port, normalized for comparison; empty if it is not a host."""
    parts = _HOST.fullmatch(host.lower() if host.count(":") < 2 or host.startswith("[") else f"[{host}]")
    return (parts[1] or parts[2].removesuffix(".")) if parts else ""


def _listed_name(text: str) -> str:
    name = _name(text)
    if not name:
        raise InvalidSetting(f"SWIFT_ALLOWED_HOSTS: {text!r} is not a host (other scripts as xn--…)")
    return name


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidSetting(f"SWIFT_ALLOWED_HOSTS: {text!r} is not a network") from None
