"""Refuses to open the API to other machines by accident."""

import ipaddress
import socket
from collections.abc import Iterable

from shared.errors import InvalidSetting
from shared.setting_checks.addresses import known_host
from shared.settings import Settings


def check_exposure(settings: Settings, hosts: Iterable[str]) -> None:
    """Raise `InvalidSetting` if one of ``hosts``, which the API listens on, is more than loopback, and nobody
    has said whether the API asks for keys.
    """
    if "auth" in settings.model_fields_set:
        return
    for host in hosts:
        if not is_loopback(host):
            raise InvalidSetting(
                f"the API is to listen on {host} and asks for no key: set SWIFT_AUTH=keys, or SWIFT_AUTH=off "
                "if whoever reaches it may use it"
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on ``host``."""
    try:
        address = ipaddress.ip_address(socket.inet_ntoa(socket.inet_aton(host)))
    except OSError:
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return known_host(host) == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
