"""Parsed LoRAs in memory: shared, bounded, never dropped while in use."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shared.errors import InvalidLora
from shared.metrics import LORA_EVICTIONS
from tests.workers.lora.cache.buckets import counted
from workers.lora.lora_weights import LoraWeights
from workers.lora.memory import LoraMemory
from workers.lora.weight_delta import WeightDelta

#: Bytes of each LoRA: 4 for its B, the rest for its A.
SIZES = {"a": 100, "b": 60, "c": 40, "d": 32, "e": 12, "f": 8, "huge": 104}
CAPACITY_BYTES = 100
names = st.sampled_from(sorted(SIZES))


def weights(name: str) -> LoraWeights:
    tensors = {"a": torch.zeros(1, SIZES[name] // 4 - 1), "b": torch.zeros(1, 1)}
    change = WeightDelta(tensors, torch.Size([1, tensors["a"].shape[1]]), 1.0)
    return LoraWeights(name, {"unet": {"mid.weight": change}})


def test_a_cached_lora_is_not_loaded_again() -> None:
    memory, made = LoraMemory(100), []

    def make() -> LoraWeights:
        made.append("b")
        return weights("b")

    with memory.use("b", make) as first:
        pass
    with memory.use("b", make) as again:
        assert again.value is first.value
    assert made == ["b"]
    assert memory.used_bytes() == 60


def test_threads_that_want_the_same_lora_load_it_once() -> None:
    memory, gate = LoraMemory(100), threading.Event()
    made: list[str] = []

    def make() -> LoraWeights:
        made.append("b")
        gate.wait()
        return weights("b")

    def use(_: int) -> LoraWeights:
        with memory.use("b", make) as used:
            return used.value

    with ThreadPoolExecutor(8) as pool:
        used = pool.map(use, range(8))
        gate.set()
        assert len({id(weights) for weights in used}) == 1
    assert made == ["b"]


def test_a_failed_load_is_not_cached() -> None:
    memory = LoraMemory(100)

    def refuse() -> LoraWeights:
        raise InvalidLora("not a safetensors file")

    with pytest.raises(InvalidLora), memory.use("b", refuse):
        pass
    with memory.use("b", lambda: weights("b")) as used:
        assert used.value.sha256 == "b"


def test_pinned_loras_stay_and_idle_ones_are_evicted() -> None:
    memory, before = LoraMemory(100), counted(LORA_EVICTIONS).get("memory", 0)
    with memory.use("c", lambda: weights("c")):
        for name in ("d", "e", "b"):
            with memory.use(name, lambda name=name: weights(name)):  # type: ignore[misc]
                assert "c" in memory.keys()  # noqa: SIM118
    assert memory.keys() == ["c", "b"]
    assert counted(LORA_EVICTIONS)["memory"] == before + 2


def test_others_are_evicted_before_a_lora_takes_its_memory() -> None:
    memory, before = LoraMemory(100), counted(LORA_EVICTIONS).get("memory", 0)
    for name in ("b", "c"):
        with memory.use(name, lambda name=name: weights(name)):  # type: ignore[misc]
            pass
    seen = []

    def make() -> LoraWeights:
        memory.reserve("d", SIZES["d"])
        seen.append((memory.keys(), memory.used_bytes()))
        return weights("d")

    with memory.use("d", make) as held:
        assert seen == [(["c"], 40 + 32)]
        assert held.evictions == 1
        assert memory.used_bytes() == 40 + 32
    assert counted(LORA_EVICTIONS)["memory"] == before + 1


def test_the_reservation_of_a_failed_load_is_released() -> None:
    memory = LoraMemory(100)

    def fail() -> LoraWeights:
        memory.reserve("b", SIZES["b"])
        raise InvalidLora("not a safetensors file")

    with pytest.raises(InvalidLora), memory.use("b", fail):
        pass
    assert memory.used_bytes() == 0


def test_two_concurrent_loads_do_not_reserve_the_same_bytes() -> None:
    memory, seen = LoraMemory(100), []

    def make(name: str) -> LoraWeights:
        memory.reserve(name, SIZES[name])
        seen.append(memory.used_bytes())
        return weights(name)

    def make_b() -> LoraWeights:
        with memory.use("c", lambda: make("c")):
            return make("b")

    with memory.use("b", make_b):
        assert seen == [40, 100]
        with memory.use("a", lambda: make("a")):
            assert memory.used_bytes() == 100  # it did not fit, and is not kept
    assert memory.keys() == ["c", "b"]


class MemoryMachine(RuleBasedStateMachine):
    """``kept`` is in order of last use."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = LoraMemory(CAPACITY_BYTES)
        self.kept: list[str] = []
        self.uses: list[tuple[str, bool, ExitStack]] = []  # whether it is kept while used

    @rule(name=names)
    def use(self, name: str) -> None:
        expected = name in self.kept or self._fits(name)
        use, made = ExitStack(), []

        def make() -> LoraWeights:
            made.append(name)
            return weights(name)

        used = use.enter_context(self.memory.use(name, make))
        assert used.value.sha256 == name
        assert (not made) == (name in self.kept)
        if expected:
            self._keep(name)
        self.uses.append((name, expected, use))

    @precondition(lambda self: self.uses)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.uses) - 1))
        self.uses.pop(index)[2].close()

    @invariant()
    def it_keeps_what_the_model_keeps_within_its_bound(self) -> None:
        assert self.memory.keys() == self.kept
        assert self.memory.used_bytes() == sum(SIZES[name] for name in self.kept) <= CAPACITY_BYTES
        self.memory.check()

    @invariant()
    def what_is_in_use_is_kept(self) -> None:
        assert {name for name, is_kept, _ in self.uses if is_kept} <= set(self.kept)

    def _in_use(self) -> Counter[str]:
        return Counter(name for name, is_kept, _ in self.uses if is_kept)

    def _fits(self, name: str) -> bool:
        return sum(SIZES[other] for other in self._in_use()) + SIZES[name] <= CAPACITY_BYTES

    def _keep(self, name: str) -> None:
        if name in self.kept:
            self.kept.remove(name)
        for oldest in [other for other in self.kept if other not in self._in_use()]:
            if sum(SIZES[other] for other in [*self.kept, name]) <= CAPACITY_BYTES:
                break
            self.kept.remove(oldest)
        self.kept.append(name)


MemoryMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
test_the_memory_behaves_like_its_model = MemoryMachine.TestCase
