"""Keys that may be wrong take turns."""

import threading
from contextlib import suppress

import pytest

from api.auth.lookups import AT_ONCE, WRONG_PER_S, Lookups
from shared.errors import KeyUnknown, TooManyRequests, Unavailable


class Clock:
    """Shows how long was paused."""

    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def pause(self, seconds: float) -> None:
        assert seconds > 0
        self.now_s += seconds


def look_up_wrong_key(lookups: Lookups) -> None:
    with suppress(KeyUnknown), lookups.turn():
        raise KeyUnknown("there is no such API key")


def test_right_keys_never_pause() -> None:
    clock = Clock()
    lookups = Lookups(clock.pause, clock)
    for _ in range(10 * WRONG_PER_S):
        with lookups.turn():
            pass
    assert clock.now_s == 100.0


def test_so_many_wrong_keys_are_looked_up_in_a_second() -> None:
    clock = Clock()
    lookups = Lookups(clock.pause, clock)
    look_up_wrong_key(lookups)
    assert clock.now_s == 100.0  # the first one at once
    for _ in range(2 * WRONG_PER_S):
        look_up_wrong_key(lookups)
    assert clock.now_s == pytest.approx(102.0)


def test_a_key_that_comes_when_the_wrong_ones_are_over_does_not_pause() -> None:
    clock = Clock()
    lookups = Lookups(clock.pause, clock)
    look_up_wrong_key(lookups)
    clock.now_s += 1
    with lookups.turn():
        pass
    assert clock.now_s == 101.0


@pytest.mark.parametrize("is_flood", [True, False])
def test_who_gets_no_turn_in_time_is_told_whether_wrong_keys_are_the_reason(is_flood: bool) -> None:
    clock = Clock()
    lookups = Lookups(clock.pause, clock, longest_wait_s=0.01)
    if is_flood:
        look_up_wrong_key(lookups)
    else:
        clock.now_s += 1
    # Given lookups that do not end, as many as there are turns
    holding, done = threading.Barrier(AT_ONCE + 1), threading.Event()

    def hold() -> None:
        with lookups.turn():
            holding.wait()
            done.wait()

    threads = [threading.Thread(target=hold) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    holding.wait()
    # When one more comes
    with pytest.raises(TooManyRequests if is_flood else Unavailable), lookups.turn():
        pass
    done.set()
    for thread in threads:
        thread.join()
    # Then only for as long as they last
    with lookups.turn():
        pass
