"""Which URLs webhooks may have, and which addresses they may reach."""

import ipaddress
import socket
from typing import Any

import pytest

from shared.webhooks.targets import Target, TargetRefused, Targets, is_public

NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",  # metadata of clouds
    "172.16.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",  # 127.0.0.1, as a compatible address
    "::ffff:8.8.8.8",  # no resolver has reason to name it so
    "64:ff9b::7f00:1",  # NAT64
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",  # Teredo
    "2001:db8::1",
    "2002:7f00:1::",  # 6to4 of 127.0.0.1
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00::1",
    "fe80::1",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_special_addresses_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2606:2800:21f:cb07::1", "2a00:1450::1"])
def test_addresses_of_hosts_of_the_internet_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",  # decimal
        "http://0177.0.0.1/",  # octal
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://0/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[fe80::1%25eth0]/",
        "http://[64:ff9b::7f00:1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://api.localhost/",
    ],
)
def test_a_literal_address_that_is_not_public_is_refused_in_any_spelling(url: str) -> None:
    with pytest.raises(ValueError, match="must"):
        Targets(()).read(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "http:///path",
        "https://user:password@example.com/",
        "https://example.com@127.0.0.1/",
        "https://example.com/#part",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com:port/",
        "https://exa mple.com/",
        "https://example.com/\r\nX-Header: 1",
        "https://example.com\\@127.0.0.1/",
        "https://bücher.example/",
        "https://[::1/",
        "https://exa_mple..com/",
        "https://example.com/" + "x" * 2048,
    ],
)
def test_a_url_that_is_none_of_a_webhook_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must"):
        Targets(()).read(url)


def test_a_url_is_read_into_what_a_request_needs() -> None:
    targets = Targets(())
    assert targets.read("https://Example.com./hooks?a=1") == Target("https", "example.com", 443, "/hooks?a=1")
    assert targets.read("http://example.com:8000") == Target("http", "example.com", 8000, "/")
    assert targets.read("https://example.com/x").host_header == "example.com"
    assert targets.read("https://example.com:8443/x").host_header == "example.com:8443"
    assert targets.read("https://[2a00:1450::1]:8443/").host_header == "[2a00:1450::1]:8443"


class Names:
    """Resolves as it is told."""

    def __init__(self, **addresses: list[str]) -> None:
        self.addresses = {name.replace("_", "."): found for name, found in addresses.items()}

    def __call__(self, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        if host not in self.addresses:
            raise socket.gaierror("unknown")
        return [(0, 0, 0, "", (address, port)) for address in self.addresses[host]]


def test_a_name_is_held_against_what_it_resolves_to_now() -> None:
    names = Names(a_example=["93.184.215.14"])
    targets = Targets((), names)
    target = targets.read("https://a.example/")
    assert targets.find_addresses(target) == ["93.184.215.14"]
    for address in ("10.0.0.1", "::ffff:127.0.0.1", "fe80::1%eth0", "64:ff9b::a00:1"):
        names.addresses["a.example"] = [address]
        with pytest.raises(TargetRefused, match="no public address"):
            targets.find_addresses(target)


def test_of_several_addresses_only_the_public_ones_are_connected_to() -> None:
    targets = Targets((), Names(a_example=["10.0.0.1", "2a00:1450::1", "93.184.215.14", "93.184.215.14"]))
    assert targets.find_addresses(targets.read("https://a.example/")) == ["2a00:1450::1", "93.184.215.14"]


def test_a_name_that_does_not_resolve_is_refused() -> None:
    with pytest.raises(TargetRefused, match="does not resolve"):
        Targets((), Names()).find_addresses(Target("https", "a.example", 443, "/"))


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000/"),
        ("127.0.0.0/8", "http://127.1/"),
        ("127.0.0.0/8", "http://[::ffff:127.0.0.1]/"),
        ("::1", "http://[::1]/"),
        ("localhost", "http://localhost/"),
        ("hooks.internal", "http://hooks.internal/"),
        (".internal", "http://hooks.internal/"),
        (".internal", "http://internal/"),
        ("10.0.0.0/8", "http://hooks.internal/"),
    ],
)
def test_an_operator_may_list_private_targets(entry: str, url: str) -> None:
    names = Names(hooks_internal=["10.0.0.1"], internal=["10.0.0.1"], localhost=["127.0.0.1"])
    names.addresses |= {"127.0.0.1": ["127.0.0.1"], "127.1": ["127.0.0.1"], "::1": ["::1"]}
    names.addresses["::ffff:127.0.0.1"] = ["::ffff:127.0.0.1"]
    targets = Targets((entry,), names)
    assert targets.find_addresses(targets.read(url))


def test_what_is_listed_opens_nothing_else() -> None:
    targets = Targets(("10.1.0.0/16", "hooks.internal"), Names(other_internal=["10.2.0.1"]))
    with pytest.raises(ValueError, match="private"):
        targets.read("http://10.2.0.1/")
    with pytest.raises(TargetRefused):
        targets.find_addresses(targets.read("http://other.internal/"))
