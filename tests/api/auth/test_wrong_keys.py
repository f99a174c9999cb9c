"""How many wrong keys an address may send."""

import pytest

from api.auth import wrong_keys
from api.auth.wrong_keys import WrongKeys
from shared.errors import TooManyRequests


class Clock:
    """Shows what it was set to."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def is_refused(counted: WrongKeys, address: str) -> bool:
    try:
        counted.check(address)
    except TooManyRequests:
        return True
    return False


def test_an_address_is_refused_until_the_minute_is_over() -> None:
    clock = Clock()
    counted = WrongKeys(2, clock)
    for _ in range(2):
        assert not is_refused(counted, "10.0.0.1")
        counted.add("10.0.0.1")
    clock.now_s += 20
    with pytest.raises(TooManyRequests) as caught:
        counted.check("10.0.0.1")
    assert caught.value.retry_after_s == 40
    assert not is_refused(counted, "10.0.0.2")
    clock.now_s += 40
    assert not is_refused(counted, "10.0.0.1")


def test_addresses_of_one_ipv6_network_are_one_client() -> None:
    counted = WrongKeys(1, Clock())
    counted.add("2001:db8::1")
    assert is_refused(counted, "2001:db8::ffff:2")
    assert not is_refused(counted, "2001:db8:0:1::1")
    counted.add("::ffff:10.0.0.1")
    assert is_refused(counted, "10.0.0.1")
    assert not is_refused(counted, "::ffff:10.0.0.2")
    assert not is_refused(counted, "no:address")


def test_addresses_beyond_the_most_that_are_counted_take_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrong_keys, "MAX_ADDRESSES", 2)
    counted = WrongKeys(1, Clock())
    for i in range(5):
        counted.add(f"10.0.0.{i}")
    assert [is_refused(counted, f"10.0.0.{i}") for i in range(5)] == [True, True, False, False, False]


def test_no_limit_refuses_nobody() -> None:
    counted = WrongKeys(0, Clock())
    for _ in range(100):
        counted.add("10.0.0.1")
    assert not is_refused(counted, "10.0.0.1")
