from dataclasses import dataclass

import pytest

from workers.resident import Residents


@dataclass
class Thing:
    name: str
    weight_bytes: int = 10


def test_what_was_used_least_recently_goes_first() -> None:
    residents = Residents(Thing, 20)
    for name in ("a", "b", "a", "c"):
        with residents.use(name):
            pass
    assert residents.names() == ["a", "c"]


def test_what_is_in_use_stays_over_any_budget() -> None:
    residents = Residents(Thing, 10)
    with residents.use("a") as held, residents.use("b"):
        assert residents.names() == ["a", "b"]
    with residents.use("c"):
        assert residents.names() == ["c"]
    assert held.name == "a"


def test_a_load_that_fails_leaves_nothing_behind() -> None:
    def load(name: str) -> Thing:
        raise OSError(name)

    residents = Residents(load, 10)
    with pytest.raises(OSError, match="a"), residents.use("a"):
        pass
    assert residents.names() == []


def test_what_is_discarded_is_loaded_anew() -> None:
    residents = Residents(Thing, 10)
    with residents.use("a") as first:
        residents.discard("a")
    with residents.use("a") as second:
        assert second is not first
