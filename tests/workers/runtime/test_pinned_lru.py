"""The cache behind loaded models and parsed LoRAs; `test_memory.py` tests it without overcommit."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from workers.runtime.pinned_lru import PinnedLRU

CAPACITY_BYTES = 10
keys = st.sampled_from("abcdef")


def make_cache(
    capacity_bytes: int = CAPACITY_BYTES, *, overcommits: bool = False
) -> PinnedLRU[str, list[int]]:
    """A cache of lists, each of as many bytes as it has elements."""
    return PinnedLRU(capacity_bytes, len, overcommits=overcommits)


def test_a_value_that_does_not_fit_is_not_cached_without_overcommit() -> None:
    cache = make_cache()
    with cache.use("a", lambda: [0] * 6), cache.use("b", lambda: [0] * 6) as pinned:
        assert len(pinned.value) == 6
        assert cache.keys() == ["a"]


def test_a_value_that_does_not_fit_is_cached_while_in_use_with_overcommit() -> None:
    cache = make_cache(overcommits=True)
    with cache.use("a", lambda: [0] * 6), cache.use("b", lambda: [0] * 6):
        with cache.use_cached("b") as again:
            assert again is not None
        assert cache.keys() == ["a", "b"]
    assert cache.keys() == ["a"]


def test_a_value_that_can_never_fit_makes_all_idle_ones_go_with_overcommit() -> None:
    cache = make_cache(overcommits=True)
    with cache.use("a", lambda: [0]):
        pass
    with cache.use("huge", lambda: [0] * 11) as pinned:
        assert (cache.keys(), pinned.evictions) == (["huge"], 1)
    assert cache.keys() == []


def test_room_is_made_by_as_many_idle_values_as_it_takes() -> None:
    cache = make_cache()
    for key in "abc":
        with cache.use(key, lambda: [0] * 3):
            pass
    with cache.use_cached("c"):
        assert cache.make_room(1)
        assert cache.keys() == ["a", "b", "c"]
        assert cache.make_room(2)
        assert cache.keys() == ["b", "c"]
        # For more than all idle ones hold, all of them go
        assert not cache.make_room(8)
        assert cache.keys() == ["c"]
    assert cache.used_bytes() == 3


def test_a_reservation_that_fails_evicts_nothing() -> None:
    cache = make_cache()

    def load() -> list[int]:
        assert not cache.reserve("c", 5)
        return [0] * 5

    with cache.use("a", lambda: [0] * 6):
        with cache.use("b", lambda: [0] * 4):
            pass
        with cache.use("c", load):
            assert cache.keys() == ["a", "b"]


def test_a_reservation_waits_until_a_pinned_value_is_released() -> None:
    cache = make_cache()
    reserved = list[bool]()

    def load() -> list[int]:
        reserved.append(cache.reserve("b", 6, wait_s=60))
        return [0] * 6

    def use_b() -> None:
        with cache.use("b", load):
            pass

    with cache.use("a", lambda: [0] * 6):
        waiting = threading.Thread(target=use_b)
        waiting.start()
        time.sleep(0.05)
        assert reserved == []
    waiting.join(60)
    assert (reserved, cache.keys()) == ([True], ["b"])


def test_a_discarded_value_that_is_in_use_no_longer_counts() -> None:
    cache = make_cache()
    with cache.use("a", lambda: [0] * 10) as first:
        cache.discard("a")
        assert cache.used_bytes() == 0
        with cache.use("a", lambda: [1] * 10) as second:
            assert (first.value[0], second.value[0]) == (0, 1)
    cache.check()
    assert cache.keys() == ["a"]


def test_concurrent_callers_that_wait_for_a_failed_load_each_try_in_turn() -> None:
    cache, tries, gate = make_cache(), list[str](), threading.Event()

    def fail() -> list[int]:
        gate.wait(60)
        tries.append("")
        raise OSError("unreadable")

    def use(_: int) -> None:
        with pytest.raises(OSError, match="unreadable"), cache.use("a", fail):
            pass

    with ThreadPoolExecutor(4) as pool:
        used = pool.map(use, range(4))
        gate.set()
        list(used)
    assert len(tries) == 4


@pytest.mark.parametrize("overcommits", [False, True])
def test_threads_share_a_cache_that_keeps_its_invariants(overcommits: bool) -> None:
    cache = make_cache(overcommits=overcommits)
    loading: dict[str, threading.Lock] = {key: threading.Lock() for key in "abcdef"}

    def load(key: str, size_bytes: int) -> list[int]:
        assert loading[key].acquire(blocking=False), "two threads load one key"
        try:
            cache.reserve(key, size_bytes)
            return [ord(key)] * size_bytes
        finally:
            loading[key].release()

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(300):
            key, size_bytes = rng.choice("abcdef"), rng.randint(1, 6)
            with cache.use(key, lambda key=key, size=size_bytes: load(key, size)) as pinned:  # type: ignore[misc]
                assert pinned.value[0] == ord(key)
                cache.check()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    cache.check()


class OvercommittingCacheMachine(RuleBasedStateMachine):
    """``cached`` maps keys to values in the order of last use; values grow while they are in use."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = make_cache(overcommits=True)
        self.cached: dict[str, list[int]] = {}
        self.uses: list[tuple[str, ExitStack]] = []

    @rule(key=keys, size_bytes=st.integers(1, 12))
    def use(self, key: str, size_bytes: int) -> None:
        stack = ExitStack()
        value = stack.enter_context(self.cache.use(key, lambda: [0] * size_bytes)).value
        assert self.cached.pop(key, value) is value
        self.cached[key] = value
        self.uses.append((key, stack))
        self._evict()

    @precondition(lambda self: self.uses)
    @rule(data=st.data(), more_bytes=st.integers(0, 3))
    def grow_and_release(self, data: st.DataObject, more_bytes: int) -> None:
        key, stack = self.uses.pop(data.draw(st.integers(0, len(self.uses) - 1)))
        self.cached[key] += [0] * more_bytes
        stack.close()
        self._evict()

    @invariant()
    def it_caches_what_the_model_caches(self) -> None:
        assert self.cache.keys() == list(self.cached)
        assert self.cache.used_bytes() == self._used_bytes()
        self.cache.check()

    def _used_bytes(self) -> int:
        return sum(map(len, self.cached.values()))

    def _evict(self) -> None:
        in_use = {key for key, _ in self.uses}
        for key in [key for key in self.cached if key not in in_use]:
            if self._used_bytes() <= CAPACITY_BYTES:
                break
            del self.cached[key]


OvercommittingCacheMachine.TestCase.settings = settings(
    max_examples=30, stateful_step_count=30, deadline=None
)
test_an_overcommitting_cache_behaves_like_its_model = OvercommittingCacheMachine.TestCase
