"""Fleets that tests of several files share are all stopped."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from tests.fleet.shared_fleets import SharedFleets


class Fleets:
    """Fleets that are mere names, of which each of ``broken`` fails while it stops."""

    def __init__(self, *broken: str) -> None:
        self.shared = SharedFleets[str]()
        self.running: set[str] = set()
        for name in ("a", "b", "c", "d"):
            self.shared.get(name, partial(self._run, name, is_broken=name in broken))

    @contextmanager
    def _run(self, name: str, *, is_broken: bool) -> Iterator[str]:
        self.running.add(name)
        yield name
        self.running.remove(name)
        if is_broken:
            raise RuntimeError(f"{name} does not stop")


def test_what_the_next_test_uses_goes_on() -> None:
    fleets = Fleets()
    fleets.shared.stop_unused({"b"})
    assert fleets.running == {"b"}
    assert fleets.shared.get("b", lambda: pytest.fail("it runs")) == "b"


@pytest.mark.parametrize("broken", [("a",), ("a", "b"), ("a", "b", "c", "d")])
def test_all_are_stopped_also_if_some_fail_and_that_is_raised(broken: tuple[str, ...]) -> None:
    fleets = Fleets(*broken)
    with pytest.raises(RuntimeError, match="does not stop"):
        fleets.shared.stop_unused(())
    assert fleets.running == set()
    fleets.shared.stop_unused(())
