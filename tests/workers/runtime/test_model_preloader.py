"""Models that are loaded before somebody waits for them: where there is place, once, and not in vain."""

import threading
import time
from dataclasses import dataclass, field

import pytest
import torch

from shared.errors import DeviceFull, ModelFailed, Unavailable
from tests.infra.local.waiting import eventually
from workers.runtime.device_memory import DeviceMemory
from workers.runtime.model_cache import ModelCache
from workers.runtime.model_preloader import ModelPreloader


@dataclass
class Thing:
    name: str
    weight_bytes: int = 10


@dataclass
class Models:
    """Things of ten bytes, in a memory of 20; a load waits for ``gate``."""

    error: Exception | None = None
    loads: list[str] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()
        self.cache: ModelCache[Thing] = ModelCache(self._load, DeviceMemory(20), lambda name: 10)
        self.preloader = ModelPreloader(self.cache)

    def _load(self, name: str) -> Thing:
        self.loads.append(name)
        assert self.gate.wait(60)
        if self.error is not None:
            raise self.error
        return Thing(name)


def test_a_model_is_loaded_ahead_of_its_use_where_it_fits() -> None:
    models = Models()
    assert models.preloader.start_load("a")
    assert eventually(models.cache.names) == ["a"]
    assert models.preloader.load("b")
    # And evicts nothing
    assert not models.preloader.start_load("c")
    assert not models.preloader.load("c")
    assert (models.cache.names(), models.loads) == (["a", "b"], ["a", "b"])
    # Unless a step waits for it: then what is in use stays
    with models.cache.use("b"):
        assert models.preloader.load("c", evicts=True)
    assert models.cache.names() == ["b", "c"]


@pytest.mark.parametrize("error", [ModelFailed("no such file"), DeviceFull("no memory"), OSError("disk")])
def test_a_model_that_cannot_be_loaded_is_not_tried_at_once_again(error: Exception) -> None:
    models = Models(error)
    models.preloader.start_load("a")
    assert eventually(lambda: not models.preloader.can_load("a"))
    assert eventually(lambda: not models.preloader.is_loading("a"))
    assert not models.preloader.start_load("a", evicts=True)
    assert models.loads == ["a"]
    # A full device says nothing of the model
    assert (list(models.cache.failed()) == ["a"]) is not isinstance(error, DeviceFull)


def test_a_model_that_finds_all_others_in_use_waits_for_no_memory() -> None:
    models = Models()
    with models.cache.use("a"), models.cache.use("b"):
        assert not models.preloader.load("c", evicts=True)
    assert (models.preloader.can_load("c"), models.cache.failed()) == (False, {})


def test_a_load_ahead_that_another_load_leaves_no_place_says_nothing_of_one_that_evicts() -> None:
    models, other_bytes = Models(), [0]
    memory = models.cache.memory
    memory.count(lambda: other_bytes[0], lambda: None)
    with models.cache.use("a"):
        pass
    # Given a load ahead that fits, and waits for another load, which takes the place
    with memory.one_load_at_a_time():
        assert models.preloader.start_load("b")
        other_bytes[0] = 5
    assert eventually(lambda: not models.preloader.is_loading("b"))
    assert models.cache.names() == ["a"]
    # Then somebody who waits for it has it loaded in the place of what is idle
    assert models.preloader.can_load("b")
    assert models.preloader.load("b", evicts=True)
    assert models.cache.names() == ["b"]


def test_a_load_ahead_does_not_wait_for_one_that_was_there_before() -> None:
    memory = Models().cache.memory
    with (
        memory.one_load_at_a_time(),
        pytest.raises(Unavailable),
        memory.one_load_at_a_time(gives_way=True),
    ):
        pass
    with memory.one_load_at_a_time(gives_way=True):
        pass


def test_nothing_is_loaded_ahead_after_work_has_met_a_full_device() -> None:
    models = Models()
    models.cache.memory.release(DeviceFull("no memory for a step"))
    assert not models.preloader.start_load("a")
    assert models.preloader.start_load("a", evicts=True)  # somebody waits for this one


def test_a_model_is_loaded_once_however_many_ask() -> None:
    models = Models()
    models.gate.clear()
    assert models.preloader.start_load("a")
    assert models.preloader.start_load("a")
    assert models.preloader.is_loading("a")
    assert not models.preloader.load("a")  # it is not there yet
    models.gate.set()
    assert eventually(models.cache.names) == ["a"]
    assert models.loads == ["a"]


def test_a_load_ahead_gives_way_to_one_that_somebody_waits_for() -> None:
    begun = threading.Event()

    def load(name: str) -> Thing:
        if name == "ahead" and not begun.is_set():
            begun.set()
            until = time.monotonic() + 60
            while time.monotonic() < until:  # tensor by tensor
                torch.empty(1)
        return Thing(name)

    cache: ModelCache[Thing] = ModelCache(load, DeviceMemory(20), lambda name: 10)
    preloader = ModelPreloader(cache)
    ahead = threading.Thread(target=preloader.load, args=("ahead",), kwargs={"gives_way": True})
    ahead.start()
    assert begun.wait(60)
    # When a job comes whose model is not loaded
    with cache.use("model"):
        ahead.join(60)
        assert cache.names() == ["model"]
    # Then the load ahead was given up, and may be tried again
    assert preloader.can_load("ahead")
    assert preloader.load("ahead", gives_way=True)


def test_a_load_ahead_of_unknown_size_evicts_nothing_and_is_not_repeated_in_vain() -> None:
    loads: list[str] = []

    def load(name: str) -> Thing:
        loads.append(name)
        return Thing(name, 15)

    cache: ModelCache[Thing] = ModelCache(load, DeviceMemory(20))
    preloader = ModelPreloader(cache)
    assert preloader.load("a")
    for _ in range(2):
        assert not preloader.load("b")
    assert (cache.names(), loads) == (["a"], ["a", "b"])
    # Whoever waits for it has it in the place of what is idle
    assert preloader.load("b", evicts=True)
    assert cache.names() == ["b"]
