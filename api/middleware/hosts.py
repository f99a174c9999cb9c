"""Which names the API answers to, and which web pages may change something.

A page of any site can send requests to this machine from its visitor's browser: by a name of its own that
leads here (DNS rebinding), then ``Host`` is that name; or across origins, then ``Origin`` is the page's.
"""

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from flask import Flask, request

from shared.errors import Forbidden, InvalidSetting, Misdirected
from shared.settings import Settings

#: Methods that change nothing.
SAFE = ("GET", "HEAD", "OPTIONS")
#: A name or an address, with or without a port.
_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([\w.-]+))(?::[0-9]{0,5})?", re.ASCII)
_ORIGIN = re.compile(r"https?://[^/?#@\s]+", re.IGNORECASE)
_HINT = "SWIFT_ALLOWED_HOSTS lists more"


def register(app: Flask, settings: Settings) -> None:
    """Have ``app`` refuse other hosts (421), and changes asked for by pages of other origins (403)."""
    allowed = AllowedHosts(settings.allowed_hosts, own=settings.api_host)

    @app.before_request
    def before_request() -> None:
        host = request.headers.get("Host")
        if host is None and request.environ.get("SERVER_PROTOCOL") != "HTTP/1.0":
            raise Misdirected("the request has no Host header")
        target = urlsplit(request.environ.get("RAW_URI", "")).netloc  # of GET http://host/path
        for name in (host, target or None):
            if name is not None and not allowed.answers_to(name):
                raise Misdirected(f"this is not {name!r}: {_HINT}")
        if request.method not in SAFE:
            _check_origin(allowed)


def _check_origin(allowed: "AllowedHosts") -> None:
    origin = request.headers.get("Origin")
    if origin is not None:
        host = urlsplit(origin).netloc if _ORIGIN.fullmatch(origin) else ""
        is_same = bool(host) and _strip_port(host) == _strip_port(request.headers.get("Host", ""))
        if not is_same and not allowed.lists(host):
            raise Forbidden(f"a page of origin {origin!r} may not change anything here: {_HINT}")
    elif request.headers.get("Sec-Fetch-Site", "").strip().lower() == "cross-site":
        raise Forbidden("a page of another site may not change anything here")


class AllowedHosts:
    """Loopback names, ``own`` if it is a single address, and what an operator lists."""

    def __init__(self, listed: Iterable[str], *, own: str) -> None:
        patterns = {pattern.lower().removeprefix("*") or "*" for pattern in listed}
        self._any = "*" in patterns
        self._networks = [_network(one) for one in patterns if "/" in one]
        self._domains = tuple(one for one in patterns if one.startswith("."))
        self._names = {_name(one) for one in patterns} | {"localhost"}
        if own not in ("0.0.0.0", "::"):
            self._names.add(_name(own))

    def answers_to(self, host: str) -> bool:
        """Whether ``host``, with or without a port, is a name of the API."""
        return (self._any and _name(host) != "") or self.lists(host)

    def lists(self, host: str) -> bool:
        """Whether ``host`` is one of the names; ``*`` names nobody."""
        name = _name(host)
        if not name or name in self._names or name.endswith(".localhost"):
            return bool(name)
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return any(name == domain[1:] or name.endswith(domain) for domain in self._domains)
        return address.is_loopback or any(address in network for network in self._networks)


def _name(host: str) -> str:
    """A host without its port, as it is compared; empty if it is none."""
    parts = _HOST.fullmatch(host.lower() if host.count(":") < 2 or host.startswith("[") else f"[{host}]")
    return (parts[1] or parts[2].removesuffix(".")) if parts else ""


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InvalidSetting(f"SWIFT_ALLOWED_HOSTS: {text!r} is no network") from None


def _strip_port(host: str) -> str:
    """Without a port that goes without saying."""
    return host.lower().removesuffix(":80").removesuffix(":443")
