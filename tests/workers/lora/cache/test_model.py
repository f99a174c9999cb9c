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
from tests.workers.lora.cache.buckets import MemoryBucket
from workers.lora.cache.cache import LoraCache
from workers.lora.cache.partial_file import PartialFile

RANGE_BYTES = 25
SIZES = {"a": 100, "b": 60, "c": 40, "d": 30, "e": 10, "f": 1}
#: What each needs while it arrives.
NEEDS = {name: PartialFile.total_bytes(size, RANGE_BYTES) for name, size in SIZES.items()}
CAPACITY_BYTES = NEEDS["a"]
names = st.sampled_from(sorted(SIZES))


class CacheMachine(RuleBasedStateMachine):
    """``cached`` is in order of last use; sizes are those on disk, which damage changes.

    ``left`` is what a process that died has left of a file: its name, and which ranges are missing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.bucket = MemoryBucket()
        self.bodies = {name: os.urandom(size) for name, size in SIZES.items()}
        self.refs = {name: self.bucket.put(name, body) for name, body in self.bodies.items()}
        self.caches = [
            LoraCache(self.directory, CAPACITY_BYTES, self.bucket, 0, range_bytes=RANGE_BYTES)
            for _ in ("one process", "another")
        ]
        self.cached: dict[str, int] = {}
        self.left: tuple[str, list[int]] | None = None
        self.paths: dict[str, Path] = {}
        self.pins: list[tuple[str, ExitStack]] = []

    def teardown(self) -> None:
        for _, pin in self.pins:
            pin.close()
        shutil.rmtree(self.directory)

    @rule(name=names, who=st.integers(0, 1))
    def open(self, name: str, who: int) -> None:
        asked = self._will_ask(name)
        expected = self._use(name)
        self.bucket.asked.clear()
        pin = ExitStack()
        try:
            self.paths[name] = pin.enter_context(self.caches[who].open(self.refs[name])).path
        except LoraUnavailable:
            assert not expected
        else:
            assert expected
            self.pins.append((name, pin))
            assert sorted(start // RANGE_BYTES for start, _ in self.bucket.asked) == asked

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

    @precondition(lambda self: self.left is None)
    @rule(name=st.sampled_from("abcd"), who=st.integers(0, 1), data=st.data())
    def die(self, name: str, who: int, data: st.DataObject) -> None:
        """A process is killed while it fetches; some ranges have arrived."""
        if name in self.cached or not self._make_room(NEEDS[name]):
            return
        directory, ref = self.caches[who].directory, self.refs[name]
        claim = directory.claim(self.caches[who].version(ref))
        assert claim is not None
        assert directory.reserve(claim, NEEDS[name]) is not None
        part = PartialFile(claim, SIZES[name], RANGE_BYTES)
        arrived = data.draw(st.sets(st.sampled_from(range(len(part.ranges)))))
        for index in arrived:
            start, stop = part.ranges[index]
            part.write(start, self.bodies[name][start:stop])
            part.mark(index)
        directory.release(claim)
        self.left = (name, [index for index in range(len(part.ranges)) if index not in arrived])

    @invariant()
    def bound_is_kept_and_the_files_are_the_models(self) -> None:
        for cache in self.caches:
            cache.check()
            assert cache.used_bytes() == self._used_bytes()

    @invariant()
    def what_is_pinned_is_there_and_whole(self) -> None:
        for name, _ in self.pins:
            assert self.paths[name].read_bytes() == self.bodies[name]

    def _pinned(self) -> Counter[str]:
        return Counter(name for name, _ in self.pins)

    def _used_bytes(self) -> int:
        return sum(self.cached.values()) + (NEEDS[self.left[0]] if self.left else 0)

    def _will_ask(self, name: str) -> list[int]:
        """The ranges that an `open` will ask S3 for: what has not arrived, one at least."""
        if self.cached.get(name) == SIZES[name]:
            return []
        if self.left and self.left[0] == name:
            return self.left[1] or [0]
        return list(range(-(-SIZES[name] // RANGE_BYTES)))

    def _use(self, name: str) -> bool:
        """Whether the cache can serve it now; the model is then as if it had."""
        if self.cached.get(name) != SIZES[name]:
            self.cached.pop(name, None)
            if self.left and self.left[0] == name:
                self.left = None
            elif not self._make_room(NEEDS[name]):
                return False
        self.cached[name] = self.cached.pop(name, SIZES[name])
        return True

    def _make_room(self, needed_bytes: int) -> bool:
        """What the dead have left goes first, then whole files by last use; nothing if it is not enough."""
        pinned = self._pinned()
        if sum(self.cached[other] for other in pinned) + needed_bytes > CAPACITY_BYTES:
            return False
        if self._used_bytes() + needed_bytes > CAPACITY_BYTES:
            self.left = None
        for oldest in [other for other in self.cached if not pinned[other]]:
            if self._used_bytes() + needed_bytes <= CAPACITY_BYTES:
                break
            del self.cached[oldest]
        return True


CacheMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
test_the_cache_behaves_like_its_model = CacheMachine.TestCase
