"""The cache against a model of itself: any order of opens, releases, deaths and damage."""

import os
import shutil
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shared.errors import LoraUnavailable
from tests.workers.lora.buckets import MemoryBucket
from workers.lora.cache import LoraCache

CAPACITY_BYTES = 100
SIZES = {"a": 100, "b": 60, "c": 40, "d": 30, "e": 10, "f": 1}
names = st.sampled_from(sorted(SIZES))


class CacheMachine(RuleBasedStateMachine):
    """``cached`` is in order of last use; sizes are those on disk, which damage changes."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.bucket = MemoryBucket()
        self.bodies = {name: os.urandom(size) for name, size in SIZES.items()}
        self.refs = {name: self.bucket.put(name, body) for name, body in self.bodies.items()}
        self.caches = [
            LoraCache(self.folder, CAPACITY_BYTES, self.bucket, 0) for _ in ("one process", "another")
        ]
        self.cached: dict[str, int] = {}
        self.paths: dict[str, Path] = {}
        self.pins: list[tuple[str, ExitStack]] = []

    def teardown(self) -> None:
        for _, pin in self.pins:
            pin.close()
        shutil.rmtree(self.folder)

    @rule(name=names, who=st.integers(0, 1))
    def open(self, name: str, who: int) -> None:
        expected = self._use(name)
        pin = ExitStack()
        try:
            self.paths[name] = pin.enter_context(self.caches[who].open(self.refs[name])).path
        except LoraUnavailable:
            assert not expected
        else:
            assert expected
            self.pins.append((name, pin))

    @rule(name=names, who=st.integers(0, 1))
    def prefetch(self, name: str, who: int) -> None:
        self._use(name)
        self.caches[who].prefetch(self.refs[name])

    @precondition(lambda self: self.pins)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.pins) - 1))
        self.pins.pop(index)[1].close()

    @rule(name=names)
    def damage(self, name: str) -> None:
        if name in self.cached and name in self.paths and not self._pinned()[name]:
            os.truncate(self.paths[name], SIZES[name] - 1)
            os.utime(self.paths[name], ns=(time.time_ns(),) * 2)  # the kernel's own clock runs behind
            del self.cached[name]
            self.cached[name] = SIZES[name] - 1

    @invariant()
    def bound_is_kept_and_the_files_are_the_models(self) -> None:
        for cache in self.caches:
            cache.check()
            assert cache.used_bytes() == sum(self.cached.values())

    @invariant()
    def what_is_pinned_is_there_and_whole(self) -> None:
        for name, _ in self.pins:
            assert self.paths[name].read_bytes() == self.bodies[name]

    def _pinned(self) -> Counter[str]:
        return Counter(name for name, _ in self.pins)

    def _use(self, name: str) -> bool:
        """Whether the cache can serve it now; the model is then as if it had."""
        if self.cached.get(name) != SIZES[name]:
            self.cached.pop(name, None)
            pinned = self._pinned()
            if sum(self.cached[other] for other in pinned) + SIZES[name] > CAPACITY_BYTES:
                return False
            for oldest in [other for other in self.cached if not pinned[other]]:
                if sum(self.cached.values()) + SIZES[name] <= CAPACITY_BYTES:
                    break
                del self.cached[oldest]
        self.cached[name] = self.cached.pop(name, SIZES[name])
        return True


CacheMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
test_the_cache_behaves_like_its_model = CacheMachine.TestCase
